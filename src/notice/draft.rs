//! Drafts and changes notices, and checks what a notice must contain.
//!
//! A draft is always complete enough to be sent. A notice that was sent never changes.

use diesel::prelude::*;
use serde::Deserialize;
use serde_json::json;

use super::add_author;
use super::approvals;
use super::corrections;
use super::promise;
use super::reminders;
use super::row::{CustomerAction, Row, Translation, Translations, locked};
use super::state::{insert_draft, require_draft};
use super::translation::{self, check_parts};
use super::view::{Notice, get};
use crate::audience::Rule;
use crate::audit::{Action, Event, Tx};
use crate::base::check::check_headline;
use crate::base::code::Code;
use crate::base::error::{Error, FieldError, Result};
use crate::base::given::given;
use crate::base::id::{IncidentId, NoticeId};
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::notices as n;
use crate::incident::{self, Status, StatusChange, recovery};
use crate::notice::template::{FIGURES, Phase, message_keys};

/// The content of a notice that is created as a draft.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewNotice {
    /// The phase of the notice.
    pub phase: Phase,
    /// The message in plain text. Empty lines separate paragraphs.
    pub message: String,
    /// The subject. Without it, the template makes one.
    #[serde(default)]
    pub subject: Option<String>,
    /// The headline of this notice, of at most 120 characters. Without it, the notice has the headline of the incident.
    #[serde(default)]
    pub headline: Option<String>,
    /// The time until which customers are promised the next update. It must be in the future, also when the notice is sent. Only
    /// a detection or an update promises one.
    #[serde(default)]
    pub next_update_due_at: Option<Timestamp>,
    /// What the customer must do. It must be set for a recovery and for a resolution.
    #[serde(default)]
    pub customer_action: Option<CustomerAction>,
    /// The roles that the notice is for. Without it, these are owners and all collaborators. A correction has none.
    #[serde(default)]
    pub audience: Option<Rule>,
    /// The notice that a correction is about. It must be set for a correction, and only for one.
    #[serde(default)]
    pub corrects: Option<NoticeId>,
    /// Whether a resolution may go to people whose own resources are not all restored. The emails to them then say so. Without it,
    /// sending such a resolution is refused. The default is false.
    #[serde(default)]
    pub acknowledge_impaired: bool,
    /// The texts in other languages, by language: `de`, `fr`, `es`, `pt`, `ja`, `sw`, `ar` or `en`. A person gets the message in the
    /// language of the person, else in that of the account, else in the language of the installation, in which the message itself is
    /// written.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, Translation>)]
    pub translations: Translations,
}

/// A change of a draft. A field that is left out stays unchanged.
#[derive(Clone, Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NoticePatch {
    /// The new message in plain text. Empty lines separate paragraphs.
    pub message: Option<String>,
    /// The new subject, on one line of 1 to 200 characters. Null leaves it unchanged.
    pub subject: Option<String>,
    /// The new headline. Null removes it, so that the notice has the headline of the incident.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    pub headline: Option<Option<String>>,
    /// The new time until which the next update is promised. Null removes it.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Timestamp>)]
    pub next_update_due_at: Option<Option<Timestamp>>,
    /// The new customer action.
    pub customer_action: Option<CustomerAction>,
    /// The new audience rule.
    pub audience: Option<Rule>,
    /// Whether a resolution may go to people whose own resources are not all restored.
    pub acknowledge_impaired: Option<bool>,
    /// The texts in other languages. They replace all translations of the draft.
    #[schema(value_type = Option<BTreeMap<String, Translation>>)]
    pub translations: Option<Translations>,
}

