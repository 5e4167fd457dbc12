//! The template of each phase: the built-in one, or one that an admin saved. A version never changes, and its
//! ID is a hash of its content. So a notice keeps the template with which it was frozen, and a parsed version
//! can be cached by its ID.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use diesel::prelude::*;
use serde::Serialize;
use serde_json::json;

use super::{required, template_log};
use crate::audit::{Action, Event, Tx};
use crate::base::error::{Error, Result};
use crate::base::language::Language;
use crate::db::Conn;
use crate::db::dialect::{lock_templates, on_backend};
use crate::db::schema::{current_templates as c, notices as n, templates as t};
use crate::notice::template::{
    MailAction, Phase, Source, Template, TemplateTexts, are_current, template_keys,
};

/// The template of a phase, as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct TemplateView {
    /// The phase whose notices use the template.
    pub phase: Phase,
    /// The ID, which is a hash of the content.
    pub id: String,
    /// Whether it is the built-in template.
    pub builtin: bool,
    /// The subject, which is one line.
    pub subject: String,
    /// The template of the plain text body. It is in the Handlebars language and not rendered.
    pub text: String,
    /// The template of the HTML body. It is in the Handlebars language and not rendered.
    pub html: String,
    /// What the readers of single languages get instead, by language. A part that is missing is the same as above.
    pub languages: BTreeMap<Language, TemplateTexts>,
}

/// Returns the texts of single languages as they are stored. `None` if there are none.
///
/// # Errors
/// `Internal` if the JSON cannot be written. This does not happen, because the values are texts.
pub(super) fn stored_languages(languages: &BTreeMap<Language, TemplateTexts>) -> Result<Option<String>> {
    match languages.is_empty() {
        true => Ok(None),
        false => Ok(Some(serde_json::to_string(languages)?)),
    }
}

/// Reads the texts of single languages.
///
/// # Errors
/// `Internal` if they are not what [`stored_languages`] wrote.
pub(super) fn read_languages(stored: Option<&str>) -> Result<BTreeMap<Language, TemplateTexts>> {
    Ok(match stored {
        Some(stored) => serde_json::from_str(stored)?,
        None => BTreeMap::new(),
    })
}

/// Returns the template for the next notice of a phase.
///
/// # Errors
/// An error of the database.
pub fn current(conn: &mut Conn, phase: Phase) -> Result<TemplateView> {
    let saved: Option<(String, Stored)> = c::table
        .inner_join(t::table.on(t::id.eq(c::template_id)))
        .filter(c::phase.eq(phase.as_str()))
        .select((t::id, (t::subject, t::body_text, t::body_html, t::languages)))
        .first(conn)
        .optional()?;
    Ok(match saved {
        Some((id, stored)) => TemplateView::new(phase, id, false, source(stored)?),
        None => {
            let source = Source::builtin(phase);
            TemplateView::new(phase, source.id(phase), true, source)
        }
    })
}

/// The columns of a stored version: subject, text, HTML, and the texts of single languages.
pub(super) type Stored = (String, String, String, Option<String>);

/// Returns the source of a stored version.
///
/// # Errors
/// The same as [`read_languages`].
pub(super) fn source((subject, text, html, languages): Stored) -> Result<Source> {
    Ok(Source {
        languages: read_languages(languages.as_deref())?,
        ..Source::new(subject, text, html)
    })
}

/// Returns those of the frozen notices whose emails contain a link for answers. Earlier versions had no such links, and a template
/// that an admin saved may leave them out.
pub(super) fn asking(conn: &mut Conn, notices: &[&str]) -> Result<HashSet<String>> {
    let mut asking = HashSet::new();
    for chunk in notices.chunks(500) {
        let frozen: Vec<(String, Option<String>)> = n::table
            .filter(n::id.eq_any(chunk))
            .select((n::id, n::template_id))
            .load(conn)?;
        let ids: HashSet<&str> = frozen.iter().filter_map(|(_, id)| id.as_deref()).collect();
        let bodies: Vec<(String, String, String, Option<String>)> = t::table
            .filter(t::id.eq_any(ids))
            .select((t::id, t::body_text, t::body_html, t::languages))
            .load(conn)?;
        // The variable and the partials have this name.
        let ask: HashSet<&str> = bodies
            .iter()
            .filter(|(_, text, html, languages)| {
                [Some(text), Some(html), languages.as_ref()]
                    .into_iter()
                    .flatten()
                    .any(|part| part.contains("answers"))
            })
            .map(|(id, ..)| id.as_str())
            .collect();
        let of_asking = frozen
            .iter()
            .filter(|(_, id)| id.as_deref().is_some_and(|id| ask.contains(id)));
        asking.extend(of_asking.map(|(notice, _)| notice.clone()));
    }
    Ok(asking)
}

