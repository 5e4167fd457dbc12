//! A form that was sent after its session ended. Its text is kept, and shown again after the sign-in.
//!
//! - Only a form that says so with [`keeps_text`](crate::http::admin_page::Pages::keeps_text) is kept. A button such as Send or Approve
//!   needs the numbers and texts that stand beside it, so the sign-in leads back to its page instead.
//! - Nothing is sent by itself: somebody has to look at the text and press a button.
//! - The text stays in the browser of the person who wrote it: it travels in the sign-in form.
//! - A secret is not kept.
//! - Only a form that a page of Candor sent is kept. Otherwise another site could put its text into a form of Candor.

use actix_web::HttpResponse;
use actix_web::http::header::{HeaderMap, REFERER};
use actix_web::http::{Method, StatusCode};
use serde_json::{Value, json};
use url::form_urlencoded;

use super::frame::Frame;
use super::signed_in::SignedIn;
use crate::http::App;
use crate::http::admin_page::SCOPE;
use crate::http::problem::Answer;
use crate::http::routes::Routes;

/// The largest text that is kept, in bytes.
pub(super) const MOST: usize = 64 * 1024;
/// The longest path that is kept, in bytes.
const LONGEST_PATH: usize = 2_000;
/// A field with one of these words in its name may hold a secret.
const SECRETS: [&str; 8] = [
    "secret",
    "password",
    "token",
    "key",
    "credential",
    "authorization",
    "header",
    "dsn",
];
/// Fields that the page itself wrote. They are kept but not shown.
const HIDDEN: [&str; 13] = [
    "digest", "version", "seen", "revision", "kind", "internal", "done", "from", "of", "to", "part", "body",
    "incident",
];

/// A form that was not accepted, with what was typed.
#[derive(Clone)]
pub(super) struct Kept {
    /// The path that the form is sent to.
    to: String,
    /// What the form does, as the label of its button.
    what: &'static str,
    /// In the order of the form.
    fields: Vec<(String, String)>,
    /// The names of the secrets, which have to be typed again.
    secrets: Vec<String>,
}

/// Returns a path below `/admin`, if it is one. Any other text could lead to another site.
pub(super) fn local(path: &str) -> Option<&str> {
    let rest = path.strip_prefix(SCOPE)?;
    let within = rest.is_empty() || rest.starts_with('/') || rest.starts_with('?');
    let plain = path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    let session = rest.starts_with("/sign-");
    (within && plain && !session && path.len() <= LONGEST_PATH).then_some(path)
}

/// Returns the page below `/admin` from which a form of Candor was sent, if the browser says it. A form that was shown again with
/// its errors has the path of its target, which is no page: then this is the page above it.
pub(super) fn sent_from(routes: &Routes, headers: &HeaderMap) -> Option<String> {
    let page = url::Url::parse(headers.get(REFERER)?.to_str().ok()?).ok()?;
    let whole = match page.query() {
        Some(query) => format!("{}?{query}", page.path()),
        None => page.path().to_owned(),
    };
    let mut path = page.path();
    local(path)?;
    while routes.find(&Method::GET, path).is_none() {
        (path, _) = path.rsplit_once('/')?;
    }
    let found = if path == page.path() { whole.as_str() } else { path };
    local(found).map(str::to_owned)
}

/// Returns what the form of a path does, if its text is kept.
pub(super) fn keeps_text(routes: &Routes, path: &str) -> Option<&'static str> {
    routes.find(&Method::POST, path)?.keeps_text
}

/// A secret has a name that says so, or is a URL with a password.
fn is_secret(name: &str, value: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let password = || url::Url::parse(value.trim()).is_ok_and(|url| url.password().is_some());
    SECRETS.iter().any(|word| name.contains(word)) || password()
}

impl Kept {
    /// Keeps the fields of a form that was sent to this path. `None` if the form is not kept, or if nothing was typed.
    pub(super) fn new(
        routes: &Routes,
        to: &str,
        fields: impl IntoIterator<Item = (String, String)>,
    ) -> Option<Kept> {
        Kept::with(keeps_text(routes, to)?, to, fields)
    }

