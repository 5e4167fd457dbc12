//! The short messages (SMS) of a notice: who gets one, how many segments they have, and what they cost at most.
//!
//! - A person gets a short message only beside the email of the same notice, and only with a number that the person agreed to.
//! - A person gets one message for each notice. A catch-up leaves out whoever got the message of the notice that it follows.
//! - The messages are part of the plan, so the digest covers them, and a limit on the price can require an approval.

use std::collections::{HashMap, HashSet};

use diesel::prelude::*;

use super::endpoint_message::Message;
use super::endpoints::{Calls, EndpointRecipient, NotifiedEndpoint, called};
use super::payload::{self, EndpointContext, PayloadAccount};
use super::recipients::Recipients;
use super::row::Row;
use super::sending::SmsTerms;
use super::sms_text;
use crate::base::count::counted;
use crate::base::error::Result;
use crate::base::id::NoticeId;
use crate::db::Conn;
use crate::db::schema::accounts as a;
use crate::directory::endpoint;
use crate::notice::compose::Content;
use crate::notice::template::Phase;

/// The channel of short messages.
pub const SMS: &str = "sms";
/// The number of digits of the number of a delivery that a link is planned with. A link is never longer.
const DIGITS: usize = 19;
/// The length of the part of a link behind the number of the delivery: a dot and the signature.
const SIGNATURE: usize = 25;

/// The number of short messages of a plan, and what they cost at most.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, utoipa::ToSchema)]
pub struct SmsCost {
    /// The number of messages: one for each person.
    pub messages: usize,
    /// The number of segments of all messages, which networks bill. It is an upper bound, because the length of a link is known only when
    /// the message is sent.
    pub segments: usize,
    /// What the messages cost at most. Null if `CANDOR_SMS_PRICE` is not set.
    pub price: Option<f64>,
    /// The currency of the price, such as `EUR`. Null if `CANDOR_SMS_PRICE` is not set.
    pub currency: Option<String>,
}

/// Returns a link that is as long as the longest one.
pub(super) fn longest_link(public_url: &str, phase: Phase) -> String {
    let page = match phase.asks() {
        true => "answers",
        false => "mine/link",
    };
    format!("{public_url}/{page}/{}", "0".repeat(DIGITS + SIGNATURE))
}

/// What the messages of a notice are planned from.
pub(super) struct Planning<'a> {
    /// The notice.
    pub row: &'a Row,
    /// The phase of the notice.
    pub phase: Phase,
    /// The episode in which the notice would be sent.
    pub episode: i64,
    /// What all recipients get.
    pub content: &'a Content,
    /// Who gets the email of the notice.
    pub recipients: &'a Recipients,
    /// The URL that links begin with.
    pub public_url: &'a str,
    /// How short messages are sent. `None` if they are not set up.
    pub terms: Option<&'a SmsTerms>,
}

/// Returns the messages of a notice, ordered by the ID of the person, and what they cost at most.
///
/// # Errors
/// An error of the database.
pub(super) fn planned(
    conn: &mut Conn,
    planning: &Planning<'_>,
    warnings: &mut Vec<String>,
) -> Result<(Vec<EndpointRecipient>, SmsCost)> {
    let numbers = endpoint::enabled_of_people(conn)?;
    if numbers.is_empty() {
        return Ok(Default::default());
    }
    let told = told(conn, planning)?;
    let mut found = Vec::new();
    for packed in planning.recipients.iter() {
        for person in packed.head()?.people {
            let number = numbers.get(&*person);
            let Some(number) = number.filter(|number| !told.contains(number.id.as_str())) else {
                continue;
            };
            let account = packed.accounts().first().map(ToString::to_string);
            found.push((person.into_owned(), number, account, packed));
        }
    }
    if found.is_empty() {
        return Ok(Default::default());
    }
    let Some(terms) = planning.terms else {
        warnings.push(format!(
            "{} a phone number, but gets only the email: short messages are not set up (CANDOR_SMS_URL)",
            counted(found.len(), "person has", "people have")
        ));
        return Ok(Default::default());
    };
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found.dedup_by(|a, b| a.0 == b.0);
    let names = names(
        conn,
        found.iter().filter_map(|(_, _, account, _)| account.as_deref()),
    )?;
    let link = longest_link(planning.public_url, planning.phase);
    let mut messages = Vec::with_capacity(found.len());
    let mut segments = 0;
    for (_, number, account, packed) in found {
        let id = account.unwrap_or_default();
        let name = names.get(&id).cloned().unwrap_or_default();
        let (language, _) = packed.languages();
        let context = EndpointContext::of_phone(number.id.clone(), PayloadAccount { id, name }, language);
        let text = text(&planning.row.id, planning.content, &context, &link, terms)?;
        segments += sms_text::segments(&text);
        messages.push(EndpointRecipient {
            channel: number.channel.clone(),
            url: number.url.clone(),
            context,
            beside: Some(packed.key().into()),
        });
    }
    let cost = SmsCost {
        messages: messages.len(),
        segments,
        price: terms.price.as_ref().map(|price| price.each * segments as f64),
        currency: terms.price.as_ref().map(|price| price.currency.clone()),
    };
    Ok((messages, cost))
}

/// Returns the text of a message with this link.
///
/// # Errors
/// `Internal` if a text is missing in the language.
pub(super) fn text(
    id: &NoticeId,
    content: &Content,
    own: &EndpointContext,
    link: &str,
    terms: &SmsTerms,
) -> Result<String> {
    let message = Message::of(&payload::payload(id, content, own, None))?;
    Ok(sms_text::text(
        &content.sender,
        &message,
        Some(link),
        terms.segments,
    ))
}

/// Returns the phones that got this already, by the ID of their endpoint: the last message of the same episode was of the same phase. An
/// update goes to everybody who gets the email, unless it is a catch-up.
fn told(conn: &mut Conn, planning: &Planning<'_>) -> Result<HashSet<String>> {
    let once =
        planning.row.catch_up_of.is_some() || matches!(planning.phase, Phase::Detection | Phase::Recovery);
    if !once {
        return Ok(HashSet::new());
    }
    let mut last: HashMap<String, String> = HashMap::new();
    for NotifiedEndpoint {
        phase,
        episode,
        context,
        ..
    } in called(conn, &planning.row.incident_id, Calls::Phones)?
    {
        if episode == planning.episode {
            last.insert(context.endpoint.to_string(), phase);
        }
    }
    last.retain(|_, phase| *phase == planning.phase.as_str());
    Ok(last.into_keys().collect())
}

/// Returns the names of these accounts.
fn names<'a>(conn: &mut Conn, accounts: impl Iterator<Item = &'a str>) -> Result<HashMap<String, String>> {
    let mut ids: Vec<&str> = accounts.collect();
    ids.sort_unstable();
    ids.dedup();
    let mut names = HashMap::new();
    for chunk in ids.chunks(500) {
        let rows: Vec<(String, String)> = a::table
            .filter(a::id.eq_any(chunk))
            .select((a::id, a::name))
            .load(conn)?;
        names.extend(rows);
    }
    Ok(names)
}
