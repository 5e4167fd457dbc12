//! `/admin/integrations/…`: the forms to create an integration step by step, to change it, to replace its secrets, and to delete it.
//!
//! The URL of a hook and a generated secret are shown only once, as the answer to the form that made them.

use actix_web::{HttpResponse, web};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::done::done;
use super::field::Field;
use super::filled::Filled;
use super::form::{Form, Saved, Use};
use super::frame::Frame;
use super::integration_fields as fields;
use super::integration_guides::{self as guides, Guide};
use super::once::{self, Once};
use super::signed_in::SignedIn;
use crate::alert::integration::{self, Integration, NewIntegration};
use crate::alert::integration_change::{self, IntegrationPatch};
use crate::alert::{provider, rules};
use crate::auth::Role;
use crate::base::error::{Error, Result, misfit};
use crate::base::id::IntegrationId;
use crate::base::random::random_secret;
use crate::base::shown_once::ShownOnce;
use crate::http::App;
use crate::http::admin_page::Pages;
use crate::http::ids::InPath;
use crate::http::problem::Answer;

pub(super) fn routes(pages: &mut Pages) {
    pages
        .show("/integrations/new", Role::Admin, sources)
        .show("/integrations/new/{source}", Role::Admin, fresh)
        .send("/integrations/new/{source}", Role::Admin, create)
        .does(&["POST /api/v1/integrations"])
        .show("/integrations/{id}/change", Role::Admin, show)
        .send("/integrations/{id}/change", Role::Admin, change)
        .does(&["PATCH /api/v1/integrations/{id}"])
        .show("/integrations/{id}/secrets", Role::Admin, secrets)
        .send("/integrations/{id}/secrets/add", Role::Admin, add_secret)
        .send("/integrations/{id}/secrets/drop", Role::Admin, drop_secret)
        .send("/integrations/{id}/secrets/none", Role::Admin, no_secret)
        .send("/integrations/{id}/delete", Role::Admin, delete)
        .does(&["DELETE /api/v1/integrations/{id}"]);
}

const PATH: &str = "/admin/integrations";
const PART: &str = "Integrations";

const ADD: &[Field] = &[
    Field::choice(
        "secret_kind",
        "New secret",
        "Requests that prove an earlier secret are still accepted, so nothing is lost while you change the sender.",
        &[
            ("generated", "Candor generates it"),
            ("given", "I enter it below"),
        ],
        "must be generated or given",
    ),
    Field::secret(
        "secret",
        "Secret",
        "At least 8 characters. Only with the second choice.",
    )
    .beside(),
];
const DROP: &[Field] = &[Field::secret(
    "drop_secret",
    "Secret to remove",
    "Enter the old secret. Requests that prove only this one are refused from then on.",
)];

/// The first step: the choice of the source.
async fn sources(app: web::Data<App>, by: SignedIn) -> Answer<HttpResponse> {
    let (reports, alerts): (Vec<&Guide>, Vec<&Guide>) = guides::all()
        .iter()
        .partition(|guide| provider::is_one(guide.source));
    let list = |guides: &[&Guide]| -> Vec<Value> {
        let row = |guide: &&Guide| json!({"name": guide.name, "steps": guide.steps, "path": format!("{PATH}/new/{}", guide.source)});
        guides.iter().map(row).collect()
    };
    app.pages.answer(
        "admin/integration-sources",
        &json!({
            "page": Frame::new(&app, &by, "New integration", PART),
            "alerts": list(&alerts),
            "reports": list(&reports),
        }),
    )
}

fn guide_of(source: &str) -> Result<&'static Guide> {
    guides::of(source).ok_or_else(|| Error::NotFound("a source with this name".to_owned()))
}

fn new_fields(guide: &Guide) -> &'static [Field] {
    match (
        guide.source,
        provider::is_one(guide.source),
        guide.secret_of_sender.is_some(),
    ) {
        ("generic", ..) => fields::NEW_GENERIC,
        (_, true, true) => fields::NEW_REPORTS_THEIRS,
        (_, true, false) => fields::NEW_REPORTS,
        (_, false, true) => fields::NEW_THEIRS,
        (_, false, false) => fields::NEW,
    }
}

