//! A client for the API. Each call is one line, and a failed assertion shows the whole answer.

use std::fmt::Display;
use std::ops::Index;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::{Client, Method, RequestBuilder};
use serde::Serialize;
use serde_json::{Value, json};

/// The admin token of the service in every test.
pub const ADMIN_TOKEN: &str = "candor-admin-token-of-the-tests";

/// A client for one server with one token. It is cheap to clone, and clones share connections.
#[derive(Clone)]
pub struct Http {
    client: Client,
    base: String,
    token: Option<String>,
}

impl Http {
    pub fn new(base: &str, token: Option<&str>) -> Self {
        let client = Client::builder()
            .no_proxy()
            // A test may want to check a redirect, so redirects are not followed.
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_secs(60))
            // The server closes idle connections, and on a busy machine a request could use such a
            // connection.
            .pool_max_idle_per_host(0)
            .build()
            .expect("an HTTP client");
        Self {
            client,
            base: base.trim_end_matches('/').to_owned(),
            token: token.map(str::to_owned),
        }
    }

    /// Returns the URL of the server, without a slash at the end.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Returns a client for the same server with another token.
    pub fn as_role(&self, token: &str) -> Self {
        Self {
            token: Some(token.to_owned()),
            ..self.clone()
        }
    }

    /// Returns a client for the same server with a new token of this role.
    pub async fn as_new(&self, role: &str) -> Self {
        self.as_role(&self.token(role).await)
    }

    /// Returns a client for the same server without a token.
    pub fn anonymous(&self) -> Self {
        Self {
            token: None,
            ..self.clone()
        }
    }

    /// Creates an API token with this role.
    pub async fn token(&self, role: &str) -> String {
        let made = self
            .post(
                "/api/v1/tokens",
                json!({"name": format!("a test's {role}"), "role": role}),
            )
            .await;
        made.expect(201)["token"].as_str().expect("a token").to_owned()
    }

    /// Starts a request. A path that is a complete URL (such as a `hook_url`) is used unchanged.
    pub fn request(&self, method: Method, path: &str) -> Request {
        let url = if path.starts_with("http://") {
            path.to_owned()
        } else {
            format!("{}{path}", self.base)
        };
        let mut builder = self.client.request(method.clone(), url);
        if let Some(token) = &self.token {
            builder = builder.bearer_auth(token);
        }
        Request {
            line: format!("{method} {path}"),
            builder,
        }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.request(Method::GET, path).send().await
    }

    pub async fn post(&self, path: &str, body: impl Serialize) -> Answer {
        self.request(Method::POST, path).json(body).send().await
    }

    pub async fn put(&self, path: &str, body: impl Serialize) -> Answer {
        self.request(Method::PUT, path).json(body).send().await
    }

    pub async fn patch(&self, path: &str, body: impl Serialize) -> Answer {
        self.request(Method::PATCH, path).json(body).send().await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.request(Method::DELETE, path).send().await
    }

    pub async fn post_raw(&self, path: &str, content_type: &str, body: impl Into<Vec<u8>>) -> Answer {
        self.request(Method::POST, path)
            .body(content_type, body)
            .send()
            .await
    }

    /// Imports a directory in NDJSON.
    pub async fn import(&self, ndjson: impl Into<Vec<u8>>) -> Answer {
        self.post_raw("/api/v1/directory/import", "application/x-ndjson", ndjson)
            .await
    }

    /// Returns the items of all pages of a list.
    pub async fn all(&self, path: &str) -> Vec<Value> {
        let separator = if path.contains('?') { '&' } else { '?' };
        let mut items = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let page = match &cursor {
                None => self.get(path).await,
                Some(cursor) => self.get(&format!("{path}{separator}cursor={cursor}")).await,
            };
            let page = page.expect(200);
            items.extend_from_slice(page.items());
            let next = page["next_cursor"].as_str().map(str::to_owned);
            if next.is_none() {
                return items;
            }
            assert_ne!(next, cursor, "{path}: the cursor does not move");
            cursor = next;
        }
    }
}

pub struct Request {
    line: String,
    builder: RequestBuilder,
}

impl Request {
    pub fn header(mut self, name: &str, value: impl AsRef<str>) -> Self {
        self.builder = self.builder.header(name, value.as_ref());
        self
    }

