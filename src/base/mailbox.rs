//! Mailboxes: which email addresses can be used, and which addresses are the same mailbox. This module does
//! no I/O.
//!
//! One mailbox has many spellings. `Info@Bücher.example` and `info@xn--bcher-kva.example` reach the same
//! person. All code that compares addresses (recipients of a notice, opt-outs, suppressions, bounces,
//! complaints) compares their [`key_of`]. All addresses that are stored for sending are a [`Mailbox`]. Every
//! mail server can read its [`Mailbox::address`].
//!
//! ```text
//! part before the @   Unicode form NFC; the case of letters does not count
//! domain              UTS 46 (non-transitional) to ASCII, in lower case
//! ```
//!
//! In RFC 5321 the part before the @ is case-sensitive. But no provider treats it so, and two emails to one
//! person are worse. An address with characters outside ASCII before the @ is accepted. Sending to it needs a
//! mail server that offers SMTPUTF8.

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};

/// The largest number of bytes before the @ (RFC 5321, section 4.5.3.1.1).
const MAX_LOCAL: usize = 64;
/// The largest number of bytes of an address in SMTP, which is a path of 256 bytes without its angle
/// brackets.
const MAX_ADDRESS: usize = 254;

/// An address that an email can be sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mailbox {
    local: String,
    domain: String,
}

impl Mailbox {
    /// Parses an address from a person, a file or a database. ASCII white space around it is ignored.
    ///
    /// # Errors
    /// What is wrong and what would be correct, as the end of a sentence that begins with the name of the
    /// field.
    pub fn parse(text: &str) -> Result<Mailbox, String> {
        let text = text.trim_matches(|c: char| c.is_ascii_whitespace());
        check_characters(text)?;
        check_form(text)?;
        let (local, domain) = text
            .rsplit_once('@')
            .ok_or("has no @; an address such as ann@example.com is expected")?;
        let local = checked_local(local)?;
        let domain = checked_domain(domain)?;
        let length = local.len() + 1 + domain.len();
        if length > MAX_ADDRESS {
            return Err(format!(
                "is {length} bytes long; at most {MAX_ADDRESS} are allowed"
            ));
        }
        Ok(Mailbox { local, domain })
    }

    /// Returns the address for sending, with the domain in ASCII. Its lower case is equal to
    /// [`Mailbox::key`], even if a database can change only the case of ASCII letters.
    pub fn address(&self) -> String {
        format!("{}@{}", self.local, self.domain)
    }

    /// Returns the part before the @, without quotes.
    pub fn local(&self) -> &str {
        &self.local
    }

    /// Returns the domain, in ASCII.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Returns a key that is equal for all spellings of one mailbox.
    pub fn key(&self) -> String {
        format!("{}@{}", folded(&self.local), self.domain.to_ascii_lowercase())
    }
}

/// Returns the [`Mailbox::key`] of an address. An address that cannot be sent to also has a key, because
/// reports of other programs and rows of earlier versions contain such addresses, and they must be compared
/// too.
pub fn key_of(text: &str) -> String {
    let text = text.trim();
    let plain = text.is_ascii() && !text.contains('"') && !text.ends_with('.');
    if plain {
        return text.to_ascii_lowercase();
    }
    match Mailbox::parse(text.trim_end_matches('.')) {
        Ok(mailbox) => mailbox.key(),
        Err(_) => folded(text),
    }
}

/// Returns the address for sending of a row that was stored before the current checks existed. Invisible
/// characters are removed. Returns `None` if the address cannot be used.
pub(crate) fn repaired(text: &str) -> Option<String> {
    let mailbox = Mailbox::parse(text).or_else(|_| {
        let visible: String = text.chars().filter(|c| invisible(*c).is_none()).collect();
        Mailbox::parse(visible.trim())
    });
    mailbox.ok().map(|mailbox| mailbox.address())
}

/// Returns the address with a readable domain, for example `bücher.example` instead of
/// `xn--bcher-kva.example`.
pub fn readable(address: &str) -> String {
    match address.rsplit_once('@') {
        Some((local, domain)) if domain.to_ascii_lowercase().contains("xn--") => {
            let (domain, result) = idna::domain_to_unicode(domain);
            match result {
                Ok(()) => format!("{local}@{domain}"),
                Err(_) => address.to_owned(),
            }
        }
        _ => address.to_owned(),
    }
}

