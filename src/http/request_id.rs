//! The ID of each request. It is in the answer, in problem documents, and in the span of every log line that the request causes.
//! So the report of a caller can be matched with the log.
//!
//! Must never happen here: a text without a bound in the log, or one that can hold an email address.

use std::sync::Arc;

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use tracing::{Instrument, Span};

use crate::base::id::new_uuid;
use crate::base::time::Timestamp;

/// The header, of requests and of answers.
pub const HEADER: HeaderName = HeaderName::from_static("x-request-id");
/// The longest ID that a caller may give, in characters.
const LONGEST: usize = 128;
/// Characters of an ID, in addition to letters and digits. An `@` is not among them, so no email address is an ID.
const SIGNS: &[u8] = b"-_.:=+/";

tokio::task_local! {
    /// The ID of the request that is being answered.
    static CURRENT: RequestId;
}

/// The ID of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// The ID that the caller gave, if there is exactly one and it is valid. Otherwise a new one.
    pub fn of(headers: &HeaderMap, now: Timestamp) -> RequestId {
        let mut given = headers.get_all(HEADER);
        match (given.next().map(HeaderValue::as_bytes), given.next()) {
            (Some(id), None) if is_valid(id) => RequestId(String::from_utf8_lossy(id).into()),
            _ => RequestId(new_uuid(now).to_string().into()),
        }
    }

    /// The ID as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Runs the work of this request. Meanwhile [`current`] knows the ID.
    pub async fn scope<T>(self, work: impl Future<Output = T>) -> T {
        CURRENT.scope(self, work).await
    }
}

fn is_valid(id: &[u8]) -> bool {
    !id.is_empty()
        && id.len() <= LONGEST
        && id
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || SIGNS.contains(byte))
}

/// The ID of the request that is being answered. None outside of a request.
pub fn current() -> Option<String> {
    CURRENT.try_with(|id| id.as_str().to_owned()).ok()
}

/// The same work with the ID and the span of the present request, to be spawned as a task of its own.
pub fn carried<T>(work: impl Future<Output = T>) -> impl Future<Output = T> {
    let id = CURRENT.try_with(RequestId::clone).ok();
    let carried = async move {
        match id {
            Some(id) => id.scope(work).await,
            None => work.await,
        }
    };
    carried.instrument(Span::current())
}