/// Drafts a notice.
///
/// # Errors
/// `NotFound` if the incident does not exist. `Invalid` with each wrong field (a resolution needs
/// `customer_action`, and a correction needs `corrects`). `Conflict` if a resolution is drafted for an incident that is not
/// resolved.
pub fn draft(tx: &mut Tx<'_>, incident: &IncidentId, new: &NewNotice) -> Result<Notice> {
    if new.phase == Phase::Maintenance {
        let detail = "is not for an incident: plan, move or cancel a maintenance, which drafts its notice";
        return Err(Error::invalid("/phase", detail));
    }
    check_new(tx.conn, new)?;
    check_promise(new.phase, new.next_update_due_at, tx.now)?;
    check_phase(tx.conn, incident, new.phase)?;
    let texts = texts(
        Some(&new.message),
        new.customer_action.as_ref(),
        Some(&new.translations),
    );
    check_figures(tx.conn, incident, &texts)?;
    let author = tx.actor.id().to_owned();
    let row = new_row(tx.conn, &author, tx.now, incident, new)?;
    insert_draft(tx, &row)?;
    if let Some(wrong) = &new.corrects {
        corrections::mark(tx, &row, wrong)?;
    }
    get(tx.conn, &row.id)
}

/// Sets the incident to resolved, if it is not, and drafts a notice.
///
/// # Errors
/// Those of [`incident::set_status`] and [`draft`]. Then neither is done.
pub fn resolve_and_draft(tx: &mut Tx<'_>, incident: &IncidentId, new: &NewNotice) -> Result<Notice> {
    if incident::get(tx.conn, incident)?.status != Status::Resolved {
        let resolved = StatusChange {
            status: Status::Resolved,
            message: None,
            at: None,
        };
        incident::set_status(tx, incident, &resolved)?;
    }
    draft(tx, incident, new)
}

/// Checks a new notice, regardless of its author and of the incident.
///
/// # Errors
/// `Invalid` with each wrong field.
pub(crate) fn check_new(conn: &mut Conn, new: &NewNotice) -> Result<()> {
    let mut errors = Vec::new();
    check_parts(
        &mut errors,
        Some(&new.message),
        new.subject.as_deref(),
        new.customer_action.as_ref(),
    );
    if matches!(new.phase, Phase::Recovery | Phase::Resolution) && new.customer_action.is_none() {
        let detail = format!(
            "a {} must say what the customer must do, or {{\"required\": false}} if no action is needed",
            new.phase
        );
        errors.push(FieldError::at("/customer_action", detail));
    }
    check_acknowledged(&mut errors, new.phase, new.acknowledge_impaired);
    let (rule, action) = (new.audience.is_some(), new.customer_action.as_ref());
    corrections::check_parts(&mut errors, new.phase, new.corrects.as_ref(), rule, action);
    check_headline(&mut errors, new.headline.as_deref());
    translation::check(&mut errors, &new.translations, action);
    if let Some(rule) = &new.audience {
        rule.check(conn, "/audience", &mut errors)?;
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(Error::fields(errors))
    }
}

/// Checks that only a resolution acknowledges that something is not restored. No other notice says that the incident is over for its
/// readers.
fn check_acknowledged(errors: &mut Vec<FieldError>, phase: Phase, acknowledged: bool) {
    if acknowledged && phase != Phase::Resolution {
        let detail = "must be left out: only a resolution acknowledges that something is not restored";
        errors.push(FieldError::at("/acknowledge_impaired", detail));
    }
}

/// Checks the time until which a notice promises the next update.
fn check_promise(phase: Phase, due: Option<Timestamp>, now: Timestamp) -> Result<()> {
    let mut errors = Vec::new();
    promise::check(&mut errors, phase, due, now);
    if errors.is_empty() {
        Ok(())
    } else {
        Err(Error::fields(errors))
    }
}

pub(super) fn new_row(
    conn: &mut Conn,
    author: &str,
    now: Timestamp,
    incident: &IncidentId,
    new: &NewNotice,
) -> Result<Row> {
    let action = new
        .customer_action
        .as_ref()
        .map(serde_json::to_string)
        .transpose()?;
    Ok(Row {
        subject: new.subject.as_deref().map(|s| s.trim().to_owned()),
        headline: new.headline.as_deref().map(|s| s.trim().to_owned()),
        next_update_due_at: new.next_update_due_at,
        customer_action: action,
        audience: new.audience.as_ref().map(serde_json::to_string).transpose()?,
        acknowledge_impaired: new.acknowledge_impaired,
        translations: translation::stored(&new.translations)?,
        ..Row::draft(
            conn,
            author,
            now,
            incident.clone(),
            new.phase.as_str().to_owned(),
            new.message.trim().to_owned(),
        )?
    })
}

