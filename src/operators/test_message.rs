//! A message with which an admin checks whether an operator is reached. It goes through the same queue and the same channels as
//! every other message.

use serde::Serialize;

use super::contact;
use super::message::{About, OperatorEvent, TestFacts};
use super::outbox;
use crate::audit::{Action, Event, Tx};
use crate::base::error::{Error, Result};
use crate::base::id::{MessageId, OperatorId};

/// What a test has started.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
#[schema(as = OperatorTest)]
pub struct Tested {
    /// The channels on which a test message is sent: `email` and `webhook`. `GET /operators/messages` shows what becomes of it.
    pub channels: Vec<&'static str>,
}

/// Sends a test message to every channel of an operator.
///
/// # Errors
/// `NotFound` if the operator does not exist or is deleted. `Conflict` if it is not enabled.
pub fn test(tx: &mut Tx<'_>, id: &OperatorId) -> Result<Tested> {
    let operator = contact::whole(tx.conn, id)?;
    if !operator.enabled {
        let why = "the operator is not enabled, so it gets no messages; enable it first";
        return Err(Error::Conflict(why.to_owned()));
    }
    let about = About::Test(TestFacts {
        event: OperatorEvent::Test,
        tested_by: tx.actor.name().to_owned(),
    });
    let key = format!("test:{}", MessageId::new(tx.now));
    outbox::put_about(tx, &operator, &key, &about, tx.now)?;
    let channels = operator.ways();
    tx.record(
        Event::new(Action::OperatorTested, "operator", id.as_str())
            .after(serde_json::json!({"channels": channels})),
    );
    Ok(Tested { channels })
}
