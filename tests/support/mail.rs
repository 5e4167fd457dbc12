//! Reads a caught email as an email program does.

use candor::demo::catcher::CaughtMail;
use mail_parser::MessageParser;

#[derive(Clone, Debug)]
pub struct Mail {
    /// The only recipient of the envelope.
    pub to: String,
    pub subject: String,
    pub text: String,
    pub html: String,
    pub caught: CaughtMail,
}

impl Mail {
    pub fn read(caught: &CaughtMail) -> Self {
        let [to] = caught.to.as_slice() else {
            panic!("one recipient a mail, not {:?}", caught.to)
        };
        let message = MessageParser::default()
            .parse(&caught.data)
            .expect("a readable mail");
        let text = message.body_text(0).expect("a text part").into_owned();
        let html = message.body_html(0).expect("an HTML part").into_owned();
        Self {
            to: to.clone(),
            subject: message.subject().unwrap_or_default().to_owned(),
            text,
            html,
            caught: caught.clone(),
        }
    }

    /// Returns the plain text in one line, because its lines are wrapped.
    pub fn flat(&self) -> String {
        self.text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Returns the first header with this name, unfolded, or an empty text.
    pub fn header(&self, name: &str) -> String {
        self.caught.header(name).unwrap_or_default()
    }
}

/// Replaces the token of the link to the page of the recipient, which differs in each run.
pub fn without_token(text: &str) -> String {
    let mut parts = text.split("/mine/link/");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |whole, part| {
        let end = part
            .find(|c: char| c.is_whitespace() || c == '"')
            .unwrap_or(part.len());
        whole + "/mine/link/TOKEN" + &part[end..]
    })
}

/// Who got these mails, sorted.
pub fn recipients(mails: &[Mail]) -> Vec<&str> {
    let mut addresses: Vec<&str> = mails.iter().map(|mail| mail.to.as_str()).collect();
    addresses.sort_unstable();
    addresses
}
