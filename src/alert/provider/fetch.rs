//! Fetches a small document from Amazon over HTTPS: a certificate, or the confirmation of a subscription.
//!
//! A redirect is not followed. The size of the answer and the time of the request are limited.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};
use url::Url;

/// The time limit of one request.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The largest answer, in bytes. A certificate has about 2,000 bytes.
const LARGEST: usize = 64 * 1024;

type Answer = Pin<Box<dyn Future<Output = Result<Vec<u8>, String>> + Send>>;

/// A way to fetch documents.
#[derive(Clone)]
pub struct Fetch(Arc<dyn Fn(Url) -> Answer + Send + Sync>);

impl Fetch {
    /// Fetches documents from the internet over HTTPS.
    pub fn https() -> Self {
        Fetch(Arc::new(|url| {
            Box::pin(async move {
                tokio::time::timeout(TIMEOUT, get(url))
                    .await
                    .unwrap_or_else(|_| Err("no answer in time".to_owned()))
            })
        }))
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

fn tls() -> Result<TlsConnector, String> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if let Some(config) = CONFIG.get() {
        return Ok(TlsConnector::from(config.clone()));
    }
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err("this machine has no root certificates".to_owned());
    }
    let config = ClientConfig::builder_with_provider(Arc::new(crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(
        CONFIG.get_or_init(|| Arc::new(config)).clone(),
    ))
}

async fn get(url: Url) -> Result<Vec<u8>, String> {
    if url.scheme() != "https" {
        return Err("not an https URL".to_owned());
    }
    let host = url.host_str().ok_or("no host")?.to_owned();
    let port = url.port_or_known_default().unwrap_or(443);
    let name = ServerName::try_from(host.clone()).map_err(|_| "no name of a host")?;
    let stream = TcpStream::connect((host.as_str(), port))
        .await
        .map_err(|error| error.to_string())?;
    let stream = tls()?
        .connect(name, stream)
        .await
        .map_err(|error| error.to_string())?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    // The task ends at the latest when `sender` is dropped.
    let connection = tokio::spawn(connection);
    let target = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    let request = hyper::Request::get(target)
        .header("host", &host)
        .header("user-agent", concat!("candor/", env!("CARGO_PKG_VERSION")))
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let answer = async {
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| error.to_string())?;
        let status = response.status();
        if !status.is_success() {
            return Err(format!("the answer was {}", status.as_u16()));
        }
        let body = Limited::new(response.into_body(), LARGEST)
            .collect()
            .await
            .map_err(|error| error.to_string())?;
        Ok(body.to_bytes().to_vec())
    }
    .await;
    connection.abort();
    answer
}
