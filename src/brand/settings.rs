//! The fields of the brand, and what they must be.

use serde::{Deserialize, Serialize};

use super::color::Color;
use crate::base::error::{Error, FieldError, Result};
use crate::base::mailbox::Mailbox;

/// The largest length of the name, in characters. It stands in subjects and in the header From.
const NAME: usize = 100;
/// The largest length of the postal address, in characters.
const ADDRESS: usize = 500;
/// The largest number of lines of the postal address.
const LINES: usize = 8;
/// The largest length of the footer, in characters.
const FOOTER: usize = 1_000;
/// The largest length of a link, in characters.
const LINK: usize = 500;

/// Under which name and in which colour customers hear from the operator. Each field is optional.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BrandSettings {
    /// The name that customers know. It stands in emails, in their sender, and on public pages. Without it, it is the name in
    /// `CANDOR_MAIL_FROM`. At most 100 characters.
    pub name: Option<String>,
    /// The color of accents, such as `#0b5cad`. Its contrast with white must be at least 4.5:1.
    pub color: Option<String>,
    /// The address that replies to emails go to. Without it, it is `CANDOR_REPLY_TO`.
    pub reply_to: Option<String>,
    /// The http or https URL of the page where customers get help. Without it, it is `CANDOR_SUPPORT_URL`.
    pub support_url: Option<String>,
    /// The postal address of the sender, which some countries require in emails. Up to 8 lines and 500 characters.
    pub postal_address: Option<String>,
    /// A text below each email and each public page. Up to 1,000 characters.
    pub footer: Option<String>,
}

impl BrandSettings {
    /// Checks every field, and returns the settings in their normal form: without white space around texts, and with the color in
    /// lower case.
    ///
    /// # Errors
    /// `Invalid` with each wrong field.
    pub fn checked(&self) -> Result<BrandSettings> {
        let mut errors = Vec::new();
        let checked = BrandSettings {
            name: field(&mut errors, "/name", self.name.as_deref(), name),
            color: field(&mut errors, "/color", self.color.as_deref(), color),
            reply_to: field(&mut errors, "/reply_to", self.reply_to.as_deref(), reply_to),
            support_url: field(&mut errors, "/support_url", self.support_url.as_deref(), link),
            postal_address: field(
                &mut errors,
                "/postal_address",
                self.postal_address.as_deref(),
                postal_address,
            ),
            footer: field(&mut errors, "/footer", self.footer.as_deref(), |text| {
                long(text, FOOTER)
            }),
        };
        if errors.is_empty() {
            Ok(checked)
        } else {
            Err(Error::fields(errors))
        }
    }

    /// Returns the color, if there is one.
    pub fn color(&self) -> Option<Color> {
        self.color.as_deref().and_then(|text| Color::parse(text).ok())
    }
}

type Checked = std::result::Result<String, String>;

fn field(
    errors: &mut Vec<FieldError>,
    pointer: &str,
    given: Option<&str>,
    check: impl Fn(&str) -> Checked,
) -> Option<String> {
    let text = given?.trim();
    let checked = match text.is_empty() {
        true => Err("must not be empty; leave it out, or set it to null, if there is none".to_owned()),
        false => check(text),
    };
    match checked {
        Ok(text) => Some(text),
        Err(detail) => {
            errors.push(FieldError::at(pointer, detail));
            None
        }
    }
}

fn at_most(text: &str, most: usize) -> std::result::Result<(), String> {
    let length = text.chars().count();
    match length > most {
        true => Err(format!("is {length} characters long; at most {most} are allowed")),
        false => Ok(()),
    }
}

fn name(text: &str) -> Checked {
    at_most(text, NAME)?;
    if text.chars().any(char::is_control) {
        return Err("contains a control character, such as a line break".to_owned());
    }
    Ok(text.to_owned())
}

fn color(text: &str) -> Checked {
    let color = Color::parse(text)?;
    color.check_readable()?;
    Ok(color.to_string())
}

fn reply_to(text: &str) -> Checked {
    let mailbox = Mailbox::parse(text)?;
    if !mailbox.local().is_ascii() {
        return Err(
            "must have only ASCII characters before the @, because not every mail server accepts others"
                .to_owned(),
        );
    }
    Ok(mailbox.address())
}

fn link(text: &str) -> Checked {
    at_most(text, LINK)?;
    let url = url::Url::parse(text)
        .ok()
        .filter(|url| url.has_host() && matches!(url.scheme(), "http" | "https"))
        .ok_or("must be an http or https URL such as https://support.example.com")?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user name or password".to_owned());
    }
    Ok(url.to_string())
}

fn long(text: &str, most: usize) -> Checked {
    let text = text.replace("\r\n", "\n");
    at_most(&text, most)?;
    if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t')) {
        return Err("contains a control character".to_owned());
    }
    Ok(text)
}

fn postal_address(text: &str) -> Checked {
    let text = long(text, ADDRESS)?;
    if text.lines().count() > LINES {
        return Err(format!("has more than {LINES} lines"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wrong_field_is_named() {
        let wrong = BrandSettings {
            name: Some("Quick\nBcc: x".to_owned()),
            color: Some("#ff8800".to_owned()),
            reply_to: Some("help".to_owned()),
            support_url: Some("javascript:alert(1)".to_owned()),
            postal_address: Some("a\n".repeat(9)),
            footer: Some(" ".to_owned()),
        };
        let Err(Error::Invalid { errors, .. }) = wrong.checked() else {
            panic!("must be refused");
        };
        let pointers: Vec<_> = errors
            .iter()
            .filter_map(|error| error.pointer.as_deref())
            .collect();
        assert_eq!(
            pointers,
            [
                "/name",
                "/color",
                "/reply_to",
                "/support_url",
                "/postal_address",
                "/footer"
            ]
        );
    }

    #[test]
    fn texts_have_one_form() {
        let settings = BrandSettings {
            name: Some(" Quickbyte ".to_owned()),
            color: Some("#0B5CAD".to_owned()),
            reply_to: Some("help@Bücher.example".to_owned()),
            postal_address: Some("1 High Street\r\nNairobi".to_owned()),
            ..BrandSettings::default()
        };
        let checked = settings.checked().unwrap();
        assert_eq!(checked.name.as_deref(), Some("Quickbyte"));
        assert_eq!(checked.color.as_deref(), Some("#0b5cad"));
        assert_eq!(checked.reply_to.as_deref(), Some("help@xn--bcher-kva.example"));
        assert_eq!(checked.postal_address.as_deref(), Some("1 High Street\nNairobi"));
        assert_eq!(checked.checked().unwrap(), checked);
    }
}
