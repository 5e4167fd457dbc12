//! Fetches a small document from Amazon over HTTPS: a certificate, or the confirmation of a subscription.
//!
//! A redirect is not followed. The size of the answer and the time of the request are limited.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use url::Url;

use crate::egress::Policy;
use crate::egress::client::{Bounds, Client, Unanswered};

/// The limits of one request. A certificate has about 2,000 bytes.
const BOUNDS: Bounds = Bounds {
    patience: Duration::from_secs(10),
    body: 64 * 1024,
};

type Answer = Pin<Box<dyn Future<Output = Result<Vec<u8>, String>> + Send>>;

/// A way to fetch documents.
#[derive(Clone)]
pub struct Fetch(Arc<dyn Fn(Url) -> Answer + Send + Sync>);

impl Fetch {
    /// Fetches documents from the internet over HTTPS.
    pub fn https() -> Self {
        Fetch(Arc::new(|url| Box::pin(get(url))))
    }

    /// Fetches documents with a function. Tests use this, because they sign with their own certificate.
    pub fn by(answer: impl Fn(&Url) -> Result<Vec<u8>, String> + Send + Sync + 'static) -> Self {
        Fetch(Arc::new(move |url| {
            let answer = answer(&url);
            Box::pin(async move { answer })
        }))
    }

    /// Returns the document.
    ///
    /// # Errors
    /// A sentence that says why there is no document.
    pub async fn get(&self, url: Url) -> Result<Vec<u8>, String> {
        (self.0)(url).await
    }
}

async fn get(url: Url) -> Result<Vec<u8>, String> {
    if url.scheme() != "https" {
        return Err("the URL is not an https URL".to_owned());
    }
    let answer = client()?
        .fetch(url.as_str(), BOUNDS)
        .await
        .map_err(|reason| match reason {
            Unanswered::Refused(text) | Unanswered::Temporary(text) | Unanswered::Lost(text) => text,
        })?;
    if answer.status.is_success() {
        Ok(answer.body)
    } else {
        Err(format!("the answer was {}", answer.status.as_u16()))
    }
}

/// The client is built with the first request, because most installations never send one.
fn client() -> Result<&'static Client, String> {
    static CLIENT: OnceLock<Result<Client, String>> = OnceLock::new();
    // Private addresses are allowed: Amazon's names lead to them in a network that has a VPC endpoint.
    CLIENT
        .get_or_init(|| Client::new(Policy::Private).map_err(|error| error.to_string()))
        .as_ref()
        .map_err(Clone::clone)
}
