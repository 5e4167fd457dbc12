//! The URL of a database: its credentials, and the form in which it may be shown.

use url::Url;

use crate::base::text::one_line;

/// The URL parameter that says that the password is missing on purpose.
pub(super) const PASSWORDLESS: &str = "passwordless";

/// Returns the URL in a form that may be shown. The password and the value of every parameter are replaced
/// with `***`.
pub fn shown_url(url: &str) -> String {
    let Ok(mut parsed) = Url::parse(url) else {
        return "***".to_owned();
    };
    if parsed.password().is_some() && parsed.set_password(Some("***")).is_err() {
        return "***".to_owned();
    }
    if parsed.query().is_some() {
        let names: Vec<String> = parsed.query_pairs().map(|(name, _)| name.into_owned()).collect();
        let masked: Vec<String> = names.iter().map(|name| format!("{name}=***")).collect();
        parsed.set_query(Some(&masked.join("&")));
    }
    parsed.to_string()
}

/// Returns the URL without the parameter that says that the password is missing on purpose.
///
/// # Errors
/// A sentence, if the user or the password is missing. Without them, the client library would sign in as the
/// operating system user of Candor.
pub(super) fn with_credentials(url: &Url) -> Result<Url, String> {
    let mut on_purpose = false;
    let mut user = !url.username().is_empty();
    let mut password = url.password().is_some_and(|password| !password.is_empty());
    for (name, value) in url.query_pairs() {
        match &*name {
            PASSWORDLESS if value == "yes" => on_purpose = true,
            PASSWORDLESS => {
                return Err(format!(
                    "has the parameter {PASSWORDLESS}, whose only allowed value is `yes`"
                ));
            }
            "user" => user |= !value.is_empty(),
            "password" => password |= !value.is_empty(),
            _ => {}
        }
    }
    if !user {
        return Err("has no user; without one, Candor would sign in as the user that it runs as".to_owned());
    }
    if !password && !on_purpose {
        return Err(format!(
            "has no password; give the user one, or add {PASSWORDLESS}=yes where the database asks for none"
        ));
    }
    // The rest of the query stays unchanged, because in libpq a plus sign does not mean a space.
    let rest: Vec<&str> = url
        .query()
        .unwrap_or_default()
        .split('&')
        .filter(|part| !part.is_empty() && part.split('=').next() != Some(PASSWORDLESS))
        .collect();
    let rest = rest.join("&");
    let mut url = url.clone();
    url.set_query((!rest.is_empty()).then_some(&rest));
    Ok(url)
}

/// Removes the password from an error, because a server may repeat what it got.
pub(super) fn without_password(url: &str, reason: &str) -> String {
    let mut reason = one_line(reason, 600);
    let secrets = Url::parse(url).ok().and_then(|parsed| {
        let written = parsed.password()?.to_owned();
        let meant = percent_decoded(&written);
        Some([written, meant])
    });
    for secret in secrets.iter().flatten().filter(|secret| !secret.is_empty()) {
        reason = reason.replace(secret.as_str(), "***");
    }
    reason
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let code = (*first == b'%')
            .then(|| tail.get(..2))
            .flatten()
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match code {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
