//! Posts for the public, with the emails to subscribers.

use serde_json::json;

use super::outbox;
use crate::audit::{Action, Event, Tx};
use crate::base::error::Result;
use crate::base::id::{IncidentId, PostId};
use crate::status::post::{self, NewPost, Post};

/// Posts about an incident, and stores an email for each subscriber unless the post says otherwise.
///
/// # Errors
/// As [`post::add`].
pub fn add(tx: &mut Tx<'_>, id: &IncidentId, new: &NewPost) -> Result<Post> {
    let post = post::add(tx, id, new)?;
    if new.email_subscribers {
        let emails = outbox::put_post(tx, &post.id, post.at)?;
        if emails > 0 {
            tx.record(
                Event::new(Action::StatusMailsQueued, "post", post.id.as_str())
                    .incident(id)
                    .after(json!({"emails": emails})),
            );
        }
    }
    Ok(post)
}

/// Takes a post back. Emails about it that were not sent yet are not sent.
///
/// # Errors
/// As [`post::delete`].
pub fn delete(tx: &mut Tx<'_>, incident: &IncidentId, id: &PostId) -> Result<()> {
    post::delete(tx, incident, id)?;
    outbox::stop_post(tx.conn, id, tx.now)?;
    Ok(())
}
