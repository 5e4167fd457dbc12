//! Email templates: parsing, checking and rendering. This module uses no database, no clock and no network.
//!
//! There are two registries. The one for HTML bodies escapes HTML. The one for subjects and text escapes
//! nothing. A new template is rendered with samples of every case before it is accepted.
//!
//! - HTML is always escaped, and a value is allowed only where escaping protects the reader (`html`).
//! - A subject never contains a line break.
//! - A template never fails for the first time when it is sent.
//! - A template never ends or blocks the process. `scan` limits the nesting of a text before it is parsed,
//!   `allow` checks the parsed template, and `budget` limits the rendering.

mod allow;
mod breaks;
mod budget;
mod drill;
mod fields;
mod html;
mod mail;
mod names;
mod parsed;
mod partials;
mod phase;
mod rendered;
mod samples;
mod scan;
mod sentences;
mod shows;
mod source;
mod values;
mod whole;
mod wrap;

pub use drill::mark_as_test;
pub use mail::{
    MailAction, MailAnswers, MailBrand, MailContext, MailCorrects, MailIncident, MailLate, MailMaintenance,
    MailRecipient, MailRecovery, MailReport, MailResource, MailSection, MailTime,
};
pub use partials::{are_current, partial_texts, partials};
pub use phase::Phase;
pub use rendered::{Rendered, finish_subject};
pub use samples::samples;
pub use sentences::Voice;
pub use source::{NewTemplate, Source, TemplateTexts};
pub use values::{FIGURES, expand, hide, is_key, message_keys, template_keys};
pub use whole::Template;
pub use wrap::wrapped;
