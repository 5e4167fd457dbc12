//! Reads the notifications of Amazon SES from identities (`notificationType`) and configuration sets
//! (`eventType`), without the SNS envelope.
//!
//! The recipients are those of the event and never those of the email, because an email to three recipients
//! can bounce for one of them.

use serde_json::Value;

use super::field::{json, refusal, text, time};
use super::report::{Batch, Refusal, Report, ReportKind};
use super::{EmailIdentifiers, status};

/// The pointer to the recipients of an event, and the field of each recipient that contains the address.
type Recipients = (&'static str, Option<&'static str>);

/// Reads one notification.
///
/// # Errors
/// A pointer and a reason, if the body is not in the format.
pub fn parse(body: &[u8]) -> Result<Batch, Refusal> {
    // SES sends this plain text once, when a topic is set.
    if body.starts_with(b"Successfully validated SNS topic for Amazon SES") {
        return Ok(Batch {
            ignored: 1,
            ..Batch::default()
        });
    }
    let event = json(body)?;
    let Some(kind) = text(&event, "/notificationType").or_else(|| text(&event, "/eventType")) else {
        return refusal("/notificationType", "is missing, and so is eventType");
    };
    let (part, recipients): (&str, Recipients) = match kind.as_str() {
        "Bounce" => ("/bounce", ("/bouncedRecipients", Some("/emailAddress"))),
        "Complaint" => ("/complaint", ("/complainedRecipients", Some("/emailAddress"))),
        "Delivery" => ("/delivery", ("/recipients", None)),
        "DeliveryDelay" => ("/deliveryDelay", ("/delayedRecipients", Some("/emailAddress"))),
        "Reject" => ("/reject", ("", None)),
        "Rendering Failure" => ("/failure", ("", None)),
        "Subscription" => ("/subscription", ("", None)),
        "Send" | "Open" | "Click" => {
            return Ok(Batch {
                ignored: 1,
                ..Batch::default()
            });
        }
        // This version does not know the type. The report is stored for people to read, and changes nothing.
        _ => ("", ("", None)),
    };
    let object = |pointer: &str| event.pointer(pointer).filter(|part| part.is_object());
    let detail = object(part).filter(|_| !part.is_empty());
    if detail.is_none() && object("/mail").is_none() {
        return refusal(
            if part.is_empty() { "/mail" } else { part },
            "is missing, and so is mail",
        );
    }
    let detail = detail.unwrap_or(&Value::Null);
    if kind == "Subscription"
        && detail.pointer("/newTopicPreferences/unsubscribeAll") != Some(&Value::Bool(true))
    {
        return Ok(Batch {
            ignored: 1,
            ..Batch::default()
        });
    }
    let listed = |list: Option<&Value>| {
        let list = list.and_then(Value::as_array).filter(|list| !list.is_empty());
        list.cloned()
    };
    let own = listed(detail.pointer(recipients.0)).filter(|_| !recipients.0.is_empty());
    // An event about an email that was never tried has no recipients of its own. An email of Candor has
    // exactly one recipient. If the event does not say which recipient it is about, the IDs identify the email.
    let listed = own
        .or_else(|| {
            let all = listed(event.pointer("/mail/destination"));
            all.filter(|all| all.len() == 1 || recipients.0.is_empty())
        })
        .unwrap_or_else(|| vec![Value::Null]);
    let identifiers = identifiers(&event);
    let reports = listed
        .iter()
        .map(|recipient| {
            let mut report = classify(&kind, detail, recipient);
            let address = match recipient.as_str() {
                Some(address) => Some(address.to_owned()),
                None => recipients.1.and_then(|pointer| text(recipient, pointer)),
            };
            report.addresses = address
                .as_deref()
                .and_then(super::field::bare_address)
                .into_iter()
                .collect();
            report.identifiers = identifiers.clone();
            report.provider_ids = text(&event, "/mail/messageId").into_iter().collect();
            report.handed_over_at = time(&event, "/mail/timestamp");
            report.at = time(detail, "/timestamp").or_else(|| time(&event, "/mail/timestamp"));
            report.keep(body);
            // One event is about several recipients, so the key contains the recipient.
            let id = text(detail, "/feedbackId").or(report.key).unwrap_or_default();
            let recipient = report.addresses.first().map_or("", String::as_str);
            report.key = Some(format!("{id} {kind} {recipient}"));
            report
        })
        .collect();
    Ok(Batch { reports, ignored: 0 })
}

