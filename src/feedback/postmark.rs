//! Reads the webhooks of Postmark. Each request contains one object. Its `RecordType` gives its type, and in
//! older bodies the fields show it.

use serde_json::Value;

use super::field::{json, refusal, text, time};
use super::report::{Batch, Refusal, Report, ReportKind};
use super::{EmailIdentifiers, status};

/// Reads one record.
///
/// # Errors
/// A pointer and a reason, if the body is not in the format.
pub fn parse(body: &[u8]) -> Result<Batch, Refusal> {
    let record = json(body)?;
    if !record.is_object() {
        return refusal("", "is not an object");
    }
    let has = |name: &str| record.get(name).is_some();
    let type_ = match text(&record, "/RecordType") {
        Some(type_) => type_,
        None if has("Type") && has("BouncedAt") => "Bounce".to_owned(),
        None if has("DeliveredAt") => "Delivery".to_owned(),
        None if has("SuppressSending") => "SubscriptionChange".to_owned(),
        None if has("FirstOpen") || has("OriginalLink") => "Open".to_owned(),
        None => return refusal("/RecordType", "is missing"),
    };
    let mut report = match type_.as_str() {
        "Bounce" | "SpamComplaint" => {
            // A bounce without a type is a bounce for an unknown reason.
            let word = match text(&record, "/Type") {
                None if type_ == "SpamComplaint" => type_.clone(),
                word => word.unwrap_or_default(),
            };
            let Some(report) = bounce(&word) else {
                return Ok(ignored());
            };
            report
        }
        "Delivery" => Report::new(ReportKind::Delivered),
        "SubscriptionChange" => change(&record),
        "Open" | "Click" | "Inbound" => return Ok(ignored()),
        // This version does not know the type. The report is stored for people to read, and changes nothing.
        _ => Report::new(ReportKind::Other),
    };
    // Without an address, the IDs below find the delivery. If they do not, the report is stored as unmatched.
    report.addresses = ["/Email", "/Recipient"]
        .iter()
        .find_map(|pointer| super::field::bare_address(&text(&record, pointer)?))
        .into_iter()
        .collect();
    let said = [
        text(&record, "/Details"),
        text(&record, "/Description"),
        text(&record, "/SuppressionReason"),
    ];
    let hard = text(&record, "/Type").as_deref() == Some("HardBounce");
    report.diagnostic = said.into_iter().flatten().next().unwrap_or_default();
    if hard && report.kind == ReportKind::Hard {
        report.kind = status::of_permanent(&report.diagnostic);
    }
    report.status = status::enhanced(&report.diagnostic).map(str::to_owned);
    report.identifiers = EmailIdentifiers::in_json(&record);
    report.provider_ids = text(&record, "/MessageID").into_iter().collect();
    report.at = ["/BouncedAt", "/DeliveredAt", "/ChangedAt"]
        .iter()
        .find_map(|pointer| time(&record, pointer));
    report.key = text(&record, "/ID").map(|id| format!("{type_} {id}"));
    report.keep(body);
    Ok(Batch {
        reports: vec![report],
        ignored: 0,
    })
}

fn ignored() -> Batch {
    Batch {
        ignored: 1,
        ..Batch::default()
    }
}

/// Returns the report for a type of bounce of Postmark. Returns `None` if the type is not needed.
fn bounce(word: &str) -> Option<Report> {
    Some(Report::new(match word {
        "HardBounce" | "BadEmailAddress" => ReportKind::Hard,
        "SpamComplaint" => ReportKind::Complaint,
        // Postmark tries again by itself.
        "Transient" => ReportKind::Delayed,
        "Unsubscribe" => ReportKind::Unsubscribed,
        "AutoResponder" => ReportKind::AutoReply,
        "AddressChange" | "ChallengeVerification" | "OpenRelayTest" | "InboundError" => ReportKind::Other,
        "Subscribe" => return None,
        // The other types are a block by the recipient or a policy, a full mailbox, a DNS error, a manual
        // deactivation, or types that are not known here.
        _ => ReportKind::Soft,
    }))
}

fn change(record: &Value) -> Report {
    let suppressed = record.pointer("/SuppressSending") == Some(&Value::Bool(true));
    let reason = text(record, "/SuppressionReason").unwrap_or_default();
    let by_hand = text(record, "/Origin").is_none_or(|origin| origin == "Recipient");
    let kind = match (suppressed, reason.as_str()) {
        // The recipient subscribed again.
        (false, _) => ReportKind::Other,
        (true, "HardBounce") => ReportKind::Hard,
        (true, "SpamComplaint") => ReportKind::Complaint,
        (true, _) if by_hand => ReportKind::Unsubscribed,
        // The operator of the Postmark account did this, in the web interface or with the API.
        (true, _) => ReportKind::Other,
    };
    Report::new(kind)
}
