//! A browser that signs in, opens pages and sends their forms.

use reqwest::Method;

use super::TestApp;
use super::http::{Answer, Http};

/// A session in a browser.
pub struct Browser {
    http: Http,
    cookie: String,
}

impl Browser {
    /// Signs in with the form.
    pub async fn signed_in(app: &TestApp, token: &str) -> Browser {
        let answer = app
            .anonymous()
            .post_raw(
                "/admin/sign-in",
                "application/x-www-form-urlencoded",
                encoded(&[("token", token)]),
            )
            .await
            .expect(303);
        let cookie = answer.header("set-cookie").split(';').next().expect("a cookie");
        Browser {
            http: app.anonymous(),
            cookie: cookie.to_owned(),
        }
    }

    /// Opens a page.
    pub async fn open(&self, path: &str) -> Answer {
        self.http
            .request(Method::GET, path)
            .header("cookie", &self.cookie)
            .send()
            .await
    }

    /// Sends a request with another method.
    pub async fn call(&self, method: Method, path: &str) -> Answer {
        let request = self.http.request(method, path).header("cookie", &self.cookie);
        request.send().await
    }

    /// Opens an existing page and returns its text.
    pub async fn page(&self, path: &str) -> String {
        self.open(path).await.expect(200).text
    }

    /// Returns the key that the forms of a page contain.
    pub async fn key(&self, path: &str) -> String {
        let page = self.page(path).await;
        let (_, rest) = page
            .split_once("name=\"form_key\" value=\"")
            .unwrap_or_else(|| panic!("no form on {path}: {page}"));
        let key = rest.split('"').next().expect("a key").to_owned();
        assert!(key.len() > 20, "{key}");
        key
    }

    /// Sends a form with these fields and no others.
    pub async fn send(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        self.http
            .request(Method::POST, path)
            .header("cookie", &self.cookie)
            .body("application/x-www-form-urlencoded", encoded(fields))
            .send()
            .await
    }

    /// Sends a form with a file, as a browser encodes it.
    pub async fn upload(&self, path: &str, key: &str, fields: &[(&str, &str)], file: Option<&str>) -> Answer {
        let part = |name: &str, value: &str| {
            format!("--border\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
        };
        let mut body = part("form_key", key);
        for (name, value) in fields {
            body.push_str(&part(name, value));
        }
        body.push_str(&format!(
            "--border\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{}\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n{}\r\n--border--\r\n",
            if file.is_some() { "directory.ndjson" } else { "" },
            file.unwrap_or_default(),
        ));
        self.http
            .request(Method::POST, path)
            .header("cookie", &self.cookie)
            .body("multipart/form-data; boundary=border", body)
            .send()
            .await
    }

    /// Sends a form that is on this page.
    pub async fn send_from(&self, page: &str, path: &str, fields: &[(&str, &str)]) -> Answer {
        let key = self.key(page).await;
        let fields: Vec<(&str, &str)> = std::iter::once(("form_key", key.as_str()))
            .chain(fields.iter().copied())
            .collect();
        self.send(path, &fields).await
    }
}

fn encoded(fields: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish()
}
