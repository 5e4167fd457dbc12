//! A product that shows its users the feed: it has a feed key, and signs tokens as its backend does.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::Sha256;

use super::{Answer, Request, TestApp};

/// The origin of the product's pages.
pub const ORIGIN: &str = "https://app.example.com";

/// A product with its feed key.
pub struct Product {
    pub key: String,
    pub secret: String,
}

impl Product {
    /// Creates a feed key with the origin of the product.
    pub async fn new(app: &TestApp) -> Product {
        Product::with(app, &[ORIGIN]).await
    }

    /// Creates a feed key with these origins.
    pub async fn with(app: &TestApp, origins: &[&str]) -> Product {
        let made = app
            .post("/api/v1/feed-keys", json!({"name": "Studio", "origins": origins}))
            .await
            .expect(201);
        Product {
            key: made.id(),
            secret: made["secret"].as_str().expect("a secret").to_owned(),
        }
    }

    /// Signs a token for a person that is valid for ten minutes.
    pub fn token(&self, app: &TestApp, person: &str) -> String {
        self.signed(&self.claims(app, person, 600))
    }

    /// Returns the claims of a token that expires after these seconds.
    pub fn claims(&self, app: &TestApp, person: &str, seconds: i64) -> Value {
        let now = app.clock.now().as_micros() / 1_000_000;
        json!({"iss": self.key, "sub": person, "exp": now + seconds})
    }

    pub fn signed(&self, claims: &Value) -> String {
        sign(&json!({"alg": "HS256", "typ": "JWT"}), claims, &self.secret)
    }
}

/// Signs a token with this header and this secret.
pub fn sign(header: &Value, claims: &Value, secret: &str) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(header), part(claims));
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("a key");
    mac.update(signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

/// Starts a request to the feed with a token.
pub fn feed(app: &TestApp, method: Method, path: &str, token: &str) -> Request {
    app.anonymous()
        .request(method, &format!("/feed/v1/{path}"))
        .header("authorization", format!("Bearer {token}"))
}

/// Reads a path of the feed with a token.
pub async fn read(app: &TestApp, path: &str, token: &str) -> Answer {
    feed(app, Method::GET, path, token).send().await
}
