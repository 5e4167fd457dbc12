//! The parts of an email that say whether it is a bounce, a complaint or an automatic answer.

use std::sync::LazyLock;

use mail_parser::{HeaderValue, Message, MessageParser, MessagePart, MimeHeaders, PartType};
use regex::Regex;

use crate::base::time::Timestamp;
use crate::feedback::field::bare_address;

/// The depth up to which messages inside messages are read.
const DEPTH: usize = 6;
/// The largest number of recipients of one email that are read.
pub(super) const MAX: usize = 100;

/// The parts of an email that matter here.
#[derive(Default)]
pub(super) struct Mail {
    /// The address of the sender in lower case. The name follows in `from_name`.
    pub(super) from: String,
    from_name: String,
    /// The recipient addresses of the email, in lower case.
    pub(super) to: Vec<String>,
    pub(super) subject: String,
    /// All headers without their own field here. The names are in lower case.
    headers: Vec<(String, String)>,
    /// The `report-type` of multipart/report.
    report_type: String,
    pub(super) date: Option<Timestamp>,
    /// The message/delivery-status parts of the email itself.
    pub(super) status: Vec<String>,
    /// The message/delivery-status parts of messages inside it.
    pub(super) wrapped_status: Vec<String>,
    /// The message/feedback-report parts (RFC 5965), of the email itself and of messages directly inside it.
    pub(super) feedback: Vec<String>,
    /// The texts for people, decoded. HTML is without its tags.
    pub(super) texts: Vec<String>,
    /// The texts of messages inside it.
    pub(super) wrapped_texts: Vec<String>,
    /// The headers and texts of the returned messages.
    pub(super) originals: Vec<String>,
    /// The recipients of the returned messages.
    pub(super) original_to: Vec<String>,
}

impl Mail {
    pub(super) fn read(&mut self, message: &Message<'_>) {
        if let Some(from) = message.from().and_then(|from| from.first()) {
            self.from = from.address().unwrap_or_default().to_lowercase();
            self.from_name = from.name().unwrap_or_default().to_lowercase();
        }
        self.to = addresses(message);
        self.subject = message.subject().unwrap_or_default().to_owned();
        self.date = message
            .date()
            .filter(|date| date.is_valid())
            .and_then(|date| seconds(date.to_timestamp()));
        for header in message.headers() {
            let name = header.name().to_lowercase();
            let value = message
                .raw_message
                .get(header.offset_start() as usize..header.offset_end() as usize)
                .map(|raw| String::from_utf8_lossy(raw).trim().to_owned())
                .unwrap_or_default();
            if name == "content-type"
                && let HeaderValue::ContentType(type_) = &header.value
            {
                self.report_type = type_.attribute("report-type").unwrap_or_default().to_lowercase();
            }
            self.headers.push((name, value));
        }
        self.parts(message, 0);
    }

