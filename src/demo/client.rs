//! The HTTP client of the demo. It makes the same requests that a user could make with curl.

use reqwest::Method;
use serde_json::Value;

/// Calls the API with one token.
pub(super) struct Client {
    http: reqwest::Client,
    base: String,
    token: String,
}

impl Client {
    pub fn new(base: String, token: &str) -> Self {
        Client {
            http: reqwest::Client::new(),
            base,
            token: token.to_owned(),
        }
    }

    pub async fn get(&self, path: &str) -> Result<Value, String> {
        self.call(Method::GET, path, "application/json", String::new())
            .await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, String> {
        self.call(Method::POST, path, "application/json", body.to_string())
            .await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Result<Value, String> {
        self.call(Method::PUT, path, "application/json", body.to_string())
            .await
    }

    /// Uploads a listing in CSV.
    pub async fn upload(&self, path: &str, listing: &str) -> Result<Value, String> {
        self.call(Method::PUT, path, "text/csv", listing.to_owned()).await
    }

    pub async fn import(&self, lines: &str) -> Result<Value, String> {
        let path = "/api/v1/directory/import";
        self.call(Method::POST, path, "application/x-ndjson", lines.to_owned())
            .await
    }

    /// Calls a complete URL without a token, as a monitoring system does.
    pub async fn hook(&self, url: &str, body: &Value) -> Result<Value, String> {
        let request = self
            .http
            .post(url)
            .header("content-type", "application/json")
            .body(body.to_string());
        answer("the hook", request).await
    }

    /// Sends the form of a public page, as a browser does, without a token.
    pub async fn form(&self, url: &str, fields: &[(&str, &str)]) -> Result<(), String> {
        let body = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish();
        let sent = self
            .http
            .post(url)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body)
            .send()
            .await
            .map_err(|error| format!("a page: {error}"))?;
        match sent.status() {
            status if status.is_success() => Ok(()),
            status => Err(format!("a page answered {status}")),
        }
    }

    async fn call(&self, method: Method, path: &str, media: &str, body: String) -> Result<Value, String> {
        let mut request = self
            .http
            .request(method, format!("{}{path}", self.base))
            .bearer_auth(&self.token);
        if !body.is_empty() {
            request = request.header("content-type", media).body(body);
        }
        answer(path, request).await
    }
}

async fn answer(what: &str, request: reqwest::RequestBuilder) -> Result<Value, String> {
    let response = request.send().await.map_err(|error| format!("{what}: {error}"))?;
    let status = response.status();
    let text = response
        .text()
        .await
        .map_err(|error| format!("{what}: {error}"))?;
    if !status.is_success() {
        return Err(format!("{what} answered {status}: {text}"));
    }
    if text.is_empty() {
        Ok(Value::Null)
    } else {
        serde_json::from_str(&text).map_err(|error| format!("{what}: {error}"))
    }
}