/// Parsed versions, by phase and ID.
type Parsed = HashMap<(Phase, String), Arc<Template>>;

/// The cache of parsed versions. Parsing one takes as long as rendering a hundred emails.
static PARSED: Mutex<Option<Parsed>> = Mutex::new(None);
/// The largest number of versions in the cache.
const REMEMBERED: usize = 16;

/// Returns the parsed version with this ID, from the cache or from its source.
fn parsed(phase: Phase, id: &str, source: impl FnOnce() -> Result<Source>) -> Result<Arc<Template>> {
    let key = (phase, id.to_owned());
    {
        let known = PARSED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(template) = known.as_ref().and_then(|known| known.get(&key)) {
            return Ok(template.clone());
        }
    }
    let template = Arc::new(Template::compile(phase, &source()?)?);
    let mut known = PARSED.lock().unwrap_or_else(PoisonError::into_inner);
    let known = known.get_or_insert_default();
    if known.len() >= REMEMBERED {
        known.clear();
    }
    known.insert(key, template.clone());
    Ok(template)
}

/// A stored version that is not parsed yet.
pub struct StoredTemplate {
    phase: Phase,
    id: String,
    source: Source,
}

/// Reads a stored version. It is parsed afterwards, outside of the transaction.
///
/// # Errors
/// An error, if the version is not stored.
pub fn load(conn: &mut Conn, phase: Phase, id: &str) -> Result<StoredTemplate> {
    let stored: Stored = t::table
        .find(id)
        .select((t::subject, t::body_text, t::body_html, t::languages))
        .first(conn)?;
    Ok(StoredTemplate {
        phase,
        id: id.to_owned(),
        source: source(stored)?,
    })
}

impl StoredTemplate {
    /// Parses and checks it, unless that was done a moment ago. This takes the processor for a while.
    ///
    /// # Errors
    /// `Invalid` if it does not render any more.
    pub fn compile(self) -> Result<Arc<Template>> {
        parsed(self.phase, &self.id, || Ok(self.source))
    }

    /// Parses it with the partials that an email was sent with. They may be those of an earlier version of Candor.
    ///
    /// # Errors
    /// `Invalid` if this version of Candor cannot parse it any more.
    pub fn compile_with(self, partials: &[(String, String)]) -> Result<Arc<Template>> {
        match are_current(partials) {
            true => self.compile(),
            false => Template::with_partials(&self.source, partials).map(Arc::new),
        }
    }
}

impl TemplateView {
    /// Makes the view of a source.
    pub(super) fn new(phase: Phase, id: String, builtin: bool, source: Source) -> Self {
        TemplateView {
            phase,
            id,
            builtin,
            subject: source.subject,
            text: source.text,
            html: source.html,
            languages: source.languages,
        }
    }

    /// Parses and checks the template.
    ///
    /// # Errors
    /// `Invalid` if it does not render any more, for example a saved template after an upgrade.
    pub fn compile(&self) -> Result<Arc<Template>> {
        parsed(self.phase, &self.id, || Ok(self.source()))
    }

    /// Returns the keys of the values of one's own that the template shows.
    pub(super) fn values(&self) -> BTreeSet<String> {
        self.source().parts().flat_map(template_keys).collect()
    }

    /// Returns the content of the template.
    pub fn source(&self) -> Source {
        Source {
            languages: self.languages.clone(),
            ..Source::new(&self.subject, &self.text, &self.html)
        }
    }
}

