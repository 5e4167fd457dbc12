//! The text of an email to an operator, as HTML and as plain text. It has the layout of the emails to customers.

use std::sync::LazyLock;

use handlebars::Handlebars;
use serde_json::json;

use super::message::Rendered;
use crate::base::count::counted;
use crate::base::error::{Error, Result};

/// The name of the template.
const TEMPLATE: &str = "operator.html";

static TEMPLATES: LazyLock<std::result::Result<Handlebars<'static>, String>> = LazyLock::new(|| {
    let mut templates = Handlebars::new();
    templates.set_strict_mode(true);
    for (name, source) in [
        (
            "layout.html",
            include_str!("../../templates/email/layout.html.hbs"),
        ),
        (TEMPLATE, include_str!("../../templates/email/operator.html.hbs")),
    ] {
        templates
            .register_template_string(name, source)
            .map_err(|error| error.to_string())?;
    }
    Ok(templates)
});

/// What an email says beside the message.
pub(super) struct Letter<'a> {
    /// The name of the sender.
    pub sender: &'a str,
    /// The message as text: its title, its lines and its link.
    pub message: &'a Rendered,
    /// What is to be decided.
    pub decision: Option<&'a str>,
    /// The people whom the incidents affect now. `None` if the message is about no incident.
    pub affected: Option<Affected>,
}

/// The people whom the incidents of a message affect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Affected {
    /// The number of people. Each counts once.
    pub people: i64,
    /// The number of incidents of which the people are counted.
    pub incidents: usize,
    /// Whether there are further incidents, of which they are not counted.
    pub more: bool,
}

impl Letter<'_> {
    fn affected(&self) -> Option<String> {
        self.affected.map(|affected| {
            let by = match (affected.incidents, affected.more) {
                (1, _) => String::new(),
                (n, true) => format!(" by the first {n} of these incidents"),
                (n, false) => format!(" by these {n} incidents"),
            };
            match affected.people {
                0 => format!("Nobody in the directory is affected{by} so far."),
                n => format!("{} affected now{by}.", counted(n, "person is", "people are")),
            }
        })
    }

    /// The lines that do not only repeat the title.
    fn lines(&self) -> Vec<&str> {
        let lines = self.message.lines.iter().map(String::as_str);
        lines.filter(|line| !self.message.title.contains(line)).collect()
    }

    /// Returns the plain text.
    pub(super) fn text(&self) -> String {
        let mut parts = vec![self.message.title.clone(), self.lines().join("\n")];
        parts.extend(self.affected());
        parts.extend(
            self.decision
                .map(|decision| format!("What you need to do: {decision}")),
        );
        parts.push(format!("{}: {}", self.message.link_text, self.message.link));
        parts.push(format!("--\n{WHY}"));
        parts.retain(|part| !part.is_empty());
        parts.join("\n\n") + "\n"
    }

    /// Returns the HTML.
    ///
    /// # Errors
    /// `Internal` if the template does not fit its data.
    pub(super) fn html(&self) -> Result<String> {
        let templates = TEMPLATES
            .as_ref()
            .map_err(|error| Error::internal(error.clone()))?;
        let data = json!({
            "phase": "operator", "language": "en", "direction": "ltr", "rtl": false, "message_language": null, "t": {}, "subject": self.message.title, "headline": null, "sender": self.sender,
            "incident": {"number": null}, "reason": WHY, "support_url": null, "brand": null, "optional": false, "corrects": null,
            "unsubscribe_url": null, "action": {"required": false, "text": null},
            "paragraphs": self.lines(), "affected": self.affected(), "decision": self.decision,
            "link": self.message.link, "link_text": self.message.link_text,
        });
        templates.render(TEMPLATE, &data).map_err(Error::internal)
    }
}

/// Why somebody gets the email.
const WHY: &str = "You get this email because an admin added you as an operator. Customers do not get it.";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operators::message::Urgency;

    #[test]
    fn the_people_of_several_incidents_are_counted_together() {
        let message = Rendered {
            title: "2 incidents opened".to_owned(),
            lines: Vec::new(),
            link: String::new(),
            link_text: "",
            urgency: Urgency::Usual,
        };
        let said = |people, incidents, more| {
            let affected = Affected {
                people,
                incidents,
                more,
            };
            let letter = Letter {
                sender: "Candor",
                message: &message,
                decision: None,
                affected: Some(affected),
            };
            letter.affected().unwrap_or_default()
        };
        assert_eq!(said(1_259, 1, false), "1,259 people are affected now.");
        assert_eq!(
            said(1, 2, false),
            "1 person is affected now by these 2 incidents."
        );
        assert_eq!(
            said(3, 10, true),
            "3 people are affected now by the first 10 of these incidents."
        );
        assert_eq!(
            said(0, 2, false),
            "Nobody in the directory is affected by these 2 incidents so far."
        );
    }
}
