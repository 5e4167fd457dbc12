//! What a chat, a push service or a short message shows of a payload: a title and a few paragraphs, in the language of the account or of
//! the person. The channels that show texts to people share it.
//!
//! This module does no I/O, and nothing in its texts is markup. A channel writes them where its service interprets none.

use crate::base::error::Result;
use crate::base::language::Language;
use crate::base::text::one_line;
use crate::base::time::Timestamp;
use crate::notice::payload::{Payload, PayloadMaintenance, PayloadResource};
use crate::notice::template::Phase;
use crate::words::{Area, Words, put_in};

/// The number of affected resources that are named.
const NAMED: usize = 10;
/// The largest length of a title, in characters.
const TITLE: usize = 140;

/// How urgent a message is for the people who read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// Something of the account is affected.
    Affected,
    /// Something of the account works again, or never was affected.
    Good,
    /// It can be read later.
    Neutral,
}

/// The texts of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The title, on one line of at most 140 characters.
    pub title: String,
    /// What the operator wrote, and for a report its sections. Empty lines separate paragraphs.
    pub text: String,
    /// Further facts, one on each line: what the customer must do, what is affected, and since when.
    pub facts: Vec<String>,
    /// The number of the first facts that a short message has too: the time of a maintenance, and what the customer must do.
    pub essential: usize,
    /// How urgent it is.
    pub mood: Mood,
}

impl Message {
    /// Makes the texts of a payload.
    ///
    /// # Errors
    /// An internal error, if a text is missing in the language of the account.
    pub fn of(payload: &Payload) -> Result<Message> {
        let data = &payload.data;
        let words = Words::of(Area::Channels, data.language)?;
        let Some(notice) = &data.notice else {
            return Ok(Message {
                title: words.text("test_title")?.to_owned(),
                text: words.with("test_text", &[("account", &data.account.name)])?,
                facts: Vec::new(),
                essential: 0,
                mood: Mood::Neutral,
            });
        };
        let mood = match notice.phase {
            Phase::Detection | Phase::Update => Mood::Affected,
            Phase::Recovery | Phase::Resolution | Phase::Correction => Mood::Good,
            Phase::Report | Phase::Maintenance => Mood::Neutral,
        };
        let mut title = match (&data.maintenance, &data.incident) {
            (Some(planned), _) => title_of(planned, data.language)?,
            (None, Some(incident)) => {
                let number = incident.number.to_string();
                words.with(&format!("title_{}", notice.phase), &[("number", &number)])?
            }
            (None, None) => String::new(),
        };
        if let Some(subject) = &notice.subject {
            title = format!("{title}: {subject}");
        }
        let mut text = notice.message.trim().to_owned();
        if let Some(report) = &notice.report {
            for section in &report.sections {
                text.push_str(&format!("\n\n{}\n{}", section.heading, section.text));
            }
        }
        let mut facts = Vec::new();
        if let Some(planned) = &data.maintenance {
            let (starts, ends) = (clock(planned.starts_at), clock(planned.ends_at));
            facts.push(words.with("planned", &[("starts", &starts), ("ends", &ends)])?);
        }
        match &notice.customer_action {
            Some(action) if action.required => {
                facts.push(words.with("action_needed", &[("action", &one_line(&action.text, 500))])?);
            }
            Some(_) => facts.push(words.text("no_action")?.to_owned()),
            None => {}
        }
        let essential = facts.len();
        if !data.resources.is_empty() && notice.phase != Phase::Correction {
            let named = named(&words, &data.resources, data.more_resources)?;
            facts.push(words.with(
                "affected",
                &[("account", &data.account.name), ("resources", &named)],
            )?);
        }
        if let Some(recovery) = data.recovery {
            let (restored, affected) = (recovery.restored.to_string(), recovery.affected.to_string());
            facts.push(words.with("restored", &[("restored", &restored), ("affected", &affected)])?);
        }
        for (key, at) in [
            ("started", data.times.started_at),
            ("resolved", data.times.resolved_at),
        ] {
            if let Some(at) = at {
                facts.push(words.with(key, &[("time", &clock(at))])?);
            }
        }
        Ok(Message {
            title: one_line(&title, TITLE),
            text: text.trim().to_owned(),
            facts,
            essential,
            mood,
        })
    }

    /// Returns the text and the facts as plain text, of at most this many bytes.
    pub fn plain(&self, most: usize) -> String {
        let mut all = self.text.clone();
        if !self.facts.is_empty() {
            all.push_str("\n\n");
            all.push_str(&self.facts.join("\n"));
        }
        shortened(&all, most)
    }
}

/// Returns the title of a message about a planned maintenance: the subject of the email without the name of the sender, which the service
/// shows.
fn title_of(planned: &PayloadMaintenance, language: Language) -> Result<String> {
    let key = format!("subject_maintenance_{}", planned.change.as_str());
    let subject = Words::of(Area::Mail, language)?.text(&key)?;
    let title = subject.trim_start_matches("[{sender}] ");
    Ok(put_in(title, &[("title", &planned.title)]))
}

/// Returns the time without the name of a month, so that it reads the same in each language.
fn clock(at: Timestamp) -> String {
    let text = at.rfc3339_in(&jiff::tz::TimeZone::UTC);
    match (text.get(..10), text.get(11..16)) {
        (Some(day), Some(time)) => format!("{day} {time} UTC"),
        _ => text,
    }
}

fn named(words: &Words, resources: &[PayloadResource], more: usize) -> Result<String> {
    let names: Vec<&str> = resources
        .iter()
        .take(NAMED)
        .map(|resource| resource.name.as_deref().unwrap_or(&resource.at.id))
        .collect();
    let names = names.join(", ");
    let more = more + resources.len().saturating_sub(NAMED);
    match more {
        0 => Ok(names),
        more => words.with("and_more", &[("names", &names), ("count", &more.to_string())]),
    }
}

/// Returns a text of at most this many bytes, with an ellipsis if something was cut.
pub fn shortened(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let mut end = most.saturating_sub('…'.len_utf8());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notice::payload::{self, PayloadAccount};

    #[test]
    fn a_cut_text_is_no_longer_than_allowed() {
        assert_eq!(shortened("abc", 3), "abc");
        assert_eq!(shortened("abcdef", 5), "ab…");
        assert_eq!(shortened("ああああ", 9), "ああ…");
        assert_eq!(shortened("ああああ", 10), "ああ…");
    }

    #[test]
    fn a_test_has_words_in_every_language() {
        let at = Timestamp::parse("2024-03-14T10:04:00Z").unwrap();
        for language in Language::ALL {
            let account = PayloadAccount {
                id: "acme".to_owned(),
                name: "Acme & <Co>".to_owned(),
            };
            let message = Message::of(&payload::test(account, language, at)).unwrap();
            assert!(message.text.contains("Acme & <Co>"), "{language}: {message:?}");
            assert!(
                !message.title.is_empty() && !message.text.contains('{'),
                "{message:?}"
            );
        }
        assert_eq!(clock(at), "2024-03-14 10:04 UTC");
    }
}
