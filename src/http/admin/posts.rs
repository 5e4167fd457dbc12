//! `/admin/incidents/{id}/posts`: what the public reads about an incident, and the forms that post, change a post and take one back.

use std::collections::HashMap;

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde_json::{Map, Value, json};

use super::done::done;
use super::field::Field;
use super::filled::{Filled, lines};
use super::form::{Form, Saved, Use};
use super::frame::Frame;
use super::incident::Reader;
use super::incident_forms::find;
use super::params::{Form as Query, Paged};
use super::signed_in::SignedIn;
use super::status_page::words;
use super::translations;
use super::view::{When, cut, grouped, link};
use crate::auth::Role;
use crate::base::count::counted;
use crate::base::error::Result;
use crate::base::id::PostId;
use crate::base::language::Language;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::http::App;
use crate::http::admin_page::Pages;
use crate::http::ids::{InPath, IncidentName};
use crate::http::page::{Limit, cursor, page};
use crate::http::problem::Answer;
use crate::incident::{Incident, Severity};
use crate::status::component::{self, Component};
use crate::status::post::{self, NewPost, Post};
use crate::status::{ComponentState, PublicIncident};
use crate::subscription::outbox::{self, PostEmails};
use crate::subscription::{posting, subscriber};

pub(super) fn routes(pages: &mut Pages) {
    pages
        .search("/incidents/{id}/posts", Role::Viewer, list)
        .does(&[
            "GET /api/v1/incidents/{id}/posts",
            "GET /api/v1/incidents/{id}/posts/{post}/emails",
        ])
        .show("/incidents/{id}/posts/new", Role::Operator, new)
        .send("/incidents/{id}/posts", Role::Operator, add)
        .keeps_text("Post on the status page")
        .does(&["POST /api/v1/incidents/{id}/posts"])
        .show("/incidents/{id}/posts/{post}", Role::Operator, edit)
        .does(&["GET /api/v1/incidents/{id}/posts/{post}"])
        .send("/incidents/{id}/posts/{post}", Role::Operator, change)
        .keeps_text("Save the post")
        .does(&["PATCH /api/v1/incidents/{id}/posts/{post}"])
        .send("/incidents/{id}/posts/{post}/delete", Role::Operator, delete)
        .does(&["DELETE /api/v1/incidents/{id}/posts/{post}"]);
}

/// The number of posts on one page.
const ROWS: Limit = Limit(20);
/// The largest number of earlier posts from which a new one takes its states.
const EARLIER: i64 = 500;

const STATUS: Field = Field::choice(
    "status",
    "Status",
    "",
    &[
        ("investigating", "Investigating: the cause is not known yet"),
        ("identified", "Identified: the cause is known"),
        ("monitoring", "Monitoring: the fix is observed"),
        ("resolved", "Resolved: the incident is over"),
    ],
    "must be investigating, identified, monitoring or resolved",
);
const TITLE: Field = Field::text(
    "title",
    "Public title",
    "Such as: Uploads fail. The newest title counts. If no post has one, the title follows from the components. The title of the incident is never public.",
)
.optional()
.beside();
const MESSAGE: Field = Field::long_text(
    "message",
    "Message",
    "Everybody can read it at once. An empty line begins a paragraph.",
);
const COMPONENTS: Field = Field::own(
    "components",
    "Components",
    "On each line the ID of a component and its state: operational, under_maintenance, degraded_performance, partial_outage or major_outage. Such as: uploads major_outage. Others keep the state of the post before.",
    read_components,
    write_components,
);
const EMAILS: Field = Field::flag(
    "email_subscribers",
    "Emails",
    "They say nothing about who is affected. A later change of the post emails nobody.",
    "Email it to the subscribers of the status page",
    "Email nobody",
);
const AT: Field = Field::clock("at", "Time", "When it was so. If empty, now.");

/// The fields of a translation.
macro_rules! translated {
    ($language:literal, $name:literal) => {
        [
            Field::text(
                concat!("translations.", $language, ".title"),
                concat!("Public title in ", $name),
                "",
            )
            .optional(),
            Field::long_text(
                concat!("translations.", $language, ".message"),
                concat!("Message in ", $name),
                "If empty, readers of this language see the message above.",
            )
            .optional()
            .beside(),
        ]
    };
}

const DE: [Field; 2] = translated!("de", "German");
const FR: [Field; 2] = translated!("fr", "French");
const ES: [Field; 2] = translated!("es", "Spanish");
const PT: [Field; 2] = translated!("pt", "Portuguese");
const JA: [Field; 2] = translated!("ja", "Japanese");
const SW: [Field; 2] = translated!("sw", "Swahili");
const AR: [Field; 2] = translated!("ar", "Arabic");
const EN: [Field; 2] = translated!("en", "English");

