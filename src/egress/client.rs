//! An HTTP client for URLs that somebody else chose. It sends one request to a checked address, reads an
//! answer of limited size, and closes the connection.
//!
//! For each request it resolves the name, checks the resulting addresses and connects to one of them. So it
//! is safe if the name resolves to another address a moment later.
//!
//! - It never connects to an address that was not checked.
//! - `post`, `ask` and `fetch` never follow a redirect.
//! - It never reads an answer without a limit.
//! - It never uses a proxy from the environment.

mod download;
mod probe;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{HOST, HeaderMap, USER_AGENT};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use url::{Host, Url};

pub use download::{Download, DownloadBody, DownloadBounds};
pub use probe::{ProbeRequest, ProbeResult};

use super::{Policy, Unresolved, check_url, resolve};
use crate::base::error::{Error, Result};
use crate::base::text::one_line;

/// How long one request may take, from resolving the name to the last byte that is read.
const TIMEOUT: Duration = Duration::from_secs(15);
/// How long the connection to one address may take. The next address is tried afterwards.
const CONNECT: Duration = Duration::from_secs(5);
/// The number of bytes of an answer that are read.
const MAX_READ: usize = 4 * 1024;
/// The largest size of the headers of an answer, in bytes.
const MAX_HEAD: usize = 16 * 1024;

/// The HTTP client, with its policy and the certificate authorities that it trusts.
pub struct Client {
    policy: Policy,
    tls: TlsConnector,
}

/// The limits of a request that reads a whole answer.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// How long it may take, from resolving the name to the last byte.
    pub patience: Duration,
    /// The largest size of the body, in bytes.
    pub body: usize,
}

/// An answer of which the complete body was read.
#[derive(Clone, Debug)]
pub struct WholeAnswer {
    /// The HTTP status code of the answer.
    pub status: StatusCode,
    /// The complete body, which is not larger than [`Bounds::body`].
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// Another attempt will fail too. The text is the reason.
    Refused(String),
    /// Another attempt may succeed. The text is the reason.
    Temporary(String),
    /// Another attempt may succeed, but the other side may have received the request. Only [`Client::post`] says so. The text is the reason.
    Lost(String),
}

/// An answer, of which only the beginning of the body was read.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status code of the answer.
    pub status: StatusCode,
    /// The headers of the answer, for example `Retry-After`.
    pub headers: HeaderMap,
    /// The beginning of the body.
    pub text: String,
}

impl Answer {
    /// Returns the status code and the beginning of the body in one line, to be stored.
    pub fn summary(&self) -> String {
        one_line(&format!("{} {}", self.status, self.text), 500)
    }
}

impl Client {
    /// Creates a client that trusts the certificate authorities of the system.
    ///
    /// # Errors
    /// `Internal` if TLS cannot be set up.
    pub fn new(policy: Policy) -> Result<Client> {
        // Reading the files of a system takes some ten milliseconds, and a process has several clients.
        static ROOTS: LazyLock<Arc<RootCertStore>> = LazyLock::new(|| {
            let mut roots = RootCertStore::empty();
            let found = rustls_native_certs::load_native_certs();
            let (trusted, _) = roots.add_parsable_certificates(found.certs);
            if trusted == 0 {
                tracing::warn!(
                    "this system has no certificate authorities: no https endpoint can be reached"
                );
            }
            Arc::new(roots)
        });
        let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(Error::internal)?
            .with_root_certificates(ROOTS.clone())
            .with_no_client_auth();
        Ok(Client {
            policy,
            tls: TlsConnector::from(Arc::new(config)),
        })
    }

    /// Checks a URL and returns its normal form, see [`check_url`].
    ///
    /// # Errors
    /// A sentence for the caller.
    pub fn check(&self, url: &str) -> std::result::Result<String, String> {
        check_url(url, self.policy).map(String::from)
    }