/// Returns the text in lower case and in the Unicode form NFC, so that letters that look the same are equal.
fn folded(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let nfc = icu_normalizer::ComposingNormalizerBorrowed::new_nfc();
    // NFC is applied twice, because the lower case of a letter can be several characters, which may combine.
    nfc.normalize(&nfc.normalize(text).to_lowercase()).into_owned()
}

fn check_characters(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("is empty; an address such as ann@example.com is expected".to_owned());
    }
    for (index, character) in text.chars().enumerate() {
        if character.is_control() {
            return Err(format!(
                "contains a control character, such as a line break, at position {}",
                index + 1
            ));
        }
        if let Some(name) = invisible(character) {
            return Err(format!(
                "contains an invisible character ({name}, U+{:04X}) at position {}; remove it",
                character as u32,
                index + 1
            ));
        }
    }
    Ok(())
}

/// Refuses a text that contains an address but is not one. Each case has its own reason.
fn check_form(text: &str) -> Result<(), String> {
    const ALONE: &str = "give the address alone, such as ann@example.com";
    if text
        .get(..7)
        .is_some_and(|head| head.eq_ignore_ascii_case("mailto:"))
    {
        return Err(format!("begins with mailto:; {ALONE}"));
    }
    if text.contains(['<', '>']) {
        return Err(format!(
            "contains a name or angle brackets in addition to the address; {ALONE}"
        ));
    }
    if text.starts_with('"') {
        // The text between the quotes may contain anything here. The part before the @ is checked later.
        return Ok(());
    }
    if text.contains([',', ';']) {
        return Err("contains a comma or a semicolon; only one address is allowed".to_owned());
    }
    if text.contains(['(', ')']) {
        return Err(format!("contains a comment in parentheses; {ALONE}"));
    }
    if text.contains(char::is_whitespace) {
        return Err(format!("contains a space; {ALONE}"));
    }
    Ok(())
}

fn checked_local(local: &str) -> Result<String, String> {
    let local = match local.strip_prefix('"') {
        Some(quoted) => quoted
            .strip_suffix('"')
            .filter(|inner| is_dot_atom(inner))
            .ok_or(
                "has a quoted part before the @, such as \"john doe\"@example.com; many mail servers do not \
                accept such addresses, so Candor does not accept them either",
            )?,
        None => local,
    };
    if local.is_empty() {
        return Err("has nothing before the @".to_owned());
    }
    if local.contains('@') {
        return Err("has more than one @; only one address is allowed".to_owned());
    }
    if local.starts_with('.') || local.ends_with('.') || local.contains("..") {
        return Err(
            "has a dot at the beginning or at the end of the part before the @, or two dots in a row"
                .to_owned(),
        );
    }
    if let Some(wrong) = local.chars().find(|c| *c != '.' && !is_atext(*c)) {
        return Err(format!(
            "has the character {wrong:?} before the @, which is not allowed there"
        ));
    }
    // An ASCII spelling is kept, because a database compares it in lower case in the same way as this
    // program.
    let local = if local.is_ascii() {
        local.to_owned()
    } else {
        folded(local)
    };
    if local.len() > MAX_LOCAL {
        return Err(format!(
            "has {} bytes before the @; at most {MAX_LOCAL} are allowed",
            local.len()
        ));
    }
    Ok(local)
}

