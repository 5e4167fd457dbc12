//! Texts to start a message from, one for each phase. What stands in square brackets must be replaced: a notice that still contains it
//! is not sent ([`super::placeholder`]).

use crate::notice::template::Phase;

/// Returns the text to start from.
pub fn suggested(phase: Phase) -> &'static str {
    match phase {
        Phase::Detection => {
            "We found a problem with [what is affected]. [What customers notice, in one or two sentences.]\n\n\
             We are working on it. You do not need to do anything for now."
        }
        Phase::Update => {
            "[What is new since the last email.]\n\n\
             [What still does not work, and what works again.]"
        }
        Phase::Recovery => {
            "Everything of yours that was affected by [what happened] works again. [What we did, in one or two sentences.]"
        }
        Phase::Resolution => {
            "The problem with [what was affected] is solved. [What works again.]\n\n\
             The cause was [the cause in plain words]. We are sorry for the trouble."
        }
        Phase::Report => {
            "Here is our report about [what happened]. It says what went wrong, what it meant for you, and what we change so that it \
             does not happen again."
        }
        Phase::Correction => super::correct::MESSAGE,
        Phase::Maintenance => {
            "[What we do, and why.]\n\n\
             [What does not work meanwhile, and what you can do before.]"
        }
    }
}
