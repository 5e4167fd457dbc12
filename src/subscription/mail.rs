//! Writes the emails to subscribers: the one that asks to confirm, and the one about a post.

use super::letter::Letter;
use super::outbox::message_name;
use super::sending::Claimed;
use super::subscriber::Subscriber;
use crate::auth::Links;
use crate::base::error::{Error, Result};
use crate::base::id::PostId;
use crate::base::text::one_line;
use crate::delivery::Mail;
use crate::delivery::mailer::{Mailer, SingleMail};
use crate::delivery::verp::Verp;
use crate::notice::branding::FrozenBrand;
use crate::status::{self, StatusPage};
use crate::words::{Area, Words, moment};

/// The longest subject, in characters.
const SUBJECT: usize = 200;

/// What every email to a subscriber is written with.
#[derive(Clone, Copy)]
pub struct Writer<'a> {
    /// Writes emails with the sender of the settings.
    pub mailer: &'a Mailer,
    /// Signs the links in emails.
    pub links: &'a Links,
    /// Makes the address for bounces, if emails have bounce addresses of their own.
    pub verp: Option<&'a Verp>,
    /// The name of the company, by the brand or the settings.
    pub company: &'a str,
    /// What emails show of the brand, if there is one.
    pub brand: Option<&'a FrozenBrand>,
}

impl Writer<'_> {
    /// Writes the email of a claim. Returns `None` if the page does not have the post.
    ///
    /// # Errors
    /// `Internal`, if a text is missing, or if the address cannot be used in an envelope.
    pub fn write(&self, claimed: &Claimed, to: &Subscriber, page: &StatusPage) -> Result<Option<Mail>> {
        let (letter, thread) = match &claimed.post {
            None => (self.question(to)?, None),
            Some(post) => match self.post(to, post, page)? {
                None => return Ok(None),
                Some((letter, thread)) => (letter, Some(thread)),
            },
        };
        let return_path = self.verp.map(|verp| verp.subscriber_address(to.id)).transpose();
        let stop = letter.stop.as_ref().map(|(_, url)| url.clone());
        let mail = SingleMail {
            name: message_name(to.id, claimed.post.as_ref(), claimed.created_at),
            to: &to.address,
            subject: &letter.subject,
            thread,
            text: letter.text(),
            html: letter.html()?,
            automatic: true,
            language: Some(to.language.as_str()),
            to_customer: true,
            brand: self.brand,
            return_path: return_path.map_err(Error::internal)?,
            unsubscribe_url: stop.as_deref(),
            ..SingleMail::default()
        };
        // Each attempt has the same date and the same Message-ID.
        Ok(Some(self.mailer.write(mail, claimed.created_at)?))
    }

    fn question(&self, to: &Subscriber) -> Result<Letter> {
        let words = Words::of(Area::Subscription, to.language)?;
        let said = |key| words.with(key, &[("company", self.company)]);
        Ok(Letter {
            language: to.language,
            sender: self.company.to_owned(),
            brand: self.brand.map(FrozenBrand::for_mail),
            subject: one_line(&said("question_subject")?, SUBJECT),
            badge: said("question_badge")?,
            heading: said("confirm_title")?,
            at: None,
            message: said("question_text")?,
            states: Vec::new(),
            link_text: words.text("confirm_title")?,
            link: self.links.subscription(to.id),
            reason: said("question_reason")?,
            stop: None,
        })
    }

    /// Returns the letter about a post and the thread of its incident. `None` if the page does not have the post.
    fn post(&self, to: &Subscriber, post: &PostId, page: &StatusPage) -> Result<Option<(Letter, String)>> {
        let Some((incident, post)) = page.incident_of(post) else {
            return Ok(None);
        };
        let (words, states) = (
            Words::of(Area::Subscription, to.language)?,
            Words::of(Area::Status, to.language)?,
        );
        let title = page.title(incident, to.language)?;
        let state = states.text(post.status.as_str())?;
        let named = post.components.iter().map(|(id, state)| {
            let name = page.names.get(id).unwrap_or(id);
            Ok((name.clone(), states.text(state.as_str())?))
        });
        let path = status::incident_path(to.language, incident.number);
        let letter = Letter {
            language: to.language,
            sender: self.company.to_owned(),
            brand: self.brand.map(FrozenBrand::for_mail),
            subject: one_line(&format!("{}: {title} ({state})", self.company), SUBJECT),
            badge: state.to_owned(),
            heading: title,
            at: Some(moment(to.language, post.at, None)),
            message: post.message(to.language).to_owned(),
            states: named.collect::<Result<_>>()?,
            link_text: words.text("post_link")?,
            link: format!("{}{path}", self.links.public_url()),
            reason: words.with("post_reason", &[("company", self.company)])?,
            stop: Some((words.text("stop_button")?, self.links.subscription(to.id))),
        };
        Ok(Some((letter, format!("status.{}", incident.id))))
    }
}