fn checked_domain(domain: &str) -> Result<String, String> {
    if domain.is_empty() {
        return Err("has nothing after the @".to_owned());
    }
    if domain.starts_with('[') || domain.parse::<std::net::IpAddr>().is_ok() {
        return Err(
            "has an IP address after the @; Candor sends to domain names only, such as ann@example.com"
                .to_owned(),
        );
    }
    if domain.ends_with('.') {
        return Err("ends with a dot; remove it".to_owned());
    }
    if domain.contains('_') {
        return Err(
            "has an underscore in the domain; a domain name has letters, digits and hyphens".to_owned(),
        );
    }
    let ascii = Uts46::new()
        .to_ascii(
            domain.as_bytes(),
            AsciiDenyList::STD3,
            Hyphens::CheckFirstLast,
            DnsLength::Verify,
        )
        .map_err(|_| {
            "has a domain that is not a valid domain name; a domain name has labels of 1 to 63 letters, digits \
            and hyphens with dots between them, such as example.com"
                .to_owned()
        })?;
    let last = ascii.rsplit('.').next().unwrap_or_default();
    if last.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("has a domain that ends in a number, which is not allowed in a domain name".to_owned());
    }
    // An ASCII spelling is kept, for the same reason as in `checked_local`.
    Ok(if domain.is_ascii() {
        domain.to_owned()
    } else {
        ascii.into_owned()
    })
}

fn is_dot_atom(text: &str) -> bool {
    text.split('.')
        .all(|atom| !atom.is_empty() && atom.chars().all(is_atext))
}

/// Returns whether a character may be used before the @ without quotes (RFC 5322, RFC 6531).
fn is_atext(character: char) -> bool {
    if character.is_ascii() {
        return character.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(character);
    }
    !character.is_whitespace() && !character.is_control() && invisible(character).is_none()
}

