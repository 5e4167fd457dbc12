//! The webhook channel: a signed POST (Standard Webhooks) to an account's own endpoint.
//!
//! Each attempt resolves the name, checks the addresses that came of it and connects to one of them, so a name that
//! resolves to something else the next moment changes nothing. Redirects are answers, not directions.
//!
//! Must never happen here: a connection to an address that was not checked, a redirect that is followed, an answer that
//! is read without bound, or a proxy from the environment.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::BoxFuture;
use hmac::{Hmac, Mac};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, RETRY_AFTER, USER_AGENT};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use sha2::Sha256;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use url::{Host, Url};

use super::Outcome;
use super::channel::{Call, Channel, wait};
use crate::directory::endpoint::key_of;
use crate::egress::{self, Policy, Unresolved};
use crate::error::{Error, Result};
use crate::template::one_line;
use crate::time::Timestamp;

/// How long one attempt may take, from the name to the last byte that is read.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long one address may take to answer the connection, where there are several.
const CONNECT: Duration = Duration::from_secs(5);
/// Bytes of an answer that are read.
const MOST_READ: usize = 4 * 1024;
/// Bytes of an answer's head that are taken in.
const MOST_HEAD: usize = 16 * 1024;
/// Longest `Retry-After` that is heeded.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);

/// Waits between attempts, as Standard Webhooks suggests them.
const SCHEDULE: [Duration; 9] = [
    Duration::from_secs(5),
    Duration::from_secs(5 * 60),
    Duration::from_secs(30 * 60),
    Duration::from_secs(2 * 3600),
    Duration::from_secs(5 * 3600),
    Duration::from_secs(10 * 3600),
    Duration::from_secs(14 * 3600),
    Duration::from_secs(20 * 3600),
    Duration::from_secs(24 * 3600),
];

/// The channel: where it may connect to, and whom it trusts.
pub struct Webhook {
    policy: Policy,
    tls: TlsConnector,
}

/// Why there is no answer.
enum Unanswered {
    /// Trying again will not help.
    Refused(String),
    /// It may.
    Away(String),
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    /// The beginning of the body.
    text: String,
}

impl Webhook {
    /// The channel, trusting the system's certificate authorities.
    ///
    /// # Errors
    /// `Internal` where TLS cannot be set up.
    pub fn new(policy: Policy) -> Result<Webhook> {
        let mut roots = RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        let (trusted, _) = roots.add_parsable_certificates(found.certs);
        if trusted == 0 {
            tracing::warn!("this system has no certificate authorities: no https endpoint can be reached");
        }
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(Error::internal)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Webhook {
            policy,
            tls: TlsConnector::from(Arc::new(config)),
        })
    }

    async fn attempt(&self, call: &Call) -> Outcome {
        // Checked when the endpoint was made; the settings may have changed since.
        let url = match egress::check_url(&call.url, self.policy) {
            Ok(url) => url,
            Err(reason) => return Outcome::Failed(format!("the URL {reason}")),
        };
        let request = match request(&url, call) {
            Ok(request) => request,
            Err(reason) => return Outcome::Failed(reason),
        };
        let exchange = async {
            let addresses = egress::resolve(&url, self.policy)
                .await
                .map_err(|reason| match reason {
                    Unresolved::Refused(kind) => {
                        Unanswered::Refused(format!("the name leads to an address that is not allowed: {kind}"))
                    }
                    Unresolved::Unknown => Unanswered::Away(reason.to_string()),
                })?;
            self.exchange(&url, &addresses, request).await
        };
        match timeout(PATIENCE, exchange).await {
            Ok(Ok(answer)) => outcome(&answer, call),
            Ok(Err(Unanswered::Refused(reason))) => Outcome::Failed(reason),
            Ok(Err(Unanswered::Away(reason))) => later(call, None, reason),
            Err(_) => later(call, None, format!("no answer within {} s", PATIENCE.as_secs())),
        }
    }

    async fn exchange(
        &self,
        url: &Url,
        addresses: &[SocketAddr],
        request: Request<Full<Bytes>>,
    ) -> std::result::Result<Answer, Unanswered> {
        let stream = connect(addresses).await?;
        if url.scheme() != "https" {
            return converse(stream, request).await;
        }
        let name = server_name(url)?;
        let stream = self
            .tls
            .connect(name, stream)
            .await
            .map_err(|error| Unanswered::Away(format!("no TLS: {error}")))?;
        converse(stream, request).await
    }
}

impl Channel for Webhook {
    fn name(&self) -> &'static str {
        "webhook"
    }

    fn check(&self, url: &str) -> std::result::Result<String, String> {
        egress::check_url(url, self.policy).map(String::from)
    }

    fn deliver<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Outcome> {
        Box::pin(self.attempt(call))
    }
}

