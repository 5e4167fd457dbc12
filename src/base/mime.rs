//! Reads emails from unknown senders, with limits that apply before the parser starts.
//!
//! `mail_parser` handles nested parts with its own list and without recursion. Only two things recurse with
//! the depth of an email: messages that are themselves encoded, and dropping the parsed message. Encoded
//! messages are not decoded here, and the parsed message is dropped level by level. So no email can overflow
//! the stack.

use mail_parser::{Message, MessageParser, PartType};

/// The depth up to which messages inside messages are kept. Deeper messages are left out.
pub const DEPTH: usize = 8;

/// Parses an email and passes it to `read`. Messages deeper than [`DEPTH`] are left out. A message that is
/// encoded as base64 or quoted-printable inside another one is not decoded (RFC 2046, section 5.2.1 forbids
/// that encoding). The line ends are normalised first (see [`with_line_feeds`]). Returns `None` if the bytes are not an email.
pub fn with_mail<T>(raw: &[u8], read: impl FnOnce(&Message<'_>) -> T) -> Option<T> {
    let text = without_encoded_messages(with_line_feeds(raw));
    let mut message = MessageParser::default().parse(text.as_slice())?;
    cut(&mut message, 0);
    Some(read(&message))
}

/// Returns the same bytes with a line feed as the end of each line. A carriage return, alone or with a line feed after it, is
/// a line end.
pub fn with_line_feeds(raw: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(raw.len());
    let mut bytes = raw.iter().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\r' => {
                bytes.next_if(|next| **next == b'\n');
                text.push(b'\n');
            }
            byte => text.push(*byte),
        }
    }
    text
}

/// Removes the messages that are deeper than [`DEPTH`].
fn cut(message: &mut Message<'_>, depth: usize) {
    for part in &mut message.parts {
        if let PartType::Message(inner) = &mut part.body {
            if depth < DEPTH {
                cut(inner, depth + 1);
            } else {
                release(std::mem::take(inner));
            }
        }
    }
}

/// Drops a message level by level. The default drop would recurse once for each level.
fn release(message: Message<'_>) {
    let mut open = vec![message];
    while let Some(message) = open.pop() {
        open.extend(message.parts.into_iter().filter_map(|part| match part.body {
            PartType::Message(inner) => Some(inner),
            _ => None,
        }));
    }
}

/// The media types whose encoded parts are not parsed as messages.
const LEAVES: [&[u8]; 10] = [
    b"text/",
    b"image/",
    b"audio/",
    b"video/",
    b"application/",
    b"multipart/",
    b"message/delivery-status",
    b"message/global-delivery-status",
    b"message/feedback-report",
    b"message/global-headers",
];

/// Returns the email without the encoding of parts that may be messages.
///
/// This check treats more text as headers than the parser does. It looks at every block of lines without an
/// empty line, and the headers of a part never continue after an empty line.
fn without_encoded_messages(raw: Vec<u8>) -> Vec<u8> {
    let mut out = raw.clone();
    let mut blocks: Vec<std::ops::Range<usize>> = Vec::new();
    let mut start = 0;
    for line in raw.split_inclusive(|byte| *byte == b'\n') {
        let end = start + line.len();
        if line.trim_ascii().is_empty() {
            start = end;
            blocks.push(start..start);
            continue;
        }
        match blocks.last_mut() {
            Some(block) if block.end == start => block.end = end,
            _ => blocks.push(start..end),
        }
        start = end;
    }
    // A part of a digest is a message even if it has no content type.
    let digests = blocks.iter().any(|block| {
        let block = &raw[block.clone()];
        contains(block, b"content-type") && contains(block, b"digest")
    });
    for block in blocks {
        let lines = &raw[block.clone()];
        if !contains(lines, b"transfer-encoding") || is_leaf(lines, digests) {
            continue;
        }
        let mut at = block.start;
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            if let Some(found) = find(line, b"transfer-encoding") {
                out[at + found] = b'x';
            }
            at += line.len();
        }
    }
    out
}

/// Returns whether a part with these headers is certainly not a message.
fn is_leaf(lines: &[u8], digests: bool) -> bool {
    let mut types = lines
        .split(|byte| *byte == b'\n')
        .filter(|line| contains(line, b"content-type"));
    match (types.next(), types.next()) {
        (None, _) => !digests,
        (Some(line), None) => {
            line.get(..13)
                .is_some_and(|name| name.eq_ignore_ascii_case(b"content-type:"))
                && LEAVES.iter().any(|leaf| {
                    let value = line[13..].trim_ascii_start();
                    value
                        .get(..leaf.len())
                        .is_some_and(|start| start.eq_ignore_ascii_case(leaf))
                })
        }
        _ => false,
    }
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    find(text, word).is_some()
}