/// The fields of a new post, with the translations.
macro_rules! with_translations {
    ($($field:expr),+) => {{
        let [de1, de2] = DE;
        let [fr1, fr2] = FR;
        let [es1, es2] = ES;
        let [pt1, pt2] = PT;
        let [ja1, ja2] = JA;
        let [sw1, sw2] = SW;
        let [ar1, ar2] = AR;
        let [en1, en2] = EN;
        &[$($field),+, de1, de2, fr1, fr2, es1, es2, pt1, pt2, ja1, ja2, sw1, sw2, ar1, ar2, en1, en2]
    }};
}

const NEW: &[Field] = with_translations!(STATUS, TITLE, MESSAGE, COMPONENTS, EMAILS, AT, Field::zone());
const CHANGED: &[Field] = with_translations!(STATUS, TITLE, MESSAGE, COMPONENTS);

/// Reads the states of components. Each line has an ID and a state.
fn read_components(text: &str) -> std::result::Result<Value, Vec<String>> {
    let (mut found, mut wrong) = (Map::new(), Vec::new());
    for line in lines(text) {
        let parts: Vec<&str> = line
            .split([' ', '\t', ':', '='])
            .filter(|part| !part.is_empty())
            .collect();
        match parts.as_slice() {
            [id, state] => match ComponentState::parse(state) {
                Err(detail) => wrong.push(detail),
                Ok(state) => {
                    if found.insert((*id).to_owned(), json!(state)).is_some() {
                        wrong.push(format!("“{id}” is there twice"));
                    }
                }
            },
            _ => wrong.push(format!(
                "“{line}” must be an ID and a state, such as uploads major_outage"
            )),
        }
    }
    match wrong.is_empty() {
        true => Ok(Value::Object(found)),
        false => Err(wrong),
    }
}

fn write_components(stored: &Value) -> String {
    let states = stored.as_object().into_iter().flatten();
    let lines = states.map(|(id, state)| format!("{id} {}", state.as_str().unwrap_or_default()));
    lines.collect::<Vec<_>>().join("\n")
}

async fn list(
    app: web::Data<App>,
    by: SignedIn,
    InPath(name): InPath<IncidentName>,
    params: Query<Paged>,
) -> Answer<HttpResponse> {
    let at = params.0.cursor;
    let before: Option<(Timestamp, String)> = cursor(at.as_deref())?;
    let mut reader = Reader::new(&app);
    let (head, posts, emails) = app
        .db
        .read(move |conn| {
            let head = reader.read(conn, &name)?;
            let id = head.incident.id.clone();
            let posts = post::list(conn, &id, before, ROWS.probe())?;
            let emails: Result<HashMap<PostId, PostEmails>> = posts
                .iter()
                .map(|one| Ok((one.id.clone(), outbox::of_post(conn, &one.id)?)))
                .collect();
            Ok((head, posts, emails?))
        })
        .await?;
    let local = head.local(&by);
    let posts = page(posts, ROWS, |one| (one.at, one.id.to_string()));
    let base = format!("{}/posts", head.base());
    let may = by.0.role.covers(Role::Operator);
    let rows = posts.items.iter().map(|one| {
        let states = one.components.iter();
        let languages: Vec<&str> = one.translations.keys().map(|one| one.as_str()).collect();
        json!({
            "status": one.status, "title": one.title, "message": one.message,
            "states": states.map(|(id, state)| format!("{id}: {}", words(*state))).collect::<Vec<_>>(),
            "languages": languages.join(", "), "emails": emails.get(&one.id).and_then(emailed),
            "at": When::new(one.at, local.as_ref()), "path": may.then(|| format!("{base}/{}", one.id)),
        })
    });
    let data = json!({
        "rows": rows.collect::<Vec<_>>(),
        "drill": head.incident.drill,
        "new": (may && !head.incident.drill).then(|| format!("{base}/new")),
        "public": (!posts.items.is_empty()).then(|| format!("/status/incidents/{}", head.incident.number)),
        "first": at.is_some().then_some(&base),
        "next": posts.next_cursor.as_deref().map(|next| link(&base, &[("cursor", Some(next))])),
    });
    head.page(
        &app,
        &by,
        ("admin/incident/posts", "Status page"),
        StatusCode::OK,
        data,
    )
}

