//! Downloads a file of any size from a URL that somebody else chose, while it is being read.
//!
//! - Each redirect is checked as the first URL is.
//! - The file is never in memory as a whole.
//! - A download that stands still, takes too long or is too large ends with an error.

use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_ENCODING, LOCATION};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout, timeout_at};
use url::Url;

use super::{Client, MAX_HEAD, TIMEOUT, Unanswered, check_url, connect, late, request};

/// The largest number of redirects.
const REDIRECTS: usize = 5;

/// The limits of a download.
#[derive(Clone, Copy, Debug)]
pub struct DownloadBounds {
    /// How long the server may send nothing.
    pub idle: Duration,
    /// How long the whole download may take.
    pub whole: Duration,
    /// The largest number of bytes.
    pub bytes: u64,
}

/// A file that is being downloaded.
pub struct Download {
    /// The value of the header `Content-Encoding`.
    pub encoding: Option<String>,
    /// The bytes, as they are sent.
    pub body: DownloadBody,
}

/// The bytes of a download.
pub struct DownloadBody {
    body: Incoming,
    bounds: DownloadBounds,
    end: Instant,
    bytes: u64,
    /// It drives the connection.
    _driver: Driver,
}

impl DownloadBody {
    /// Returns the next part, or `None` at the end of the file.
    ///
    /// # Errors
    /// Why the file is not complete.
    pub async fn next(&mut self) -> Result<Option<Bytes>, String> {
        loop {
            let idle = Instant::now() + self.bounds.idle;
            let frame = match timeout_at(idle.min(self.end), self.body.frame()).await {
                Ok(None) => return Ok(None),
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(_))) => {
                    return Err("the connection was closed before the file was complete".to_owned());
                }
                Err(_) if self.end <= idle => {
                    return Err(format!(
                        "the download took longer than {} s",
                        self.bounds.whole.as_secs()
                    ));
                }
                Err(_) => {
                    return Err(format!(
                        "the server sent nothing for {} s",
                        self.bounds.idle.as_secs()
                    ));
                }
            };
            let Ok(data) = frame.into_data() else { continue };
            self.bytes += data.len() as u64;
            if self.bytes > self.bounds.bytes {
                return Err(format!("the file is larger than {} bytes", self.bounds.bytes));
            }
            return Ok(Some(data));
        }
    }
}

/// Ends the task that drives a connection.
struct Driver(AbortHandle);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Client {
    /// Begins to download a file with GET, and follows redirects.
    ///
    /// # Errors
    /// The reason why there is no file: the URL or a redirect is not allowed, there is no answer, or the status is not 200.
    pub async fn download(&self, url: &str, bounds: DownloadBounds) -> Result<Download, Unanswered> {
        let end = Instant::now() + bounds.whole;
        let first =
            check_url(url, self.policy).map_err(|reason| Unanswered::Refused(format!("the URL {reason}")))?;
        let mut url = first;
        for _ in 0..=REDIRECTS {
            let (response, driver) = timeout(TIMEOUT, self.begin(&url))
                .await
                .unwrap_or_else(|_| Err(late(TIMEOUT)))?;
            let status = response.status();
            if let Some(next) = redirect(&url, &response) {
                url = check_url(next.as_str(), self.policy).map_err(|_| {
                    Unanswered::Refused("it redirects to a URL that is not allowed".to_owned())
                })?;
                continue;
            }
            if status != StatusCode::OK {
                return Err(Unanswered::Refused(format!("it answered {status}")));
            }
            let encoding = response
                .headers()
                .get(CONTENT_ENCODING)
                .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
            return Ok(Download {
                encoding,
                body: DownloadBody {
                    body: response.into_body(),
                    bounds,
                    end,
                    bytes: 0,
                    _driver: driver,
                },
            });
        }
        Err(Unanswered::Refused(format!("more than {REDIRECTS} redirects")))
    }

    async fn begin(&self, url: &Url) -> Result<(Response<Incoming>, Driver), Unanswered> {
        let request =
            request(Method::GET, url, &[("accept", "*/*")], Vec::new()).map_err(Unanswered::Refused)?;
        let stream = connect(&self.addresses(url).await?).await?;
        if url.scheme() == "https" {
            converse(self.secured(url, stream).await?, request).await
        } else {
            converse(stream, request).await
        }
    }
}

/// Sends the request and returns the answer without its body, which is read from the connection while the driver lives.
async fn converse<S>(
    stream: S,
    request: Request<Full<Bytes>>,
) -> Result<(Response<Incoming>, Driver), Unanswered>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let broken = |error: hyper::Error| Unanswered::Temporary(format!("no answer: {error}"));
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(MAX_HEAD.max(64 * 1024))
        .handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    let driver = Driver(
        tokio::spawn(async move {
            // The answer shows an error of the connection too.
            let _ = connection.await;
        })
        .abort_handle(),
    );
    let response = sender.send_request(request).await.map_err(broken)?;
    Ok((response, driver))
}

/// Returns the URL that an answer redirects to, if it is a redirect.
fn redirect(url: &Url, response: &Response<Incoming>) -> Option<Url> {
    let elsewhere = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    let location = response.headers().get(LOCATION).filter(|_| elsewhere)?;
    url.join(location.to_str().ok()?).ok()
}
