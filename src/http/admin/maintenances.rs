//! `/admin/maintenances`: planned maintenance, one of it with its notices, and the forms that plan, change, move and cancel it. A notice is checked
//! and sent on its own page, like every other.
//!
//! A time always has its time zone.

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};

use super::done::done;
use super::field::Field;
use super::filled::Filled;
use super::form::{Form, Saved, Use};
use super::frame::Frame;
use super::params;
use super::signed_in::SignedIn;
use super::view::{When, count, grouped, link, zone};
use crate::auth::Role;
use crate::base::error::{Error, Result};
use crate::base::id::IncidentId;
use crate::base::time::Timestamp;
use crate::directory::ResourceRef;
use crate::directory::selector::Json;
use crate::http::App;
use crate::http::admin_page::Pages;
use crate::http::ids::{InPath, MaintenanceId};
use crate::http::page::{Limit, cursor, page};
use crate::http::problem::Answer;
use crate::incident::affected;
use crate::maintenance::{
    self, Cancel, ChangeAffected, Maintenance, MaintenanceState, Move, NewMaintenance, Said,
};
use crate::notice::planned::{self, PlannedMaintenance, can_change};
use crate::notice::planned_mail::Change;

pub(super) fn routes(pages: &mut Pages) {
    pages
        .search("/maintenances", Role::Viewer, list)
        .does(&["GET /api/v1/maintenances"])
        .show("/maintenances/new", Role::Operator, new)
        .send("/maintenances", Role::Operator, plan)
        .keeps_text("Plan the maintenance")
        .does(&["POST /api/v1/maintenances"])
        .show("/maintenances/{id}", Role::Viewer, show)
        .does(&[
            "GET /api/v1/maintenances/{id}",
            "GET /api/v1/maintenances/{id}/affected",
        ])
        .show("/maintenances/{id}/affected", Role::Operator, affected_form)
        .send("/maintenances/{id}/affected", Role::Operator, change_affected)
        .does(&["PATCH /api/v1/maintenances/{id}"])
        .show("/maintenances/{id}/move", Role::Operator, new_times)
        .send("/maintenances/{id}/move", Role::Operator, reschedule)
        .does(&["POST /api/v1/maintenances/{id}/move"])
        .show("/maintenances/{id}/cancel", Role::Operator, ask_cancel)
        .send("/maintenances/{id}/cancel", Role::Operator, cancel)
        .does(&["POST /api/v1/maintenances/{id}/cancel"])
        .show("/maintenances/{id}/write", Role::Operator, write)
        .send("/maintenances/{id}/write", Role::Operator, say)
        .keeps_text("Save the draft")
        .does(&["POST /api/v1/maintenances/{id}/notices"])
        .send("/maintenances/{id}/begin", Role::Operator, begin)
        .does(&["POST /api/v1/maintenances/{id}/begin"])
        .send("/maintenances/{id}/finish", Role::Operator, finish)
        .does(&["POST /api/v1/maintenances/{id}/finish"]);
}

const PATH: &str = "/admin/maintenances";
const PART: &str = "Planned maintenance";
/// The number of maintenances on one page.
const ROWS: Limit = Limit(30);
/// The number of affected resources that a page names.
const NAMED: i64 = 50;

const STARTS: Field = Field::needed_clock(
    "starts_at",
    "Starts",
    "It must be in the future.",
    "must not be empty; enter when it starts",
);
const ENDS: Field = Field::needed_clock(
    "ends_at",
    "Ends",
    "At most 31 days after the start.",
    "must not be empty; enter when it ends",
)
.beside();

const NEW: &[Field] = &[
    Field::text(
        "title",
        "Title",
        "What is maintained, in words for customers. It stands in the subject. At most 120 characters.",
    ),
    STARTS,
    ENDS,
    Field::zone(),
    Field::resources(
        "Affected resources",
        "Write a type and an ID on each line, such as project savanna. Everybody who owns them or works on them is notified.",
    ),
    Field::text(
        "selector",
        "Or a selector",
        "It finds the affected resources now, such as type:file provider:s3. Fill in either the resources or the selector.",
    )
    .optional(),
    Field::long_text("message", "Message", "The text of the email, below the times."),
    Field::lines(
        "components",
        "Components of the status page",
        "The ID of a component on each line. If empty, the status page shows it for none.",
    ),
];

