//! The text of a short message (SMS), and the number of segments that a network sends it in. A network bills each segment.
//!
//! A text of the characters of GSM 03.38 has 160 septets in one segment, or 153 in each of several. Any other text is sent as UTF-16 and
//! has 70 code units in one segment, or 67 in each of several. So typographic characters are replaced with plain ones where a plain one
//! exists: a single curly quote would halve the room.
//!
//! This module does no I/O.

use super::endpoint_message::Message;

/// The characters of GSM 03.38 that take one septet.
const BASIC: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
/// The characters that take two septets, of which the first is an escape.
const EXTENDED: &str = "\u{c}^{}\\[~]|€";
/// The septets of a single segment, and of each of several.
const GSM: (usize, usize) = (160, 153);
/// The UTF-16 code units of a single segment, and of each of several.
const UNICODE: (usize, usize) = (70, 67);
/// What stands where a text was cut. The ellipsis itself is no character of GSM 03.38.
const CUT: &str = "...";

/// Returns the number of septets of a character. `None` if GSM 03.38 does not have it.
fn septets(c: char) -> Option<usize> {
    if BASIC.contains(c) {
        Some(1)
    } else if EXTENDED.contains(c) {
        Some(2)
    } else {
        None
    }
}

/// Returns the number of segments of a text. A character is never divided between two segments.
pub fn segments(text: &str) -> usize {
    let gsm: Option<Vec<usize>> = text.chars().map(septets).collect();
    match gsm {
        Some(sizes) => packed(&sizes, GSM),
        None => packed(&text.chars().map(char::len_utf16).collect::<Vec<_>>(), UNICODE),
    }
}

fn packed(sizes: &[usize], (single, each): (usize, usize)) -> usize {
    if sizes.iter().sum::<usize>() <= single {
        return 1;
    }
    let (mut segments, mut used) = (1, 0);
    for size in sizes {
        if used + size > each {
            segments += 1;
            used = 0;
        }
        used += size;
    }
    segments
}

/// Replaces typographic characters with plain ones, and removes the marks that only tell a program how to show a text.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '‘' | '’' | '‚' | '′' => plain.push('\''),
            '“' | '”' | '„' | '″' => plain.push('"'),
            '‐' | '‑' | '‒' | '–' | '—' | '−' | '•' => plain.push('-'),
            '…' => plain.push_str(CUT),
            '\u{a0}' | '\u{2009}' | '\u{202f}' | '\t' => plain.push(' '),
            '\u{ad}' | '\u{200b}' | '\u{2060}' | '\u{feff}' | '\r' => {}
            c => plain.push(c),
        }
    }
    plain
}

/// Returns the text of a short message in at most `most` segments: the sender and the title, what the customer must know and do, and the
/// link. What does not fit is cut from the message of the operator first, and then from the title. The link is never cut.
pub fn text(sender: &str, message: &Message, link: Option<&str>, most: usize) -> String {
    let head = plain(&format!("{sender}: {}", message.title));
    let mut paragraphs: Vec<String> = message.facts[..message.essential].to_vec();
    let lines: Vec<&str> = message
        .text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    paragraphs.push(lines.join("\n"));
    let body = plain(&paragraphs.join("\n"));
    let end = link.map(|link| format!("\n{link}")).unwrap_or_default();
    let whole = |head: &str, body: &str| match body.is_empty() {
        true => format!("{head}{end}"),
        false => format!("{head}\n{body}{end}"),
    };
    let fits = |text: &str| segments(text) <= most;
    longest(&body, |body| fits(&whole(&head, body)))
        .map(|body| whole(&head, &body))
        .or_else(|| longest(&head, |head| fits(&whole(head, ""))).map(|head| whole(&head, "")))
        .unwrap_or_else(|| whole("", "").trim_start().to_owned())
}

/// Returns the longest beginning of a text that fits, with a mark if it was cut. `None` if not even an empty text fits.
fn longest(text: &str, fits: impl Fn(&str) -> bool) -> Option<String> {
    if fits(text) {
        return Some(text.to_owned());
    }
    let ends: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
    let cut = |end: usize| match end {
        0 => String::new(),
        end => format!("{}{CUT}", text[..end].trim_end()),
    };
    // A longer beginning never has fewer segments.
    let fitting = ends.partition_point(|end| fits(&cut(*end)));
    fitting.checked_sub(1).map(|last| cut(ends[last]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::notice::endpoint_message::Mood;

    fn message(title: &str, text: &str, facts: &[&str]) -> Message {
        Message {
            title: title.to_owned(),
            text: text.to_owned(),
            facts: facts.iter().map(|fact| (*fact).to_owned()).collect(),
            essential: facts.len(),
            mood: Mood::Affected,
        }
    }

    #[test]
    fn segments_are_counted_as_networks_bill_them() {
        for (text, count) in [
            ("a".repeat(160), 1),
            ("a".repeat(161), 2),
            ("a".repeat(306), 2),
            ("a".repeat(307), 3),
            ("€".repeat(80), 1),
            ("€".repeat(81), 2),
            // The two septets of a character stay together: 76 of them fill a segment of 153.
            ("€".repeat(152), 2),
            ("€".repeat(153), 3),
            ("ß".repeat(160), 1),
            ("ê".repeat(70), 1),
            ("ê".repeat(71), 2),
            ("障".repeat(134), 2),
            ("障".repeat(135), 3),
            ("😀".repeat(35), 1),
            ("😀".repeat(36), 2),
            // A surrogate pair stays together: 33 of them fill a segment of 67.
            ("😀".repeat(66), 2),
            ("😀".repeat(67), 3),
            (String::new(), 1),
        ] {
            assert_eq!(
                segments(&text),
                count,
                "{} times {:?}",
                text.chars().count(),
                text.chars().next()
            );
        }
    }

    #[test]
    fn the_message_of_the_operator_is_cut_and_the_link_is_not() {
        let link = "https://status.example.com/answers/12.abcdefghijklmnop";
        let long = message(
            "Incident #3",
            &"We are working on it. ".repeat(40),
            &["You must log in again."],
        );
        let text = text("Quickbyte", &long, Some(link), 2);
        assert!(
            text.starts_with("Quickbyte: Incident #3\nYou must log in again.\nWe are"),
            "{text}"
        );
        assert!(text.ends_with(&format!("...\n{link}")), "{text}");
        assert_eq!(segments(&text), 2);
        let short = message("Incident #3", "It’s “slow” – sorry…", &[]);
        let text = super::text("Quickbyte", &short, Some(link), 2);
        assert_eq!(
            text,
            format!("Quickbyte: Incident #3\nIt's \"slow\" - sorry...\n{link}")
        );
        assert_eq!(segments(&text), 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn a_text_never_has_more_segments_than_allowed(
            title in ".{0,140}", words in ".{0,2000}", action in ".{0,500}", most in 1_usize..6,
        ) {
            let link = "https://status.example.com/answers/12.abcdefghijklmnop";
            let text = text("Quickbyte", &message(&title, &words, &[&action]), Some(link), most);
            prop_assert!(segments(&text) <= most, "{} segments: {text}", segments(&text));
            prop_assert!(text.ends_with(link));
        }
    }
}
