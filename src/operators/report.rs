//! Our own people and the report after an incident: their names stay internal unless somebody decides otherwise, and they can get the
//! internal report by email.
//!
//! - The internal report never goes to a customer.
//! - The audit trail contains how many addresses got it, and never an address.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::contact;
use crate::audit::{Action, Event, Tx};
use crate::base::code::Code;
use crate::base::error::{Error, FieldError, Result};
use crate::base::id::{IncidentId, MessageId};
use crate::base::text::one_line;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::delivery::mailer::{MailSender, Mailer, SingleMail};
use crate::delivery::{Mail, Outcome};
use crate::directory::{address_domain, check_address, normal_address, person};
use crate::incident::report::{self, Audience, Publish, Report, Section};
use crate::incident::{self, Incident};
use crate::notice::Sending;

/// The largest number of addresses of one request.
const MOST: usize = 20;
/// How long the mail server may take for one email.
const LONGEST: Duration = Duration::from_secs(30);
/// Shorter names are too often a part of something else.
const SHORTEST_NAME: usize = 3;

/// Returns the names of operators that stand in sections which more people than our own team may read.
///
/// # Errors
/// An error of the database.
pub fn names_in(conn: &mut Conn, sections: &[Section]) -> Result<Vec<String>> {
    let mut found: Vec<String> = Vec::new();
    for operator in contact::list(conn)? {
        let name = operator.name.trim();
        let stands = |section: &Section| contains(&section.heading, name) || contains(&section.text, name);
        if name.chars().count() >= SHORTEST_NAME
            && !found.iter().any(|one| one == name)
            && sections
                .iter()
                .any(|section| section.audience != Audience::Internal && stands(section))
        {
            found.push(name.to_owned());
        }
    }
    Ok(found)
}

/// Whether a text contains a name as a word.
fn contains(text: &str, name: &str) -> bool {
    text.match_indices(name).any(|(at, _)| {
        let is_letter = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        !is_letter(text[..at].chars().next_back()) && !is_letter(text[at + name.len()..].chars().next())
    })
}

/// Publishes a report. Names of operators in its public sections must be allowed explicitly.
///
/// # Errors
/// As [`report::publish`]. `Invalid` with the names, if they are not allowed.
pub fn publish(tx: &mut Tx<'_>, id: &IncidentId, how: &Publish) -> Result<Report> {
    if !how.allow_names {
        let public = report::get(tx.conn, id, Audience::Public)?;
        let names = names_in(tx.conn, &public.sections)?;
        if !names.is_empty() {
            return Err(Error::invalid(
                "/sections",
                format!(
                    "contain names of our own people in public sections: {}. Describe what happened without names, or allow them",
                    names.join(", ")
                ),
            ));
        }
    }
    report::publish(tx, id, how)
}

/// To whom the internal report is sent.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MailReport {
    /// The addresses, at most 20. Each must be the contact of an operator, an address of `CANDOR_DRILL_TO`, or in the domain of one of
    /// them or of `CANDOR_MAIL_FROM`. None may belong to a customer.
    pub to: Vec<String>,
}

/// What the mail server said about one address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct MailedReport {
    /// The email address that the report was sent to, as the request gave it.
    pub to: String,
    /// Whether the mail server accepted the email, or it was written to the outbox.
    pub accepted: bool,
    /// The reply of the mail server, or the reason why there was none.
    pub reply: String,
}

/// What was sent to all addresses of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct MailedReports {
    /// One entry for each address.
    pub items: Vec<MailedReport>,
}

/// A report with the addresses that get it.
pub struct Outgoing {
    report: Report,
    incident: Incident,
    company: String,
    to: Vec<String>,
}