    /// Sends a body to a URL and reads the beginning of the answer.
    ///
    /// # Errors
    /// The reason why there is no answer.
    pub async fn post(
        &self,
        url: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> std::result::Result<Answer, Unanswered> {
        // The URL was checked when it was stored, but the settings may have changed since then.
        let url =
            check_url(url, self.policy).map_err(|reason| Unanswered::Refused(format!("the URL {reason}")))?;
        let request = request(Method::POST, &url, headers, body).map_err(Unanswered::Refused)?;
        let connected = AtomicBool::new(false);
        let exchanged = timeout(
            TIMEOUT,
            self.exchange(&url, request, (MAX_READ, false), &connected),
        )
        .await;
        let (parts, read) =
            exchanged
                .unwrap_or_else(|_| Err(late(TIMEOUT)))
                .map_err(|reason| match reason {
                    Unanswered::Temporary(reason) if connected.load(Ordering::Relaxed) => {
                        Unanswered::Lost(reason)
                    }
                    other => other,
                })?;
        Ok(Answer {
            status: parts.0,
            headers: parts.1,
            text: String::from_utf8_lossy(&read).into_owned(),
        })
    }

    /// Sends a body with POST and returns the whole answer. An answer that breaks off, or that is longer than the
    /// bounds allow, is an error.
    ///
    /// # Errors
    /// The reason why there is no answer.
    pub async fn ask(
        &self,
        url: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
        bounds: Bounds,
    ) -> std::result::Result<WholeAnswer, Unanswered> {
        self.whole(Method::POST, url, headers, body, bounds).await
    }

    /// Requests a document with GET and returns the whole answer. An answer that breaks off, or that is longer than the
    /// bounds allow, is an error.
    ///
    /// # Errors
    /// The reason why there is no answer.
    pub async fn fetch(&self, url: &str, bounds: Bounds) -> std::result::Result<WholeAnswer, Unanswered> {
        self.whole(Method::GET, url, &[], Vec::new(), bounds).await
    }

    async fn whole(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
        bounds: Bounds,
    ) -> std::result::Result<WholeAnswer, Unanswered> {
        let url =
            check_url(url, self.policy).map_err(|reason| Unanswered::Refused(format!("the URL {reason}")))?;
        let request = request(method, &url, headers, body).map_err(Unanswered::Refused)?;
        let connected = AtomicBool::new(false);
        let exchange = self.exchange(&url, request, (bounds.body, true), &connected);
        let (parts, body) = timeout(bounds.patience, exchange)
            .await
            .unwrap_or_else(|_| Err(late(bounds.patience)))?;
        Ok(WholeAnswer {
            status: parts.0,
            body,
        })
    }

    /// Connects, sends a request and reads its answer: at most so many bytes, and whether the whole answer is needed. `connected` is set
    /// when the request begins.
    async fn exchange(
        &self,
        url: &Url,
        request: Request<Full<Bytes>>,
        (most, whole): (usize, bool),
        connected: &AtomicBool,
    ) -> std::result::Result<Exchanged, Unanswered> {
        let stream = connect(&self.addresses(url).await?).await?;
        if url.scheme() != "https" {
            connected.store(true, Ordering::Relaxed);
            return converse(stream, request, most, whole).await;
        }
        let stream = self.secured(url, stream).await?;
        connected.store(true, Ordering::Relaxed);
        converse(stream, request, most, whole).await
    }

    async fn addresses(&self, url: &Url) -> std::result::Result<Vec<SocketAddr>, Unanswered> {
        resolve(url, self.policy).await.map_err(|reason| match reason {
            Unresolved::Refused(kind) => Unanswered::Refused(format!(
                "the host name resolves to an address that is not allowed: {kind}"
            )),
            Unresolved::Unknown => Unanswered::Temporary(reason.to_string()),
        })
    }

    async fn secured(
        &self,
        url: &Url,
        stream: TcpStream,
    ) -> std::result::Result<TlsStream<TcpStream>, Unanswered> {
        let name = server_name(url)?;
        let secured = self.tls.connect(name, stream).await;
        secured.map_err(|error| Unanswered::Temporary(format!("TLS failed: {error}")))
    }
}

/// The status and the headers of an answer, and the part of its body that was read.
type Exchanged = ((StatusCode, HeaderMap), Vec<u8>);

fn late(patience: Duration) -> Unanswered {
    Unanswered::Temporary(format!("no answer within {} s", patience.as_secs()))
}

fn request(
    method: Method,
    url: &Url,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> std::result::Result<Request<Full<Bytes>>, String> {
    let host = match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (Some(host), None) => host.to_owned(),
        (None, _) => return Err("the URL has no host".to_owned()),
    };
    let target = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    headers
        .iter()
        .fold(
            Request::builder()
                .method(method)
                .uri(target)
                .header(HOST, host)
                .header(USER_AGENT, concat!("Candor/", env!("CARGO_PKG_VERSION"))),
            |request, (name, value)| request.header(*name, *value),
        )
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| error.to_string())
}

