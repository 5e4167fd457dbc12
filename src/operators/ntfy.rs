//! The URL of an ntfy webhook.

use url::Url;

/// Returns the topic in the URL of an ntfy webhook, and the URL to publish to.
///
/// # Errors
/// A sentence for the caller that says what is wrong.
pub(super) fn ntfy_topic(url: &Url) -> Result<(String, Url), String> {
    let wrong = "must be the URL of a topic, such as https://ntfy.sh/our-incidents";
    let path = url.path().trim_end_matches('/');
    let (before, topic) = path.rsplit_once('/').ok_or(wrong)?;
    let fits = (1..=64).contains(&topic.len())
        && topic
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if !fits {
        return Err(wrong.to_owned());
    }
    let mut base = url.clone();
    base.set_path(&format!("{before}/"));
    Ok((topic.to_owned(), base))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_the_last_of_the_path() {
        let topic =
            |text: &str| ntfy_topic(&Url::parse(text).unwrap()).map(|(topic, url)| (topic, url.to_string()));
        assert_eq!(
            topic("https://ntfy.sh/our-incidents"),
            Ok(("our-incidents".to_owned(), "https://ntfy.sh/".to_owned()))
        );
        assert_eq!(
            topic("https://x.example/ntfy/ops_1/?auth=abc"),
            Ok(("ops_1".to_owned(), "https://x.example/ntfy/?auth=abc".to_owned()))
        );
        for wrong in [
            "https://ntfy.sh",
            "https://ntfy.sh/",
            "https://ntfy.sh/a%20b",
            "https://ntfy.sh/a/b.c",
        ] {
            assert!(topic(wrong).is_err(), "{wrong}");
        }
    }
}
