//! StatusCake: a form for uptime tests, page speed and certificates. It contains the static token of the
//! account.
//!
//! The form has no times and no severity. A message about a certificate has neither a name nor an ID.

use serde_json::Value;

use super::Request;
use super::batch::{Alert, Batch, Refusal};
use super::definition::Source;
use super::doc::{Fields, Labels};
use super::proof::{Proven, equal, in_query};
use super::text::link;
use crate::base::time::Timestamp;

/// Returns the token of the account. It proves who the sender is, and it is not stored.
pub fn token(request: &Request) -> Option<String> {
    let body = request.fields().ok()?;
    Fields::of(&body, &[]).ok()?.text(&["token"])
}

/// The source `statuscake`. Its senders can use GET, and can also send the secret as the token in the form or in the query of the URL.
pub(super) const SOURCE: Source = Source {
    verify: Some(verify),
    by_get: true,
    key: token,
    ..Source::new("statuscake", |request, _| parse(request))
};

/// Parses a request.
///
/// # Errors
/// The field that is missing or has no valid value.
pub fn parse(request: &Request) -> Result<Batch, Refusal> {
    let mut body = request.fields()?;
    if let Value::Object(fields) = &mut body {
        fields.retain(|name, _| !name.eq_ignore_ascii_case("token"));
    }
    let fields = Fields::of(&body, &[])?;
    let method = fields.text(&["method"]).unwrap_or_default().to_lowercase();
    let status = fields
        .text(&["status"])
        .ok_or_else(|| fields.wrong(&["status"], "is missing"))?
        .to_lowercase();
    let (firing, kind, severity) = match status.as_str() {
        "down" => (true, "", ""),
        "up" => (false, "", ""),
        "alerted" => (true, "pagespeed", "notice"),
        "expiring" => (true, "ssl", "notice"),
        "expired" => (true, "ssl", ""),
        "paused" | "maintenance" | "test" => {
            return Ok(Batch::ignored(format!(
                "the test is {status}, which is not an outage"
            )));
        }
        _ => return Err(fields.wrong(&["status"], "must be Up, Down, Alerted, Expiring or Expired")),
    };
    let kind = match method.as_str() {
        "ssl" => "ssl",
        "page speed" | "pagespeed" => "pagespeed",
        _ => kind,
    };
    let url = fields.text(&["url"]);
    let name = fields.text(&["name"]);
    let id = fields.text(&["testid"]);
    let mut fingerprint = match (&id, &name, &url) {
        (Some(id), ..) => id.clone(),
        (None, None, None) => return Err(fields.wrong(&["testid"], "is missing, and so are Name and URL")),
        (None, name, url) => {
            let parts: Vec<&str> = [name.as_deref(), url.as_deref()].into_iter().flatten().collect();
            parts.join(" ")
        }
    };
    if !kind.is_empty() {
        fingerprint = format!("{fingerprint}/{kind}");
    }
    let mut labels = Labels::default();
    labels.tags(fields.get(&["tags"]));
    for (label, from) in [
        ("url", "url"),
        ("ip", "ip"),
        ("status_code", "statuscode"),
        ("test_id", "testid"),
    ] {
        labels.put(label, fields.text(&[from]));
    }
    let code = fields
        .text(&["statuscode"])
        .map(|code| format!("Status code {code}"));
    Ok(Batch::of(vec![Alert {
        fingerprint,
        firing,
        severity: severity.to_owned(),
        title: name.or_else(|| url.clone()).unwrap_or_else(|| "Test".to_owned()),
        text: super::text::join([code, url.clone()]),
        link: id
            .filter(|id| id.bytes().all(|byte| byte.is_ascii_digit()))
            .map(|id| format!("https://app.statuscake.com/UptimeStatus.php?tid={id}"))
            .or_else(|| link(url)),
        labels: labels.0,
        raw: body.clone(),
        ..Alert::default()
    }]))
}

/// Verifies the token of the account in the form, or a secret in the query.
fn verify(secret: &str, request: &Request, now: Timestamp) -> Proven {
    match token(request) {
        Some(token) if equal(token.as_bytes(), secret.as_bytes()) => Ok(()),
        _ => in_query(secret, request, now),
    }
}
