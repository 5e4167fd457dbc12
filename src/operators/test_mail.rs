//! Sends an email of a notice as a test to an address of our own side, so that its author sees it as a customer would.
//!
//! - A test never goes to a customer: only to an address for drills, to the contact of an operator or to the person who uses the
//!   token. The last two count only if the address is not in the directory.
//! - It is marked in its subject and in both bodies, and its links lead nowhere.
//! - It is no delivery: nobody counts as notified by it.
//! - The audit trail contains whose address it was, and never the address.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::contact;
use crate::audit::{Action, Event, Tx};
use crate::auth;
use crate::base::code::Code;
use crate::base::error::{Error, Result};
use crate::base::id::{MessageId, NoticeId};
use crate::base::text::one_line;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::delivery::Outcome;
use crate::delivery::mailer::{MailSender, Mailer, SingleMail};
use crate::directory::{check_address, normal_address, person};
use crate::notice::{self, Sample, Sending};

/// How long the mail server may take.
const LONGEST: Duration = Duration::from_secs(30);

/// A test that is asked for.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TestNotice {
    /// The address that gets the test. It must be the contact of an operator, an address of `CANDOR_DRILL_TO`, or the person of the
    /// token.
    pub to: String,
    /// The position in the list of the recipient whose email is sent, from 1. The default is the first one.
    #[serde(default)]
    pub recipient: Option<i64>,
}

/// What the mail server said about a test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct TestedNotice {
    /// Whether the mail server accepted the email, or it was written to the outbox.
    pub accepted: bool,
    /// The reply of the mail server, or the reason why there was none.
    pub reply: String,
}

/// An address of our own side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnAddress {
    /// Whose address it is: the name of an operator, or what the address is for.
    pub whose: String,
    /// The email address that a test may be sent to.
    pub address: String,
}

/// Returns the addresses that a test may be sent to, those of the caller first. `token` is the ID of the caller's token.
///
/// # Errors
/// An error of the database.
pub fn own_addresses(conn: &mut Conn, sending: &Sending, token: &str) -> Result<Vec<OwnAddress>> {
    let mut found: Vec<OwnAddress> = Vec::new();
    if let Some(holder) = auth::holders(conn, &[token])?.remove(token)
        && check_address(&holder.person).is_ok()
    {
        let address = normal_address(&holder.person);
        // Whoever creates a token chooses its person, and could name a customer.
        if person::known(conn, &[], &[&address])?.by_address.is_empty() {
            found.push(OwnAddress {
                whose: "you".to_owned(),
                address: holder.person,
            });
        }
    }
    let mut contacts: Vec<OwnAddress> = Vec::new();
    for operator in contact::list(conn)? {
        if let Some(address) = operator.email {
            contacts.push(OwnAddress {
                whose: operator.name,
                address,
            });
        }
    }
    // Whoever writes a contact chooses its address, and could name a customer. A test contains the data of another customer.
    let addresses: Vec<String> = contacts.iter().map(|one| normal_address(&one.address)).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let customers = person::known(conn, &[], &addresses)?.by_address;
    contacts.retain(|one| !customers.contains_key(&normal_address(&one.address)));
    found.extend(contacts);
    found.extend(sending.drill_to.iter().map(|address| OwnAddress {
        whose: "address for drills".to_owned(),
        address: address.clone(),
    }));
    let mut seen = std::collections::HashSet::new();
    found.retain(|one| seen.insert(normal_address(&one.address)));
    Ok(found)
}

/// Records that a test of a notice is sent, and returns the address that it may be sent to.
///
/// # Errors
/// `NotFound` if the notice does not exist. `Conflict` if it is not a draft. `Invalid` if the address is not one of our own side.
pub fn begin(tx: &mut Tx<'_>, id: &NoticeId, test: &TestNotice, sending: &Sending) -> Result<OwnAddress> {
    let draft = notice::get(tx.conn, id)?;
    if !draft.state.is_draft() {
        return Err(Error::Conflict(format!(
            "the notice is {}; only a draft can be tested",
            draft.state
        ))
        .code(Code::NotADraft));
    }
    let wanted = normal_address(test.to.trim());
    let token = tx.actor.id().to_owned();
    let own = own_addresses(tx.conn, sending, &token)?;
    let Some(to) = own.into_iter().find(|one| normal_address(&one.address) == wanted) else {
        let is_customer = !person::known(tx.conn, &[], &[&wanted])?.by_address.is_empty();
        let detail = match is_customer {
            true => {
                "belongs to a person in the directory. A test never goes to a customer, even if the address is the contact of \
                     an operator"
            }
            false => {
                "is not an address of your own side: use the contact of an operator or an address for drills. A test never \
                      goes to a customer"
            }
        };
        return Err(Error::invalid("/to", detail).code(Code::NotOurOwnAddress));
    };
    tx.record(
        Event::new(Action::NoticeTested, "notice", id.as_str())
            .incident(&draft.incident)
            .after(json!({"to": to.whose, "recipient": test.recipient.unwrap_or(1)})),
    );
    Ok(to)
}

/// Sends a test, over the same mail server as the notice itself.
///
/// # Errors
/// `Internal` if the email cannot be written.
pub async fn send(mailer: &Mailer, to: &OwnAddress, email: Sample, now: Timestamp) -> Result<TestedNotice> {
    let email = email.as_test();
    let mail = SingleMail {
        name: format!("test.{}", MessageId::new(now)),
        to: &to.address,
        subject: &email.subject,
        text: email.text.clone(),
        html: email.html.clone(),
        ..SingleMail::default()
    };
    let mail = mailer.write(mail, now)?;
    let mut sender = MailSender::new(&mailer.exit);
    let outcome = sender.deliver_within(LONGEST, &mail).await;
    sender.close().await;
    Ok(TestedNotice {
        accepted: matches!(outcome, Outcome::Sent(_)),
        reply: one_line(outcome.reply(), 500),
    })
}