const AFFECTED: &[Field] = &[
    Field::resources(
        "Resources to add",
        "Write a type and an ID on each line, such as project savanna.",
    )
    .named("add"),
    Field::text(
        "selector",
        "And those that a selector finds now",
        "Such as type:file provider:s3.",
    )
    .optional(),
    Field::resources(
        "Resources to remove",
        "The same. Whoever was notified because of them gets the later notices too.",
    )
    .named("remove"),
    Field::lines(
        "components",
        "Components of the status page",
        "The ID of a component on each line. If empty, the status page shows it for none.",
    ),
];

const MOVE: &[Field] = &[
    STARTS,
    ENDS,
    Field::zone(),
    Field::long_text(
        "message",
        "Message",
        "The text of the email, below the times. If empty, it is that of the announcement.",
    )
    .optional(),
];

const CANCEL: &[Field] = &[Field::long_text(
    "message",
    "Message",
    "The text of the email. If empty, it says only that the maintenance is cancelled.",
)
.optional()];

const WRITE: &[Field] = &[Field::long_text(
    "message",
    "Message",
    "The text of the email. It begins by itself with what is true now, such as that the maintenance has begun.",
)];

/// A new maintenance as it was typed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Typed {
    title: String,
    starts_at: Timestamp,
    ends_at: Timestamp,
    #[serde(default)]
    resources: Vec<ResourceRef>,
    #[serde(default)]
    selector: Option<Json>,
    message: String,
    #[serde(default)]
    components: Vec<String>,
}

impl Typed {
    fn planned(self) -> NewMaintenance {
        NewMaintenance {
            title: self.title,
            starts_at: self.starts_at,
            ends_at: self.ends_at,
            affected: Some(self.resources).filter(|list| !list.is_empty() || self.selector.is_none()),
            selector: self.selector,
            message: self.message,
            components: self.components,
        }
    }
}

/// The API calls the resources of a new maintenance `affected`.
fn at_resources(error: Error) -> Error {
    error.renamed("/affected", "/resources")
}

fn state(of: MaintenanceState) -> (&'static str, &'static str) {
    match of {
        MaintenanceState::Scheduled => ("planned", "info"),
        MaintenanceState::InProgress => ("in progress", "warn"),
        MaintenanceState::Over => ("over", "good"),
        MaintenanceState::Cancelled => ("cancelled", ""),
    }
}

fn row(one: &Maintenance, by: &SignedIn) -> Value {
    let (word, tone) = state(one.state);
    let zone = zone(by.zone());
    json!({
        "number": one.number, "title": one.title, "path": path_of(&one.id), "word": word, "tone": tone,
        "starts": When::new(one.starts_at, zone.as_ref()), "ends": When::new(one.ends_at, zone.as_ref()),
        "resources": count(usize::try_from(one.resources).unwrap_or_default(), "resource", "resources"),
    })
}

fn path_of(id: &IncidentId) -> String {
    format!("{PATH}/{id}")
}

async fn list(app: web::Data<App>, by: SignedIn, asked: params::Form<params::Paged>) -> Answer<HttpResponse> {
    let at = asked.0.cursor;
    let below: Option<i64> = cursor(at.as_deref())?;
    let (open, rows) = app
        .db
        .read(move |conn| {
            let open = match below {
                None => maintenance::current_and_upcoming(conn, ROWS.0)?,
                Some(_) => Vec::new(),
            };
            Ok((open, maintenance::list(conn, None, below, ROWS.probe())?))
        })
        .await?;
    let rows = page(rows, ROWS, |one: &Maintenance| one.number);
    let over = |one: &&Maintenance| matches!(one.state, MaintenanceState::Over | MaintenanceState::Cancelled);
    let past: Vec<Value> = rows.items.iter().filter(over).map(|one| row(one, &by)).collect();
    let open: Vec<Value> = open.iter().map(|one| row(one, &by)).collect();
    app.pages.answer(
        "admin/maintenances",
        &json!({
            "page": Frame::new(&app, &by, PART, PART),
            "may_plan": by.0.role.covers(Role::Operator),
            "first": at.is_none(),
            "open": open, "past": past,
            "pager": {
                "first": at.is_some().then_some(PATH),
                "next": rows.next_cursor.as_ref().map(|next| link(PATH, &[("cursor", Some(next))])),
            },
        }),
    )
}

fn change(of: Change) -> &'static str {
    match of {
        Change::Announced => "It is planned",
        Change::Moved => "It is moved",
        Change::Cancelled => "It is cancelled",
        Change::Begun => "It has begun",
        Change::Over => "It is over",
    }
}

