//! The text of an email to a subscriber, as HTML and as plain text. It has the layout of the emails to customers, and the brand.

use std::sync::LazyLock;

use handlebars::Handlebars;
use serde_json::json;

use crate::base::error::{Error, Result};
use crate::base::language::Language;
use crate::base::text::undirected;
use crate::notice::compose::paragraphs;
use crate::notice::template::{MailBrand, wrapped};

/// The name of the template.
const TEMPLATE: &str = "subscription.html";

static TEMPLATES: LazyLock<std::result::Result<Handlebars<'static>, String>> = LazyLock::new(|| {
    let mut templates = Handlebars::new();
    templates.set_strict_mode(true);
    for (name, source) in [
        (
            "layout.html",
            include_str!("../../templates/email/layout.html.hbs"),
        ),
        ("brand.html", include_str!("../../templates/email/brand.html.hbs")),
        (
            TEMPLATE,
            include_str!("../../templates/email/subscription.html.hbs"),
        ),
    ] {
        templates
            .register_template_string(name, source)
            .map_err(|error| error.to_string())?;
    }
    Ok(templates)
});

/// What an email says.
pub(super) struct Letter {
    pub language: Language,
    /// The name of the company.
    pub sender: String,
    pub brand: Option<MailBrand>,
    pub subject: String,
    /// A short word beside the name of the company, such as the state of the work.
    pub badge: String,
    pub heading: String,
    /// When it was so. `None` if the email is about no point in time.
    pub at: Option<String>,
    /// The text of the operators, or of Candor.
    pub message: String,
    /// The names of components with their states, such as `Uploads` and `Major outage`.
    pub states: Vec<(String, &'static str)>,
    pub link_text: &'static str,
    pub link: String,
    /// Why the recipient gets it.
    pub reason: String,
    /// The text and the URL of the link with which the recipient gets no more of them.
    pub stop: Option<(&'static str, String)>,
}

impl Letter {
    /// Returns the plain text.
    pub fn text(&self) -> String {
        let mut parts = vec![self.heading.clone()];
        parts.extend(self.at.as_ref().map(|at| format!("{} · {at}", self.badge)));
        parts.push(undirected(&self.message).into_owned());
        let states = self.states.iter().map(|(name, state)| format!("{name}: {state}"));
        parts.push(states.collect::<Vec<_>>().join("\n"));
        parts.push(format!("{}:\n{}", self.link_text, self.link));
        let mut below = vec![self.reason.clone()];
        below.extend(self.stop.as_ref().map(|(text, url)| format!("{text}:\n{url}")));
        if let Some(brand) = &self.brand {
            below.push(brand.footer.join("\n"));
            below.push(match brand.postal_address.is_empty() {
                true => String::new(),
                false => format!("{}\n{}", self.sender, brand.postal_address.join("\n")),
            });
        }
        below.retain(|part| !part.is_empty());
        parts.push(format!("--\n{}", below.join("\n\n")));
        parts.retain(|part| !part.is_empty());
        wrapped(&(parts.join("\n\n") + "\n"))
    }

    /// Returns the HTML.
    ///
    /// # Errors
    /// `Internal` if the template does not fit its data.
    pub fn html(&self) -> Result<String> {
        let templates = TEMPLATES
            .as_ref()
            .map_err(|error| Error::internal(error.clone()))?;
        let stop = self.stop.as_ref();
        let states = self
            .states
            .iter()
            .map(|(name, state)| json!({"label": name, "text": state}));
        let data = json!({
            "phase": "subscription", "language": self.language, "direction": self.language.direction(),
            "rtl": self.language.direction() == "rtl", "t": {"badge_update": self.badge, "stop_updates": stop.map(|(text, _)| text)}, "subject": self.subject, "headline": null, "sender": self.sender,
            "brand": self.brand, "action": {"required": false, "text": null}, "badge": self.badge, "heading": self.heading,
            "at": self.at, "paragraphs": paragraphs(&self.message), "states": states.collect::<Vec<_>>(), "link": self.link,
            "link_text": self.link_text, "reason": self.reason,
            "unsubscribe_url": stop.map(|(_, url)| url),
        });
        templates.render(TEMPLATE, &data).map_err(Error::internal)
    }
}