fn new_page(app: &App, by: &SignedIn, guide: &Guide, form: Form) -> Answer<HttpResponse> {
    let title = format!("New integration: {}", guide.name);
    let at = Use {
        action: format!("{PATH}/new/{}", guide.source),
        button: "Create integration",
        within: (PART, format!("{PATH}/new")),
    };
    let secret = guide
        .secret_of_sender
        .map_or_else(String::new, |secret| format!(" The secret: {secret}"));
    let explained = format!(
        "You will do this with the URL that the next page shows: {}{secret}",
        guide.steps
    );
    form.page(app, by, (&title, PART), &explained, &at)
}

/// The second step: the form.
async fn fresh(app: web::Data<App>, by: SignedIn, source: web::Path<String>) -> Answer<HttpResponse> {
    let guide = guide_of(&source)?;
    let name = guide.name.split(':').next().unwrap_or_default();
    new_page(&app, &by, guide, Form::new(new_fields(guide)).with("name", name))
}

fn read<T: DeserializeOwned>(body: Value) -> Result<T> {
    serde_path_to_error::deserialize(body).map_err(|error| misfit(&error))
}

/// Takes the secret that was chosen out of the body.
fn chosen_secret(body: &mut Value) -> Result<Option<String>> {
    let fields = body.as_object_mut();
    let mut take = fields.map(|fields| (fields.remove("secret_kind"), fields.remove("secret")));
    let (kind, given) = take.take().unwrap_or_default();
    let given = given.and_then(|secret| secret.as_str().map(str::to_owned));
    match (kind.as_ref().and_then(Value::as_str), given) {
        (Some("generated"), None) => Ok(Some(random_secret()?)),
        (Some("given"), Some(secret)) => Ok(Some(secret)),
        (Some("given"), None) => Err(Error::invalid("/secret", "must not be empty")),
        (_, Some(_)) => Err(Error::invalid("/secret", "must be empty with this choice")),
        (_, None) => Ok(None),
    }
}

/// The third step: the URL, which is shown once, with what to paste.
async fn create(app: web::Data<App>, sent: Filled, source: web::Path<String>) -> Answer<HttpResponse> {
    let guide = guide_of(&source)?;
    let (by, form) = (sent.by, Form::read(new_fields(guide), sent.fields)?);
    let (actor, public_url) = (by.0.actor(), app.sending.public_url.clone());
    let store = async |mut body: Value| {
        let secret = chosen_secret(&mut body)?;
        fields::without_empty(&mut body);
        body["source"] = json!(guide.source);
        let mut new: NewIntegration = read(body)?;
        new.secret.clone_from(&secret);
        rules::compile_ahead(&new.resource_rules).await;
        let created = app
            .db
            .write(&actor, move |tx| integration::create(tx, &new, &public_url))
            .await?;
        Ok((created, secret))
    };
    let (created, secret) = match form.save(app.clock().now(), store).await? {
        Saved::Done(made) => made,
        Saved::Again(form) => return new_page(&app, &by, guide, form),
    };
    let snippet = guide.snippet(created.hook_url.reveal(), secret.as_deref());
    let mut snippets: Vec<(&str, String)> = snippet.into_iter().map(|text| ("To paste", text)).collect();
    if let Some(secret) = secret.filter(|_| guide.secret_of_sender.is_none()) {
        snippets.push(("The secret", secret));
    }
    once::page(
        &app,
        &by,
        Once {
            part: PART,
            title: "The integration is created",
            text: guide.steps,
            secret: &created.hook_url,
            snippets,
            next: ("Open the integration", format!("{PATH}/{}", created.id)),
        },
    )
}

/// Returns an integration that can be changed.
async fn find(app: &App, id: IntegrationId) -> Result<Integration> {
    let one = app.db.read(move |conn| integration::get(conn, &id)).await?;
    if one.gone_at.is_some() || guides::of(&one.source).is_none() {
        return Err(Error::NotFound(format!("integration {}", one.id)));
    }
    Ok(one)
}