/// Checks that a resolution is drafted only for a resolved incident, and a recovery only for an incident with recovery states.
pub(super) fn check_phase(conn: &mut Conn, id: &IncidentId, phase: Phase) -> Result<()> {
    let incident = incident::get(conn, id)?;
    if phase == Phase::Resolution && incident.status != Status::Resolved {
        return Err(Error::Conflict(format!(
            "incident #{} is {}; a resolution can only be drafted for a resolved incident",
            incident.number, incident.status
        )));
    }
    if phase == Phase::Recovery && !recovery::in_use(conn, id)? {
        let detail = "the incident has no recovery states: send evidence, compare a later listing, or say which resources are being \
                      recovered, and then notify those whose resources are restored";
        return Err(Error::fields(vec![
            FieldError::at("/phase", detail).code(Code::NoRecoveryStates),
        ]));
    }
    Ok(())
}

/// Returns the texts of a notice that can show values, each with its pointer.
fn texts<'a>(
    message: Option<&'a str>,
    action: Option<&'a CustomerAction>,
    translations: Option<&'a Translations>,
) -> Vec<(String, &'a str)> {
    let of = |at: &str, message: Option<&'a str>, action: Option<&'a CustomerAction>| {
        let to_do = action.and_then(|action| action.text.as_deref());
        [
            (format!("{at}/message"), message.unwrap_or_default()),
            (format!("{at}/customer_action/text"), to_do.unwrap_or_default()),
        ]
    };
    let mut all = of("", message, action).to_vec();
    for (language, one) in translations.into_iter().flatten() {
        let at = translation::pointer(*language);
        all.extend(of(&at, Some(&one.message), one.customer_action.as_ref()));
    }
    all
}

/// Checks that the texts of a notice use the figures of the recovery only if the incident has recovery states.
pub(super) fn check_figures(conn: &mut Conn, id: &IncidentId, texts: &[(String, &str)]) -> Result<()> {
    let uses = |text: &str| {
        message_keys(text)
            .iter()
            .any(|key| FIGURES.contains(&key.as_str()))
    };
    let used = texts.iter().filter(|(_, text)| uses(text));
    let pointers: Vec<&str> = used.map(|(pointer, _)| pointer.as_str()).collect();
    if pointers.is_empty() || recovery::in_use(conn, id)? {
        return Ok(());
    }
    let wrong = |pointer: &&str| {
        FieldError::at(
            *pointer,
            "uses a figure of the recovery, and the incident has no recovery states",
        )
        .code(Code::NoRecoveryStates)
    };
    Err(Error::fields(pointers.iter().map(wrong).collect()))
}

