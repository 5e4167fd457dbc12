//! Posts: what operators tell the public about an incident. The affected get no email about it: they get notices. Who subscribed to the
//! status page gets one (`subscription`).
//!
//! - A post of a drill does not exist.
//! - A post can be changed and taken back at any time, also after its incident was merged into another one.

use std::collections::BTreeMap;

use diesel::prelude::*;
use serde::de::{MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::component;
use super::state::{ComponentState, PostStatus};
use crate::audit::{Action, Event, Tx};
use crate::base::check::check_text;
use crate::base::error::{Error, FieldError, Result};
use crate::base::id::{IncidentId, PostId};
use crate::base::language::Language;
use crate::base::merge_patch::patched;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::dialect::{self, Lock};
use crate::db::schema::public_posts as p;
use crate::incident;

/// The longest title, in characters.
const MAX_TITLE: usize = 120;
/// The longest message, in characters. The page of an incident stays small.
const MAX_MESSAGE: usize = 5_000;
/// How far a time may be in the future, because clocks differ.
const TOLERANCE: std::time::Duration = std::time::Duration::from_secs(60);

/// The states of components, by their IDs.
pub type States = BTreeMap<String, ComponentState>;

/// What a post says in another language. A text alone is its message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Translation {
    /// The title of the incident.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What the public reads in this language, as plain text of at most 5,000 characters.
    pub message: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Full {
    #[serde(default)]
    title: Option<String>,
    message: String,
}

impl<'de> Deserialize<'de> for Translation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Translation;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a message, or an object with a message and a title")
            }
            fn visit_str<E>(self, message: &str) -> std::result::Result<Translation, E> {
                Ok(Translation {
                    title: None,
                    message: message.to_owned(),
                })
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> std::result::Result<Translation, A::Error> {
                let Full { title, message } = Full::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Translation { title, message })
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// What a post says to the public about an incident. The status page shows it at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPost {
    /// The state of the work.
    pub status: PostStatus,
    /// The title of the incident for the public, in at most 120 characters. The newest title counts. If no post has one, the title
    /// follows from the components. The title of the incident itself is never public.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What the public reads, as plain text. An empty line begins a paragraph.
    pub message: String,
    /// The states of the components that the incident affects, by their IDs. A component keeps its state until a later post of the
    /// incident names it again, or until the incident is resolved.
    #[serde(default)]
    #[schema(value_type = std::collections::HashMap<String, ComponentState>)]
    pub components: States,
    /// The title and the message in other languages. Who reads another language sees the message.
    #[serde(default)]
    #[schema(value_type = std::collections::HashMap<String, Translation>)]
    pub translations: BTreeMap<Language, Translation>,
    /// When it was so. The default is now. A time in the future is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// Whether the subscribers of the status page get an email about the post. The default is true. They get none about a time more than
    /// six hours ago. A change of the post emails nobody.
    #[serde(default = "yes", skip_serializing_if = "is_no_content")]
    pub email_subscribers: bool,
}

fn yes() -> bool {
    true
}

/// What happens with a post is no part of what it says. So it is not in the audit trail as what was said, and a patch cannot change it.
fn is_no_content(_: &bool) -> bool {
    true
}

/// A post: what the public reads about an incident on the status page.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Post {
    /// The ID of the post.
    pub id: PostId,
    /// The incident that the post belongs to.
    pub incident: IncidentId,
    /// The state of the work.
    pub status: PostStatus,
    /// The title of the incident for the public. Null if this post gives none.
    pub title: Option<String>,
    /// What the public reads.
    pub message: String,
    /// The states of components, by their IDs.
    #[schema(value_type = std::collections::HashMap<String, ComponentState>)]
    pub components: States,
    /// The title and the message in other languages.
    #[schema(value_type = std::collections::HashMap<String, Translation>)]
    pub translations: BTreeMap<Language, Translation>,
    /// When it was so.
    pub at: Timestamp,
    /// When the post was made.
    pub created_at: Timestamp,
    /// When the post was last changed.
    pub updated_at: Timestamp,
}

#[derive(Queryable, Insertable)]
#[diesel(table_name = p)]
#[diesel(treat_none_as_default_value = false)]
struct Row {
    id: PostId,
    incident_id: IncidentId,
    status: String,
    title: Option<String>,
    message: String,
    components: String,
    translations: String,
    at: Timestamp,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl Row {
    fn of(post: &Post) -> Result<Row> {
        Ok(Row {
            id: post.id.clone(),
            incident_id: post.incident.clone(),
            status: post.status.as_str().to_owned(),
            title: post.title.clone(),
            message: post.message.clone(),
            components: serde_json::to_string(&post.components)?,
            translations: serde_json::to_string(&post.translations)?,
            at: post.at,
            created_at: post.created_at,
            updated_at: post.updated_at,
        })
    }

    fn view(self) -> Result<Post> {
        Ok(Post {
            id: self.id,
            incident: self.incident_id,
            status: PostStatus::parse(&self.status).map_err(Error::internal)?,
            title: self.title,
            message: self.message,
            components: serde_json::from_str(&self.components)?,
            translations: serde_json::from_str(&self.translations)?,
            at: self.at,
            created_at: self.created_at,
            updated_at: self.updated_at,
        })
    }
}

impl Post {
    /// Returns what the post was made of.
    pub fn given(&self) -> NewPost {
        NewPost {
            status: self.status,
            title: self.title.clone(),
            message: self.message.clone(),
            components: self.components.clone(),
            translations: self.translations.clone(),
            at: Some(self.at),
            email_subscribers: true,
        }
    }

