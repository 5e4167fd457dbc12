//! Reads the event webhook of SendGrid. A body is an array of events of different kinds about any emails.
//! SendGrid sometimes sends the same event twice.

use serde_json::Value;

use super::field::{json, refusal, text, unix};
use super::report::{Batch, Refusal, Report, ReportKind};
use super::status;

/// Reads the events of one request.
///
/// # Errors
/// A pointer and a reason, if the body is not in the format. Then no event is used.
pub fn parse(body: &[u8]) -> Result<Batch, Refusal> {
    let whole = json(body)?;
    let events: &[Value] = match &whole {
        Value::Array(events) => events,
        Value::Object(_) => std::slice::from_ref(&whole),
        _ => return refusal("", "is not an array of events"),
    };
    let mut batch = Batch::default();
    if !events.is_empty() && events.iter().all(|event| text(event, "/event").is_none()) {
        return refusal("/0/event", "is missing");
    }
    for event in events {
        // An event without a name must not cause the rejection of the other events of the request.
        let name = text(event, "/event").unwrap_or_default();
        let Some(mut report) = classify(&name, event) else {
            batch.ignored += 1;
            continue;
        };
        report.addresses = text(event, "/email")
            .as_deref()
            .and_then(super::field::bare_address)
            .into_iter()
            .collect();
        // Custom arguments are in the same object and can contain anything, so only the ID of the email is
        // used.
        let own = text(event, "/smtp-id").unwrap_or_default();
        report.identifiers.find(&own);
        report.provider_ids = [
            own.trim_matches(['<', '>']).split('@').next().map(str::to_owned),
            // The part before the first dot is in the SMTP reply. The rest says which server sent the email.
            text(event, "/sg_message_id").and_then(|id| id.split('.').next().map(str::to_owned)),
        ]
        .into_iter()
        .flatten()
        .collect();
        report.at = unix(event, "/timestamp");
        report.key = text(event, "/sg_event_id");
        report.keep(event.to_string().as_bytes());
        batch.reports.push(report);
    }
    Ok(batch)
}

fn classify(name: &str, event: &Value) -> Option<Report> {
    let said = ["/reason", "/response"]
        .iter()
        .find_map(|pointer| text(event, pointer))
        .unwrap_or_default();
    let code = text(event, "/status").and_then(|code| status::enhanced(&code).map(str::to_owned));
    let mut report = match name {
        "bounce" => Report::new(match text(event, "/type").as_deref() {
            Some("blocked") => ReportKind::Soft,
            Some("bounce") => status::of_permanent(&said),
            _ => status::of_failure(code.as_deref(), &said),
        }),
        "blocked" => Report::new(ReportKind::Soft),
        "dropped" => {
            let reason = said.to_lowercase();
            let mut report = Report::new(match reason.as_str() {
                "invalid" => ReportKind::Hard,
                _ if reason.contains("bounced address") => ReportKind::Hard,
                _ if reason.contains("unsubscribed") => ReportKind::Unsubscribed,
                _ if reason.contains("spam reporting") => ReportKind::Complaint,
                // The cause is the content, a limit of the account, or a wrong header.
                _ => ReportKind::Soft,
            });
            // The email was not sent, for every reason.
            report.lost = true;
            report
        }
        "deferred" => Report::new(ReportKind::Delayed),
        "delivered" => Report::new(ReportKind::Delivered),
        "spamreport" => Report::new(ReportKind::Complaint),
        "unsubscribe" | "group_unsubscribe" => Report::new(ReportKind::Unsubscribed),
        // Other events, such as processed, opened, clicked or subscribed again, are not needed.
        _ => return None,
    };
    report.status = code.or_else(|| status::enhanced(&said).map(str::to_owned));
    report.diagnostic = said;
    Some(report)
}

#[cfg(test)]
mod tests {
    use super::super::EmailIdentifiers;
    use super::*;

    #[test]
    fn an_argument_of_ones_own_names_no_mail() {
        let id = "1.01890000-0000-7000-8000-000000000000@example.com";
        let body = serde_json::json!([{"event": "bounce", "email": "a@example.com", "note": id, "smtp-id": "<x@y>"}]);
        let batch = parse(body.to_string().as_bytes()).unwrap();
        assert_eq!(batch.reports[0].identifiers, EmailIdentifiers::default());
    }
}
