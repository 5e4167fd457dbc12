//! An HTTP client for strangers' URLs: one request to a checked address, one bounded answer, and the connection is closed.
//!
//! Each request resolves the name, checks the addresses that came of it and connects to one of them, so a name that
//! resolves to something else the next moment changes nothing. Redirects are answers, not directions.
//!
//! Must never happen here: a connection to an address that was not checked, a redirect that is followed, an answer that
//! is read without bound, or a proxy from the environment.

mod look;

use std::net::SocketAddr;
use std::sync::Arc;
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

pub use look::{Look, Looked};

use super::{Policy, Unresolved, check_url, resolve};
use crate::base::error::{Error, Result};
use crate::base::text::one_line;

/// How long one request may take, from the name to the last byte that is read.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long one address may take to answer the connection, where there are several.
const CONNECT: Duration = Duration::from_secs(5);
/// Bytes of an answer that are read.
const MOST_READ: usize = 4 * 1024;
/// Bytes of an answer's head that are taken in.
const MOST_HEAD: usize = 16 * 1024;

/// Where it may connect to, and whom it trusts.
pub struct Client {
    policy: Policy,
    tls: TlsConnector,
}

/// How much of an answer is waited for and read, where all of it counts.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// How long it may take, from the name to the last byte.
    pub patience: Duration,
    /// Bytes of the body at most.
    pub body: usize,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct WholeAnswer {
    /// The status.
    pub status: StatusCode,
    /// The body.
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// Trying again will not help.
    Refused(String),
    /// It may.
    Away(String),
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The beginning of the body.
    pub text: String,
}

impl Answer {
    /// For the record: the status and the beginning of the body, in one line.
    pub fn said(&self) -> String {
        one_line(&format!("{} {}", self.status, self.text), 500)
    }
}

impl Client {
    /// A client that trusts the system's certificate authorities.
    ///
    /// # Errors
    /// `Internal` where TLS cannot be set up.
    pub fn new(policy: Policy) -> Result<Client> {
        let mut roots = RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        let (trusted, _) = roots.add_parsable_certificates(found.certs);
        if trusted == 0 {
            tracing::warn!("this system has no certificate authorities: no https endpoint can be reached");
        }
        let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(Error::internal)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Client {
            policy,
            tls: TlsConnector::from(Arc::new(config)),
        })
    }

    /// Checks a URL and gives its normal form; see [`check_url`].
    ///
    /// # Errors
    /// A sentence for the caller.
    pub fn check(&self, url: &str) -> std::result::Result<String, String> {
        check_url(url, self.policy).map(String::from)
    }

    /// Sends a body there and reads the beginning of the answer.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn post(
        &self,
        url: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> std::result::Result<Answer, Unanswered> {
        // Checked when it was stored; the settings may have changed since.
        let url =
            check_url(url, self.policy).map_err(|reason| Unanswered::Refused(format!("the URL {reason}")))?;
        let request = request(Method::POST, &url, headers, body).map_err(Unanswered::Refused)?;
        let (parts, read) = timeout(PATIENCE, self.exchange(&url, request, MOST_READ, false))
            .await
            .unwrap_or_else(|_| Err(late(PATIENCE)))?;
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
        let (parts, body) = timeout(bounds.patience, self.exchange(&url, request, bounds.body, true))
            .await
            .unwrap_or_else(|_| Err(late(bounds.patience)))?;
        Ok(WholeAnswer {
            status: parts.0,
            body,
        })
    }

    async fn exchange(
        &self,
        url: &Url,
        request: Request<Full<Bytes>>,
        most: usize,
        whole: bool,
    ) -> std::result::Result<Exchanged, Unanswered> {
        let stream = connect(&self.addresses(url).await?).await?;
        if url.scheme() != "https" {
            return converse(stream, request, most, whole).await;
        }
        converse(self.secured(url, stream).await?, request, most, whole).await
    }

    async fn addresses(&self, url: &Url) -> std::result::Result<Vec<SocketAddr>, Unanswered> {
        resolve(url, self.policy).await.map_err(|reason| match reason {
            Unresolved::Refused(kind) => Unanswered::Refused(format!(
                "the name leads to an address that is not allowed: {kind}"
            )),
            Unresolved::Unknown => Unanswered::Away(reason.to_string()),
        })
    }

    async fn secured(
        &self,
        url: &Url,
        stream: TcpStream,
    ) -> std::result::Result<TlsStream<TcpStream>, Unanswered> {
        let name = server_name(url)?;
        let secured = self.tls.connect(name, stream).await;
        secured.map_err(|error| Unanswered::Away(format!("no TLS: {error}")))
    }
}

/// The head of an answer, and what was read of its body.
type Exchanged = ((StatusCode, HeaderMap), Vec<u8>);

fn late(patience: Duration) -> Unanswered {
    Unanswered::Away(format!("no answer within {} s", patience.as_secs()))
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
        // A name with a dot at its end is the same name to TLS.
        Some(Host::Domain(name)) => ServerName::try_from(name.trim_end_matches('.').to_owned()),
        None => return Err(Unanswered::Refused("the URL has no host".to_owned())),
    };
    name.map_err(|error| Unanswered::Refused(format!("the host's name is not usable: {error}")))
}

/// The first of these addresses that answers.
async fn connect(addresses: &[SocketAddr]) -> std::result::Result<TcpStream, Unanswered> {
    let mut last = "no address".to_owned();
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
    Err(Unanswered::Away(format!("no connection: {last}")))
}

/// One request and its answer, then the connection is closed.
async fn converse<S>(
    stream: S,
    request: Request<Full<Bytes>>,
    most: usize,
    whole: bool,
) -> std::result::Result<Exchanged, Unanswered>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let broken = |error: hyper::Error| Unanswered::Away(format!("no answer: {error}"));
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(MOST_HEAD)
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
    // The connection is driven here and ends with this function, however it ends.
    tokio::pin!(talk);
    tokio::pin!(connection);
    tokio::select! {
        answer = &mut talk => answer,
        // It may end before its last answer has been taken in.
        _ = &mut connection => talk.await,
    }
}

/// The first bytes of an answer's body; what follows is not waited for. A body that breaks off is as good as a short one.
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

/// All of an answer's body.
async fn all(response: Response<Incoming>, most: usize) -> std::result::Result<Vec<u8>, Unanswered> {
    let mut body = response.into_body();
    let mut read: Vec<u8> = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Unanswered::Away("the answer broke off".to_owned()))?;
        if let Ok(data) = frame.into_data() {
            if read.len() + data.len() > most {
                return Err(Unanswered::Away(format!(
                    "the answer is longer than {most} bytes"
                )));
            }
            read.extend_from_slice(&data);
        }
    }
    Ok(read)
}
