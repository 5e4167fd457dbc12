//! Chooses the language of a page for customers from its request: the query parameter `lang`, then the header `Accept-Language`.
//!
//! A page about one person uses the language of the person unless the request has `lang`.

use actix_web::HttpRequest;
use actix_web::http::header::ACCEPT_LANGUAGE;

use crate::base::language::Language;

/// The largest number of languages of a header that are looked at. A browser sends fewer.
const MOST: usize = 32;

/// Returns the language that a request asks for: that of its query parameter `lang`, or else the first language of its header
/// `Accept-Language` that there are texts in, or else `default`. A language that is not known is ignored.
pub fn of_request(req: &HttpRequest, default: Language) -> Language {
    asked(req).or_else(|| accepted(req)).unwrap_or(default)
}

/// Returns the language that the query parameter `lang` of a request names, such as `?lang=de` or `?lang=pt-BR`.
pub fn asked(req: &HttpRequest) -> Option<Language> {
    url::form_urlencoded::parse(req.query_string().as_bytes())
        .find(|(name, _)| name == "lang")
        .and_then(|(_, tag)| Language::of_tag(&tag))
}

fn accepted(req: &HttpRequest) -> Option<Language> {
    let headers = req.headers().get_all(ACCEPT_LANGUAGE);
    let texts: Vec<&str> = headers.filter_map(|value| value.to_str().ok()).collect();
    preferred(&texts.join(","))
}

/// Returns the language that the value of `Accept-Language` prefers. Of languages with the same weight, the first one counts.
fn preferred(accepted: &str) -> Option<Language> {
    let mut best: Option<(f32, Language)> = None;
    for part in accepted.split(',').take(MOST) {
        let mut parts = part.split(';');
        let tag = parts.next().unwrap_or_default().trim();
        let weight = parts.find_map(|parameter| parameter.trim().strip_prefix("q="));
        let weight = match weight.map(|weight| weight.trim().parse::<f32>()) {
            None => 1.0,
            Some(Ok(weight)) if (0.0..=1.0).contains(&weight) => weight,
            Some(_) => continue,
        };
        let Some(language) = Language::of_tag(tag) else {
            continue;
        };
        if weight > 0.0 && best.is_none_or(|(most, _)| weight > most) {
            best = Some((weight, language));
        }
    }
    best.map(|(_, language)| language)
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn the_heaviest_known_language_counts() {
        for (accepted, expected) in [
            ("de", Some(Language::De)),
            ("nl, fr;q=0.8, de;q=0.9", Some(Language::De)),
            ("pt-BR,pt;q=0.9,en;q=0.8", Some(Language::Pt)),
            ("ja;q=0, sw;q=0.1", Some(Language::Sw)),
            ("de;q=2, ar;q=0.2", Some(Language::Ar)),
            ("de;q=NaN, es ; q=0.3", Some(Language::Es)),
            ("*, nl", None),
            ("", None),
        ] {
            assert_eq!(preferred(accepted), expected, "{accepted}");
        }
    }

    #[test]
    fn the_parameter_wins_over_the_header() {
        let request = |uri: &str| {
            TestRequest::with_uri(uri)
                .insert_header((ACCEPT_LANGUAGE, "fr"))
                .to_http_request()
        };
        assert_eq!(
            of_request(&request("/status?a=1&lang=ar"), Language::En),
            Language::Ar
        );
        assert_eq!(
            of_request(&request("/status?lang=xx"), Language::En),
            Language::Fr
        );
        assert_eq!(of_request(&request("/status"), Language::En), Language::Fr);
        let bare = TestRequest::with_uri("/status").to_http_request();
        assert_eq!(of_request(&bare, Language::De), Language::De);
    }
}
