//! Reads the webhooks of Mailgun: JSON (`signature` and `event-data`), and the older ones with form fields.
//!
//! A temporary failure is a soft bounce, and Mailgun tries again. The email does not count as lost.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use super::field::{refusal, text, unix};
use super::report::{Batch, Refusal, Report, ReportKind};
use super::{EmailIdentifiers, status};
use crate::alert::provider::MailgunSignature;
use crate::alert::source::Request;

/// Returns the body of a request for [`signature`] and [`parse`]. The older webhooks can be
/// `multipart/form-data`. Such a body becomes a urlencoded form, so that it stays the same if Mailgun repeats
/// the request with another boundary.
pub fn body(request: &Request) -> Cow<'_, [u8]> {
    let Some(fields) = request.multipart() else {
        return Cow::Borrowed(&request.body);
    };
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(fields);
    Cow::Owned(form.finish().into_bytes())
}

/// Returns the signature in a body, if there is one.
pub fn signature(body: &[u8]) -> Option<MailgunSignature> {
    let body = read(body).ok()?;
    let part = |pointer: &str| text(&body, pointer);
    Some(MailgunSignature {
        timestamp: part("/signature/timestamp")?,
        token: part("/signature/token")?,
        signature: part("/signature/signature")?,
    })
}

/// Returns the body as JSON. Form fields are changed to the structure of the newer webhooks.
fn read(body: &[u8]) -> Result<Value, Refusal> {
    let start = body.trim_ascii_start();
    if start.is_empty() || start.starts_with(b"{") || start.starts_with(b"[") || !body.contains(&b'=') {
        return super::field::json(body);
    }
    let fields: Map<String, Value> = url::form_urlencoded::parse(body)
        .map(|(name, value)| (name.into_owned(), Value::String(value.into_owned())))
        .collect();
    let field = |name: &str| fields.get(name).cloned().unwrap_or(Value::Null);
    let Some(event) = fields.get("event").and_then(Value::as_str) else {
        return refusal("/event", "is missing");
    };
    let (event, severity) = match event {
        "bounced" => ("failed", "permanent"),
        // Mailgun does not send the email any more, after several tries or because of an earlier failure. The
        // code says which.
        "dropped" => ("failed", "permanent"),
        other => (other, ""),
    };
    Ok(json!({
        "signature": {"timestamp": field("timestamp"), "token": field("token"), "signature": field("signature")},
        "event-data": {
            "event": event,
            "severity": severity,
            "reason": field("reason"),
            "recipient": field("recipient"),
            "timestamp": field("timestamp"),
            "message": {"headers": {"message-id": fields.get("Message-Id").or(fields.get("message-id"))}},
            "message-headers": field("message-headers"),
            "delivery-status": {"code": field("code"), "message": field("error"), "description": field("description")},
        },
    }))
}

/// Reads one event.
///
/// # Errors
/// A pointer and a reason, if the body is not in the format.
pub fn parse(body: &[u8]) -> Result<Batch, Refusal> {
    let whole = read(body)?;
    let Some(event) = whole.pointer("/event-data").filter(|event| event.is_object()) else {
        return refusal("/event-data", "is missing");
    };
    let Some(name) = text(event, "/event") else {
        return refusal("/event-data/event", "is missing");
    };
    let Some(mut report) = classify(&name, event) else {
        return Ok(Batch {
            ignored: 1,
            ..Batch::default()
        });
    };
    // If the email was rejected before it was tried, only the header contains the recipient.
    report.addresses = text(event, "/recipient")
        .or_else(|| text(event, "/message/headers/to"))
        .as_deref()
        .and_then(super::field::bare_address)
        .into_iter()
        .collect();
    report.identifiers = EmailIdentifiers::in_json(event);
    report.provider_ids = text(event, "/message/headers/message-id").into_iter().collect();
    report.at = unix(event, "/timestamp");
    report.key = text(event, "/id");
    report.keep(event.to_string().as_bytes());
    Ok(Batch {
        reports: vec![report],
        ignored: 0,
    })
}

fn classify(name: &str, event: &Value) -> Option<Report> {
    let said = [
        "/delivery-status/message",
        "/delivery-status/description",
        "/reject/reason",
    ]
    .iter()
    .find_map(|pointer| text(event, pointer))
    .unwrap_or_default();
    let code = text(event, "/delivery-status/enhanced-code")
        .and_then(|code| status::enhanced(&code).map(str::to_owned))
        .or_else(|| status::enhanced(&said).map(str::to_owned));
    let mut report = match name {
        "failed" => {
            let permanent = match text(event, "/severity").as_deref() {
                Some("permanent") => true,
                Some(_) => false,
                None => text(event, "/delivery-status/code").is_some_and(|code| code.starts_with('5')),
            };
            let reason = text(event, "/reason").unwrap_or_default();
            let number = text(event, "/delivery-status/code").unwrap_or_default();
            let mut report = Report::new(match (permanent, reason.as_str(), number.as_str()) {
                // Mailgun did not send the email, because this recipient unsubscribed or complained before.
                // The codes of Mailgun say this too.
                (_, "suppress-unsubscribe", _) | (_, _, "606") => ReportKind::Unsubscribed,
                (_, "suppress-complaint", _) | (_, _, "607") => ReportKind::Complaint,
                // An earlier email to this address bounced permanently.
                (true, "suppress-bounce", _) | (true, _, "605") => ReportKind::Hard,
                (false, ..) => ReportKind::Soft,
                // Mailgun stopped after hours of temporary failures.
                (true, "old", _) => ReportKind::Soft,
                // Mailgun calls every 5xx reply permanent, even for a policy.
                (true, ..) if code.is_some() || !said.is_empty() => {
                    status::of_failure(code.as_deref(), &format!("{number} {said}"))
                }
                (true, ..) => ReportKind::Hard,
            });
            report.lost = permanent || matches!(number.as_str(), "605" | "606" | "607");
            report
        }
        "delivered" => Report::new(ReportKind::Delivered),
        "complained" => Report::new(ReportKind::Complaint),
        "unsubscribed" => Report::new(ReportKind::Unsubscribed),
        "rejected" => Report::new(ReportKind::Soft),
        // Other events, such as accepted, opened, clicked, stored or list events, are not needed.
        _ => return None,
    };
    report.status = code;
    report.diagnostic = match said.is_empty() {
        false => said,
        true => text(event, "/reason").unwrap_or_default(),
    };
    Some(report)
}
