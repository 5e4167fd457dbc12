//! Reads the `Retry-After` header of an answer (RFC 9110, section 10.2.3).

use std::time::{Duration, UNIX_EPOCH};

use hyper::header::{HeaderMap, RETRY_AFTER};

use crate::base::time::Timestamp;

/// Returns the wait that an answer asks for, in seconds or as a date, but at most `longest`. Returns `None`
/// if the answer does not ask for a wait or if the header is not valid.
pub fn retry_after(headers: &HeaderMap, now: Timestamp, longest: Duration) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at = httpdate::parse_http_date(text).ok()?;
            let (seconds, nanos) = now.unix();
            at.duration_since(UNIX_EPOCH + Duration::new(seconds, nanos))
                .unwrap_or_default()
        }
    };
    Some(wait.min(longest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn retry_after_is_seconds_or_a_date_and_has_an_end() {
        let now = Timestamp::parse("2024-03-14T07:00:00Z").unwrap();
        let after = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            retry_after(&headers, now, DAY).map(|wait| wait.as_secs())
        };
        assert_eq!(after("120"), Some(120));
        assert_eq!(after("Thu, 14 Mar 2024 07:10:00 GMT"), Some(600));
        assert_eq!(after("Thu, 14 Mar 2024 06:00:00 GMT"), Some(0));
        assert_eq!(after("999999999999"), Some(86_400));
        assert_eq!(after("Fri, 14 Mar 2042 07:10:00 GMT"), Some(86_400));
        for nonsense in ["soon", "-5", "1.5", "99999999999999999999999"] {
            assert_eq!(after(nonsense), None, "{nonsense}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now, DAY), None);
    }
}