async fn show(app: web::Data<App>, by: SignedIn, InPath(id): InPath<MaintenanceId>) -> Answer<HttpResponse> {
    let (planned, resources) = app
        .db
        .read(move |conn| {
            let planned = planned::read(conn, &id.0)?;
            Ok((planned, affected::list(conn, &id.0, None, None, NAMED)?))
        })
        .await?;
    let PlannedMaintenance {
        maintenance: one,
        draft,
        notices,
    } = planned;
    let zone = zone(by.zone());
    let (word, tone) = state(one.state);
    let path = path_of(&one.id);
    let may = by.0.role.covers(Role::Operator);
    let (movable, cancellable) = can_change(one.state);
    let title = format!("Maintenance {}: {}", one.number, one.title);
    let ask = |label: &str, last: &str, text: &str| json!({"label": label, "button": label, "fields": [], "action": format!("{path}/{last}"), "text": text});
    let by_hand = match one.state {
        MaintenanceState::Scheduled => Some(ask(
            "Begin now",
            "begin",
            "It begins by itself at its time. Nobody is notified: write a notice for that.",
        )),
        MaintenanceState::InProgress => Some(ask(
            "End now",
            "finish",
            "It ends by itself at its time. Nobody is notified: write a notice for that.",
        )),
        MaintenanceState::Over | MaintenanceState::Cancelled => None,
    };
    let more = one.resources - i64::try_from(resources.len()).unwrap_or_default();
    app.pages.answer(
        "admin/maintenance",
        &json!({
            "page": Frame::new(&app, &by, &title, PART),
            "number": one.number, "title": one.title, "word": word, "tone": tone,
            "paragraphs": crate::notice::compose::paragraphs(&one.message),
            "starts": When::new(one.starts_at, zone.as_ref()), "ends": When::new(one.ends_at, zone.as_ref()),
            "began": When::maybe(one.began_at, zone.as_ref()), "over": When::maybe(one.over_at, zone.as_ref()),
            "cancelled": one.state == MaintenanceState::Cancelled,
            "changes": (one.sequence > 0).then(|| {
                count(usize::try_from(one.sequence).unwrap_or_default(), "change", "changes")
            }),
            "by": one.created_by, "created": When::new(one.created_at, zone.as_ref()),
            "components": one.components.join(", "),
            "resources": resources.iter().map(|one| json!({"label": one.resource.to_string(), "name": one.name})).collect::<Vec<_>>(),
            "more": (more > 0).then(|| grouped(more)),
            "draft": draft.as_ref().map(|id| format!("/admin/notices/{id}")),
            "notices": notices.iter().map(|notice| json!({
                "path": format!("/admin/notices/{}", notice.id), "says": change(notice.change), "state": notice.state,
                "queued": When::maybe(notice.queued_at, zone.as_ref()),
            })).collect::<Vec<_>>(),
            "write": (may && draft.is_none()).then(|| format!("{path}/write")),
            "move": (may && movable).then(|| format!("{path}/move")),
            "cancel": (may && cancellable).then(|| format!("{path}/cancel")),
            "change": (may && cancellable).then(|| format!("{path}/affected")),
            "by_hand": by_hand.filter(|_| may),
            "window": (may && movable).then(|| format!("{path}/window")),
        }),
    )
}

fn new_page(app: &App, by: &SignedIn, form: Form) -> Answer<HttpResponse> {
    let explained = "The affected customers are notified by email. You check the draft and send it on the next page. A planned maintenance keeps no alert from opening an incident: create a maintenance window for that.";
    let at = Use {
        action: PATH.to_owned(),
        button: "Plan maintenance",
        within: (PART, PATH.to_owned()),
    };
    form.page(app, by, ("Plan a maintenance", PART), explained, &at)
}

async fn new(app: web::Data<App>, by: SignedIn) -> Answer<HttpResponse> {
    new_page(&app, &by, Form::new(NEW).zoned(&by, None))
}

/// Leads to the draft of a notice, or else to the maintenance.
fn next(app: &App, planned: &PlannedMaintenance, said: &str) -> HttpResponse {
    let path = match &planned.draft {
        Some(draft) => format!("/admin/notices/{draft}"),
        None => path_of(&planned.maintenance.id),
    };
    done(app, &path, said)
}