/// Says what became of the emails about a post. `None` if there are none.
fn emailed(emails: &PostEmails) -> Option<String> {
    let parts = [
        (emails.sent, "sent"),
        (emails.pending, "waiting"),
        (emails.failed, "failed"),
        (emails.uncertain, "perhaps sent"),
        (emails.stopped, "stopped"),
    ];
    let parts = parts.iter().filter(|(count, _)| *count > 0);
    let parts: Vec<String> = parts
        .map(|(count, word)| format!("{} {word}", grouped(*count)))
        .collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn label(incident: &Incident) -> String {
    format!("#{} {}", incident.number, cut(&incident.title, 80))
}

fn base(incident: &Incident) -> String {
    format!("/admin/incidents/{}/posts", incident.number)
}

/// What is known of the status page for a new post.
struct Known {
    components: Vec<Component>,
    /// How many subscribers get an email.
    readers: i64,
}

impl Known {
    fn read(conn: &mut Conn) -> Result<Known> {
        Ok(Known {
            components: component::all(conn)?,
            readers: subscriber::counts(conn)?.get_posts,
        })
    }

    /// What stands above the form.
    fn explained(&self) -> String {
        let emailed = match self.readers {
            0 => "nobody gets an email, because no subscriber gets posts".to_owned(),
            n => format!(
                "{} the post by email unless you say otherwise",
                counted(n, "subscriber gets", "subscribers get")
            ),
        };
        let ids = self
            .components
            .iter()
            .map(|one| format!("{} ({})", one.id, one.name));
        let components = match ids.collect::<Vec<_>>().join(", ") {
            none if none.is_empty() => "There are no components yet".to_owned(),
            ids => format!("Components: {ids}"),
        };
        format!("The post is public at once, and {emailed}. {components}.")
    }
}

/// The state that a component has by the severity of an incident, as a suggestion.
fn suggested(severity: Severity) -> ComponentState {
    match severity {
        Severity::Critical => ComponentState::MajorOutage,
        Severity::Major => ComponentState::PartialOutage,
        Severity::Minor => ComponentState::DegradedPerformance,
    }
}

/// A new form: with the status and the components of the earlier posts, or else with the components of affected resources.
fn fresh(conn: &mut Conn, incident: &Incident, by: &SignedIn) -> Result<Form> {
    let mut posts = post::list(conn, &incident.id, None, EARLIER)?;
    posts.reverse();
    let form = Form::new(NEW).zoned(by, incident.time_zone.as_deref());
    if posts.is_empty() {
        let state = suggested(incident.severity);
        let affected = component::affected_by(conn, &incident.id)?;
        let lines = affected.iter().map(|one| format!("{} {state}", one.id));
        return Ok(form.with("components", lines.collect::<Vec<_>>().join("\n")));
    }
    let public = PublicIncident {
        id: incident.id.clone(),
        number: incident.number,
        posts,
    };
    let states = json!(public.affects());
    Ok(form
        .with("status", public.status().as_str())
        .with("components", write_components(&states)))
}

fn new_page(
    app: &App,
    by: &SignedIn,
    incident: &Incident,
    known: &Known,
    form: Form,
) -> Answer<HttpResponse> {
    let label = label(incident);
    let at = Use {
        action: base(incident),
        button: "Post on the status page",
        within: (&label, base(incident)),
    };
    let title = "Post on the status page";
    let status = form.status();
    let data = json!({
        "page": Frame::new(app, by, title, "Incidents"), "title": title, "within": label,
        "explained": known.explained(), "form": shown(app, form, &at),
    });
    app.pages.answer_with(status, "admin/edit", &data)
}

/// The form as its page shows it, with a folded section for each language.
fn shown(app: &App, form: Form, at: &Use<'_>) -> Value {
    let mut shown = form.shown(at);
    shown["languages"] = translations::take_out(&mut shown, app.sending.language);
    shown
}

async fn new(app: web::Data<App>, by: SignedIn, InPath(name): InPath<IncidentName>) -> Answer<HttpResponse> {
    let (incident, known, form, by) = app
        .db
        .read(move |conn| {
            let incident = find(conn, &name)?;
            let form = fresh(conn, &incident, &by)?;
            Ok((incident, Known::read(conn)?, form, by))
        })
        .await?;
    new_page(&app, &by, &incident, &known, form)
}

async fn add(app: web::Data<App>, sent: Filled, InPath(name): InPath<IncidentName>) -> Answer<HttpResponse> {
    let (by, form, now) = (sent.by, Form::read(NEW, sent.fields)?, app.clock().now());
    let (incident, known) = app
        .db
        .read(move |conn| Ok((find(conn, &name)?, Known::read(conn)?)))
        .await?;
    let (actor, id) = (by.0.actor(), incident.id.clone());
    let store = async |new: NewPost| {
        let id = id.clone();
        app.db.write(&actor, move |tx| posting::add(tx, &id, &new)).await
    };
    let check = async |new: NewPost| {
        let id = id.clone();
        app.db
            .read(move |conn| post::check_new(conn, &id, &new, now))
            .await
    };
    match form.save_checked(now, store, check).await? {
        Saved::Done(_) => Ok(done(
            &app,
            &base(&incident),
            "The post is on the status page. Nobody got an email.",
        )),
        Saved::Again(form) => new_page(&app, &by, &incident, &known, form),
    }
}

fn edit_page(app: &App, by: &SignedIn, incident: &Incident, id: &PostId, form: Form) -> Answer<HttpResponse> {
    let (status, label, path) = (form.status(), label(incident), format!("{}/{id}", base(incident)));
    let title = "Edit the post";
    let delete = json!({
        "label": "Take this post back", "action": format!("{path}/delete"), "button": "Take 1 post back",
        "text": "The status page shows this post no more. Whoever has read it is not notified.", "fields": [],
    });
    let at = Use {
        action: path,
        button: "Save post",
        within: (&label, base(incident)),
    };
    app.pages.answer_with(
        status,
        "admin/edit-more",
        &json!({
            "page": Frame::new(app, by, title, "Incidents"), "title": title, "within": label,
            "form": shown(app, form, &at), "delete": delete,
        }),
    )
}

/// The form of a post.
fn of(one: &Post) -> Form {
    let form = Form::new(CHANGED)
        .with("status", one.status.as_str())
        .with("title", one.title.clone().unwrap_or_default())
        .with("message", one.message.clone())
        .with("components", write_components(&json!(one.components)));
    Language::ALL.iter().fold(form, |form, language| {
        let Some(said) = one.translations.get(language) else {
            return form;
        };
        let (title, message) = translation_fields(*language);
        form.with(title, said.title.clone().unwrap_or_default())
            .with(message, said.message.clone())
    })
}

/// The names of the fields of a translation.
fn translation_fields(language: Language) -> (&'static str, &'static str) {
    match language {
        Language::De => (DE[0].name, DE[1].name),
        Language::Fr => (FR[0].name, FR[1].name),
        Language::Es => (ES[0].name, ES[1].name),
        Language::Pt => (PT[0].name, PT[1].name),
        Language::Ja => (JA[0].name, JA[1].name),
        Language::Sw => (SW[0].name, SW[1].name),
        Language::Ar => (AR[0].name, AR[1].name),
        Language::En => (EN[0].name, EN[1].name),
    }
}

async fn found(app: &App, name: IncidentName, id: PostId) -> Answer<(Incident, Post)> {
    Ok(app
        .db
        .read(move |conn| {
            let incident = find(conn, &name)?;
            let post = post::get(conn, &incident.id, &id)?;
            Ok((incident, post))
        })
        .await?)
}

async fn edit(
    app: web::Data<App>,
    by: SignedIn,
    InPath((name, id)): InPath<(IncidentName, PostId)>,
) -> Answer<HttpResponse> {
    let (incident, post) = found(&app, name, id).await?;
    edit_page(&app, &by, &incident, &post.id, of(&post))
}

async fn change(
    app: web::Data<App>,
    sent: Filled,
    InPath((name, id)): InPath<(IncidentName, PostId)>,
) -> Answer<HttpResponse> {
    let (by, form) = (sent.by, Form::read(CHANGED, sent.fields)?);
    let (incident, post) = found(&app, name, id).await?;
    let (actor, within, id) = (by.0.actor(), incident.id.clone(), post.id.clone());
    let store = async |new: NewPost| {
        app.db
            .write(&actor, move |tx| post::replace(tx, &within, &id, &new))
            .await
    };
    match form.save(app.clock().now(), store).await? {
        Saved::Done(_) => Ok(done(&app, &base(&incident), "The post is changed.")),
        Saved::Again(form) => edit_page(&app, &by, &incident, &post.id, form),
    }
}

async fn delete(
    app: web::Data<App>,
    sent: Filled,
    InPath((name, id)): InPath<(IncidentName, PostId)>,
) -> Answer<HttpResponse> {
    let actor = sent.actor();
    sent.fields.finish()?;
    let (incident, post) = found(&app, name, id).await?;
    let within = incident.id.clone();
    app.db
        .write(&actor, move |tx| posting::delete(tx, &within, &post.id))
        .await?;
    Ok(done(&app, &base(&incident), "The post is taken back."))
}