/// Checks the addresses and records that the report is sent to them.
///
/// # Errors
/// `NotFound` if the incident does not exist or has no report. `Invalid` with one error for each address that may not get it.
pub fn begin(tx: &mut Tx<'_>, id: &IncidentId, request: &MailReport, sending: &Sending) -> Result<Outgoing> {
    let incident = incident::get(tx.conn, id)?;
    let report = report::get(tx.conn, id, Audience::Internal)?;
    let to = addresses(tx.conn, &request.to, sending)?;
    tx.record(
        Event::new(Action::ReportMailed, "report", id.as_str())
            .incident(id)
            .after(json!({"version": report.version, "addresses": to.len()})),
    );
    Ok(Outgoing {
        report,
        incident,
        company: sending.sender.clone(),
        to,
    })
}

fn addresses(conn: &mut Conn, asked: &[String], sending: &Sending) -> Result<Vec<String>> {
    if asked.is_empty() || asked.len() > MOST {
        return Err(Error::invalid("/to", format!("must be 1 to {MOST} addresses")));
    }
    let mut own: Vec<String> = sending.drill_to.clone();
    own.extend(contact::list(conn)?.into_iter().filter_map(|one| one.email));
    let mut domains: Vec<String> = own.iter().map(|address| address_domain(address)).collect();
    domains.push(sending.domain.to_ascii_lowercase());
    let normal: Vec<String> = asked.iter().map(|address| normal_address(address)).collect();
    let keys: Vec<&str> = normal.iter().map(String::as_str).collect();
    let customers = person::known(conn, &[], &keys)?.by_address;
    let (mut errors, mut to, mut seen) = (Vec::new(), Vec::new(), Vec::new());
    for (index, (address, key)) in asked.iter().zip(&normal).enumerate() {
        let mut wrong = |detail: String| {
            errors.push(FieldError::at(format!("/to/{index}"), detail).code(Code::NotOurOwnAddress));
        };
        if let Err(reason) = check_address(address) {
            wrong(reason);
        } else if customers.contains_key(key) {
            wrong(
                "belongs to a person in the directory. The internal report never goes to a customer"
                    .to_owned(),
            );
        } else if !domains.contains(&address_domain(address)) {
            wrong(
                "is not in a domain of your own side: use the domain of an operator, of CANDOR_DRILL_TO or of CANDOR_MAIL_FROM".to_owned(),
            );
        } else if !seen.contains(key) {
            // Two spellings of one mailbox get one email.
            seen.push(key.clone());
            to.push(address.trim().to_owned());
        }
    }
    match errors.is_empty() {
        true => Ok(to),
        false => Err(Error::fields(errors)),
    }
}

/// Sends a report, one email after another.
///
/// # Errors
/// `Internal` if an email cannot be written.
pub async fn send(mailer: &Mailer, outgoing: &Outgoing, now: Timestamp) -> Result<MailedReports> {
    let mut sender = MailSender::new(&mailer.exit);
    let mut items = Vec::with_capacity(outgoing.to.len());
    for to in &outgoing.to {
        let mail = written(mailer, outgoing, to, now)?;
        let outcome = sender.deliver_within(LONGEST, &mail).await;
        items.push(MailedReport {
            to: to.clone(),
            accepted: matches!(outcome, Outcome::Sent(_)),
            reply: one_line(outcome.reply(), 500),
        });
    }
    sender.close().await;
    Ok(MailedReports { items })
}

fn written(mailer: &Mailer, outgoing: &Outgoing, to: &str, now: Timestamp) -> Result<Mail> {
    let (report, incident) = (&outgoing.report, &outgoing.incident);
    let subject = one_line(
        &format!("Internal report of #{}: {}", incident.number, report.title),
        200,
    );
    let mail = SingleMail {
        name: format!("report.{}", MessageId::new(now)),
        to,
        subject: &subject,
        text: report::markdown(report, incident, &outgoing.company),
        html: report::html(report, incident, &outgoing.company),
        ..SingleMail::default()
    };
    mailer.write(mail, now)
}

#[cfg(test)]
mod tests {
    use super::contains;

    #[test]
    fn a_name_is_a_whole_word() {
        for (text, found) in [
            ("Ann rolled it back", true),
            ("rolled back by Ann.", true),
            ("Annual report", false),
            ("Joann did", false),
            ("ann", false),
        ] {
            assert_eq!(contains(text, "Ann"), found, "{text}");
        }
    }
}
