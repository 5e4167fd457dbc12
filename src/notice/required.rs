//! What every email must show in both parts: the operator's message, what the customer must do, and why the recipient gets it.
//!
//! A template is rendered with marks in place of these texts, in each state that an email can have. So a text that stands within a
//! condition counts only if the email shows it in every state in which it exists.

use super::template::{MailAction, MailContext, Phase, Template};
use crate::base::error::{Error, FieldError, Result};

/// The marks. The message has two paragraphs, because the hidden beginning of the layout shows the first one.
const MESSAGE: [&str; 2] = ["operatorsfirstparagraph", "operatorssecondparagraph"];
const ACTION: &str = "whatthecustomermustdo";
const REASON: &str = "whyyougetthis";

/// Checks that the emails of a template show what they must show.
///
/// # Errors
/// `Invalid` with each text that is missing, at the part in which it is missing.
pub(super) fn check(phase: Phase, template: &Template) -> Result<()> {
    let mut errors: Vec<FieldError> = Vec::new();
    for language in template.spoken() {
        let before = match template.has_own(language) {
            true => format!("/languages/{language}"),
            false => String::new(),
        };
        for sample in template.samples_in(phase, language) {
            for required in [true, false] {
                for optional in [true, false] {
                    // A correction never asks its readers to do anything.
                    let required = required && phase != Phase::Correction;
                    let marked = marked(&sample, required, optional);
                    let rendered = template.render(&marked)?;
                    let (text, html) = (rendered.text, visible(&rendered.html));
                    for (part, shown, ending) in [("/text", &text, "txt"), ("/html", &html, "html")] {
                        let pointer = format!("{before}{part}");
                        for detail in missing(shown, required, ending) {
                            let known = |error: &FieldError| {
                                error.pointer.as_deref() == Some(&pointer) && error.detail == detail
                            };
                            if !errors.iter().any(known) {
                                errors.push(FieldError::at(&pointer, detail));
                            }
                        }
                    }
                }
            }
        }
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(Error::fields(errors))
    }
}

fn marked(sample: &MailContext, required: bool, optional: bool) -> MailContext {
    MailContext {
        paragraphs: MESSAGE.map(str::to_owned).to_vec(),
        action: required.then(|| MailAction {
            required: true,
            text: ACTION.to_owned(),
        }),
        reason: REASON.to_owned(),
        optional,
        ..sample.clone()
    }
}

/// Returns what a rendered part does not show.
fn missing(part: &str, required: bool, ending: &str) -> Vec<String> {
    let mut missing = Vec::new();
    let mut must = |shown: bool, what: &str, how: String| {
        if !shown {
            missing.push(format!("does not show {what} in every email: add {how}"));
        }
    };
    must(
        MESSAGE.iter().all(|mark| part.contains(mark)),
        "the operator's message",
        format!("{{{{> paragraphs.{ending}}}}}"),
    );
    must(
        !required || part.contains(ACTION),
        "what the customer has to do",
        format!("{{{{> action.{ending}}}}}"),
    );
    must(
        part.contains(REASON),
        "why the recipient gets it",
        "{{reason}}".to_owned(),
    );
    missing
}

/// Returns HTML without its tags, its title, and the hidden text at the beginning of the layout.
fn visible(html: &str) -> String {
    let html = without(html, "<title", "</title>");
    let html = without(&html, "<div aria-hidden=\"true\" style=\"display:none", "</div>");
    let mut text = String::with_capacity(html.len());
    let mut rest = html.as_str();
    while let Some(start) = rest.find('<') {
        let (before, tag) = rest.split_at(start);
        text.push_str(before);
        let is_tag = tag[1..].starts_with(|c: char| c.is_ascii_alphabetic() || "/!?".contains(c));
        rest = match tag.find('>').filter(|_| is_tag) {
            Some(end) => &tag[end + 1..],
            None => {
                text.push('<');
                &tag[1..]
            }
        };
    }
    text.push_str(rest);
    text
}

/// Returns HTML without the first element that begins and ends like this.
fn without(html: &str, begin: &str, end: &str) -> String {
    let found = html.find(begin).and_then(|start| {
        let length = html[start..].find(end)? + end.len();
        Some((start, start + length))
    });
    match found {
        Some((start, after)) => format!("{}{}", &html[..start], &html[after..]),
        None => html.to_owned(),
    }
}
