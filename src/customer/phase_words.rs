//! The line that stands for a notice where there is no subject and no headline.

use crate::base::error::Result;
use crate::base::language::Language;
use crate::notice::template::{MailContext, Phase};
use crate::words::{Area, Words};

/// Returns the key of the words of a phase.
fn key(phase: Phase) -> &'static str {
    match phase {
        Phase::Detection => "phase_detection",
        Phase::Update => "phase_update",
        Phase::Recovery => "phase_recovery",
        Phase::Resolution => "phase_resolution",
        Phase::Report => "phase_report",
        Phase::Correction => "phase_correction",
        Phase::Maintenance => "phase_maintenance",
    }
}

/// Returns the name of a phase in a language.
///
/// # Errors
/// An internal error, if the text is missing.
pub fn name(phase: Phase, language: Language) -> Result<&'static str> {
    Words::of(Area::Feed, language)?.text(key(phase))
}

/// Returns one line that says what a notice is about.
///
/// # Errors
/// An internal error, if a text is missing.
pub fn title(texts: &MailContext, language: Language) -> Result<String> {
    let planned = texts.maintenance.as_ref().map(|planned| &planned.title);
    let own = texts.subject.as_ref().or(planned).or(texts.headline.as_ref());
    match own {
        Some(text) => Ok(text.clone()),
        None => {
            let number = texts.incident.number.to_string();
            let phase = name(texts.phase, language)?;
            Words::of(Area::Feed, language)?
                .with("phase_of_incident", &[("phase", phase), ("number", &number)])
        }
    }
}