fn server_name(url: &Url) -> std::result::Result<ServerName<'static>, Unanswered> {
    let name = match url.host() {
        Some(Host::Ipv4(address)) => Ok(ServerName::from(std::net::IpAddr::V4(address))),
        Some(Host::Ipv6(address)) => Ok(ServerName::from(std::net::IpAddr::V6(address))),
        // For TLS, a name with a dot at its end is the same name.
        Some(Host::Domain(name)) => ServerName::try_from(name.trim_end_matches('.').to_owned()),
        None => return Err(Unanswered::Refused("the URL has no host".to_owned())),
    };
    name.map_err(|error| Unanswered::Refused(format!("the host name is not valid: {error}")))
}

/// Connects to the first of these addresses that answers.
async fn connect(addresses: &[SocketAddr]) -> std::result::Result<TcpStream, Unanswered> {
    let mut last = "the host name has no address".to_owned();
    for address in addresses {
        match timeout(CONNECT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "TCP_NODELAY could not be set");
                }
                return Ok(stream);
            }
            Ok(Err(error)) => last = error.kind().to_string(),
            Err(_) => last = format!("no connection within {} s", CONNECT.as_secs()),
        }
    }
    Err(Unanswered::Temporary(format!("connection failed: {last}")))
}

/// Sends one request, reads its answer and closes the connection.
async fn converse<S>(
    stream: S,
    request: Request<Full<Bytes>>,
    most: usize,
    whole: bool,
) -> std::result::Result<Exchanged, Unanswered>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let broken = |error: hyper::Error| Unanswered::Temporary(format!("no answer: {error}"));
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(MAX_HEAD)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    let talk = async move {
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status();
        let headers = response.headers().clone();
        let body = if whole {
            all(response, most).await?
        } else {
            beginning(response, most).await
        };
        Ok(((status, headers), body))
    };
    // The connection is driven in this function and ends with it in every case.
    tokio::pin!(talk);
    tokio::pin!(connection);
    tokio::select! {
        answer = &mut talk => answer,
        // The connection may end before the last part of the answer was read.
        _ = &mut connection => talk.await,
    }
}

/// Reads the first bytes of the body of an answer and does not wait for the rest. If the body is interrupted,
/// the bytes so far are returned.
async fn beginning(response: Response<Incoming>, most: usize) -> Vec<u8> {
    let mut body = response.into_body();
    let mut read: Vec<u8> = Vec::new();
    while read.len() < most {
        match body.frame().await {
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    read.extend_from_slice(&data);
                }
            }
            Some(Err(_)) | None => break,
        }
    }
    read.truncate(most);
    read
}

/// Reads the whole body of an answer.
async fn all(response: Response<Incoming>, most: usize) -> std::result::Result<Vec<u8>, Unanswered> {
    let mut body = response.into_body();
    let mut read: Vec<u8> = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| {
            Unanswered::Temporary(
                "the connection was closed before the answer was \
        complete"
                    .to_owned(),
            )
        })?;
        if let Ok(data) = frame.into_data() {
            if read.len() + data.len() > most {
                return Err(Unanswered::Temporary(format!(
                    "the answer is longer than {most} bytes"
                )));
            }
            read.extend_from_slice(&data);
        }
    }
    Ok(read)
}