fn change_fields(one: &Integration) -> &'static [Field] {
    match one.source.as_str() {
        "generic" => fields::CHANGE_GENERIC,
        source if provider::is_one(source) => fields::CHANGE_REPORTS,
        _ => fields::CHANGE,
    }
}

fn change_page(app: &App, by: &SignedIn, one: &Integration, form: Form) -> Answer<HttpResponse> {
    let path = format!("{PATH}/{}", one.id);
    let at = Use {
        action: format!("{path}/change"),
        button: "Save integration",
        within: (&one.name, path),
    };
    form.page(app, by, ("Change the integration", PART), "", &at)
}

async fn show(app: web::Data<App>, by: SignedIn, InPath(id): InPath<IntegrationId>) -> Answer<HttpResponse> {
    let one = find(&app, id).await?;
    let stored = fields::stored(serde_json::to_value(&one).map_err(Error::internal)?);
    let Some(form) = Form::of(change_fields(&one), &stored, app.clock().now()) else {
        let why = "the form cannot show this integration without changing it, for example because a resource rule has a type and \
                   a pattern; change the integration through the API";
        return Err(Error::Conflict(why.to_owned()).into());
    };
    change_page(&app, &by, &one, form)
}

async fn change(
    app: web::Data<App>,
    sent: Filled,
    InPath(id): InPath<IntegrationId>,
) -> Answer<HttpResponse> {
    let before = find(&app, id.clone()).await?;
    let (by, form) = (sent.by, Form::read(change_fields(&before), sent.fields)?);
    let actor = by.0.actor();
    let path = format!("{PATH}/{id}");
    let store = async |mut body: Value| {
        fields::without_empty(&mut body);
        if before.source == "generic"
            && let Some(given) = body.as_object_mut()
        {
            given.entry("mapping").or_insert(Value::Null);
        }
        let patch: IntegrationPatch = read(body)?;
        rules::compile_ahead(patch.resource_rules.as_deref().unwrap_or_default()).await;
        app.db
            .write(&actor, move |tx| integration_change::change(tx, &id, &patch))
            .await
    };
    match form.save(app.clock().now(), store).await? {
        Saved::Done(_) => Ok(done(&app, &path, "The integration is saved.")),
        Saved::Again(form) => change_page(&app, &by, &before, form),
    }
}

fn secrets_page(
    app: &App,
    by: &SignedIn,
    one: &Integration,
    add: Option<Form>,
    drop: Option<Form>,
) -> Answer<HttpResponse> {
    let path = format!("{PATH}/{}", one.id);
    let part = |form: Form, last: &str, button: &'static str| {
        let at = Use {
            action: format!("{path}/secrets/{last}"),
            button,
            within: ("", path.clone()),
        };
        let mut shown = form.shown(&at);
        shown["back"] = Value::Null;
        shown
    };
    let (add, drop) = (
        add.unwrap_or_else(|| Form::new(ADD)),
        drop.unwrap_or_else(|| Form::new(DROP)),
    );
    let status = if add.is_wrong() {
        add.status()
    } else {
        drop.status()
    };
    app.pages.answer_with(
        status,
        "admin/integration-secrets",
        &json!({
            "page": Frame::new(app, by, "Secrets", PART),
            "name": one.name,
            "path": path,
            "count": one.secret_count,
            "several": one.secret_count > 1,
            "add": part(add.within("add"), "add", "Add the secret"),
            "drop": part(drop.within("drop"), "drop", "Remove the secret"),
            "none": {
                "label": "Accept requests without a proof", "button": "Remove all secrets", "fields": [],
                "action": format!("{path}/secrets/none"),
                "text": "Remove all secrets of this integration? From then on everybody who knows its URL can send alerts.",
            },
        }),
    )
}

async fn secrets(
    app: web::Data<App>,
    by: SignedIn,
    InPath(id): InPath<IntegrationId>,
) -> Answer<HttpResponse> {
    let one = find(&app, id).await?;
    secrets_page(&app, &by, &one, None, None)
}

