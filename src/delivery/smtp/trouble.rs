//! Whether a temporary rejection is about the mail server itself, so that another mail server may accept the email.

/// Returns whether a temporary rejection (4xx) is about the mail server and not about the mailbox or the message. The
/// enhanced status code (RFC 3463) says it: its subject 3 is the mail system. Without one, `otherwise` is returned, which
/// depends on the command.
pub(super) fn is_of_the_server(code: u16, reply: &str, otherwise: bool) -> bool {
    // 421 says that the server closes the connection.
    if code == 421 {
        return true;
    }
    let subject = reply.split_whitespace().find_map(|word| {
        let mut parts = word.split('.');
        let (class, subject, detail) = (parts.next()?, parts.next()?, parts.next()?);
        let is_number = |part: &str| part.len() <= 3 && part.bytes().all(|byte| byte.is_ascii_digit());
        (class == "4" && is_number(subject) && is_number(detail) && parts.next().is_none())
            .then(|| subject.parse::<u16>().ok())?
    });
    match subject {
        Some(3) => true,
        // The address, the mailbox, the message, and the policy, which includes greylisting.
        Some(1 | 2 | 6 | 7) => false,
        _ => otherwise,
    }
}

#[cfg(test)]
mod tests {
    use super::is_of_the_server;

    #[test]
    fn the_enhanced_code_decides() {
        for (code, reply, otherwise, about_server) in [
            (421, "421 4.3.2 shutting down", false, true),
            (421, "421 too many connections", false, true),
            (
                451,
                "451 4.3.0 mail server temporarily rejected message",
                false,
                true,
            ),
            (452, "452 4.3.1 insufficient system storage", false, true),
            (452, "452 4.2.2 mailbox full", true, false),
            (
                451,
                "451 4.7.1 greylisted, come back in 4.3.0 minutes",
                true,
                false,
            ),
            (450, "450 mailbox busy", false, false),
            (451, "451 local error", true, true),
            (451, "451 see 10.4.3.1 or 4.3", false, false),
        ] {
            assert_eq!(is_of_the_server(code, reply, otherwise), about_server, "{reply}");
        }
    }
}