    pub fn json(mut self, body: impl Serialize) -> Self {
        self.builder = self.builder.json(&body);
        self
    }

    pub fn body(mut self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        self.builder = self.builder.header(CONTENT_TYPE, content_type).body(body.into());
        self
    }

    pub async fn send(self) -> Answer {
        let line = self.line.clone();
        self.try_send()
            .await
            .unwrap_or_else(|error| panic!("{line}: no answer: {error:?}"))
    }

    /// Sends a request whose answer is a file, and expects 200. Returns its headers and its bytes.
    pub async fn download(self) -> (HeaderMap, Vec<u8>) {
        let response = self
            .builder
            .send()
            .await
            .unwrap_or_else(|error| panic!("{}: no answer: {error:?}", self.line));
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = response.bytes().await.expect("the whole answer").to_vec();
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(1_000)]);
        assert_eq!(status, 200, "{}: {shown}", self.line);
        (headers, bytes)
    }

    /// Sends a request to a server that may not be running.
    pub async fn try_send(self) -> Result<Answer, reqwest::Error> {
        let response = self.builder.send().await?;
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let text = response.text().await?;
        let content_type = headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let is_json = ["application/json", "application/problem+json"]
            .iter()
            .any(|json| content_type.starts_with(json));
        let json = if is_json && !text.is_empty() {
            serde_json::from_str(&text)
                .unwrap_or_else(|error| panic!("{}: {status}, not JSON: {error}: {text}", self.line))
        } else {
            Value::Null
        };
        Ok(Answer {
            request: self.line,
            status,
            headers,
            json,
            text,
        })
    }
}

/// The answer to a request. `answer["field"]` reads its JSON.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The method and the path of the request.
    pub request: String,
    pub status: u16,
    pub headers: HeaderMap,
    /// The JSON of the answer. Null if the answer is not JSON.
    pub json: Value,
    pub text: String,
}

impl Answer {
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert!(
            self.status == status,
            "{}: expected {status}, got {self}",
            self.request
        );
        self
    }

    /// Expects a problem document (RFC 9457) with this status.
    #[track_caller]
    pub fn expect_problem(self, status: u16) -> Self {
        let answer = self.expect(status);
        assert_eq!(
            answer.header("content-type"),
            "application/problem+json",
            "{}: {answer}",
            answer.request
        );
        assert_eq!(answer["status"], status, "{}: {answer}", answer.request);
        for member in ["type", "title", "detail"] {
            let text = answer[member].as_str().unwrap_or_default();
            assert!(!text.is_empty(), "{}: no {member} in {answer}", answer.request);
        }
        let code = answer["code"].as_str().unwrap_or_default();
        assert!(
            candor::base::code::Code::ALL.contains(&code),
            "{}: no code in {answer}",
            answer.request
        );
        answer
    }

    /// Expects a 422 that names this place: a JSON pointer, `?parameter`, or `line 7`.
    #[track_caller]
    pub fn expect_invalid(self, place: &str) -> Self {
        let answer = self.expect_problem(422);
        let places = answer.places();
        assert!(
            places.iter().any(|found| found == place),
            "{}: no {place} in {answer}",
            answer.request
        );
        answer
    }

    /// Returns the pointers and lines in the `errors` of the problem.
    pub fn places(&self) -> Vec<String> {
        let errors = self.json["errors"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        errors
            .iter()
            .map(|error| match error["pointer"].as_str() {
                Some(pointer) => pointer.to_owned(),
                None => format!("line {}", error["line"]),
            })
            .collect()
    }

    /// Returns the header, or an empty text.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    #[track_caller]
    pub fn id(&self) -> String {
        match &self.json["id"] {
            Value::String(id) => id.clone(),
            Value::Number(id) => id.to_string(),
            _ => panic!("{}: no id in {self}", self.request),
        }
    }

    /// Returns the items of one page of a list.
    #[track_caller]
    pub fn items(&self) -> &[Value] {
        self.json["items"]
            .as_array()
            .unwrap_or_else(|| panic!("{}: no items in {self}", self.request))
    }
}

impl Index<&str> for Answer {
    type Output = Value;

    fn index(&self, field: &str) -> &Value {
        &self.json[field]
    }
}

impl Display for Answer {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.json.is_null() {
            write!(out, "{} {}", self.status, self.text)
        } else {
            write!(out, "{} {:#}", self.status, self.json)
        }
    }
}
