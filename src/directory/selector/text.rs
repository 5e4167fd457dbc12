//! The text form of a selector: `type:file provider:s3 under:project/42 not(tier:free) (a:b or c:d)`.
//!
//! ```text
//! any    = all ("or" all)*
//! all    = term (["and"] term)*
//! term   = "not" term | "(" any ")" | name ":" value
//! ```
//! The names `type`, `under`, `account`, `created` and `changed` have their own meaning. `account.NAME` is a
//! label of the account, and any other name is a label of the resource. A quoted name or value is used
//! literally, so a label can have any name.
//!
//! No character is ignored, and each error names the character where it occurred.

use super::json::one_of;
use super::tree::{MAX_DEPTH, MAX_TEXT, Part, Place, Spot, Test, Window};
use crate::base::error::FieldError;
use crate::base::id::ExternalId;
use crate::base::time::Timestamp;
use crate::directory::ResourceRef;

/// Names that are labels only if they are quoted.
const RESERVED: [&str; 8] = [
    "type", "under", "account", "created", "changed", "and", "or", "not",
];
/// The prefix of a label of the account.
const OF_ACCOUNT: &str = "account.";

/// Parses the line at `pointer` of a request.
pub(super) fn parse(pointer: &str, line: &str) -> Result<Part, FieldError> {
    let mut parser = Parser {
        pointer,
        chars: line.chars().collect(),
        at: 0,
    };
    if parser.chars.len() > MAX_TEXT {
        return Err(FieldError::at(
            pointer,
            format!("is longer than {MAX_TEXT} characters"),
        ));
    }
    if !parser.more() {
        return Err(FieldError::at(
            pointer,
            "is empty; write at least one part, such as type:file",
        ));
    }
    let root = parser.any(0)?;
    match parser.peek() {
        None => Ok(root),
        Some(_) => Err(parser.wrong(parser.at, "this ) has no matching (")),
    }
}

struct Parser<'a> {
    pointer: &'a str,
    chars: Vec<char>,
    at: usize,
}

/// Returns whether a character can be used in a name or value without quotes.
fn plain(c: char) -> bool {
    !c.is_whitespace() && !matches!(c, '(' | ')' | ',' | '"')
}

