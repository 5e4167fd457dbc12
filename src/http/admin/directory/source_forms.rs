//! The forms of a source: create one step by step, change it, test it, sync it, and delete it. They do what the API does, with the same role. A password or a
//! secret is shown only in the answer that created it.

use actix_web::{HttpResponse, web};
use serde_json::{Value, json};

use super::source_fields::{
    DATABASE, NEW_DATABASE, NEW_SERVICE, SERVICE, api_body, form_of, kind_label, kind_of, relocated,
};
use super::trial;
use crate::auth::Role;
use crate::base::error::{Error, misfit};
use crate::base::id::SourceId;
use crate::directory::source::manage::{self, NewSource, SourceChange};
use crate::directory::source::run::{self, Cause};
use crate::directory::source::{self, Source, SourceKind};
use crate::http::App;
use crate::http::admin::done::done;
use crate::http::admin::field::Field;
use crate::http::admin::filled::Filled;
use crate::http::admin::form::{Form, Saved, Use};
use crate::http::admin::frame::Frame;
use crate::http::admin::once::{self, Once};
use crate::http::admin::signed_in::SignedIn;
use crate::http::admin_page::Pages;
use crate::http::api::sources::{settings, tried};
use crate::http::ids::InPath;
use crate::http::problem::{Answer, Problem};

pub(super) fn routes(pages: &mut Pages) {
    pages
        .show("/directory/new-source", Role::Admin, choose)
        .show("/directory/new-source/{kind}", Role::Admin, new)
        .send("/directory/new-source/{kind}", Role::Admin, create)
        .does(&["POST /api/v1/directory/sources"])
        .show("/directory/sources/{id}/edit", Role::Admin, edit)
        .send("/directory/sources/{id}/edit", Role::Admin, change)
        .does(&["PATCH /api/v1/directory/sources/{id}"])
        .send("/directory/sources/{id}/test", Role::Admin, test)
        .does(&["POST /api/v1/directory/sources/{id}/test"])
        .send("/directory/sources/{id}/sync", Role::Admin, sync)
        .does(&["POST /api/v1/directory/sources/{id}/sync"])
        .send("/directory/sources/{id}/delete", Role::Admin, delete)
        .does(&["DELETE /api/v1/directory/sources/{id}"]);
}

const PART: &str = "Sources";
const LIST: &str = "/admin/directory/sources";

const KINDS: [(&str, SourceKind, &str); 4] = [
    (
        "postgres",
        SourceKind::Postgres,
        "Candor reads accounts, people and resources with your SQL queries, on a schedule.",
    ),
    ("mysql", SourceKind::Mysql, "The same for MySQL and MariaDB."),
    (
        "sqlite",
        SourceKind::Sqlite,
        "The same for a file on the machine that Candor runs on.",
    ),
    (
        "http",
        SourceKind::Http,
        "Candor asks your own service about an ID in an alert that the directory does not know.",
    ),
];

async fn choose(app: web::Data<App>, by: SignedIn) -> Answer<HttpResponse> {
    let kinds = KINDS.map(|(word, kind, text)| {
        json!({"path": format!("/admin/directory/new-source/{word}"), "label": kind_label(kind), "text": text})
    });
    app.pages.answer(
        "admin/new-source",
        &json!({"page": Frame::new(&app, &by, "Create a source", PART), "kinds": kinds}),
    )
}

fn kind(word: &str) -> Answer<SourceKind> {
    kind_of(word).ok_or_else(|| Problem::Domain(Error::NotFound("this kind of source".to_owned())))
}

fn fields_new(kind: SourceKind) -> &'static [Field] {
    match kind.engine() {
        Some(_) => NEW_DATABASE,
        None => NEW_SERVICE,
    }
}

fn page_new(app: &App, by: &SignedIn, form: Form, kind: SourceKind) -> Answer<HttpResponse> {
    let at = Use {
        action: format!("/admin/directory/new-source/{}", kind.as_str()),
        button: "Create source",
        within: (PART, LIST.to_owned()),
    };
    let text = match kind.engine() {
        Some(_) => {
            "Step 2 of 4: the connection, the queries and the schedule. Nothing is read yet: step 3 is a test that stores nothing, and step 4 is \
             the first sync."
        }
        None => "Step 2 of 2: the service. Candor asks it when an alert contains an unknown ID.",
    };
    let title = format!("Create a source: {}", kind_label(kind));
    form.page(app, by, (&title, PART), text, &at)
}

async fn new(app: web::Data<App>, by: SignedIn, word: web::Path<String>) -> Answer<HttpResponse> {
    let kind = kind(&word)?;
    let mut form = Form::new(fields_new(kind));
    if kind.engine().is_some() {
        form = form
            .with("every", "day")
            .with("at", "02:00")
            .with("max_gone_percent", "10")
            .with("max_left_out_percent", "10")
            .with("stale_after", "24");
    }
    page_new(&app, &by, form, kind)
}