    fn parts(&mut self, message: &Message<'_>, depth: usize) {
        for part in &message.parts {
            let media = media_type(part);
            match (&part.body, media.as_str()) {
                (PartType::Multipart(_), _) => {}
                (PartType::Message(inner), _) => {
                    if depth == 0 {
                        self.original_to.extend(addresses(inner));
                        self.originals
                            .push(String::from_utf8_lossy(&inner.raw_message).into_owned());
                    }
                    if depth < DEPTH {
                        self.parts(inner, depth + 1);
                    }
                }
                (body, "message/delivery-status" | "message/global-delivery-status") => {
                    let text = lossy(body);
                    if depth == 0 {
                        self.status.push(text);
                    } else {
                        self.wrapped_status.push(text);
                    }
                }
                (body, "message/feedback-report") if depth <= 1 => self.feedback.push(lossy(body)),
                (
                    body,
                    "text/rfc822-headers" | "text/rfc822-header" | "text/rfc822" | "message/global-headers",
                ) => {
                    let text = lossy(body);
                    if let Some(headers) = MessageParser::default().parse_headers(text.as_bytes()) {
                        self.original_to.extend(addresses(&headers));
                    }
                    self.originals.push(text);
                }
                (PartType::Text(text), _) if depth == 0 => self.texts.push(text.to_string()),
                (PartType::Html(html), _) if depth == 0 => self.texts.push(without_tags(html)),
                (PartType::Text(text), _) => self.wrapped_texts.push(text.to_string()),
                (PartType::Html(html), _) => self.wrapped_texts.push(without_tags(html)),
                _ => {}
            }
        }
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(other, _)| other == name)
            .map(|(_, value)| value.as_str())
    }

    /// Returns whether a mail system wrote the email.
    pub(super) fn by_a_system(&self) -> bool {
        const USERS: [&str; 8] = [
            "mailer-daemon",
            "postmaster",
            "mailerdaemon",
            "mail-daemon",
            "mail.daemon",
            "bounce",
            "bounces",
            "double-bounce",
        ];
        const NAMES: [&str; 7] = [
            "mail delivery",
            "mailer-daemon",
            "mailer daemon",
            "postmaster",
            "mail administrator",
            "delivery subsystem",
            "system administrator",
        ];
        let user = self.from.split('@').next().unwrap_or_default();
        USERS.contains(&user)
            || NAMES.iter().any(|name| self.from_name.contains(name))
            || self.report_type == "delivery-status"
            || self.header("x-failed-recipients").is_some()
            || (self.without_sender() && speaks_of_failure(&self.subject))
    }

    /// Returns whether the envelope had no sender, as for a bounce.
    fn without_sender(&self) -> bool {
        self.header("return-path")
            .or(self.header("x-envelope-from"))
            .is_some_and(|path| path.trim() == "<>")
    }

    /// Returns whether a program answered for a person. Headers show this in every language (RFC 3834, and
    /// older headers). The subject is checked last, and only its beginning.
    pub(super) fn answered_by_itself(&self) -> bool {
        // Words that programs for automatic replies put before the original subject.
        static SUBJECT: LazyLock<Option<Regex>> = LazyLock::new(|| {
            Regex::new(
                r"(?ix)^\s*(
                    auto(matic|mated)?[\ -]?(reply|response|answer|antwort)\b | autoreply | autoresponse | auto:
                    | out\ of\ (the\ )?office | away\ (from|until)\b | (on\ )?vacation\ (reply|response|notice|message)\b
                    | i\ am\ (currently\ )?(away|out\ of)
                    | abwesen | automatische\ (antwort|r.ponse) | r.ponse\ automatique | absence\ du\ bureau
                    | respuesta\ autom | resposta\ autom | risposta\ automatica | raspuns\ automat | răspuns\ automat
                    | automatisch\ antwoord | afwezig | automatisk[t]?\ svar | autosvar | automaattinen\ vastaus
                    | odpowied[zź]\ automatyczna | automatick[áa]\ odpov[eě]. | automatikus\ v[áa]lasz | otomatik\ yan[ıi]t
                    | автоматический\ ответ | автоответ | автоматична\ відповідь | αυτόματη\ απάντηση
                    | 自動応答 | 自動返信 | 自动回复 | 自動回覆 | 자동\ ?(회신|응답) | ตอบกลับอัตโนมัติ | מענה\ אוטומטי | תשובה\ אוטומטית | رد\ تلقائي
                )",
            )
            .ok()
        });
        const OWN_HEADERS: [&str; 9] = [
            "x-autoreply",
            "x-autoreply-from",
            "x-auto-reply",
            "x-auto-reply-from",
            "x-autorespond",
            "x-auto-respond",
            "x-autoresponder",
            "x-mail-autoreply",
            "x-ms-exchange-inbox-rules-loop",
        ];
        let value = |name: &str| self.header(name).map(|value| value.trim().to_lowercase());
        let says = |name: &str, words: &[&str]| {
            value(name).is_some_and(|value| words.iter().any(|word| value.starts_with(word)))
        };
        // The keyword, without parameters and comments. Every keyword except "no" means that a program sent it.
        let submitted = value("auto-submitted").unwrap_or_default();
        let submitted = submitted
            .split(|c: char| c.is_whitespace() || matches!(c, ';' | '('))
            .find(|word| !word.is_empty())
            .unwrap_or_default();
        (!submitted.is_empty() && submitted != "no")
            || OWN_HEADERS
                .iter()
                .any(|name| value(name).is_some_and(|value| !matches!(value.as_str(), "" | "no" | "false")))
            || ["precedence", "x-precedence", "preference"]
                .iter()
                .any(|name| says(name, &["auto_reply", "auto-reply", "auto_respond"]))
            || says("x-ms-exchange-generated-message-source", &["mailbox rules agent"])
            // "no" says that a person wrote it, for example an answer to an out-of-office note.
            || submitted != "no" && SUBJECT
                .as_ref()
                .is_some_and(|pattern| pattern.is_match(&self.subject))
    }
}

fn media_type(part: &MessagePart<'_>) -> String {
    part.content_type()
        .map(|type_| format!("{}/{}", type_.ctype(), type_.subtype().unwrap_or_default()).to_lowercase())
        .unwrap_or_default()
}

fn lossy(body: &PartType<'_>) -> String {
    match body {
        PartType::Text(text) | PartType::Html(text) => text.to_string(),
        PartType::Binary(bytes) | PartType::InlineBinary(bytes) => {
            String::from_utf8_lossy(bytes).into_owned()
        }
        PartType::Message(message) => String::from_utf8_lossy(&message.raw_message).into_owned(),
        PartType::Multipart(_) => String::new(),
    }
}

pub(super) fn addresses(message: &Message<'_>) -> Vec<String> {
    message
        .to()
        .into_iter()
        .flat_map(|to| to.iter())
        .filter_map(|to| bare_address(to.address()?))
        .take(MAX)
        .map(|address| address.to_lowercase())
        .collect()
}

pub(super) fn seconds(seconds: i64) -> Option<Timestamp> {
    (0..253_402_300_800)
        .contains(&seconds)
        .then(|| Timestamp::from_micros(seconds * 1_000_000))
}

fn without_tags(html: &str) -> String {
    let mut text = String::with_capacity(html.len());
    let mut tag = false;
    for letter in html.chars() {
        match (letter, tag) {
            ('<', _) => tag = true,
            ('>', true) => {
                tag = false;
                text.push('\n');
            }
            (letter, false) => text.push(letter),
            _ => {}
        }
    }
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&")
}

pub(super) fn speaks_of_failure(text: &str) -> bool {
    static FAILURE: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(
            r"(?i)undeliver|not deliver|could ?n[o']t be delivered|unable to deliver|delivery (status|fail|has failed|error|problem|notification|report|unsuccess)|delivery to .{0,80} failed|fail(ed|ure) (to deliver|notice|delivery)|returned mail|returning (message|mail|to sender)|returned to sender|mail (delivery|system) (fail|error)|mail delivery|non[- ]?(delivery|remis)|delayed|still being retried|has not been delivered|was not delivered|was rejected|unzustellbar|nicht zugestellt|failed permanently|permanent (error|failure)|fatal error",
        )
        .ok()
    });
    FAILURE.as_ref().is_some_and(|pattern| pattern.is_match(text))
}