/// Returns the name of a character that is not visible or that changes the order of the visible text. ZERO
/// WIDTH JOINER and ZERO WIDTH NON-JOINER are among them, because nobody can see whether an address contains
/// them.
pub(crate) fn invisible(character: char) -> Option<&'static str> {
    Some(match character {
        '\u{00A0}' | '\u{202F}' | '\u{2007}' => "a no-break space",
        '\u{00AD}' => "a soft hyphen",
        '\u{FEFF}' => "a byte order mark",
        '\u{200B}' => "a zero width space",
        '\u{200C}' | '\u{200D}' => "a zero width joiner",
        '\u{2060}' => "a word joiner",
        '\u{200E}' | '\u{200F}' | '\u{061C}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' => {
            "a mark for the direction of text"
        }
        '\u{E0000}'..='\u{E007F}' => "a tag character",
        '\u{FE00}'..='\u{FE0F}' | '\u{E0100}'..='\u{E01EF}' | '\u{180B}'..='\u{180F}' => {
            "a variation selector"
        }
        '\u{034F}'
        | '\u{115F}'
        | '\u{1160}'
        | '\u{17B4}'
        | '\u{17B5}'
        | '\u{2000}'..='\u{2006}'
        | '\u{2008}'..='\u{200A}'
        | '\u{2028}'
        | '\u{2029}'
        | '\u{205F}'
        | '\u{2061}'..='\u{2065}'
        | '\u{206A}'..='\u{206F}'
        | '\u{2800}'
        | '\u{3000}'
        | '\u{3164}'
        | '\u{FFA0}'
        | '\u{FFF0}'..='\u{FFFB}'
        | '\u{1BCA0}'..='\u{1BCA3}'
        | '\u{1D173}'..='\u{1D17A}'
        | '\u{E0080}'..='\u{E00FF}'
        | '\u{E01F0}'..='\u{E0FFF}' => "a character without a shape",
        '\u{E000}'..='\u{F8FF}' | '\u{F0000}'..='\u{10FFFF}' => "a private-use character",
        '\u{FFFD}' => "a replacement for a character that was lost",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_mailbox_have_one_key() {
        for group in [
            &[
                "info@bücher.example",
                "Info@BÜCHER.example",
                "info@xn--bcher-kva.example",
                "INFO@XN--BCHER-KVA.EXAMPLE",
                "info@bu\u{308}cher.example",
                "info@bücher。example",
                "info@ｂücher.example",
                "\"info\"@bücher.example",
                " info@bücher.example\t",
                "info@bücher.example.",
            ][..],
            &["josé@example.org", "JOSÉ@Example.org", "jose\u{301}@example.org"],
            &[
                "Kim.Lee@Example.org",
                "kim.lee@example.org",
                "\"kim.lee\"@example.org",
            ],
            &["ann@straße.example", "ann@xn--strae-oqa.example"],
            &["почта@пример.example", "ПОЧТА@xn--e1afmkfd.example"],
            &["ann@例え.example", "Ann@xn--r8jz45g.EXAMPLE"],
        ] {
            let keys: std::collections::BTreeSet<String> = group.iter().map(|text| key_of(text)).collect();
            assert_eq!(keys.len(), 1, "{keys:?}");
        }
        for (one, other) in [
            ("a.b@example.com", "ab@example.com"),
            ("a+b@example.com", "a@example.com"),
            ("ann@straße.example", "ann@strasse.example"),
            ("ann@a.example", "ann@b.example"),
        ] {
            assert_ne!(key_of(one), key_of(other));
        }
    }

    #[test]
    fn what_cannot_be_sent_to_is_refused_with_a_reason() {
        let long_local = format!("{}@example.com", "a".repeat(65));
        let long_label = format!("ann@{}.example", "a".repeat(64));
        let long_domain = format!("ann@{}example", "abcdefg.".repeat(32));
        let long = format!("{}@{}example", "a".repeat(64), "abcdefg.".repeat(24));
        for (text, word) in [
            ("", "empty"),
            ("ann", "no @"),
            ("@example.com", "before the @"),
            ("ann@", "after the @"),
            ("\"john doe\"@example.com", "quoted"),
            ("\"a@b\"@example.com", "quoted"),
            ("\"a,b\"@example.com", "quoted"),
            ("ann@[192.0.2.1]", "IP address"),
            ("ann@[IPv6:2001:db8::1]", "IP address"),
            ("ann@192.0.2.1", "IP address"),
            ("ann@example.123", "number"),
            ("ann@example.com.", "dot"),
            ("ann.@example.com", "dot"),
            (".ann@example.com", "dot"),
            ("a..b@example.com", "dots"),
            ("ann@example..com", "domain"),
            ("ann@-example.com", "domain"),
            ("ann@exam_ple.com", "underscore"),
            ("ann@exam!ple.com", "domain"),
            ("ann@xn--zzzzzzzzz-.example", "domain"),
            ("Ann <ann@example.com>", "name"),
            ("mailto:ann@example.com", "mailto"),
            ("MAILTO:ann@example.com", "mailto"),
            ("a@example.com,b@example.com", "comma"),
            ("a@example.com; b@example.com", "comma"),
            ("a@example.com b@example.com", "space"),
            ("a@b@example.com", "more than one @"),
            ("ann(work)@example.com", "comment"),
            ("ann\\@example.com", "not allowed"),
            ("ann@exa\nmple.com", "control"),
            ("ann\u{200b}@example.com", "U+200B"),
            ("ann@example.com\u{feff}", "U+FEFF"),
            ("ann@exam\u{ad}ple.com", "U+00AD"),
            ("\u{202e}ann@example.com", "U+202E"),
            ("ann\u{a0}@example.com", "U+00A0"),
            ("ann@example.com\u{a0}", "U+00A0"),
            ("ann\u{e0061}@example.com", "U+E0061"),
            ("ann@exam\u{200d}ple.com", "U+200D"),
            (long_local.as_str(), "64"),
            (long_label.as_str(), "63"),
            (long_domain.as_str(), "domain"),
            (long.as_str(), "254"),
        ] {
            let reason = Mailbox::parse(text).expect_err(text);
            assert!(reason.contains(word), "{text:?}: {reason}");
        }
        for text in [
            "ann@example.com",
            "o'brien@example.com",
            "a_b-c+d=e@sub-domain.example.com",
            "root@localhost",
            "ann@r3---sn.example.com",
            "ann@1-800.example",
            "用户@例え.example",
            "a/b{c}|d~!#$%&*?^`@example.com",
        ] {
            assert!(Mailbox::parse(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn an_old_row_is_brought_into_the_form_that_can_be_sent_to() {
        assert_eq!(
            repaired("zw@example.com\u{200b}").as_deref(),
            Some("zw@example.com")
        );
        assert_eq!(
            repaired("info@bücher.example").as_deref(),
            Some("info@xn--bcher-kva.example")
        );
        assert_eq!(repaired("\"john doe\"@example.com"), None);
        assert_eq!(readable("info@xn--bcher-kva.example"), "info@bücher.example");
        assert_eq!(readable("Ann@example.com"), "Ann@example.com");
    }
}