impl Parser<'_> {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn eats(&mut self, c: char) -> bool {
        let there = self.peek() == Some(c);
        if there {
            self.at += 1;
        }
        there
    }

    /// Skips spaces. Returns whether anything is left.
    fn more(&mut self) -> bool {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at += 1;
        }
        self.peek().is_some()
    }

    fn place(&self, at: usize) -> Place {
        Place::Character {
            pointer: self.pointer.to_owned(),
            at: at + 1,
        }
    }

    fn wrong(&self, at: usize, detail: impl std::fmt::Display) -> FieldError {
        self.place(at).error(detail)
    }

    /// Consumes a word such as `or` if it stands alone and is not the beginning of a name.
    fn eats_word(&mut self, word: &str) -> bool {
        if !self.more() {
            return false;
        }
        let end = self.at + word.len();
        let there = self
            .chars
            .get(self.at..end)
            .is_some_and(|chars| chars.iter().copied().eq(word.chars()));
        let ends = self
            .chars
            .get(end)
            .is_none_or(|c| c.is_whitespace() || matches!(c, '(' | ')'));
        if there && ends {
            self.at = end;
        }
        there && ends
    }

    fn any(&mut self, depth: usize) -> Result<Part, FieldError> {
        if depth > MAX_DEPTH {
            return Err(self.wrong(self.at, format!("nested deeper than {MAX_DEPTH} levels")));
        }
        let mut parts = vec![self.all(depth)?];
        while self.eats_word("or") {
            parts.push(self.all(depth)?);
        }
        Ok(Part::any(parts))
    }

    fn all(&mut self, depth: usize) -> Result<Part, FieldError> {
        let mut parts = vec![self.term(depth)?];
        loop {
            let and = self.eats_word("and");
            let start = self.at;
            let ends = !self.more() || self.peek() == Some(')') || self.eats_word("or");
            if ends {
                // The caller consumes the `or`.
                self.at = start;
                return match and {
                    true => Err(self.wrong(start, "a condition must follow this and")),
                    false => Ok(Part::all(parts)),
                };
            }
            parts.push(self.term(depth)?);
        }
    }

    fn term(&mut self, depth: usize) -> Result<Part, FieldError> {
        let more = self.more();
        let start = self.at;
        if !more {
            return Err(self.wrong(start, "a condition must follow here, such as type:file"));
        }
        if depth > MAX_DEPTH {
            return Err(self.wrong(start, format!("nested deeper than {MAX_DEPTH} levels")));
        }
        for word in ["and", "or"] {
            if self.eats_word(word) {
                return Err(self.wrong(start, format!("a condition must come before this {word}")));
            }
        }
        if self.eats_word("not") {
            let inner = self.term(depth + 1)?;
            return Ok(Part::Not(Spot::new(Box::new(inner), self.place(start))));
        }
        if self.eats('(') {
            if self.more() && self.peek() == Some(')') {
                return Err(self.wrong(start, "these parentheses are empty"));
            }
            let inner = self.any(depth + 1)?;
            self.more();
            return match self.eats(')') {
                true => Ok(inner),
                false => Err(self.wrong(start, "this ( has no matching )")),
            };
        }
        match self.peek() {
            Some(')') => Err(self.wrong(start, "a condition must come before this )")),
            Some(',') => Err(self.wrong(
                start,
                "a comma is only allowed between values, as in provider:s3,gcs",
            )),
            _ => self.field(),
        }
    }

    /// Parses a quoted text. The next character is the opening quote.
    fn quoted(&mut self) -> Result<String, FieldError> {
        let start = self.at;
        self.at += 1;
        let mut text = String::new();
        loop {
            match self.peek() {
                None => return Err(self.wrong(start, "this quoted text has no closing quote")),
                Some('"') => {
                    self.at += 1;
                    return Ok(text);
                }
                Some('\\') => match self.chars.get(self.at + 1) {
                    Some(c @ ('"' | '\\')) => {
                        text.push(*c);
                        self.at += 2;
                    }
                    _ => {
                        let detail = "in quoted text, a \\ is only allowed before a quote or another \\";
                        return Err(self.wrong(self.at, detail));
                    }
                },
                Some(c) => {
                    text.push(c);
                    self.at += 1;
                }
            }
        }
    }

    fn bare(&mut self, stop: impl Fn(char) -> bool) -> String {
        let start = self.at;
        while self.peek().is_some_and(|c| plain(c) && !stop(c)) {
            self.at += 1;
        }
        self.chars
            .get(start..self.at)
            .unwrap_or_default()
            .iter()
            .collect()
    }

    fn field(&mut self) -> Result<Part, FieldError> {
        let start = self.at;
        let quoted = self.peek() == Some('"');
        let mut name = if quoted {
            self.quoted()?
        } else {
            self.bare(|c| c == ':')
        };
        let mut of_account = false;
        if !quoted && let Some(rest) = name.strip_prefix(OF_ACCOUNT) {
            of_account = true;
            name = match (rest.is_empty(), self.peek()) {
                (true, Some('"')) => self.quoted()?,
                _ => rest.to_owned(),
            };
        }
        if !self.eats(':') {
            let shown: String = name.chars().take(40).collect();
            let detail = format!("'{shown}' has no colon after it; write name:value, such as type:file");
            return Err(self.wrong(start, detail));
        }
        ExternalId::parse(&name).map_err(|detail| self.wrong(start, format!("the name {detail}")))?;
        let name = Spot::new(name, self.place(start));
        match name.value.as_str() {
            _ if of_account => Ok(Part::AccountLabel(name, self.test()?)),
            _ if quoted => Ok(Part::Label(name, self.test()?)),
            "type" => self.type_().map(Part::Type),
            "under" => self.under(),
            "account" => self.accounts(),
            "created" => self.window().map(Part::Created),
            "changed" => self.window().map(Part::Changed),
            reserved if RESERVED.contains(&reserved) => {
                let detail = format!(
                    "'{reserved}' is a reserved word; for a label with this name, write \"{reserved}\":value"
                );
                Err(self.wrong(start, detail))
            }
            _ => Ok(Part::Label(name, self.test()?)),
        }
    }

    /// Parses one value. Returns the value, whether it was quoted, and where it began.
    fn value(&mut self) -> Result<(String, bool, usize), FieldError> {
        let start = self.at;
        let quoted = self.peek() == Some('"');
        let value = if quoted {
            self.quoted()?
        } else {
            self.bare(|_| false)
        };
        if value.is_empty() && !quoted {
            return Err(self.wrong(start, "a value must follow here"));
        }
        if let Some(c) = self.peek().filter(|c| plain(*c) || *c == '"') {
            return Err(self.wrong(self.at, format!("the value ends here; put a space before '{c}'")));
        }
        Ok((value, quoted, start))
    }

    fn values(&mut self) -> Result<Vec<(String, bool, usize)>, FieldError> {
        let mut values = vec![self.value()?];
        while self.eats(',') {
            values.push(self.value()?);
        }
        Ok(values)
    }

    fn test(&mut self) -> Result<Test, FieldError> {
        let values = self.values()?;
        let any = values.iter().find(|(value, quoted, _)| value == "*" && !quoted);
        match (any, values.len()) {
            (Some(_), 1) => return Ok(Test::Exists),
            (Some((_, _, at)), _) => {
                let detail = "* means any value and must be the only value; for the text *, write \"*\"";
                return Err(self.wrong(*at, detail));
            }
            (None, _) => {}
        }
        Ok(one_of(
            values
                .into_iter()
                .map(|(value, _, at)| Spot::new(value, self.place(at)))
                .collect(),
        ))
    }

    fn word(&self, value: &str, at: usize) -> Result<Spot<ExternalId>, FieldError> {
        ExternalId::parse(value)
            .map(|word| Spot::new(word, self.place(at)))
            .map_err(|detail| self.wrong(at, detail))
    }

    fn type_(&mut self) -> Result<Spot<ExternalId>, FieldError> {
        let (value, _, at) = self.value()?;
        if self.peek() == Some(',') {
            let detail = "only one type is allowed here; write (type:a or type:b)";
            return Err(self.wrong(self.at, detail));
        }
        self.word(&value, at)
    }

    fn accounts(&mut self) -> Result<Part, FieldError> {
        let values = self.values()?;
        let accounts = values.iter().map(|(value, _, at)| self.word(value, *at));
        accounts.collect::<Result<_, _>>().map(Part::Accounts)
    }

    fn under(&mut self) -> Result<Part, FieldError> {
        let start = self.at;
        let type_ = match self.peek() {
            Some('"') => self.quoted()?,
            _ => self.bare(|c| c == '/'),
        };
        if !self.eats('/') {
            let detail = "a resource must be written as type/id, such as under:project/42";
            return Err(self.wrong(start, detail));
        }
        let type_ = self.word(&type_, start)?.value;
        let (id, _, at) = self.value()?;
        if self.peek() == Some(',') {
            let detail = "only one resource is allowed here; write (under:a/1 or under:a/2)";
            return Err(self.wrong(self.at, detail));
        }
        let id = self.word(&id, at)?.value;
        Ok(Part::Under(Spot::new(
            ResourceRef { type_, id },
            self.place(start),
        )))
    }

    fn window(&mut self) -> Result<Spot<Window>, FieldError> {
        let (value, _, start) = self.value()?;
        let Some((from, to)) = value.split_once("..") else {
            let detail =
                "a time range must be written as FROM..TO, such as 2026-01-01T00:00Z..2026-01-02T00:00Z";
            return Err(self.wrong(start, detail));
        };
        let time = |text: &str, at: usize| match text {
            "" => Ok(None),
            text => Timestamp::parse(text)
                .map(Some)
                .map_err(|detail| self.wrong(at, detail)),
        };
        let window = Window {
            from: time(from, start)?,
            to: time(to, start + from.chars().count() + 2)?,
        };
        window.check().map_err(|detail| self.wrong(start, detail))?;
        Ok(Spot::new(window, self.place(start)))
    }
}