/// Returns the first position of a word that is given in lower case. The case of letters does not matter.
fn find(text: &[u8], word: &[u8]) -> Option<usize> {
    text.windows(word.len())
        .position(|window| window.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    /// Reads an email in a thread with a small stack. An overflow would end the whole test run.
    fn reads(raw: Vec<u8>) -> usize {
        std::thread::Builder::new()
            .stack_size(512 * 1024)
            .spawn(move || with_mail(&raw, |message| message.parts.len()).unwrap_or(0))
            .unwrap()
            .join()
            .unwrap()
    }

    const LEVEL: &str = "Content-Type: message/rfc822\n\n";

    #[test]
    fn any_depth_of_nested_messages_is_read() {
        let deep = |level: &str, times: usize| format!("From: a@example.com\n{}", level.repeat(times));
        assert!(reads(deep(LEVEL, 400_000).into_bytes()) > 0);
        assert!(reads(deep("Content-Type: message/global\n\n", 100_000).into_bytes()) > 0);
        let folded = "Content-Type:\n message/rfc822\nSubject: x\n\n";
        assert!(reads(deep(folded, 100_000).into_bytes()) > 0);
        let multipart = "Content-Type: multipart/mixed; boundary=b\n\n--b\n";
        assert!(reads(deep(multipart, 20_000).into_bytes()) > 0);
        let digest = "Content-Type: multipart/digest; boundary=b\n\n--b\n\n";
        assert!(reads(deep(digest, 20_000).into_bytes()) > 0);
        let both = "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: message/rfc822\n\n";
        assert!(reads(deep(both, 20_000).into_bytes()) > 0);
    }

    #[test]
    fn an_encoded_message_is_not_taken_apart() {
        let inner = LEVEL.repeat(40_000);
        for headers in [
            "Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n",
            "Content-Transfer-Encoding: BASE64\nContent-Type: text/plain\nContent-Type: message/rfc822\n",
            "Content-Transfer-Encoding: base64\nContent-Type:\n message/global\n",
            "content-transfer-encoding:\n base64\ncontent-type : message/rfc822\n",
        ] {
            let mail = format!("From: a@example.com\n{headers}\n{}\n", STANDARD.encode(&inner));
            assert!(reads(mail.into_bytes()) > 0, "{headers}");
        }
        let quoted = inner.replace('=', "=3D").replace('C', "=43");
        let mail = format!(
            "Content-Type: message/rfc822\nContent-Transfer-Encoding: quoted-printable\n\n{quoted}\n"
        );
        assert!(reads(mail.into_bytes()) > 0);
        let digest = format!(
            "Content-Type: multipart/digest; boundary=b\n\n--b\nContent-Transfer-Encoding: base64\n\n{}\n--b--\n",
            STANDARD.encode(&inner)
        );
        assert!(reads(digest.into_bytes()) > 0);
    }

    #[test]
    fn lines_end_in_any_way() {
        for (raw, expected) in [
            (&b"a\r\nb\rc\nd"[..], &b"a\nb\nc\nd"[..]),
            (b"\r\r\n\n\r", b"\n\n\n\n"),
            (b"", b""),
        ] {
            assert_eq!(with_line_feeds(raw), expected);
        }
        for end in ["\n", "\r\n", "\r"] {
            let mail = "From: a@example.com\nSubject: S\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nhello\n--b--\n";
            let mail = mail.replace('\n', end);
            let read = with_mail(mail.as_bytes(), |message| {
                let text = message.body_text(0).map(|text| text.trim().to_owned());
                (message.subject().map(str::to_owned), text)
            });
            let expected = (Some("S".to_owned()), Some("hello".to_owned()));
            assert_eq!(read, Some(expected), "{end:?}");
            // An encoded message is found behind any line end.
            let inner = LEVEL.repeat(40_000).replace('\n', end);
            let deep = format!(
                "From: a@example.com{end}Content-Type: message/rfc822{end}Content-Transfer-Encoding: base64{end}{end}{}{end}",
                STANDARD.encode(&inner)
            );
            assert!(reads(deep.into_bytes()) > 0, "{end:?}");
        }
    }

    #[test]
    fn texts_and_reports_are_decoded() {
        let mail = format!(
            "From: a@example.com\nContent-Type: text/plain\nContent-Transfer-Encoding: base64\n\n{}\n",
            STANDARD.encode("hello")
        );
        let text = with_mail(mail.as_bytes(), |message| {
            message.body_text(0).map(|text| text.into_owned())
        });
        assert_eq!(text.flatten().as_deref(), Some("hello"));
        let inner = with_mail(
            b"From: a@example.com\nContent-Type: message/rfc822\n\nSubject: inner\n\nx\n",
            |message| {
                message.parts.iter().any(
                    |part| matches!(&part.body, PartType::Message(inner) if inner.subject() == Some("inner")),
                )
            },
        );
        assert_eq!(inner, Some(true));
    }
}
