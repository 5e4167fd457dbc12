//! One email of a notice as its recipient gets it, for any recipient: of the plan of a draft, or of the frozen list of a notice that was
//! sent. It is made from the same data as the email itself. Only the links differ, because they belong to a delivery.

use diesel::prelude::*;
use serde::Serialize;

use super::compose::{self, Content, RecipientContext, Urls};
use super::draft::{NewNotice, check_new, new_row};
use super::plan::content;
use super::recipients::{Recipient, Recipients};
use super::row::{EMAIL, row};
use super::sending::Sending;
use super::templates;
use crate::audience::{self, Addressee};
use crate::base::error::{Error, Result};
use crate::base::id::{IncidentId, NoticeId};
use crate::base::language::{Language, Preferred};
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::notice_recipients as nr;
use crate::notice::template::{Rendered, Template, Voice, mark_as_test};

/// A rendered email, as the API shows it.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Sample {
    /// The address of the recipient.
    pub to: String,
    /// The language of the recipient.
    pub locale: Language,
    /// The subject as the recipient would see it.
    pub subject: String,
    /// The plain text body. Its links for answers and for unsubscribing do not work, because they contain no token.
    pub text: String,
    /// The HTML body. Its links for answers and for unsubscribing do not work, because they contain no token.
    pub html: String,
}

impl Sample {
    /// Marks the email as a test in its subject and in both bodies.
    pub fn as_test(mut self) -> Sample {
        mark_as_test(&mut self.subject, &mut self.text, &mut self.html);
        self
    }
}

/// Renders the email to one recipient.
pub(super) fn rendered(
    content: &Content,
    template: &Template,
    to: String,
    recipient: &RecipientContext,
    urls: &Urls,
) -> Result<Sample> {
    let context = compose::context(
        content,
        recipient,
        content.phase.optional(),
        urls.clone(),
        &Voice::current(),
    );
    let Rendered { subject, text, html } = template.render(&context)?;
    Ok(Sample {
        to,
        locale: recipient.language,
        subject,
        text,
        html,
    })
}

pub(super) fn no_such(ordinal: i64) -> Error {
    Error::NotFound(format!("recipient {ordinal}"))
}

/// Returns the email to the recipient at this position of the frozen list of a notice that was sent.
///
/// # Errors
/// `NotFound` if the notice or the recipient does not exist. `Conflict` if the notice is a draft. `Invalid` if its template cannot be
/// rendered any more.
pub fn sample_of_sent(conn: &mut Conn, id: &NoticeId, ordinal: i64, sending: &Sending) -> Result<Sample> {
    let notice = row(conn, id)?;
    if notice.state()?.is_draft() {
        return Err(Error::Conflict("the notice is a draft".to_owned()));
    }
    let (address, context): (String, String) = nr::table
        .filter(nr::notice_id.eq(id.as_str()))
        .filter(nr::ordinal.eq(ordinal))
        .filter(nr::channel.eq(EMAIL))
        .select((nr::address, nr::context))
        .first(conn)
        .optional()?
        .ok_or_else(|| no_such(ordinal))?;
    let content: Content = serde_json::from_str(notice.frozen.as_deref().unwrap_or_default())?;
    let context: RecipientContext = serde_json::from_str(&context)?;
    let id = notice.template_id.as_deref().unwrap_or_default();
    let template = templates::load(conn, content.phase, id)?.compile()?;
    rendered(
        &content,
        &template,
        address,
        &context,
        &Urls::without_token(&sending.public_url),
    )
}

/// Somebody whose email shows how a text looks while it is written.
#[derive(Clone, Debug)]
pub struct SampleRecipient {
    address: String,
    context: RecipientContext,
}

impl SampleRecipient {
    /// Returns the first person of the audience of an incident who can be reached, or an invented one. Whoever has no language
    /// reads `default`, and with `shown_in`, everybody reads this language.
    ///
    /// # Errors
    /// `NotFound` if the incident does not exist.
    pub fn of(
        conn: &mut Conn,
        incident: &IncidentId,
        default: Language,
        shown_in: Option<Language>,
    ) -> Result<SampleRecipient> {
        let people = audience::resolve(conn, incident)?.people;
        let mut first: Vec<Addressee> = people
            .into_iter()
            .find(|one| one.unreachable.is_none())
            .into_iter()
            .collect();
        if let (Some(one), Some(language)) = (first.first_mut(), shown_in) {
            one.languages = Preferred {
                first: Some(language),
                second: None,
            };
        }
        if let Some(packed) = Recipients::of(first, default)?.iter().next() {
            let Recipient { address, context } = packed.unpack()?;
            return Ok(SampleRecipient { address, context });
        }
        Ok(SampleRecipient {
            address: "customer@example.com".to_owned(),
            context: RecipientContext::new(
                Vec::new(),
                "A customer".to_owned(),
                None,
                (shown_in.unwrap_or(default), None),
                &[],
            ),
        })
    }
}

/// Returns the email that a text would make, before it is stored. Nothing is changed.
///
/// # Errors
/// `NotFound` if the incident does not exist. `Invalid` with each wrong field.
pub fn sample_of_text(
    conn: &mut Conn,
    (incident, new): (&IncidentId, &NewNotice),
    to: &SampleRecipient,
    sending: &Sending,
    now: Timestamp,
) -> Result<Sample> {
    check_new(conn, new)?;
    let row = new_row(conn, "", now, incident, new)?;
    let view = templates::current(conn, new.phase)?;
    let content = content(conn, &row, new.phase, None, &view, sending)?;
    let template = view.compile()?;
    let urls = Urls::without_token(&sending.public_url);
    rendered(&content, &template, to.address.clone(), &to.context, &urls)
}
