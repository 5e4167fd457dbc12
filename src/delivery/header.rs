//! Writes header fields with text, so that an email program shows exactly this text. This module does no I/O.
//!
//! An email program decodes everything that looks like an encoded word (`=?utf-8?q?…?=`, RFC 2047), even if
//! it is part of a name or a subject that somebody typed. So a text that looks encoded is encoded itself.
//! Text that folding would change is encoded too, for example a long word or two spaces in a row. All other
//! text stays unchanged, so that the source of an email is readable.
//!
//! A line has at most 78 characters if the text allows it (RFC 5322). A line with an encoded word has at most
//! 76.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lettre::Address;
use lettre::message::Mailbox;
use lettre::message::header::{HeaderName, HeaderValue};

/// The largest length of a line, in characters.
const LINE: usize = 78;
/// The largest length of a line with an encoded word. [`ENCODED_WORD`] is the largest length of the word
/// itself.
const ENCODED_LINE: usize = 76;
const ENCODED_WORD: usize = 75;
/// The largest length of a word that is not encoded, in bytes.
const WORD: usize = 60;
const START: &str = "=?utf-8?B?";
const END: &str = "?=";

/// Returns a field with free text, such as Subject.
pub fn text(name: &'static str, value: &str) -> HeaderValue {
    let encoded = if is_plain(value) {
        fold(value, name.len() + 2)
    } else {
        encode(value, name.len() + 2).0
    };
    field(name, value.to_owned(), encoded)
}

/// Returns a field with words that a program reads, such as Candor-Audit. They are never encoded, whatever their length, so they must be
/// printable ASCII.
pub fn words(name: &'static str, value: &str) -> HeaderValue {
    field(name, value.to_owned(), fold(value, name.len() + 2))
}

/// Returns a field with one mailbox, such as From or To. The name is optional. If the name looks like an
/// address, it is still written as a name.
pub fn mailbox(name: &'static str, mailbox: &Mailbox) -> HeaderValue {
    let display = mailbox.name.as_deref().unwrap_or_default();
    field(
        name,
        // lettre reads the envelope sender from this value and does not need the name.
        mailbox.email.to_string(),
        written(name, display, &mailbox.email),
    )
}

fn field(name: &'static str, raw: String, encoded: String) -> HeaderValue {
    HeaderValue::dangerous_new_pre_encoded(HeaderName::new_from_ascii_str(name), raw, encoded)
}

fn written(name: &str, display: &str, address: &Address) -> String {
    let used = name.len() + 2;
    if display.is_empty() {
        return address.to_string();
    }
    let (phrase, at) = if is_plain(display) && display.len() <= WORD {
        let phrase = if display.split(' ').all(is_atom) {
            display.to_owned()
        } else {
            quoted(display)
        };
        let length = phrase.len();
        (phrase, used + length)
    } else {
        encode(display, used)
    };
    let address = format!("<{address}>");
    let space = if at + 1 + address.len() > LINE {
        "\r\n "
    } else {
        " "
    };
    format!("{phrase}{space}{address}")
}

/// Returns whether a text can be written without encoding.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| (0x20..0x7f).contains(&byte))
        && !text.contains("=?")
        && !text.contains("  ")
        && !text.starts_with(' ')
        && !text.ends_with(' ')
        && text.split(' ').all(|word| word.len() <= WORD)
}

/// Returns whether a word of a name needs no quotes (RFC 5322, section 3.2.3).
fn is_atom(word: &str) -> bool {
    !word.is_empty()
        && word
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte))
}

fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        if matches!(character, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted.push('"');
    quoted
}

/// Breaks lines before spaces. An email program removes these line breaks again.
fn fold(text: &str, used: usize) -> String {
    let mut folded = String::with_capacity(text.len() + 8);
    let mut at = used;
    for (index, word) in text.split(' ').enumerate() {
        if index > 0 {
            if at + 1 + word.len() > LINE {
                folded.push_str("\r\n");
                at = 0;
            }
            folded.push(' ');
            at += 1;
        }
        folded.push_str(word);
        at += word.len();
    }
    folded
}

