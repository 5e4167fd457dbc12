//! The checkpoint in an email of Candor, as a customer has it. The mailbox of a customer is a witness that the owner of the database
//! cannot change: the trail of today must begin with exactly the events that it had when the email was sent.
//!
//! The DKIM signature of the email is not verified here, because this needs the key of the domain at that time. Whoever doubts the
//! email verifies it with other tools.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use super::checkpoint::Checkpoint;
use super::time_stamp::Trust;
use super::whole::{Verification, verify_with};
use crate::base::error::{Error, Result};
use crate::base::mime::with_line_feeds;
use crate::base::text::one_line;
use crate::db::Db;

/// The header with the checkpoint, in lower case.
const HEADER: &str = "candor-audit";
/// The largest size of the headers of an email, in bytes.
const MAX_HEADERS: usize = 1024 * 1024;

/// What an email says about the trail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct MailedCheckpoint {
    /// The name of the installation that sent the email.
    pub origin: String,
    /// The number of events that the trail had then.
    pub size: i64,
    /// The root of the tree over these events, in base64.
    pub root: String,
    /// The date in the email.
    pub date: Option<String>,
    /// The domains whose DKIM signatures cover the checkpoint. The signatures themselves are not verified here.
    pub signed_for: Vec<String>,
}

/// The result of a verification with an email.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct MailVerification {
    /// Whether the trail is intact and begins with exactly the events that it had when the email was sent.
    pub ok: bool,
    /// What the email says.
    pub mail: MailedCheckpoint,
    /// Whether the trail of today begins with the events that the email names.
    pub contained: bool,
    /// Why it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The verification of the trail itself.
    pub trail: Verification,
}

/// Verifies the trail, and that it begins with the events that an email names.
///
/// # Errors
/// `Invalid` if the bytes are not an email of Candor with a checkpoint, an error of the database.
pub async fn verify_mail(db: &Db, trust: Option<Trust>, raw: &[u8]) -> Result<MailVerification> {
    let (checkpoint, mail) = read(raw).map_err(|detail| Error::invalid("", detail))?;
    let verified = verify_with(db, trust, vec![checkpoint.size]).await?;
    let trail = verified.verification;
    let root = verified.roots.get(&checkpoint.size);
    let reason = match root {
        Some(root) if *root == checkpoint.root => None,
        Some(_) => Some(format!(
            "the first {} events are not the ones that the trail had when the email was sent: history was rewritten, or the email \
             is not from this installation",
            checkpoint.size
        )),
        None if trail.ok => Some(format!(
            "the trail had {} events when the email was sent, and has only {} now: events were removed, or the database was \
             restored from an older backup, or the email is not from this installation",
            checkpoint.size, trail.events
        )),
        None => Some(format!(
            "the trail is broken before event {}, so it cannot be compared with the email",
            checkpoint.size
        )),
    };
    Ok(MailVerification {
        ok: trail.ok && reason.is_none(),
        mail,
        contained: reason.is_none(),
        reason,
        trail,
    })
}

