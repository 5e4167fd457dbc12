//! What customers answer to a notice: "Works for me", "Still broken" or "I need help".
//!
//! A person answers by the links in an email, writes a reply, or tells an operator, who records it. Every answer is kept. Of
//! each person the answer with the latest time counts. A reply by email contains no choice, so it is kept with its text and does
//! not replace a choice.
//!
//! - Only the button of the page records an answer. Opening a link records nothing.
//! - An answer from a mailbox of several people counts for each of them.
//! - Recording an answer locks neither the incident nor the notice, so that answers never delay a notice.
//! - No log and no audit event contains the text of an answer.

pub mod chart;
pub mod counts;
pub mod link;
pub mod list;
pub mod queue;
pub mod record;
mod row;
pub mod series;

use crate::base::enums::word_enum;

pub use counts::{AnswerCounts, Choices};
pub use list::{Answer, Filter, LastReply};
pub use record::NewAnswer;

word_enum! {
    /// What a person answered.
    Choice, "an answer" {
        /// The service works for the person.
        Works = "works",
        /// The service is still broken for the person.
        Broken = "broken",
        /// The person needs help.
        Help = "help",
    }
}

impl Choice {
    /// All choices, in the order in which they are shown.
    pub const ALL: [Choice; 3] = [Choice::Works, Choice::Broken, Choice::Help];

    /// Returns the choice as emails and pages show it.
    pub fn label(self) -> &'static str {
        match self {
            Choice::Works => "Works for me",
            Choice::Broken => "Still broken",
            Choice::Help => "I need help",
        }
    }
}

word_enum! {
    /// How an answer was given.
    AnsweredBy, "a way to answer" {
        /// By the page that the links of an email lead to.
        Link = "link",
        /// By a reply to an email.
        Reply = "reply",
        /// By an operator, on behalf of the person.
        Token = "token",
    }
}

/// The largest length of the text of an answer, in characters.
pub const MAX_TEXT: usize = 4_000;