/// Returns the text form of a condition.
pub(super) fn line(part: &Part) -> String {
    match part {
        Part::Type(type_) => format!("type:{}", value(type_.value.as_str())),
        Part::Label(name, test) => format!("{}:{}", label(&name.value), values(test)),
        Part::AccountLabel(name, test) => {
            let bare = !name.value.is_empty() && name.value.chars().all(|c| plain(c) && c != ':');
            let name = if bare {
                name.value.clone()
            } else {
                quote(&name.value)
            };
            format!("{OF_ACCOUNT}{name}:{}", values(test))
        }
        Part::Under(at) => {
            let type_ = at.value.type_.as_str();
            let type_ = if type_.contains('/') {
                quote(type_)
            } else {
                value(type_)
            };
            format!("under:{type_}/{}", value(at.value.id.as_str()))
        }
        Part::Accounts(accounts) => format!(
            "account:{}",
            accounts
                .iter()
                .map(|account| value(account.value.as_str()))
                .collect::<Vec<_>>()
                .join(",")
        ),
        Part::Created(window) => format!("created:{}", times(&window.value)),
        Part::Changed(window) => format!("changed:{}", times(&window.value)),
        Part::All(parts) => {
            let parts = parts.iter().map(|part| match part {
                Part::Any(_) => format!("({})", line(part)),
                _ => line(part),
            });
            parts.collect::<Vec<_>>().join(" ")
        }
        Part::Any(parts) => parts.iter().map(line).collect::<Vec<_>>().join(" or "),
        Part::Not(inner) => format!("not({})", line(&inner.value)),
    }
}

fn quote(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn label(name: &str) -> String {
    let bare = !name.is_empty()
        && !RESERVED.contains(&name)
        && !name.starts_with(OF_ACCOUNT)
        && name.chars().all(|c| plain(c) && c != ':');
    if bare { name.to_owned() } else { quote(name) }
}

pub(super) fn value(text: &str) -> String {
    let bare = !text.is_empty() && text != "*" && text.chars().all(plain);
    if bare { text.to_owned() } else { quote(text) }
}

fn values(test: &Test) -> String {
    match test {
        Test::Is(only) => value(&only.value),
        Test::In(values) => values
            .iter()
            .map(|one| value(&one.value))
            .collect::<Vec<_>>()
            .join(","),
        Test::Exists => "*".to_owned(),
    }
}

fn times(window: &Window) -> String {
    let text = |time: Option<Timestamp>| time.map(|time| time.to_string()).unwrap_or_default();
    format!("{}..{}", text(window.from), text(window.to))
}