/// Stores a version if it is not stored yet, and returns its ID.
pub(super) fn keep(tx: &mut Tx<'_>, view: &TemplateView) -> Result<String> {
    // SQLite refuses a version that is there, before it looks at what to do about the conflict.
    let there: i64 = t::table.find(&view.id).count().get_result(tx.conn)?;
    if there > 0 {
        return Ok(view.id.clone());
    }
    let row = (
        t::id.eq(&view.id),
        t::phase.eq(view.phase.as_str()),
        t::subject.eq(&view.subject),
        t::body_text.eq(&view.text),
        t::body_html.eq(&view.html),
        t::languages.eq(stored_languages(&view.languages)?),
        t::created_at.eq(tx.now),
    );
    on_backend!(&mut *tx.conn, conn => diesel::insert_into(t::table)
        .values(row)
        .on_conflict(t::id)
        .do_nothing()
        .execute(conn))?;
    Ok(view.id.clone())
}

/// A template of a phase that was parsed and rendered with every sample.
pub struct Checked {
    phase: Phase,
    source: Source,
}

impl Checked {
    /// Checks a template. This needs much processor time, so call it outside transactions.
    ///
    /// # Errors
    /// `Invalid` if it cannot be parsed, contains something that is not allowed, shows a value at an unsafe place of the HTML,
    /// cannot render every sample, or does not show what every email must show.
    pub fn new(phase: Phase, source: Source) -> Result<Checked> {
        let template = Template::compile(phase, &source)?;
        if let Some((pointer, why)) = template.unsafe_place() {
            return Err(Error::invalid(&pointer, why));
        }
        required::check(phase, &template)?;
        Ok(Checked { phase, source })
    }
}

/// Saves a template for the next notices of a phase.
///
/// # Errors
/// An error of the database.
pub fn save(tx: &mut Tx<'_>, checked: &Checked) -> Result<TemplateView> {
    let Checked { phase, source } = checked;
    let phase = *phase;
    lock_templates(tx.conn)?;
    let before = current(tx.conn, phase)?;
    let view = TemplateView::new(phase, source.id(phase), false, source.clone());
    keep(tx, &view)?;
    if before.builtin || before.id != view.id {
        template_log::add(tx, phase, &view.id, false)?;
    }
    on_backend!(&mut *tx.conn, conn => diesel::insert_into(c::table)
        .values((c::phase.eq(phase.as_str()), c::template_id.eq(&view.id)))
        .on_conflict(c::phase)
        .do_update()
        .set(c::template_id.eq(&view.id))
        .execute(conn))?;
    tx.record(
        Event::new(Action::TemplateSaved, "template", phase.as_str())
            .before(json!({"id": before.id}))
            .after(json!({
                "id": view.id, "subject": view.subject, "text": view.text, "html": view.html, "languages": view.languages,
            })),
    );
    Ok(view)
}

/// Sets a phase back to its built-in template.
///
/// # Errors
/// `NotFound` if the phase already has it.
pub fn reset(tx: &mut Tx<'_>, phase: Phase) -> Result<()> {
    lock_templates(tx.conn)?;
    let removed = diesel::delete(c::table.find(phase.as_str())).execute(tx.conn)?;
    if removed == 0 {
        return Err(Error::NotFound(format!("a saved template for {phase}")));
    }
    let builtin = current(tx.conn, phase)?;
    keep(tx, &builtin)?;
    template_log::add(tx, phase, &builtin.id, true)?;
    tx.record(Event::new(Action::TemplateReset, "template", phase.as_str()));
    Ok(())
}

/// Writes one line to the log if saved templates show values at unsafe places of the HTML. They were saved before Candor refused
/// this, and notices are still sent with them.
///
/// # Errors
/// The error of the database.
pub fn warn_of_unsafe(conn: &mut Conn) -> Result<()> {
    let mut found = Vec::new();
    for phase in Phase::ALL {
        let view = current(conn, phase)?;
        if view.builtin {
            continue;
        }
        // A template that cannot be used any more is reported where it is used.
        if let Ok(template) = view.compile()
            && let Some((_, why)) = template.unsafe_place()
        {
            found.push(format!("{phase}: {why}"));
        }
    }
    if !found.is_empty() {
        tracing::warn!(
            templates = found.join("; "),
            "saved templates show a customer's value at an unsafe place of the HTML part; notices are still sent with them: \
             save corrected templates"
        );
    }
    Ok(())
}

