//! SendGrid's event webhook: an array of events, mixed and of any mails. One event comes twice at times.

use serde_json::Value;

use super::{Batch, Refusal, Report, ReportKind, json, refusal, status, text, unix};

/// Reads the events of one request.
///
/// # Errors
/// Where it is not of the format; then none of them is taken.
pub fn parse(body: &[u8]) -> Result<Batch, Refusal> {
    let whole = json(body)?;
    let events: &[Value] = match &whole {
        Value::Array(events) => events,
        Value::Object(_) => std::slice::from_ref(&whole),
        _ => return refusal("", "is not an array of events"),
    };
    let mut batch = Batch::default();
    for (index, event) in events.iter().enumerate() {
        let Some(name) = text(event, "/event") else {
            return refusal(&format!("/{index}/event"), "is missing");
        };
        let Some(mut report) = classify(&name, event) else {
            batch.ignored += 1;
            continue;
        };
        report.addresses = text(event, "/email")
            .as_deref()
            .and_then(super::bare_address)
            .into_iter()
            .collect();
        // Custom arguments stand beside the rest and could say anything: only the id of the mail is looked at.
        let own = text(event, "/smtp-id").unwrap_or_default();
        report.marks.find(&own);
        report.provider_ids = [
            own.trim_matches(['<', '>']).split('@').next().map(str::to_owned),
            // Before the first point is what the SMTP reply holds; behind it, which server sent it.
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
                // The content, the account's limit, a wrong header.
                _ => ReportKind::Soft,
            });
            // Whatever the reason, it was not sent.
            report.lost = true;
            report
        }
        "deferred" => Report::new(ReportKind::Delayed),
        "delivered" => Report::new(ReportKind::Delivered),
        "spamreport" => Report::new(ReportKind::Complaint),
        "unsubscribe" | "group_unsubscribe" => Report::new(ReportKind::Unsubscribed),
        // Processed, opened, clicked, subscribed again: nothing that matters here.
        _ => return None,
    };
    report.status = code.or_else(|| status::enhanced(&said).map(str::to_owned));
    report.diagnostic = said;
    Some(report)
}

#[cfg(test)]
mod tests {
    use super::super::Marks;
    use super::*;

    #[test]
    fn an_argument_of_ones_own_names_no_mail() {
        let id = "1.01890000-0000-7000-8000-000000000000@example.com";
        let body = serde_json::json!([{"event": "bounce", "email": "a@example.com", "note": id, "smtp-id": "<x@y>"}]);
        let batch = parse(body.to_string().as_bytes()).unwrap();
        assert_eq!(batch.reports[0].marks, Marks::default());
    }
}