/// `v1,` and the base64 of HMAC-SHA256 over the id, the seconds and the body, with the key in the secret.
fn signature(call: &Call, seconds: u64, body: &[u8]) -> std::result::Result<String, String> {
    let key = key_of(&call.secret).map_err(|_| "the endpoint's secret is not usable")?;
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).map_err(|error| error.to_string())?;
    mac.update(format!("{}.{seconds}.", call.id).as_bytes());
    mac.update(body);
    Ok(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
}

fn request(url: &Url, call: &Call) -> std::result::Result<Request<Full<Bytes>>, String> {
    let body = serde_json::to_vec(&call.payload).map_err(|error| error.to_string())?;
    let (seconds, _) = call.now.unix();
    let host = match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (Some(host), None) => host.to_owned(),
        (None, _) => return Err("the URL has no host".to_owned()),
    };
    let target = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    Request::builder()
        .method(Method::POST)
        .uri(target)
        .header(HOST, host)
        .header(USER_AGENT, concat!("Candor/", env!("CARGO_PKG_VERSION")))
        .header(CONTENT_TYPE, "application/json")
        .header("webhook-id", &call.id)
        .header("webhook-timestamp", seconds)
        .header("webhook-signature", signature(call, seconds, &body)?)
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
async fn converse<S>(stream: S, request: Request<Full<Bytes>>) -> std::result::Result<Answer, Unanswered>
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
        let text = beginning(response).await;
        Ok(Answer { status, headers, text })
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
async fn beginning(response: Response<Incoming>) -> String {
    let mut body = response.into_body();
    let mut read: Vec<u8> = Vec::new();
    while read.len() < MOST_READ {
        match body.frame().await {
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    read.extend_from_slice(&data);
                }
            }
            Some(Err(_)) | None => break,
        }
    }
    read.truncate(MOST_READ);
    String::from_utf8_lossy(&read).into_owned()
}

/// What an answer means.
fn outcome(answer: &Answer, call: &Call) -> Outcome {
    let said = one_line(&format!("{} {}", answer.status, answer.text), 500);
    match answer.status {
        status if status.is_success() => Outcome::Sent(said),
        StatusCode::GONE => Outcome::Gone(said),
        status if status.is_redirection() => Outcome::Failed(format!("redirects are not followed: {said}")),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            later(call, retry_after(&answer.headers, call.now), said)
        }
        _ => later(call, None, said),
    }
}

/// Tries again by the schedule, or later where the endpoint asked for it. Never sooner: an endpoint that always says
/// "in a second" would be called for days without a pause.
fn later(call: &Call, asked: Option<Duration>, reason: String) -> Outcome {
    let wait = wait(&SCHEDULE, call);
    Outcome::Retry(Some(asked.map_or(wait, |asked| asked.max(wait))), reason)
}

/// `Retry-After`, in seconds or as a date (RFC 9110, 10.2.3), up to a day.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at = httpdate::parse_http_date(text).ok()?;
            let (seconds, nanos) = now.unix();
            let now = std::time::UNIX_EPOCH + Duration::new(seconds, nanos);
            at.duration_since(now).unwrap_or_default()
        }
    };
    Some(wait.min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notice::payload::{self, PayloadAccount};

    fn call(attempt: u32) -> Call {
        let account = PayloadAccount {
            id: "acme".to_owned(),
            name: "Acme".to_owned(),
        };
        let now = Timestamp::parse("2024-03-14T07:00:00Z").unwrap();
        Call {
            url: "https://acme.example/hook".to_owned(),
            secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned(),
            id: "msg_p5jXN8AQM9LWM0D4loKWxJek".to_owned(),
            attempt,
            now,
            payload: payload::test(account, now),
        }
    }

    #[test]
    fn the_signature_is_that_of_the_specification() {
        // The example that the Standard Webhooks' libraries test against.
        let signed = signature(&call(1), 1_614_265_330, br#"{"test": 2432232314}"#).unwrap();
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_has_an_end() {
        let now = Timestamp::parse("2024-03-14T07:00:00Z").unwrap();
        let after = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            retry_after(&headers, now).map(|wait| wait.as_secs())
        };
        assert_eq!(after("120"), Some(120));
        assert_eq!(after("Thu, 14 Mar 2024 07:10:00 GMT"), Some(600));
        assert_eq!(after("Thu, 14 Mar 2024 06:00:00 GMT"), Some(0));
        assert_eq!(after("999999999999"), Some(86_400));
        assert_eq!(after("Fri, 14 Mar 2042 07:10:00 GMT"), Some(86_400));
        for nonsense in ["soon", "-5", "1.5", "99999999999999999999999"] {
            assert_eq!(after(nonsense), None, "{nonsense}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }

    #[test]
    fn the_schedule_ends_in_its_last_wait() {
        for (attempt, base) in [(1, 5), (2, 300), (9, 86_400), (40, 86_400)] {
            let wait = wait(&SCHEDULE, &call(attempt)).as_secs_f64();
            let base = f64::from(base);
            assert!((base..=base * 1.2).contains(&wait), "{attempt}: {wait}");
        }
    }
}
