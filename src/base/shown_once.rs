//! A secret that is shown only once. It is stored nowhere in plain text, not even in the answer that is
//! stored for repeated requests (see `http::idempotency`).
//!
//! This works without special code in a handler. A secret of this type is noted when it is written into an
//! answer, and the code that stores the answer removes all noted secrets.

use std::cell::RefCell;
use std::fmt;

use serde::{Serialize, Serializer};
use serde_json::{Value, json};

tokio::task_local! {
    /// The secrets that were written while the current request was answered.
    static WRITTEN: RefCell<Vec<String>>;
}

/// A secret, or a text that contains one, which an answer shows only once.
#[derive(Clone, PartialEq, Eq)]
pub struct ShownOnce(String);

impl ShownOnce {
    /// Marks a text as one that is shown only once.
    pub fn new(secret: String) -> Self {
        ShownOnce(secret)
    }

    /// Returns the text, so that it can be shown.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ShownOnce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ShownOnce(…)")
    }
}

impl Serialize for ShownOnce {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Outside a request whose answer is stored, no list exists and the secret need not be noted.
        let _ = WRITTEN.try_with(|written| written.borrow_mut().push(self.0.clone()));
        serializer.serialize_str(&self.0)
    }
}

impl utoipa::PartialSchema for ShownOnce {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        String::schema()
    }
}
impl utoipa::ToSchema for ShownOnce {}

/// Runs the work of one request. Returns its result and the secrets that were written during it.
pub async fn collect<T>(work: impl Future<Output = T>) -> (T, Vec<String>) {
    WRITTEN
        .scope(RefCell::default(), async {
            let result = work.await;
            let written = WRITTEN.with(|written| written.take());
            (result, written)
        })
        .await
}

/// Returns a JSON body without these secrets. A field that contains a secret is left out, and `withheld`
/// lists the JSON pointers of these fields.
pub fn without(body: &[u8], secrets: &[String]) -> Vec<u8> {
    let Ok(mut value) = serde_json::from_slice::<Value>(body) else {
        return json!({"withheld": [""]}).to_string().into_bytes();
    };
    let mut withheld = Vec::new();
    take_out(&mut value, secrets, "", &mut withheld);
    match &mut value {
        Value::Object(fields) => {
            fields.insert("withheld".to_owned(), json!(withheld));
        }
        _ => value = json!({"withheld": [""]}),
    }
    value.to_string().into_bytes()
}

/// Removes secrets from objects and lists at any depth. The depth is limited, because the parser has a limit.
fn take_out(value: &mut Value, secrets: &[String], at: &str, withheld: &mut Vec<String>) {
    let holds_one = |value: &Value| {
        value
            .as_str()
            .is_some_and(|text| secrets.iter().any(|secret| text.contains(secret.as_str())))
    };
    match value {
        Value::Object(fields) => {
            fields.retain(|name, value| {
                let keep = !holds_one(value);
                if !keep {
                    withheld.push(format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")));
                }
                keep
            });
            for (name, value) in fields.iter_mut() {
                take_out(value, secrets, &format!("{at}/{name}"), withheld);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                let at = format!("{at}/{index}");
                if holds_one(item) {
                    *item = Value::Null;
                    withheld.push(at);
                } else {
                    take_out(item, secrets, &at, withheld);
                }
            }
        }
        _ => {}
    }
}
