//! The parsed parts of a template, as the readers of one language get them.

use std::collections::BTreeSet;

use handlebars::{Context, Handlebars, TemplateError};

use super::mail::MailContext;
use super::rendered::{Failed, Rendered, SUBJECT, finish_subject};
use super::shows::only_shows;
use super::wrap::wrapped;
use super::{allow, breaks, budget, drill, html, values};
use crate::base::error::{Error, Result};
use crate::base::text::one_line;

/// A part of the source, and why it cannot be used.
pub(super) type Unusable = (&'static str, String);

/// A subject, a text and an HTML part that were parsed and checked.
pub(super) struct Parsed {
    plain: Handlebars<'static>,
    html: Handlebars<'static>,
    /// Whether the parts do no more with the values of a recipient than show them or test whether they are empty.
    pub shows_only: bool,
    /// The first place of the HTML part where a value is not safe, and what to do.
    pub unsafe_place: Option<String>,
    /// The keys of the values of one's own that the parts show.
    pub values: BTreeSet<String>,
    /// Whether the parts can show something else in another language, apart from the fixed sentences.
    pub asks_for_language: bool,
}

impl Parsed {
    /// Parses the subject, the text and the HTML part.
    pub fn parse(source: [&str; 3], partials: &[(&str, &str)]) -> std::result::Result<Parsed, Unusable> {
        let [subject, text, html_part] = source;
        let mut plain = Handlebars::new();
        let mut html = Handlebars::new();
        let mut unsafe_place = None;
        for registry in [&mut plain, &mut html] {
            registry.set_strict_mode(true);
            registry.register_helper(breaks::NAME, Box::new(breaks::Breaks));
            for (name, text) in partials {
                registry
                    .register_partial(name, text)
                    .map_err(|error| ("", format!("{name}: {error}")))?;
            }
        }
        plain.register_escape_fn(handlebars::no_escape);
        for (name, text) in [("subject", subject), ("text", text), ("html", html_part)] {
            let pointer = pointer_of(name);
            let registry = if name == "html" { &mut html } else { &mut plain };
            registry
                .register_template_string(name, text)
                .map_err(|error| (pointer, unreadable(&error)))?;
            if let Some(parsed) = registry.get_template(name) {
                allow::check(parsed, name == "html", false).map_err(|why| (pointer, why))?;
                if name == "html" {
                    unsafe_place = html::check(parsed).err();
                }
            }
        }
        for registry in [&mut plain, &mut html] {
            for (name, _) in partials {
                if let Some(parsed) = registry.get_template(name) {
                    allow::check(parsed, true, true).map_err(|why| ("", format!("{name}: {why}")))?;
                    if name.ends_with(".html") {
                        html::check(parsed).map_err(|why| ("", format!("{name}: {why}")))?;
                    }
                }
            }
            budget::count_steps(registry).map_err(|why| ("", why))?;
        }
        let partials = partials.iter().map(|(_, text)| *text);
        let shows_only = source.into_iter().chain(partials).all(only_shows);
        let values = source.into_iter().flat_map(values::template_keys).collect();
        let names = ["language", "direction", "rtl"];
        let asks_for_language = source
            .iter()
            .any(|part| names.iter().any(|name| part.contains(name)));
        Ok(Parsed {
            plain,
            html,
            shows_only,
            unsafe_place,
            values,
            asks_for_language,
        })
    }

    pub fn render(&self, context: &MailContext) -> std::result::Result<Rendered, Failed> {
        let mut rendered = self.render_unfinished(context)?;
        rendered.subject = one_line(&rendered.subject, SUBJECT);
        rendered.text = wrapped(&rendered.text);
        if rendered.subject.is_empty() {
            return Err(Failed::new("/subject", "produces an empty text"));
        }
        Ok(rendered)
    }

    /// Renders an email whose subject is not finished yet, and whose lines are not wrapped.
    pub fn render_unfinished(&self, mail: &MailContext) -> std::result::Result<Rendered, Failed> {
        let context = Context::wraps(mail)
            .map_err(|error| Failed::new("", format!("the values cannot be used: {error}")))?;
        let part = |registry: &Handlebars<'static>, name: &str| {
            budget::render(registry, name, &context).map_err(|unrendered| Failed {
                pointer: pointer_of(name),
                detail: unrendered.detail,
                over_limit: unrendered.over_limit,
            })
        };
        let mut subject = part(&self.plain, "subject")?;
        let mut text = part(&self.plain, "text")?;
        let mut html = part(&self.html, "html")?;
        if mail.drill {
            drill::mark(&mut subject, &mut text, &mut html);
        }
        Ok(Rendered { subject, text, html })
    }

    /// Renders the subject alone.
    pub fn subject(&self, context: &MailContext) -> Result<String> {
        let wrapped = Context::wraps(context).map_err(Error::internal)?;
        let rendered = budget::render(&self.plain, "subject", &wrapped).map_err(|unrendered| {
            Failed {
                pointer: pointer_of("subject"),
                detail: unrendered.detail,
                over_limit: unrendered.over_limit,
            }
            .into_error()
        })?;
        finish_subject(&rendered)
    }
}

/// Returns the field of a template's source that a part comes from.
fn pointer_of(name: &str) -> &'static str {
    match name {
        "subject" => "/subject",
        "text" => "/text",
        _ => "/html",
    }
}

/// Returns where a part cannot be parsed, and how tags are written.
fn unreadable(error: &TemplateError) -> String {
    let place = error.pos().map_or(String::new(), |(line, column)| {
        format!("line {line}, column {column}: ")
    });
    format!(
        "{place}this cannot be read as a template; tags are {{{{name}}}}, {{{{#if name}}}} … {{{{else}}}} … {{{{/if}}}}, \
         {{{{#each list}}}} … {{{{/each}}}} and {{{{> partial}}}}"
    )
}