/// Returns a warning for each fault of the emails of a template that does not keep them from being sent: a customer's value at an
/// unsafe place, and each text of an operator that the emails do not show. It renders samples.
///
/// # Errors
/// The same as [`TemplateView::compile`].
pub fn warnings(view: &TemplateView) -> Result<Vec<String>> {
    let template = view.compile()?;
    let mut warnings = Vec::new();
    if let Some((_, why)) = template.unsafe_place() {
        warnings.push(format!(
            "the HTML part of the {} template shows a customer's value at an unsafe place ({why}); notices are still sent with \
             it: save a corrected template",
            view.phase
        ));
    }
    for language in template.spoken() {
        let own = template.has_own(language);
        for warning in not_shown(view.phase, &template, language, own)? {
            if !warnings.contains(&warning) {
                warnings.push(warning);
            }
        }
    }
    Ok(warnings)
}

/// Returns a warning for each text of an operator that the emails in a language do not show.
fn not_shown(phase: Phase, template: &Template, language: Language, own: bool) -> Result<Vec<String>> {
    const MESSAGE: &str = "operatorsmessage";
    const ACTION: &str = "customersaction";
    const REPORT: &str = "reportssection";
    let Some(mut sample) = template.samples_in(phase, language).into_iter().next() else {
        return Ok(Vec::new());
    };
    sample.subject = None;
    sample.paragraphs = vec![MESSAGE.to_owned()];
    sample.action = Some(MailAction {
        required: true,
        text: ACTION.to_owned(),
    });
    for section in sample.report.iter_mut().flat_map(|report| &mut report.sections) {
        section.paragraphs = vec![REPORT.to_owned()];
    }
    sample.optional = phase.optional();
    let rendered = template.render(&sample)?;
    let url = sample.unsubscribe_url.as_str();
    let answers: Vec<&str> = sample
        .answers
        .iter()
        .flat_map(|links| [&*links.works, &*links.broken, &*links.help])
        .collect();
    let of = match own {
        true => format!("{} {phase} template", language.english_name()),
        false => format!("{phase} template"),
    };
    let mut warnings = Vec::new();
    for (part, body, ending) in [("text", &rendered.text, "txt"), ("HTML", &rendered.html, "html")] {
        let mut missing = |wanted: bool, markers: &[&str], what: &str, how: String| {
            // The HTML form of a link may contain escaped characters.
            let unescaped = body.replace("&#x3D;", "=").replace("&amp;", "&");
            let mut markers = markers.iter();
            let shown = markers.all(|marker| body.contains(marker) || unescaped.contains(marker));
            if wanted && !shown {
                warnings.push(format!(
                    "the {part} part of the {of} does not show {what}: add {how}"
                ));
            }
        };
        let partial = |name: &str| format!("{{{{> {name}.{ending}}}}}");
        missing(true, &[MESSAGE], "the operator's message", partial("paragraphs"));
        // A correction says itself that there is nothing to do.
        let acts = phase != Phase::Correction;
        missing(acts, &[ACTION], "what the customer has to do", partial("action"));
        missing(
            sample.report.is_some(),
            &[REPORT],
            "the sections of the report",
            "{{#each report.sections}}".to_owned(),
        );
        missing(
            sample.optional,
            &[url],
            "the link to unsubscribe",
            "{{unsubscribe_url}}".to_owned(),
        );
        missing(true, &answers, "the links for answers", partial("answers"));
    }
    Ok(warnings)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The program does not check its own templates when it starts.
    #[test]
    fn the_built_in_templates_pass_the_checks_of_saved_ones() {
        for phase in Phase::ALL {
            Checked::new(phase, Source::builtin(phase)).unwrap();
        }
    }
}