async fn plan(app: web::Data<App>, sent: Filled) -> Answer<HttpResponse> {
    let (by, form, now) = (sent.by, Form::read(NEW, sent.fields)?, app.clock().now());
    let actor = by.0.actor();
    let store = async |typed: Typed| {
        let new = typed.planned();
        let stored = app.db.write(&actor, move |tx| planned::plan(tx, &new)).await;
        stored.map_err(at_resources)
    };
    let check = async |typed: Typed| typed.planned().check(now).map_err(at_resources);
    match form.save_checked(now, store, check).await? {
        Saved::Done(planned) => Ok(next(
            &app,
            &planned,
            "The maintenance is planned. Nobody is notified before you send this draft.",
        )),
        Saved::Again(form) => new_page(&app, &by, form),
    }
}

async fn found(app: &App, id: IncidentId) -> Result<Maintenance> {
    app.db.read(move |conn| maintenance::get(conn, &id)).await
}

/// Shows a form of a maintenance on a page of its own. `last` is the end of its path.
fn form_page(
    app: &App,
    by: &SignedIn,
    one: &Maintenance,
    form: Form,
    (title, last, button): (&str, &str, &str),
    explained: &str,
) -> Answer<HttpResponse> {
    let (name, path) = (format!("Maintenance {}", one.number), path_of(&one.id));
    let at = Use {
        action: format!("{path}/{last}"),
        button,
        within: (&name, path),
    };
    form.page(app, by, (title, PART), explained, &at)
}

/// What a maintenance affects from now on, as it was typed. An empty list changes nothing.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TypedChange {
    #[serde(default)]
    add: Vec<ResourceRef>,
    #[serde(default)]
    selector: Option<Json>,
    #[serde(default)]
    remove: Vec<ResourceRef>,
    #[serde(default)]
    components: Vec<String>,
}

impl TypedChange {
    fn change(self) -> ChangeAffected {
        let some = |list: Vec<ResourceRef>| Some(list).filter(|list| !list.is_empty());
        ChangeAffected {
            add: some(self.add),
            selector: self.selector,
            remove: some(self.remove),
            components: Some(self.components),
        }
    }
}

fn affected_page(app: &App, by: &SignedIn, one: &Maintenance, form: Form) -> Answer<HttpResponse> {
    let explained = "Nobody is notified of this change. A later notice goes to whoever is affected then, and to everybody who was notified before. A draft that is not sent yet stays.";
    let title = format!("Change what maintenance {} affects", one.number);
    form_page(
        app,
        by,
        one,
        form,
        (&title, "affected", "Save changes"),
        explained,
    )
}

async fn affected_form(
    app: web::Data<App>,
    by: SignedIn,
    InPath(id): InPath<MaintenanceId>,
) -> Answer<HttpResponse> {
    let one = found(&app, id.0).await?;
    let form = Form::new(AFFECTED).with("components", one.components.join("\n"));
    affected_page(&app, &by, &one, form)
}

async fn change_affected(
    app: web::Data<App>,
    sent: Filled,
    InPath(id): InPath<MaintenanceId>,
) -> Answer<HttpResponse> {
    let (by, form) = (sent.by, Form::read(AFFECTED, sent.fields)?);
    let (actor, one) = (by.0.actor(), found(&app, id.0.clone()).await?);
    let store = async |typed: TypedChange| {
        let (id, change) = (id.0.clone(), typed.change());
        app.db
            .write(&actor, move |tx| planned::change_affected(tx, &id, &change))
            .await
    };
    match form.save(app.clock().now(), store).await? {
        Saved::Done(planned) => Ok(done(
            &app,
            &path_of(&planned.maintenance.id),
            "The changes are saved. Nobody was notified.",
        )),
        Saved::Again(form) => affected_page(&app, &by, &one, form),
    }
}

fn move_page(app: &App, by: &SignedIn, one: &Maintenance, form: Form) -> Answer<HttpResponse> {
    let explained = "A notice with the new times is drafted, for the affected customers and for those who were notified before. A draft that is not sent yet is replaced.";
    let title = format!("Move maintenance {}", one.number);
    form_page(
        app,
        by,
        one,
        form,
        (&title, "move", "Move maintenance"),
        explained,
    )
}

async fn new_times(
    app: web::Data<App>,
    by: SignedIn,
    InPath(id): InPath<MaintenanceId>,
) -> Answer<HttpResponse> {
    let one = found(&app, id.0).await?;
    let shown_in = zone(by.zone()).unwrap_or(jiff::tz::TimeZone::UTC);
    let form = Form::new(MOVE)
        .zoned(&by, None)
        .with("starts_at", one.starts_at.clock_in(&shown_in))
        .with("ends_at", one.ends_at.clock_in(&shown_in));
    move_page(&app, &by, &one, form)
}