/// Changes a draft. The actor becomes one of its authors, and an existing approval is not valid any more. A
/// patch that changes nothing has no effect: it adds no author and no event.
///
/// # Errors
/// `NotFound` if it does not exist, `Conflict` if it is not a draft any more, `Invalid` with each wrong
/// field.
pub fn change(tx: &mut Tx<'_>, id: &NoticeId, patch: &NoticePatch) -> Result<Notice> {
    let mut errors = Vec::new();
    check_parts(
        &mut errors,
        patch.message.as_deref(),
        patch.subject.as_deref(),
        patch.customer_action.as_ref(),
    );
    if let Some(rule) = &patch.audience {
        rule.check(tx.conn, "/audience", &mut errors)?;
    }
    check_headline(
        &mut errors,
        patch.headline.iter().flatten().next().map(String::as_str),
    );
    if !errors.is_empty() {
        return Err(Error::fields(errors));
    }
    let before = locked(tx, id)?;
    require_draft(&before)?;
    check_promise(before.phase()?, patch.next_update_due_at.flatten(), tx.now)?;
    if patch.audience.is_some() && reminders::is_one(tx.conn, id)? {
        let detail = "cannot be changed: a reminder is for everybody who was asked and has not answered";
        return Err(Error::invalid("/audience", detail));
    }
    if before.phase()? == Phase::Correction {
        let mut errors = Vec::new();
        let action = patch.customer_action.as_ref();
        corrections::check_unchangeable(&mut errors, patch.audience.is_some(), action);
        if !errors.is_empty() {
            return Err(Error::fields(errors));
        }
    }
    if let Some(acknowledged) = patch.acknowledge_impaired {
        let mut errors = Vec::new();
        check_acknowledged(&mut errors, before.phase()?, acknowledged);
        if !errors.is_empty() {
            return Err(Error::fields(errors));
        }
    }
    let texts = texts(
        patch.message.as_deref(),
        patch.customer_action.as_ref(),
        patch.translations.as_ref(),
    );
    check_figures(tx.conn, &before.incident_id, &texts)?;
    let translations = match &patch.translations {
        Some(translations) => translations.clone(),
        None => before.translations()?,
    };
    let own = match &patch.customer_action {
        Some(action) => Some(action.clone()),
        None => before.action()?,
    };
    let mut errors = Vec::new();
    translation::check(&mut errors, &translations, own.as_ref());
    if !errors.is_empty() {
        return Err(Error::fields(errors));
    }
    let stored = translation::stored(&translations)?;
    let message = patch
        .message
        .as_deref()
        .map_or(before.message.clone(), |m| m.trim().to_owned());
    let subject = patch
        .subject
        .as_deref()
        .map(|s| s.trim().to_owned())
        .or(before.subject.clone());
    let headline = match &patch.headline {
        Some(headline) => headline.as_deref().map(|s| s.trim().to_owned()),
        None => before.headline.clone(),
    };
    let due = patch.next_update_due_at.unwrap_or(before.next_update_due_at);
    let action = match &patch.customer_action {
        Some(action) => Some(serde_json::to_string(action)?),
        None => before.customer_action.clone(),
    };
    let rule = match &patch.audience {
        Some(rule) => Some(serde_json::to_string(rule)?),
        None => before.audience.clone(),
    };
    let acknowledged = patch.acknowledge_impaired.unwrap_or(before.acknowledge_impaired);
    let same = message == before.message
        && acknowledged == before.acknowledge_impaired
        && subject == before.subject
        && headline == before.headline
        && stored == before.translations
        && due == before.next_update_due_at
        && patch.customer_action.as_ref().map_or(Ok(true), |action| {
            Ok::<_, Error>(before.action()?.as_ref() == Some(action))
        })?
        && patch
            .audience
            .as_ref()
            .map_or(Ok(true), |rule| Ok::<_, Error>(before.rule()? == *rule))?;
    if same {
        return get(tx.conn, id);
    }
    let episode = incident::episode_of(tx.conn, &before.incident_id)?;
    let author = tx.actor.id().to_owned();
    add_author(tx, id, &author)?;
    approvals::end_all(tx, id)?;
    diesel::update(n::table.find(id.as_str()))
        .set((
            n::message.eq(&message),
            n::subject.eq(&subject),
            n::headline.eq(&headline),
            n::next_update_due_at.eq(due),
            n::customer_action.eq(&action),
            n::audience.eq(&rule),
            n::acknowledge_impaired.eq(acknowledged),
            n::translations.eq(&stored),
            n::drafted_by.eq(&author),
            n::episode.eq(episode),
            n::approved_by.eq(None::<String>),
            n::approved_digest.eq(None::<String>),
            n::updated_at.eq(tx.now),
        ))
        .execute(tx.conn)?;
    tx.record(
        Event::new(Action::NoticeChanged, "notice", id.as_str())
            .incident(&before.incident_id)
            .before(json!({
                "subject": before.subject, "message": before.message, "customer_action": before.action()?,
                "audience": before.rule()?, "headline": before.headline,
                "next_update_due_at": before.next_update_due_at, "acknowledge_impaired": before.acknowledge_impaired,
                "translations": before.translations()?,
            }))
            .after(json!({
                "subject": subject, "message": message, "customer_action": action,
                "audience": patch.audience.clone().map_or_else(|| before.rule(), Ok)?, "headline": headline,
                "next_update_due_at": due, "acknowledge_impaired": acknowledged, "translations": translations,
            })),
    );
    get(tx.conn, id)
}
