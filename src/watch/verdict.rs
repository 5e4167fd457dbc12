//! Compares an answer with what is expected of it. This module does no I/O.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::base::text::one_line;
use crate::base::time::Timestamp;
use crate::egress::client::{ProbeResult, Unanswered};

/// One HTTP status or a range of them, for example `200` or `"200-299"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statuses {
    first: u16,
    last: u16,
}

impl Statuses {
    /// Parses a status or a range.
    ///
    /// # Errors
    /// A sentence for the caller that says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || "is not a status such as 200 or 200-299".to_owned();
        let number = |text: &str| {
            text.trim()
                .parse::<u16>()
                .ok()
                .filter(|n| (100..=599).contains(n))
        };
        let (first, last) = match text.split_once('-') {
            Some((first, last)) => (number(first), number(last)),
            None => (number(text), number(text)),
        };
        let (first, last) = first.zip(last).ok_or_else(wrong)?;
        if first > last {
            return Err(wrong());
        }
        Ok(Statuses { first, last })
    }

    fn holds(self, status: u16) -> bool {
        (self.first..=self.last).contains(&status)
    }

    /// Returns the range of all success statuses, 200 to 299.
    pub fn success() -> Vec<Self> {
        vec![Statuses {
            first: 200,
            last: 299,
        }]
    }
}

impl fmt::Display for Statuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            return write!(f, "{}", self.first);
        }
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl Serialize for Statuses {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Statuses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Given {
            Number(u16),
            Text(String),
        }
        let text = match Given::deserialize(deserializer) {
            Ok(Given::Number(number)) => number.to_string(),
            Ok(Given::Text(text)) => text,
            Err(_) => {
                return Err(serde::de::Error::custom(
                    "must be a status or a text such as 200-299",
                ));
            }
        };
        Statuses::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// What is expected of an answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Expected {
    /// The status must be one of these.
    pub status: Vec<Statuses>,
    /// The body must contain this text.
    pub body_contains: Option<String>,
    /// The body must not contain this text.
    pub body_lacks: Option<String>,
    /// The longest time that the answer may take, in milliseconds.
    pub latency_at_most_ms: Option<u64>,
    /// The certificate must be valid for at least this number of days.
    pub certificate_days_at_least: Option<u32>,
}

impl Expected {
    /// Returns what was not as expected in an answer that was received at `now`. Empty if everything was as
    /// expected.
    pub fn problems(&self, seen: &Result<ProbeResult, Unanswered>, now: Timestamp) -> Vec<String> {
        let seen = match seen {
            Ok(seen) => seen,
            Err(Unanswered::Refused(reason) | Unanswered::Temporary(reason) | Unanswered::Lost(reason)) => {
                return vec![one_line(reason, 300)];
            }
        };
        let mut problems = Vec::new();
        let status = seen.status.as_u16();
        if !self.status.iter().any(|expected| expected.holds(status)) {
            let expected: Vec<String> = self.status.iter().map(Statuses::to_string).collect();
            problems.push(format!("answered {status}, not {}", expected.join(", ")));
        }
        let body = String::from_utf8_lossy(&seen.body);
        if let Some(text) = self
            .body_contains
            .as_ref()
            .filter(|text| !body.contains(text.as_str()))
        {
            problems.push(format!("the body does not contain “{}”", one_line(text, 100)));
        }
        if let Some(text) = self
            .body_lacks
            .as_ref()
            .filter(|text| body.contains(text.as_str()))
        {
            problems.push(format!("the body contains “{}”", one_line(text, 100)));
        }
        let took = seen.took.as_millis();
        if let Some(most) = self.latency_at_most_ms.filter(|most| took > u128::from(*most)) {
            problems.push(format!("took {took} ms, more than {most} ms"));
        }
        if let Some(days) = self.certificate_days_at_least {
            let needed = now.plus(Duration::from_secs(u64::from(days) * 86_400));
            match seen.certificate_expires_at {
                Some(at) if at < needed => {
                    problems.push(format!(
                        "the certificate expires at {at}, in less than {days} days"
                    ));
                }
                Some(_) => {}
                None => problems.push("there is no certificate".to_owned()),
            }
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::StatusCode;

    fn seen(status: u16, body: &str) -> Result<ProbeResult, Unanswered> {
        Ok(ProbeResult {
            status: StatusCode::from_u16(status).unwrap(),
            body: body.as_bytes().to_vec(),
            took: Duration::from_millis(100),
            certificate_expires_at: Some(Timestamp::parse("2024-03-20T00:00:00Z").unwrap()),
        })
    }

    fn problems(expected: &Expected, seen: &Result<ProbeResult, Unanswered>) -> usize {
        let now = Timestamp::parse("2024-03-10T00:00:00Z").unwrap();
        expected.problems(seen, now).len()
    }

    #[test]
    fn each_expectation_has_its_edge() {
        let status = |words: &[&str]| Expected {
            status: words.iter().map(|word| Statuses::parse(word).unwrap()).collect(),
            ..Expected::default()
        };
        for (answer, wrong) in [(199, 1), (200, 0), (299, 0), (300, 1), (404, 0), (405, 1)] {
            assert_eq!(
                problems(&status(&["200-299", "404"]), &seen(answer, "")),
                wrong,
                "{answer}"
            );
        }
        let usual = status(&["200"]);
        let contains = Expected {
            body_contains: Some("alive".to_owned()),
            ..usual.clone()
        };
        assert_eq!(problems(&contains, &seen(200, "we are alive")), 0);
        assert_eq!(problems(&contains, &seen(200, "we are not")), 1);
        let lacks = Expected {
            body_lacks: Some("error".to_owned()),
            ..usual.clone()
        };
        assert_eq!(problems(&lacks, &seen(200, "fine")), 0);
        assert_eq!(problems(&lacks, &seen(200, "an error")), 1);
        for (most, wrong) in [(99, 1), (100, 0)] {
            let latency = Expected {
                latency_at_most_ms: Some(most),
                ..usual.clone()
            };
            assert_eq!(problems(&latency, &seen(200, "")), wrong, "{most}");
        }
        for (days, wrong) in [(10, 0), (11, 1)] {
            let certificate = Expected {
                certificate_days_at_least: Some(days),
                ..usual.clone()
            };
            assert_eq!(problems(&certificate, &seen(200, "")), wrong, "{days}");
        }
        // All problems are listed, not only the first.
        assert_eq!(
            problems(
                &Expected {
                    body_lacks: Some("an".to_owned()),
                    ..usual.clone()
                },
                &seen(500, "an error")
            ),
            2
        );
        assert_eq!(
            problems(&usual, &Err(Unanswered::Temporary("no connection".to_owned()))),
            1
        );
    }

    #[test]
    fn statuses_are_read_strictly() {
        for text in ["200", "200-299", " 404 ", "100-599"] {
            assert!(Statuses::parse(text).is_ok(), "{text}");
        }
        for text in ["", "99", "600", "2xx", "299-200", "200-", "-200", "200-299-300"] {
            assert!(Statuses::parse(text).is_err(), "{text}");
        }
    }
}