/// Reads the checkpoint of an email.
///
/// # Errors
/// A sentence that says why there is none.
pub fn read(raw: &[u8]) -> std::result::Result<(Checkpoint, MailedCheckpoint), String> {
    let headers = headers(raw)?;
    let named = |name: &str| -> Vec<&str> {
        headers
            .iter()
            .filter(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
            .collect()
    };
    let mut found = named(HEADER);
    // The signature covers the last one, and a server may have copied it.
    found.dedup();
    let value = match found[..] {
        [value] => value,
        [] => {
            return Err("the email has no header Candor-Audit; give the original email as a file (.eml), not a forwarded one".to_owned());
        }
        _ => {
            return Err(
                "the email has several headers Candor-Audit that differ, so it was changed".to_owned(),
            );
        }
    };
    let checkpoint =
        Checkpoint::parse_header(value).map_err(|reason| format!("the header Candor-Audit {reason}"))?;
    let mail = MailedCheckpoint {
        origin: checkpoint.origin.clone(),
        size: checkpoint.size,
        root: STANDARD.encode(checkpoint.root),
        date: named("date").first().map(|date| one_line(date, 100)),
        signed_for: named("dkim-signature")
            .into_iter()
            .filter_map(signed_for)
            .collect(),
    };
    Ok((checkpoint, mail))
}

/// Returns the domain of a DKIM signature that covers the checkpoint.
fn signed_for(signature: &str) -> Option<String> {
    let tag = |name: &str| {
        signature.split(';').find_map(|tag| {
            let (known, value) = tag.split_once('=')?;
            (known.trim() == name).then(|| value.split_whitespace().collect::<String>())
        })
    };
    let covers = tag("h")?
        .split(':')
        .any(|header| header.eq_ignore_ascii_case(HEADER));
    covers.then(|| tag("d")).flatten()
}

/// Returns the headers of an email, with names in lower case and without folds.
fn headers(raw: &[u8]) -> std::result::Result<Vec<(String, String)>, String> {
    let raw = raw.strip_prefix(b"\xef\xbb\xbf").unwrap_or(raw);
    let text = with_line_feeds(&raw[..raw.len().min(MAX_HEADERS)]);
    let text = String::from_utf8_lossy(&text);
    let mut headers: Vec<(String, String)> = Vec::new();
    for (number, line) in text.split('\n').enumerate() {
        // A file of a mailbox begins with a line of its own.
        if number == 0 && line.starts_with("From ") {
            continue;
        }
        if line.is_empty() {
            break;
        }
        if line.starts_with([' ', '\t']) {
            let Some((_, value)) = headers.last_mut() else {
                return Err("the file is not an email: it begins with a space".to_owned());
            };
            value.push(' ');
            value.push_str(line.trim());
            continue;
        }
        let Some((name, value)) = line.split_once(':') else {
            return Err("the file is not an email: its first lines are not headers".to_owned());
        };
        headers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
    }
    if headers.is_empty() {
        return Err("the file is empty".to_owned());
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

    #[test]
    fn the_checkpoint_of_an_email_is_read() {
        let mail = format!(
            "Return-Path: <>\r\nDKIM-Signature: v=1; a=ed25519-sha256; d=example.com;\r\n\ts=x; h=from:from:\r\n\tcandor-audit;\r\n\tbh=x; b=y\r\n\
             DKIM-Signature: v=1; d=relay.example; h=from; b=z\r\nDate: Mon, 30 Nov 2026 03:00:00 +0000\r\n\
             candor-AUDIT: candor.example.com 12\r\n {ROOT}\r\nFrom: a@example.com\r\n\r\nCandor-Audit: other 1 {ROOT}\r\n"
        );
        let (checkpoint, shown) = read(mail.as_bytes()).unwrap();
        assert_eq!(
            (checkpoint.origin.as_str(), checkpoint.size),
            ("candor.example.com", 12)
        );
        assert_eq!(checkpoint.root, [1; 32]);
        assert_eq!(shown.signed_for, ["example.com"]);
        assert_eq!(shown.date.as_deref(), Some("Mon, 30 Nov 2026 03:00:00 +0000"));
        let unix = mail.replace("\r\n", "\n");
        assert_eq!(read(unix.as_bytes()).unwrap().0, checkpoint);
        assert_eq!(read(format!("From x\n{unix}").as_bytes()).unwrap().0, checkpoint);
    }

    #[test]
    fn what_has_no_checkpoint_says_so() {
        for (text, part) in [
            ("", "empty"),
            ("no header", "not headers"),
            (" folded: x\n", "space"),
            ("From: a@example.com\n\nCandor-Audit: in the body", "no header"),
            ("Candor-Audit: x\n\n", "ORIGIN SIZE ROOT"),
            ("Candor-Audit: a 1 x\nCandor-Audit: a 2 x\n\n", "differ"),
        ] {
            let reason = read(text.as_bytes()).unwrap_err();
            assert!(reason.contains(part), "{text}: {reason}");
        }
        // Bytes that are no text end in a reason too.
        assert!(read(&[0xff, b'\n', 0]).is_err());
    }
}