async fn add_secret(
    app: web::Data<App>,
    sent: Filled,
    InPath(id): InPath<IntegrationId>,
) -> Answer<HttpResponse> {
    let one = find(&app, id.clone()).await?;
    let (by, form) = (sent.by, Form::read(ADD, sent.fields)?);
    let (actor, path) = (by.0.actor(), format!("{PATH}/{id}/secrets"));
    let generated = form.text("secret_kind") == "generated";
    let store = async |mut body: Value| {
        let secret = chosen_secret(&mut body)?;
        let patch = IntegrationPatch {
            add_secret: secret.clone(),
            ..IntegrationPatch::default()
        };
        let changed = app
            .db
            .write(&actor, move |tx| integration_change::change(tx, &id, &patch))
            .await
            .map_err(at_secret)?;
        Ok((changed, secret))
    };
    let (changed, secret) = match form.save(app.clock().now(), store).await? {
        Saved::Done(made) => made,
        Saved::Again(form) => return secrets_page(&app, &by, &one, Some(form), None),
    };
    let Some(secret) = secret.filter(|_| generated) else {
        return Ok(done(
            &app,
            &path,
            "The secret is added. Now make the sender use it, and then remove the old one.",
        ));
    };
    let snippet = guides::of(&changed.source)
        .and_then(|guide| guide.snippet("(the URL of the hook, as before)", Some(&secret)));
    once::page(
        &app,
        &by,
        Once {
            part: PART,
            title: "The secret is added",
            text: "Make the sender use it. Then remove the old secret.",
            secret: &ShownOnce::new(secret),
            snippets: snippet.into_iter().map(|text| ("To paste", text)).collect(),
            next: ("Back to the secrets", path),
        },
    )
}

/// Moves an error about the added secret to the field of the form.
fn at_secret(error: Error) -> Error {
    match error {
        Error::Invalid { mut errors, .. } => {
            for error in &mut errors {
                if error.pointer.as_deref() == Some("/add_secret") {
                    error.pointer = Some("/secret".to_owned());
                }
            }
            Error::fields(errors)
        }
        other => other,
    }
}

async fn drop_secret(
    app: web::Data<App>,
    sent: Filled,
    InPath(id): InPath<IntegrationId>,
) -> Answer<HttpResponse> {
    let one = find(&app, id.clone()).await?;
    let (by, form) = (sent.by, Form::read(DROP, sent.fields)?);
    let (actor, path) = (by.0.actor(), format!("{PATH}/{id}/secrets"));
    let store = async |patch: IntegrationPatch| {
        if patch.drop_secret.is_none() {
            return Err(Error::invalid("/drop_secret", "must not be empty"));
        }
        app.db
            .write(&actor, move |tx| integration_change::change(tx, &id, &patch))
            .await
    };
    match form.save(app.clock().now(), store).await? {
        Saved::Done(_) => Ok(done(&app, &path, "The secret is removed.")),
        Saved::Again(form) => secrets_page(&app, &by, &one, None, Some(form)),
    }
}

async fn no_secret(
    app: web::Data<App>,
    sent: Filled,
    InPath(id): InPath<IntegrationId>,
) -> Answer<HttpResponse> {
    let actor = sent.actor();
    sent.fields.finish()?;
    let path = format!("{PATH}/{id}/secrets");
    let patch = IntegrationPatch {
        secrets: Some(Vec::new()),
        ..IntegrationPatch::default()
    };
    app.db
        .write(&actor, move |tx| integration_change::change(tx, &id, &patch))
        .await?;
    Ok(done(
        &app,
        &path,
        "The integration has no secret. Everybody who knows its URL can send to it.",
    ))
}

async fn delete(
    app: web::Data<App>,
    sent: Filled,
    InPath(id): InPath<IntegrationId>,
) -> Answer<HttpResponse> {
    let actor = sent.actor();
    sent.fields.finish()?;
    app.db
        .write(&actor, move |tx| integration::delete(tx, &id))
        .await?;
    Ok(done(
        &app,
        PATH,
        "The integration is deleted. Its URL answers 404 from now on.",
    ))
}
