//! The stream of hints of one reader, as server-sent events. An event says only that something changed.
//!
//! It ends when the token expires, when its key is revoked, when the person is archived, and when the process stops.

use std::time::Duration;

use actix_web::http::header::CACHE_CONTROL;
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse, get, web};
use futures_util::stream::unfold;
use serde::Deserialize;
use tokio::time::{Instant, sleep_until};
use utoipa::IntoParams;

use super::guard::By;
use crate::customer::hints::{self, Listening, Stamp};
use crate::customer::reader::Reader;
use crate::http::App;
use crate::http::answer::Declared;
use crate::http::edge::is_head;
use crate::http::extract::Params;
use crate::http::problem::Answer;

/// The time between two comments, so that no proxy takes the connection for dead.
const HEARTBEAT: Duration = Duration::from_secs(20);
/// The shortest time between two looks, so that a notice to many people is one event for each of them.
const APART: Duration = Duration::from_secs(1);
const BEGIN: &[u8] = b"retry: 5000\n\n: open\n\n";
const CHANGED: &[u8] = b"event: changed\ndata: {}\n\n";
const EXPIRED: &[u8] = b"event: expired\ndata: {}\n\n";
const COMMENT: &[u8] = b": still here\n\n";

/// The parameters of the stream.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct StreamParams {
    /// The token, for an `EventSource`, which sends no headers. Candor does not log it; a proxy in front of it can.
    #[serde(rename = "token")]
    #[param(rename = "token")]
    _token: Option<String>,
}

/// A stream that is open.
struct Open {
    app: web::Data<App>,
    reader: Reader,
    listening: Listening,
    stamp: Option<Stamp>,
    expires: Instant,
    next_heartbeat: Instant,
    next_look: Instant,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Running,
    Over,
}

/// Returns a stream of events (`text/event-stream`), which only say when to ask again.
/// `changed` means: ask for the notices again. `expired` means: the token has expired, or the person may not read any more.
#[utoipa::path(tag = "Feed", security(()), params(StreamParams),
    responses((status = 200, description = "Events", content_type = "text/event-stream"), (status = 401), (status = 403), (status = 422),
        (status = 429), (status = 503)))]
#[get("/stream")]
pub(super) async fn stream(
    app: web::Data<App>,
    req: HttpRequest,
    by: By,
    _: Params<StreamParams>,
) -> Answer<Declared> {
    let mut response = HttpResponse::Ok();
    response
        .content_type("text/event-stream")
        .insert_header((CACHE_CONTROL, "no-store"))
        // nginx collects an answer before it passes it on, unless this says otherwise.
        .insert_header(("x-accel-buffering", "no"));
    if is_head(&req) {
        return Ok(Declared(response.finish()));
    }
    let listening = app.feed.listen(by.0.key)?;
    let reader = by.0.clone();
    let stamp = app.db.read(move |conn| hints::stamp(conn, &reader)).await?;
    let left = by.0.expires_at.seconds_since(app.clock().now()).max(0);
    let now = Instant::now();
    let open = Open {
        app,
        reader: by.0,
        listening,
        stamp,
        expires: now + Duration::from_secs(u64::try_from(left).unwrap_or_default()),
        next_heartbeat: now + HEARTBEAT,
        next_look: now + APART,
        state: State::New,
    };
    let events = unfold(open, async |mut open| {
        let bytes = open.next().await?;
        Some((Ok::<_, std::io::Error>(Bytes::from_static(bytes)), open))
    });
    Ok(Declared(response.streaming(Box::pin(events))))
}

impl Open {
    /// Waits for the next bytes. `None` at the end.
    async fn next(&mut self) -> Option<&'static [u8]> {
        match self.state {
            State::Over => return None,
            State::New => {
                self.state = State::Running;
                return Some(BEGIN);
            }
            State::Running => {}
        }
        loop {
            let may_have_changed = tokio::select! {
                () = sleep_until(self.expires) => return self.over(),
                () = sleep_until(self.next_heartbeat) => false,
                goes_on = self.listening.changed() => {
                    if !goes_on {
                        return None;
                    }
                    true
                }
            };
            if may_have_changed {
                tokio::select! {
                    () = sleep_until(self.expires) => return self.over(),
                    () = sleep_until(self.next_look) => {}
                }
            }
            let reader = self.reader.clone();
            let stamp = self.app.db.read(move |conn| hints::stamp(conn, &reader)).await;
            self.next_look = Instant::now() + APART;
            match stamp {
                Ok(None) => return self.over(),
                Ok(stamp) if stamp != self.stamp => {
                    self.stamp = stamp;
                    return Some(CHANGED);
                }
                Ok(_) => {}
                Err(error) => tracing::debug!(error = error.chain(), "a stream could not look for changes"),
            }
            if !may_have_changed {
                self.next_heartbeat = Instant::now() + HEARTBEAT;
                return Some(COMMENT);
            }
        }
    }

    fn over(&mut self) -> Option<&'static [u8]> {
        self.state = State::Over;
        Some(EXPIRED)
    }
}