async fn create(app: web::Data<App>, sent: Filled, word: web::Path<String>) -> Answer<HttpResponse> {
    let kind = kind(&word)?;
    let (by, form) = (sent.by, Form::read(fields_new(kind), sent.fields)?);
    let actor = by.0.actor();
    let store = async |body: Value| {
        let mut body = api_body(body, kind.engine().is_some())?;
        body["kind"] = json!(kind.as_str());
        let new: NewSource =
            serde_path_to_error::deserialize(body).map_err(|error| relocated(misfit(&error)))?;
        let this = app.clone();
        app.db
            .write(&actor, move |tx| {
                manage::create(tx, &new, settings(&this)).map_err(relocated)
            })
            .await
    };
    match form.save(app.clock().now(), store).await? {
        Saved::Done(made) => {
            let path = format!("{LIST}/{}", made.source.id);
            match &made.secret {
                None => Ok(done(
                    &app,
                    &path,
                    "The source is created. Test it now: a test stores nothing.",
                )),
                Some(secret) => {
                    // This answer is the only place that ever shows the secret, so it is no redirect.
                    let shown = Once {
                        part: PART,
                        title: "The source is created",
                        text: "Your service checks each request with this secret. Copy it now.",
                        secret,
                        snippets: Vec::new(),
                        next: ("To the source", path),
                    };
                    once::page(&app, &by, shown)
                }
            }
        }
        Saved::Again(form) => page_new(&app, &by, form, kind),
    }
}

async fn found(app: &App, id: &SourceId) -> Answer<Source> {
    let id = id.clone();
    Ok(app.db.read(move |conn| source::get(conn, &id)).await?)
}

fn at(source: &Source) -> Use<'_> {
    let page = format!("{LIST}/{}", source.id);
    Use {
        action: format!("{page}/edit"),
        button: "Save source",
        within: (&source.name, page),
    }
}

fn explained(source: &Source) -> String {
    format!("{} at {}", kind_label(source.kind), source.url)
}

async fn edit(app: web::Data<App>, by: SignedIn, InPath(id): InPath<SourceId>) -> Answer<HttpResponse> {
    let source = found(&app, &id).await?;
    form_of(&source).page(
        &app,
        &by,
        ("Edit source", PART),
        &explained(&source),
        &at(&source),
    )
}

async fn change(app: web::Data<App>, sent: Filled, InPath(id): InPath<SourceId>) -> Answer<HttpResponse> {
    let source = found(&app, &id).await?;
    let engine = source.kind.engine().is_some();
    let fields = if engine { DATABASE } else { SERVICE };
    let (by, form) = (sent.by, Form::read(fields, sent.fields)?);
    let actor = by.0.actor();
    let (of, stored) = (id.clone(), source.stale_after);
    let store = async |body: Value| {
        let mut body = api_body(body, engine)?;
        // The form shows whole hours. What did not change there does not change.
        if body["stale_after"] == json!((stored / 3_600).max(1) * 3_600)
            && let Some(fields) = body.as_object_mut()
        {
            fields.remove("stale_after");
        }
        let change: SourceChange =
            serde_path_to_error::deserialize(body).map_err(|error| relocated(misfit(&error)))?;
        let this = app.clone();
        app.db
            .write(&actor, move |tx| {
                manage::change(tx, &of, &change, settings(&this)).map_err(relocated)
            })
            .await
    };
    match form.save(app.clock().now(), store).await? {
        Saved::Done(_) => Ok(done(&app, &format!("{LIST}/{id}"), "The source is saved.")),
        Saved::Again(form) => form.page(
            &app,
            &by,
            ("Edit source", PART),
            &explained(&source),
            &at(&source),
        ),
    }
}

async fn test(app: web::Data<App>, sent: Filled, InPath(id): InPath<SourceId>) -> Answer<HttpResponse> {
    let actor = sent.actor();
    let Filled { by, fields } = sent;
    fields.finish()?;
    let source = found(&app, &id).await?;
    // If the browser goes away, this future is dropped, and the guard cancels the reading.
    let cancel = app.trials.below();
    let _guard = cancel.on_drop();
    let result = tried(app.clone(), actor, id, cancel).await?;
    trial::page(&app, &by, &source, &result)
}

async fn sync(app: web::Data<App>, sent: Filled, InPath(id): InPath<SourceId>) -> Answer<HttpResponse> {
    let actor = sent.actor();
    sent.fields.finish()?;
    let path = format!("{LIST}/{id}");
    let of = id.clone();
    match app
        .db
        .write(&actor, move |tx| run::request(tx, &of, Cause::Request))
        .await
    {
        Ok(_) => {
            app.sources.notify_one();
            Ok(done(&app, &path, "The sync is started."))
        }
        // Somebody else started one at the same time, so this page shows it.
        Err(Error::Coded(crate::base::code::Code::RunInProgress, _)) => {
            Ok(done(&app, &path, "A sync of this source is running already."))
        }
        Err(error) => Err(error.into()),
    }
}

async fn delete(app: web::Data<App>, sent: Filled, InPath(id): InPath<SourceId>) -> Answer<HttpResponse> {
    let actor = sent.actor();
    sent.fields.finish()?;
    app.db.write(&actor, move |tx| manage::delete(tx, &id)).await?;
    let text = "The source is deleted. The entries that it brought stay in the directory.";
    Ok(done(&app, LIST, text))
}
