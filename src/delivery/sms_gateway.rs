//! The HTTP gateway that sends short messages (SMS): its URL, its headers, and the template of the request.
//!
//! The template has `{{to}}` (the number in the form of E.164, with `+`), `{{text}}`, `{{from}}` (the name of the sender) and `{{id}}`, which
//! is the same in every attempt. A template that begins with `{` is JSON, and any other one is a form. Each value is escaped for the format,
//! so that no text can become another field.

use handlebars::Handlebars;
use hyper::header::{HeaderName, HeaderValue};
use serde::Serialize;
use serde_json::Value;

use crate::base::error::{Error, Result};
use crate::egress::Policy;
use crate::egress::check_url;

/// The template of a request without a setting.
pub const BODY: &str = r#"{"to": "{{to}}", "text": "{{text}}", "id": "{{id}}"}"#;
/// The largest size of a template, in bytes.
const MAX_BODY: usize = 10_000;
/// The largest number of headers.
const MAX_HEADERS: usize = 20;

/// What stands in one request.
#[derive(Clone, Debug, Serialize)]
pub struct SmsRequest<'a> {
    /// The number, such as `+254700123456`.
    pub to: &'a str,
    /// The text of the message.
    pub text: &'a str,
    /// The name of the sender.
    pub from: &'a str,
    /// The ID of the message, which is the same in every attempt.
    pub id: &'a str,
}

/// The format of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Json,
    Form,
}

/// A gateway for short messages. Its text for logs has neither its URL nor its headers.
#[derive(Clone)]
pub struct SmsGateway {
    url: String,
    headers: Vec<(String, String)>,
    template: Handlebars<'static>,
    format: Format,
}

impl std::fmt::Debug for SmsGateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SmsGateway")
            .field("format", &self.format)
            .finish_non_exhaustive()
    }
}

impl SmsGateway {
    /// Makes a gateway of the settings. `headers` has one `Name: value` on each line.
    ///
    /// # Errors
    /// The name of the wrong setting, and a sentence that contains no value of it.
    pub fn new(url: &str, headers: &str, body: &str) -> std::result::Result<Self, (&'static str, String)> {
        // The operator sets the URL, so it may be a server in the own network.
        let url = check_url(url, Policy::Private).map_err(|reason| ("sms_url", reason))?;
        let headers = parsed_headers(headers).map_err(|reason| ("sms_headers", reason))?;
        let wrong = |reason: String| ("sms_body", reason);
        let format = match body.trim_start().starts_with('{') {
            true => Format::Json,
            false => Format::Form,
        };
        if body.len() > MAX_BODY {
            return Err(wrong(format!("must have at most {MAX_BODY} bytes")));
        }
        let mut template = Handlebars::new();
        template.set_strict_mode(true);
        template.register_escape_fn(match format {
            Format::Json => escaped_for_json,
            Format::Form => escaped_for_form,
        });
        template
            .register_template_string(NAME, body)
            .map_err(|error| wrong(format!("is not a template: {}", error.reason())))?;
        let gateway = SmsGateway {
            url: url.into(),
            headers,
            template,
            format,
        };
        gateway.try_out().map_err(wrong)?;
        Ok(gateway)
    }

    /// Checks that a request has the number and the text, and the right format whatever they contain.
    fn try_out(&self) -> std::result::Result<(), String> {
        let (to, text) = ("+254700000000", "A \"test\" & more\\\nwith=lines");
        let request = SmsRequest {
            to,
            text,
            from: "Candor & \"Co\"",
            id: "msg_1",
        };
        let body = self.body(&request).map_err(|error| {
            format!(
                "cannot be filled in with to, text, from and id: {}",
                error.chain()
            )
        })?;
        let mut values: Vec<String> = Vec::new();
        match self.format {
            Format::Json => {
                let body: Value = serde_json::from_str(&body)
                    .map_err(|error| format!("is not JSON when it is filled in: {error}"))?;
                collect(&body, &mut values);
            }
            Format::Form => {
                let pairs = url::form_urlencoded::parse(body.as_bytes());
                values.extend(pairs.map(|(_, value)| value.into_owned()));
            }
        }
        for (name, value) in [("to", to), ("text", text)] {
            let without_plus = value.trim_start_matches('+');
            if !values.iter().any(|one| one.contains(without_plus)) {
                return Err(format!("must contain {{{{{name}}}}} as the value of a field"));
            }
        }
        Ok(())
    }

    /// Returns the body of a request.
    ///
    /// # Errors
    /// `Internal` if the template asks for something else.
    pub fn body(&self, request: &SmsRequest<'_>) -> Result<String> {
        self.template.render(NAME, request).map_err(Error::internal)
    }

    /// Returns the URL of the gateway.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the headers of a request, with the media type of its body.
    pub fn headers(&self) -> Vec<(&str, &str)> {
        let media = match self.format {
            Format::Json => "application/json",
            Format::Form => "application/x-www-form-urlencoded",
        };
        let own = self
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        std::iter::once(("content-type", media)).chain(own).collect()
    }