async fn reschedule(
    app: web::Data<App>,
    sent: Filled,
    InPath(id): InPath<MaintenanceId>,
) -> Answer<HttpResponse> {
    let (by, form, now) = (sent.by, Form::read(MOVE, sent.fields)?, app.clock().now());
    let (actor, one) = (by.0.actor(), found(&app, id.0.clone()).await?);
    let store = async |to: Move| {
        let id = id.0.clone();
        app.db
            .write(&actor, move |tx| planned::reschedule(tx, &id, &to))
            .await
    };
    let check = async |to: Move| to.check(now);
    match form.save_checked(now, store, check).await? {
        Saved::Done(planned) => Ok(next(&app, &planned, "The maintenance is moved.")),
        Saved::Again(form) => move_page(&app, &by, &one, form),
    }
}

fn cancel_page(app: &App, by: &SignedIn, one: &Maintenance, form: Form) -> Answer<HttpResponse> {
    let explained = "It cannot be planned again: plan a new one. If somebody was notified of it, a notice that says so is drafted. A draft that is not sent yet is discarded.";
    let title = format!("Cancel maintenance {}", one.number);
    form_page(
        app,
        by,
        one,
        form,
        (&title, "cancel", "Cancel maintenance"),
        explained,
    )
}

async fn ask_cancel(
    app: web::Data<App>,
    by: SignedIn,
    InPath(id): InPath<MaintenanceId>,
) -> Answer<HttpResponse> {
    let one = found(&app, id.0).await?;
    cancel_page(&app, &by, &one, Form::new(CANCEL))
}

async fn cancel(
    app: web::Data<App>,
    sent: Filled,
    InPath(id): InPath<MaintenanceId>,
) -> Answer<HttpResponse> {
    let (by, form) = (sent.by, Form::read(CANCEL, sent.fields)?);
    let (actor, one) = (by.0.actor(), found(&app, id.0.clone()).await?);
    let store = async |said: Cancel| {
        let id = id.0.clone();
        app.db
            .write(&actor, move |tx| planned::cancel(tx, &id, &said))
            .await
    };
    match form.save(app.clock().now(), store).await? {
        Saved::Done(planned) => Ok(next(&app, &planned, "The maintenance is cancelled.")),
        Saved::Again(form) => cancel_page(&app, &by, &one, form),
    }
}

fn write_page(app: &App, by: &SignedIn, one: &Maintenance, form: Form) -> Answer<HttpResponse> {
    let (word, _) = state(one.state);
    let explained = format!(
        "The maintenance is {word}. The notice says so, and goes to the affected customers and to those who were notified before."
    );
    let title = format!("Write about maintenance {}", one.number);
    form_page(app, by, one, form, (&title, "write", "Save draft"), &explained)
}

async fn write(app: web::Data<App>, by: SignedIn, InPath(id): InPath<MaintenanceId>) -> Answer<HttpResponse> {
    let one = found(&app, id.0).await?;
    write_page(&app, &by, &one, Form::new(WRITE))
}

async fn say(app: web::Data<App>, sent: Filled, InPath(id): InPath<MaintenanceId>) -> Answer<HttpResponse> {
    let (by, form) = (sent.by, Form::read(WRITE, sent.fields)?);
    let (actor, one) = (by.0.actor(), found(&app, id.0.clone()).await?);
    let store = async |said: Said| {
        let id = id.0.clone();
        app.db.write(&actor, move |tx| planned::say(tx, &id, &said)).await
    };
    match form.save(app.clock().now(), store).await? {
        Saved::Done(planned) => Ok(next(&app, &planned, "The draft is saved.")),
        Saved::Again(form) => write_page(&app, &by, &one, form),
    }
}

async fn begin(app: web::Data<App>, sent: Filled, InPath(id): InPath<MaintenanceId>) -> Answer<HttpResponse> {
    let actor = sent.actor();
    sent.fields.finish()?;
    let path = path_of(&id.0);
    app.db.write(&actor, move |tx| planned::begin(tx, &id.0)).await?;
    Ok(done(&app, &path, "The maintenance has begun."))
}

async fn finish(
    app: web::Data<App>,
    sent: Filled,
    InPath(id): InPath<MaintenanceId>,
) -> Answer<HttpResponse> {
    let actor = sent.actor();
    sent.fields.finish()?;
    let path = path_of(&id.0);
    app.db.write(&actor, move |tx| planned::finish(tx, &id.0)).await?;
    Ok(done(&app, &path, "The maintenance is over."))
}