/// Encodes a whole text as encoded words. Each encoded word contains whole characters, and an email program
/// joins the words without the white space between them. Also returns the length of the last line.
fn encode(text: &str, used: usize) -> (String, usize) {
    let mut encoded = String::with_capacity(text.len() * 2);
    let mut at = used;
    let mut rest = text;
    loop {
        // Base64 writes three bytes as four characters.
        let room = ENCODED_WORD.min(ENCODED_LINE.saturating_sub(at)) - START.len() - END.len();
        let mut end = rest.len().min(room / 4 * 3);
        while !rest.is_char_boundary(end) {
            end -= 1;
        }
        let word = format!("{START}{}{END}", STANDARD.encode(&rest[..end]));
        at += word.len();
        encoded.push_str(&word);
        rest = &rest[end..];
        if rest.is_empty() {
            return (encoded, at);
        }
        encoded.push_str("\r\n ");
        at = 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mail_parser::MessageParser;
    use proptest::prelude::*;

    fn field_of(name: &'static str, value: HeaderValue) -> String {
        let mut headers = lettre::message::header::Headers::new();
        headers.insert_raw(value);
        let written = headers.to_string();
        assert!(written.starts_with(name), "{written}");
        written
    }

    /// Reads the subject and the recipient as an email program does.
    fn read(subject: &str, name: &str, address: &str) -> (String, String, String) {
        let address: Address = address.parse().unwrap();
        let to = Mailbox::new((!name.is_empty()).then(|| name.to_owned()), address);
        let raw = format!(
            "{}{}\r\nbody\r\n",
            field_of("Subject", text("Subject", subject)),
            field_of("To", mailbox("To", &to)),
        );
        for line in raw.split("\r\n") {
            assert!(line.len() <= 998, "{line}");
            assert!(!line.contains(['\r', '\n']), "{line:?}");
            assert!(
                line.is_empty() || !line.trim().is_empty(),
                "a line of white space alone: {raw:?}"
            );
            if line.contains("=?utf-8?B?") && !line.contains('<') {
                assert!(line.len() <= 76, "{line}");
            }
        }
        let message = MessageParser::default().parse(raw.as_bytes()).unwrap();
        let to = message.to().unwrap().first().unwrap();
        (
            message.subject().unwrap_or_default().to_owned(),
            to.name().unwrap_or_default().to_owned(),
            to.address().unwrap_or_default().to_owned(),
        )
    }

    #[test]
    fn what_looks_encoded_is_read_as_it_was_written() {
        for text in [
            "=?utf-8?q?Account_suspended?=",
            "Files =?utf-8?B?SGVsbG8=?= cannot be opened",
            "=?iso-8859-1?q?=41?=",
            "a =?b",
            "ceo@bank.example",
            "Lee, Kim",
            "\"Kim\" \\ Lee",
            "Kim <ceo@bank.example>",
            "Kim (work)",
            "a: b; c",
            "Zoë 👩‍👩‍👧‍👦 🏴󠁧󠁢󠁥󠁮󠁧󠁿",
            "שלום עולם",
            "日本語の件名がとても長いので、何行にも折り返されることになりますが、文字は途中で切れません。そうです。",
            "?=",
            "-",
        ] {
            let expected = (text.to_owned(), text.to_owned(), "ann@example.com".to_owned());
            assert_eq!(read(text, text, "ann@example.com"), expected);
        }
        let long = "x".repeat(180);
        assert_eq!(read(&long, &long, "ann@example.com").0, long);
        // Text that needs no encoding stays readable.
        let written = field_of("Subject", text("Subject", "Files cannot be opened"));
        assert_eq!(written, "Subject: Files cannot be opened\r\n");
        let to = Mailbox::new(Some("Lee, Kim".to_owned()), "kim@example.com".parse().unwrap());
        assert_eq!(
            field_of("To", mailbox("To", &to)),
            "To: \"Lee, Kim\" <kim@example.com>\r\n"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_line_of_text_is_read_as_it_was_written(
            subject in proptest::collection::vec(piece(), 1..14),
            name in proptest::collection::vec(piece(), 0..8),
        ) {
            let subject = crate::base::text::one_line(&subject.concat(), 200);
            let name = crate::base::text::one_line(&name.concat(), 100);
            prop_assume!(!subject.is_empty());
            let found = read(&subject, &name, "ann@example.com");
            prop_assert_eq!(found, (subject, name, "ann@example.com".to_owned()));
        }
    }

    fn piece() -> impl Strategy<Value = String> {
        prop_oneof![
            4 => "[a-zA-Z0-9]{1,12}",
            3 => Just(" ".to_owned()),
            2 => "[,;:<>@()\"\\\\.\\[\\]=?_-]{1,3}",
            1 => Just("=?utf-8?q?".to_owned()),
            1 => Just("=?UTF-8?B?SGk=?=".to_owned()),
            1 => Just("?=".to_owned()),
            1 => "[a-z]{60,120}",
            1 => "[äßéאبあ漢👍👩\u{200d}🏴\u{fe0f}\u{301}]{1,6}",
            1 => any::<char>().prop_map(String::from),
        ]
    }
}
