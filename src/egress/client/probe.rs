//! Requests a URL for a check: its answer, the duration, and the expiry of its certificate.
//!
//! - A redirect never leads to a URL that the policy does not allow.
//! - The headers of the caller are never sent to another origin than the one they are for.

use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{HeaderMap, LOCATION};
use hyper::{Method, Request, StatusCode};
use tokio::time::timeout;
use tokio_rustls::rustls::pki_types::{CertificateDer, UnixTime};
use url::Url;
use webpki::{EndEntityCert, KeyUsage};

use super::{Client, Unanswered, check_url, connect, converse, late, request};
use crate::base::time::Timestamp;

/// A GET or HEAD request and its limits.
#[derive(Clone, Debug)]
pub struct ProbeRequest {
    /// The method, which is GET or HEAD.
    pub method: Method,
    /// The URL of the first request. Redirects can lead to others.
    pub url: String,
    /// The headers to send. They are sent only to the origin of the URL.
    pub headers: Vec<(String, String)>,
    /// How long everything may take together.
    pub patience: Duration,
    /// The largest number of bytes of the body that are read.
    pub most: usize,
    /// The largest number of redirects that are followed. If it is 0, a redirect is returned as the answer.
    pub redirects: usize,
}

/// The result of the request.
#[derive(Clone, Debug)]
pub struct ProbeResult {
    /// The status code of the last answer.
    pub status: StatusCode,
    /// The beginning of the body of the last answer.
    pub body: Vec<u8>,
    /// The duration from resolving the name to the last byte that was read, including redirects.
    pub took: Duration,
    /// The earliest expiry of the certificates that the last server presented. `None` without TLS.
    pub certificate_expires_at: Option<Timestamp>,
}

/// The answer to one request, which can be a redirect.
struct SingleAnswer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
    certificate_expires_at: Option<Timestamp>,
}

impl Client {
    /// Sends the request of a check and follows redirects.
    ///
    /// # Errors
    /// The reason why there is no answer.
    pub async fn probe(&self, request_of_check: &ProbeRequest) -> Result<ProbeResult, Unanswered> {
        let begun = Instant::now();
        let seen = timeout(request_of_check.patience, self.follow(request_of_check))
            .await
            .unwrap_or_else(|_| Err(late(request_of_check.patience)))?;
        Ok(ProbeResult {
            status: seen.status,
            body: seen.body,
            took: begun.elapsed(),
            certificate_expires_at: seen.certificate_expires_at,
        })
    }

    async fn follow(&self, request_of_check: &ProbeRequest) -> Result<SingleAnswer, Unanswered> {
        let checked = |url: &str| {
            check_url(url, self.policy).map_err(|reason| Unanswered::Refused(format!("the URL {reason}")))
        };
        let first = checked(&request_of_check.url)?;
        let mut url = first.clone();
        for hop in 0.. {
            let own = url.origin() == first.origin();
            let headers: Vec<(&str, &str)> = request_of_check
                .headers
                .iter()
                .filter(|_| own)
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect();
            let request = request(request_of_check.method.clone(), &url, &headers, Vec::new())
                .map_err(Unanswered::Refused)?;
            let seen = self.see(&url, request, request_of_check.most).await?;
            let Some(next) = redirect(&url, &seen).filter(|_| request_of_check.redirects > 0) else {
                return Ok(seen);
            };
            if hop >= request_of_check.redirects {
                let many = format!("more than {} redirects", request_of_check.redirects);
                return Err(Unanswered::Refused(many));
            }
            url = checked(next.as_str())
                .map_err(|_| Unanswered::Refused("it redirects to a URL that is not allowed".to_owned()))?;
        }
        Err(Unanswered::Refused("too many redirects".to_owned()))
    }

    async fn see(
        &self,
        url: &Url,
        request: Request<Full<Bytes>>,
        most: usize,
    ) -> Result<SingleAnswer, Unanswered> {
        let stream = connect(&self.addresses(url).await?).await?;
        let (answer, certificate_expires_at) = if url.scheme() == "https" {
            let stream = self.secured(url, stream).await?;
            let shown = stream.get_ref().1.peer_certificates().unwrap_or_default();
            let expires = shown.iter().filter_map(expires_at).min();
            (converse(stream, request, most, false).await?, expires)
        } else {
            (converse(stream, request, most, false).await?, None)
        };
        let ((status, headers), body) = answer;
        Ok(SingleAnswer {
            status,
            headers,
            body,
            certificate_expires_at,
        })
    }
}

/// Returns the URL that an answer redirects to, if it is a redirect.
fn redirect(url: &Url, seen: &SingleAnswer) -> Option<Url> {
    let elsewhere = matches!(seen.status.as_u16(), 301 | 302 | 303 | 307 | 308);
    let location = seen.headers.get(LOCATION).filter(|_| elsewhere)?;
    url.join(location.to_str().ok()?).ok()
}

/// Returns the expiry of a certificate. It asks the verifier about a time at which every certificate has
/// expired. The verifier checks the dates first and returns the expiry in its error.
fn expires_at(certificate: &CertificateDer<'_>) -> Option<Timestamp> {
    // The last second of the year 9999 is the latest time that a certificate can contain.
    let late = UnixTime::since_unix_epoch(Duration::from_secs(253_402_300_799));
    let certificate = EndEntityCert::try_from(certificate).ok()?;
    match certificate.verify_for_usage(&[], &[], &[], late, KeyUsage::server_auth(), None, None) {
        Err(webpki::Error::CertExpired { not_after, .. }) => {
            let micros = i64::try_from(not_after.as_secs()).ok()?.checked_mul(1_000_000)?;
            Some(Timestamp::from_micros(micros))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_says_when_it_runs_out() {
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2031, 5, 17);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let expires = expires_at(certificate.der());
        assert_eq!(expires, Some(Timestamp::parse("2031-05-17T00:00:00Z").unwrap()));
        assert_eq!(expires_at(&CertificateDer::from(vec![0x30, 0x03, 1, 1, 1])), None);
    }
}
