//! One delivery to make, with everything that a channel needs for it.

use std::sync::Arc;

use crate::base::id::NoticeId;
use crate::base::time::Timestamp;
use crate::db::dialect;
use crate::delivery::email_template::Prepared;
use crate::delivery::sending_context::SendingContext;
use crate::notice::compose::{Content, RecipientContext};
use crate::notice::payload::EndpointContext;

/// One delivery that a channel has to make.
pub struct Task {
    /// The claimed delivery, with its address.
    pub claimed: Claimed,
    /// The part of the notice that is the same for all recipients.
    pub notice: Arc<Frozen>,
    /// The frozen data of the recipient, which is different for each delivery of the notice.
    pub to: Recipient,
    /// The context that an email is written in. `None` for a call to an endpoint.
    pub context: Option<Arc<SendingContext>>,
}

/// The frozen data of a recipient.
#[derive(Clone)]
pub enum Recipient {
    /// The people who share an email address.
    People {
        /// The data of this recipient.
        own: RecipientContext,
        /// Whether the recipient may opt out of this notice.
        optional: bool,
    },
    /// A system of an account.
    Endpoint {
        /// The data of this endpoint.
        own: EndpointContext,
        /// The current secret that signs the call. `None` if the endpoint was disabled or deleted after the
        /// notice was frozen.
        secret: Option<String>,
        /// The ID of the delivery of the email to the same person. Only the phone of a person has one.
        email: Option<i64>,
    },
}

/// A frozen notice, as a channel needs it.
pub struct Frozen {
    /// The ID of the notice.
    pub notice: NoticeId,
    /// The content that is the same in every message.
    pub content: Content,
    /// The ID of the incident, which makes the thread of the emails.
    pub incident: String,
    /// When the notice was queued.
    pub queued_at: Option<Timestamp>,
    /// The prepared emails of the notice.
    pub prepared: Prepared,
}

/// A claimed delivery: its ID, its notice and its position in the frozen list, its channel, its `address`,
/// its `domain` in lower case, the attempt number, the Message-ID without angle brackets, and the time at
/// which it expires.
pub type Claimed = dialect::ClaimedRow;