    fn with(
        what: &'static str,
        to: &str,
        fields: impl IntoIterator<Item = (String, String)>,
    ) -> Option<Kept> {
        let to = local(to)?.to_owned();
        let (mut kept, mut secrets) = (Vec::new(), Vec::new());
        for (name, value) in fields {
            if name == "form_key" {
                continue;
            }
            if is_secret(&name, &value) {
                secrets.push(name);
            } else {
                kept.push((name, value));
            }
        }
        let something = kept
            .iter()
            .any(|(_, value): &(String, String)| !value.trim().is_empty());
        let fields = kept;
        something.then_some(Kept {
            to,
            what,
            fields,
            secrets,
        })
    }

    /// Keeps the body of a form. `None` if nothing can be kept.
    pub(super) fn of_body(routes: &Routes, to: &str, body: &[u8]) -> Option<Kept> {
        if body.len() > MOST {
            return None;
        }
        Kept::new(routes, to, form_urlencoded::parse(body).into_owned())
    }

    /// Returns the form as the sign-in form carries it.
    pub(super) fn carried(&self) -> Value {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(self.fields.iter().map(|(name, value)| (name, value)));
        query.extend_pairs(self.secrets.iter().map(|name| (name, "")));
        json!({"to": self.to, "kept": query.finish()})
    }

    /// Shows the form again. Nothing was sent, and nothing is sent before its button is pressed.
    pub(super) fn page(&self, app: &App, by: &SignedIn, status: StatusCode) -> Answer<HttpResponse> {
        let hidden =
            |name: &str, value: &str| value.is_empty() || HIDDEN.contains(&name) || name.ends_with("_id");
        let shown = self.fields.iter().filter(|(name, value)| !hidden(name, value));
        let shown: Vec<Value> = shown
            .map(|(name, value)| {
                json!({"name": name, "label": label(name), "value": value, "rows": value.lines().count().clamp(1, 14)})
            })
            .collect();
        let secrets = self.secrets.iter();
        let secrets: Vec<Value> = secrets
            .map(|name| json!({"name": name, "label": label(name)}))
            .collect();
        let hidden: Vec<Value> = self
            .fields
            .iter()
            .filter(|(name, value)| hidden(name, value))
            .map(|(name, value)| json!({"name": name, "value": value}))
            .collect();
        let data = json!({
            "page": Frame::new(app, by, "Your text was not sent", ""),
            "to": self.to, "what": self.what, "shown": shown, "hidden": hidden, "secrets": secrets,
        });
        app.pages.answer_with(status, "admin/kept", &data)
    }
}

/// Returns the name of a field for people: `next_update` becomes `Next update`.
fn label(name: &str) -> String {
    let words = name.replace(['_', '-', '.'], " ");
    let mut letters = words.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string());
    first.unwrap_or_default() + letters.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_path_of_the_pages_is_local() {
        for path in ["/admin", "/admin/incidents/1?tab=people", "/admin?x=1"] {
            assert_eq!(local(path), Some(path));
        }
        for path in [
            "",
            "/",
            "//evil.example",
            "/admin.evil.example",
            "/administrator",
            "https://evil.example/admin",
            "/admin/\\evil",
            "/admin/a b",
            "/admin\n/x",
            "/admin/sign-out",
            "/admin/sign-in?next=/admin",
        ] {
            assert_eq!(local(path), None, "{path:?}");
        }
    }

    #[test]
    fn a_secret_is_not_kept() {
        let fields = [
            ("message", "It works again"),
            ("form_key", "k"),
            ("webhook_secret", "s3cret"),
            ("url", "https://shop.example/health"),
            ("other_url", "https://ann:s3cret@shop.example/health"),
        ];
        let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let kept = Kept::with("Save", "/admin/x", fields).unwrap().carried();
        assert_eq!(
            kept,
            json!({
                "to": "/admin/x",
                "kept": "message=It+works+again&url=https%3A%2F%2Fshop.example%2Fhealth&webhook_secret=&other_url=",
            })
        );
    }
}