/// Returns the identifiers in the headers of the email that SES repeats. No other part of the event can identify an
/// email of Candor.
fn identifiers(event: &Value) -> EmailIdentifiers {
    let mut identifiers = EmailIdentifiers::default();
    for part in ["/mail/headers", "/mail/commonHeaders"] {
        if let Some(part) = event.pointer(part) {
            let found = EmailIdentifiers::in_json(part);
            identifiers.bounce_addresses.extend(found.bounce_addresses);
            identifiers.links.extend(found.links);
            identifiers.message_ids.extend(found.message_ids);
        }
    }
    if let Some(source) = text(event, "/mail/source") {
        identifiers.find(&source);
    }
    identifiers
}

fn classify(kind: &str, detail: &Value, recipient: &Value) -> Report {
    let code = text(recipient, "/status").and_then(|code| status::enhanced(&code).map(str::to_owned));
    let said = text(recipient, "/diagnosticCode").unwrap_or_default();
    let sub_type = |pointer: &str| text(detail, pointer).unwrap_or_default();
    let mut report = match kind {
        "Bounce" => {
            let (class, sub) = (sub_type("/bounceType"), sub_type("/bounceSubType"));
            let dsn = code.is_some() || !said.is_empty() || text(recipient, "/action").is_some();
            Report::new(match (class.as_str(), sub.as_str()) {
                // SES suppressed the email and does not repeat the earlier reply of the server.
                ("Permanent", "Suppressed" | "OnAccountSuppressionList") => ReportKind::Hard,
                ("Permanent", _) => status::of_permanent(&said),
                // SES calls a domain that does not exist transient.
                ("Transient", _) if code.as_deref() == Some("5.4.4") => ReportKind::Hard,
                // No server reported a failure. SES reports out-of-office notes in this way.
                ("Transient", "General") if !dsn => ReportKind::AutoReply,
                _ => ReportKind::Soft,
            })
        }
        "Complaint" => {
            let mut report = Report::new(match sub_type("/complaintFeedbackType").as_str() {
                "not-spam" | "auth-failure" => ReportKind::Other,
                _ => ReportKind::Complaint,
            });
            // SES did not send the email, because this recipient complained before.
            report.lost = sub_type("/complaintSubType") == "OnAccountSuppressionList";
            report
        }
        "Delivery" => Report::new(ReportKind::Delivered),
        "DeliveryDelay" => Report::new(ReportKind::Delayed),
        "Subscription" => Report::new(ReportKind::Unsubscribed),
        // The email was rejected or could not be rendered. It was never sent, and the address is not the
        // reason.
        "Reject" | "Rendering Failure" => Report::new(ReportKind::Soft),
        _ => Report::new(ReportKind::Other),
    };
    report.status = code;
    report.diagnostic = [
        said,
        text(detail, "/reason").unwrap_or_default(),
        text(detail, "/errorMessage").unwrap_or_default(),
        text(detail, "/smtpResponse").unwrap_or_default(),
        sub_type("/complaintFeedbackType"),
        text(detail, "/delayType").unwrap_or_default(),
        [sub_type("/bounceType"), sub_type("/bounceSubType")]
            .join(" ")
            .trim()
            .to_owned(),
    ]
    .into_iter()
    .find(|text| !text.is_empty())
    .unwrap_or_default();
    report
}