    fn set(&mut self, new: &NewPost, at: Timestamp) {
        let tidy = |title: &Option<String>| title.as_deref().map(|title| title.trim().to_owned());
        self.status = new.status;
        self.title = tidy(&new.title);
        self.message = new.message.trim().to_owned();
        self.components = new.components.clone();
        self.translations = new
            .translations
            .iter()
            .map(|(language, said)| {
                let said = Translation {
                    title: tidy(&said.title),
                    message: said.message.trim().to_owned(),
                };
                (*language, said)
            })
            .collect();
        self.at = new.at.unwrap_or(at);
    }

    /// Returns what the post says in a language, or else in the language in which the operators write.
    pub fn message(&self, language: Language) -> &str {
        let translated = self.translations.get(&language);
        translated.map_or(&self.message, |said| &said.message)
    }

    fn said(&self) -> Result<Value> {
        Ok(serde_json::to_value(self.given())?)
    }
}

fn check_title(errors: &mut Vec<FieldError>, pointer: &str, title: Option<&str>) {
    let Some(title) = title else { return };
    if title.trim().is_empty() {
        errors.push(FieldError::at(pointer, "must not be empty; leave it out"));
    }
    if title.chars().count() > MAX_TITLE {
        let detail = format!("is longer than {MAX_TITLE} characters");
        errors.push(FieldError::at(pointer, detail));
    }
    if title.chars().any(char::is_control) {
        let detail = "contains a control character, such as a line break";
        errors.push(FieldError::at(pointer, detail));
    }
}

fn check_message(errors: &mut Vec<FieldError>, pointer: &str, message: &str) {
    if message.trim().is_empty() {
        errors.push(FieldError::at(pointer, "must not be empty"));
    }
    if message.chars().count() > MAX_MESSAGE {
        let detail = format!("is longer than {MAX_MESSAGE} characters");
        errors.push(FieldError::at(pointer, detail));
    } else {
        check_text(errors, pointer, message);
    }
}

/// Checks a post. `before` are the components that it named before, which may be deleted.
fn check(conn: &mut Conn, new: &NewPost, before: &States, now: Timestamp) -> Result<()> {
    let mut errors = Vec::new();
    check_title(&mut errors, "/title", new.title.as_deref());
    check_message(&mut errors, "/message", &new.message);
    for (language, said) in &new.translations {
        let at = format!("/translations/{language}");
        check_title(&mut errors, &format!("{at}/title"), said.title.as_deref());
        check_message(&mut errors, &format!("{at}/message"), &said.message);
    }
    let known = component::all(conn)?;
    for (id, state) in &new.components {
        let at = format!("/components/{}", id.replace('~', "~0").replace('/', "~1"));
        if !before.contains_key(id) && known.iter().all(|one| one.id != *id) {
            errors.push(FieldError::at(at, component::unknown(&known)));
        } else if new.status == PostStatus::Resolved && *state != ComponentState::Operational {
            let detail =
                "must be operational, or left out, because the post says that the incident is resolved";
            errors.push(FieldError::at(at, detail));
        }
    }
    if new.at.is_some_and(|at| at > now.plus(TOLERANCE)) {
        let detail = format!("must not be in the future; the time of this server is {now}");
        errors.push(FieldError::at("/at", detail));
    }
    match errors.is_empty() {
        true => Ok(()),
        false => Err(Error::fields(errors)),
    }
}

/// Checks that the public may read about an incident.
fn check_incident(conn: &mut Conn, id: &IncidentId) -> Result<()> {
    match incident::get(conn, id)?.drill {
        true => Err(Error::Conflict(
            "a drill is never on the status page, so it has no posts".to_owned(),
        )),
        false => Ok(()),
    }
}

/// Checks a new post without storing it, so that a form shows all of its errors.
///
/// # Errors
/// As [`add`].
pub fn check_new(conn: &mut Conn, id: &IncidentId, new: &NewPost, now: Timestamp) -> Result<()> {
    check_incident(conn, id)?;
    check(conn, new, &States::new(), now)
}

/// Posts about an incident. It is public at once.
///
/// # Errors
/// `NotFound` if the incident does not exist. `Conflict` if it is a drill. `Invalid` with one error for each wrong field.
pub fn add(tx: &mut Tx<'_>, id: &IncidentId, new: &NewPost) -> Result<Post> {
    check_new(tx.conn, id, new, tx.now)?;
    let mut post = Post {
        id: PostId::new(tx.now),
        incident: id.clone(),
        status: new.status,
        title: None,
        message: String::new(),
        components: States::new(),
        translations: BTreeMap::new(),
        at: tx.now,
        created_at: tx.now,
        updated_at: tx.now,
    };
    post.set(new, tx.now);
    diesel::insert_into(p::table)
        .values(Row::of(&post)?)
        .execute(tx.conn)?;
    tx.record(
        Event::new(Action::PostAdded, "post", post.id.as_str())
            .incident(id)
            .after(post.said()?),
    );
    Ok(post)
}

/// Returns a post of an incident.
///
/// # Errors
/// `NotFound` if the incident has no such post.
pub fn get(conn: &mut Conn, incident: &IncidentId, id: &PostId) -> Result<Post> {
    p::table
        .find(id.as_str())
        .filter(p::incident_id.eq(incident.as_str()))
        .first::<Row>(conn)
        .optional()?
        .ok_or_else(|| Error::NotFound(format!("post {id}")))?
        .view()
}

/// Returns whether a post was not taken back.
///
/// # Errors
/// An error of the database.
pub fn exists(conn: &mut Conn, id: &PostId) -> Result<bool> {
    let found: Option<PostId> = p::table.find(id.as_str()).select(p::id).first(conn).optional()?;
    Ok(found.is_some())
}

/// Changes a post with a JSON merge patch.
///
/// # Errors
/// `NotFound` if the incident has no such post. `Invalid` with one error for each wrong field.
pub fn change(tx: &mut Tx<'_>, incident: &IncidentId, id: &PostId, patch: &Value) -> Result<Post> {
    if patch.get("email_subscribers").is_some() {
        let detail =
            "cannot be changed: the emails were stored with the post, and a change of it emails nobody";
        return Err(Error::invalid("/email_subscribers", detail));
    }
    alter(tx, incident, id, |before| patched(before, patch))
}

/// Replaces what a post says. Without a time it keeps its own.
///
/// # Errors
/// As [`change`].
pub fn replace(tx: &mut Tx<'_>, incident: &IncidentId, id: &PostId, new: &NewPost) -> Result<Post> {
    alter(tx, incident, id, |_| Ok(new.clone()))
}

fn alter(
    tx: &mut Tx<'_>,
    incident: &IncidentId,
    id: &PostId,
    to: impl FnOnce(&NewPost) -> Result<NewPost>,
) -> Result<Post> {
    // All columns are written, so nobody else may change the post since it was read.
    dialect::lock(tx.conn, Lock::Incident, incident.as_str())?;
    let before = get(tx.conn, incident, id)?;
    let after = to(&before.given())?;
    check(tx.conn, &after, &before.components, tx.now)?;
    let mut post = before.clone();
    post.set(&after, before.at);
    post.updated_at = tx.now;
    let row = Row::of(&post)?;
    diesel::update(p::table.find(id.as_str()))
        .set((
            p::status.eq(&row.status),
            p::title.eq(&row.title),
            p::message.eq(&row.message),
            p::components.eq(&row.components),
            p::translations.eq(&row.translations),
            p::at.eq(row.at),
            p::updated_at.eq(row.updated_at),
        ))
        .execute(tx.conn)?;
    tx.record(
        Event::new(Action::PostChanged, "post", id.as_str())
            .incident(incident)
            .before(before.said()?)
            .after(post.said()?),
    );
    Ok(post)
}

/// Takes a post back. The public reads it no more.
///
/// # Errors
/// `NotFound` if the incident has no such post.
pub fn delete(tx: &mut Tx<'_>, incident: &IncidentId, id: &PostId) -> Result<()> {
    let before = get(tx.conn, incident, id)?;
    diesel::delete(p::table.find(id.as_str())).execute(tx.conn)?;
    tx.record(
        Event::new(Action::PostDeleted, "post", id.as_str())
            .incident(incident)
            .before(before.said()?),
    );
    Ok(())
}

/// Returns the posts of an incident, newest first, before the given position.
///
/// # Errors
/// `NotFound` if the incident does not exist.
pub fn list(
    conn: &mut Conn,
    id: &IncidentId,
    before: Option<(Timestamp, String)>,
    limit: i64,
) -> Result<Vec<Post>> {
    incident::get(conn, id)?;
    let mut query = p::table
        .filter(p::incident_id.eq(id.as_str()))
        .into_boxed::<crate::db::Backend>();
    if let Some((at, post)) = before {
        query = query.filter(p::at.lt(at).or(p::at.eq(at).and(p::id.lt(post))));
    }
    let rows: Vec<Row> = query
        .order((p::at.desc(), p::id.desc()))
        .limit(limit)
        .load(conn)?;
    rows.into_iter().map(Row::view).collect()
}

/// Returns the posts of all incidents, oldest first.
///
/// # Errors
/// An error of the database.
pub(super) fn all(conn: &mut Conn) -> Result<Vec<Post>> {
    let rows: Vec<Row> = p::table.order((p::at, p::id)).load(conn)?;
    rows.into_iter().map(Row::view).collect()
}