    /// Returns a text without the number, and without what the settings keep secret. A server may repeat them in its answer.
    pub fn without_secrets(&self, text: &str, number: &str) -> String {
        let digits = number.trim_start_matches('+');
        let mut hidden: Vec<&str> = vec![&self.url, number, digits];
        for (_, value) in &self.headers {
            hidden.push(value);
            hidden.extend(value.split_whitespace().skip(1));
        }
        let mut text = text.to_owned();
        for part in hidden {
            if part.len() >= SHORTEST_HIDDEN {
                text = text.replace(part, "***");
            }
        }
        text
    }
}

/// The name of the template.
const NAME: &str = "body";
/// The smallest length of a text that is removed from an answer, in bytes. A shorter one is no secret.
const SHORTEST_HIDDEN: usize = 6;

fn collect(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::String(text) => into.push(text.clone()),
        Value::Array(values) => values.iter().for_each(|value| collect(value, into)),
        Value::Object(fields) => fields.values().for_each(|value| collect(value, into)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn parsed_headers(text: &str) -> std::result::Result<Vec<(String, String)>, String> {
    let wrong = "must have one header on each line, such as Authorization: Bearer TOKEN";
    let mut headers = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':').ok_or(wrong)?;
        let name = HeaderName::try_from(name.trim()).map_err(|_| wrong)?;
        let value = value.trim();
        HeaderValue::try_from(value).map_err(|_| wrong)?;
        if value.is_empty() {
            return Err(wrong.to_owned());
        }
        if matches!(
            name.as_str(),
            "host" | "content-length" | "content-type" | "transfer-encoding"
        ) {
            return Err(format!("must not contain {name}, which Candor sets"));
        }
        headers.push((name.to_string(), value.to_owned()));
    }
    if headers.len() > MAX_HEADERS {
        return Err(format!("must have at most {MAX_HEADERS} headers"));
    }
    Ok(headers)
}

fn escaped_for_json(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

fn escaped_for_form(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "https://sms.example.com/v1/messages";

    fn request<'a>(text: &'a str) -> SmsRequest<'a> {
        SmsRequest {
            to: "+254700123456",
            text,
            from: "Quickbyte",
            id: "msg_a_1",
        }
    }

    #[test]
    fn no_text_becomes_another_field() {
        let text = "\",\"to\":\"+1\",\"x\":\"\n&To=+1";
        let json = SmsGateway::new(URL, "", BODY).unwrap();
        let body: Value = serde_json::from_str(&json.body(&request(text)).unwrap()).unwrap();
        assert_eq!(
            body,
            serde_json::json!({"to": "+254700123456", "text": text, "id": "msg_a_1"})
        );
        let form = SmsGateway::new(
            URL,
            "Authorization: Basic abc",
            "To={{to}}&From=+1555&Body={{text}}",
        )
        .unwrap();
        let body = form.body(&request(text)).unwrap();
        let pairs: Vec<(String, String)> = url::form_urlencoded::parse(body.as_bytes())
            .into_owned()
            .collect();
        let to = pairs.iter().filter(|(name, _)| name == "To");
        assert_eq!(
            to.map(|(_, value)| value.as_str()).collect::<Vec<_>>(),
            ["+254700123456"]
        );
        assert_eq!(pairs.last().unwrap().1, text);
        assert!(form.headers().contains(&("authorization", "Basic abc")));
    }

    #[test]
    fn a_wrong_setting_is_named_and_not_repeated() {
        for (url, headers, body, setting, part) in [
            ("ftp://x", "", BODY, "sms_url", ""),
            (URL, "no header", BODY, "sms_headers", "Name"),
            (
                URL,
                "Content-Type: text/plain",
                BODY,
                "sms_headers",
                "content-type",
            ),
            (URL, "", "{\"to\": \"{{to}}\"}", "sms_body", "{{text}}"),
            (URL, "", "Body={{text}}", "sms_body", "{{to}}"),
            (
                URL,
                "",
                "{\"to\": {{to}}, \"text\": \"{{text}}\"",
                "sms_body",
                "JSON",
            ),
            (
                URL,
                "",
                "To={{to}}&Body={{text}}&x={{secret}}",
                "sms_body",
                "filled in",
            ),
            (URL, "", "To={{to}}&Body={{text", "sms_body", "template"),
        ] {
            let (found, reason) = SmsGateway::new(url, headers, body).unwrap_err();
            assert_eq!(found, setting, "{reason}");
            if part != "Name" {
                assert!(reason.contains(part), "{reason}");
            }
        }
    }

    #[test]
    fn an_answer_is_kept_without_the_number_and_the_key() {
        let gateway = SmsGateway::new(URL, "Authorization: Bearer s3cr3ts3cr3t", BODY).unwrap();
        let said = "400 cannot send to +254700123456 (254700123456) with s3cr3ts3cr3t";
        let shown = gateway.without_secrets(said, "+254700123456");
        assert_eq!(shown, "400 cannot send to *** (***) with ***");
    }
}
