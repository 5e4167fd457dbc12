//! The API for email templates.

use actix_web::{delete, get, post, put, web};
use serde::Serialize;

use crate::audit::Actor;
use crate::base::error::Error;
use crate::http::App;
use crate::http::answer::NoContent;
use crate::http::auth::By;
use crate::http::extract::{Json, Params};
use crate::http::ids::{InPath, VersionNumber};
use crate::http::page::{Page, Paging, cursor, page};
use crate::http::problem::Answer;
use crate::notice::template::{NewTemplate, Phase};
use crate::notice::template_preview::{self, TemplateTrial, TemplateTried};
use crate::notice::template_versions::{self, TemplateVersion};
use crate::notice::templates::{self, TemplateView};

pub(super) fn routes(config: &mut utoipa_actix_web::service_config::ServiceConfig<'_>) {
    config
        .service(list)
        .service(get_one)
        .service(save)
        .service(reset)
        .service(versions)
        .service(restore)
        .service(preview);
}

/// A template, and what is wrong with its emails.
#[derive(Serialize, utoipa::ToSchema)]
struct CheckedTemplate {
    #[serde(flatten)]
    template: TemplateView,
    /// What is wrong with the emails of this template. One kind is a text that an operator writes for the customer and that the
    /// emails do not show: the message, the customer action, the report, the link for opting out. The other kind is a value
    /// that the HTML part shows at an unsafe place, if the template was saved before Candor refused this. There is one sentence
    /// for each, and none if nothing is wrong.
    warnings: Vec<String>,
}

impl CheckedTemplate {
    /// Adds the warnings of a template. It renders samples, so it must not be used within a write
    /// transaction.
    fn of(template: TemplateView) -> Self {
        // A template that does not render any more is reported when it is used.
        let warnings = templates::warnings(&template)
            .unwrap_or_else(|error| vec![format!("the template can no longer be rendered: {error}")]);
        CheckedTemplate { template, warnings }
    }
}

/// The answer with all templates.
#[derive(Serialize, utoipa::ToSchema)]
struct Templates {
    /// The templates, one for each phase.
    items: Vec<CheckedTemplate>,
    /// Always null, because there are only four templates.
    next_cursor: Option<String>,
}

/// Returns the current templates, one for each phase.
#[utoipa::path(tag = "Templates", security(("token" = ["viewer"])))]
#[get("/templates")]
async fn list(app: web::Data<App>) -> Answer<Json<Templates>> {
    let items: Vec<TemplateView> = app
        .db
        .read(|conn| {
            Phase::ALL
                .into_iter()
                .map(|phase| templates::current(conn, phase))
                .collect::<Result<_, _>>()
        })
        .await?;
    Ok(Json(Templates {
        items: items.into_iter().map(CheckedTemplate::of).collect(),
        next_cursor: None,
    }))
}

/// Returns the template of a phase.
#[utoipa::path(tag = "Templates", security(("token" = ["viewer"])))]
#[get("/templates/{phase}")]
async fn get_one(app: web::Data<App>, InPath(phase): InPath<Phase>) -> Answer<Json<CheckedTemplate>> {
    let template = app.db.read(move |conn| templates::current(conn, phase)).await?;
    Ok(Json(CheckedTemplate::of(template)))
}

/// Saves a template for the next notices of a phase. A part that is missing is that of the built-in template, so a subject alone is
/// enough. Readers of a language that `languages` names get the parts that it has for them. It is rendered with samples first, in each of these languages. A template is refused if its
/// HTML part shows a value at a place where escaping does not protect the reader, such as a script, a style, a comment,
/// a value without quotes or a link target. It is also refused if an email does not show, in both parts, the operator's
/// message, what the customer must do and why the recipient gets it. The answer contains warnings about other texts that its
/// emails do not show.
#[utoipa::path(tag = "Templates", security(("token" = ["admin"])))]
#[put("/templates/{phase}")]
async fn save(
    app: web::Data<App>,
    by: By,
    InPath(phase): InPath<Phase>,
    body: Json<NewTemplate>,
) -> Answer<Json<CheckedTemplate>> {
    let source = body.0.source(phase)?;
    let checked = web::block(move || templates::Checked::new(phase, source))
        .await
        .map_err(Error::internal)??;
    let template = app
        .db
        .write(&by.0, move |tx| templates::save(tx, &checked))
        .await?;
    Ok(Json(CheckedTemplate::of(template)))
}

/// Sets a phase back to its built-in template.
#[utoipa::path(tag = "Templates", security(("token" = ["admin"])))]
#[delete("/templates/{phase}")]
async fn reset(app: web::Data<App>, by: By, InPath(phase): InPath<Phase>) -> Answer<NoContent> {
    app.db.write(&by.0, move |tx| templates::reset(tx, phase)).await?;
    Ok(NoContent)
}

/// Returns the versions of the template of a phase, newest first. Each PUT and each return to the built-in template adds one.
#[utoipa::path(tag = "Templates", security(("token" = ["viewer"])), params(Paging))]
#[get("/templates/{phase}/versions")]
async fn versions(
    app: web::Data<App>,
    InPath(phase): InPath<Phase>,
    params: Params<Paging>,
) -> Answer<Json<Page<TemplateVersion>>> {
    let Paging { limit, cursor: at } = params.0;
    let before: Option<i64> = cursor(at.as_deref())?;
    let rows = app
        .db
        .read(move |conn| template_versions::list(conn, phase, before, limit.probe()))
        .await?;
    Ok(Json(page(rows, limit, |version| version.number)))
}

/// Makes a version the current template of its phase again. Its content is checked like a new template.
#[utoipa::path(tag = "Templates", security(("token" = ["admin"])))]
#[post("/templates/{phase}/versions/{version}/restore")]
async fn restore(
    app: web::Data<App>,
    by: By,
    InPath((phase, number)): InPath<(Phase, VersionNumber)>,
) -> Answer<Json<CheckedTemplate>> {
    let template = restored(&app, by.0, phase, number.0).await?;
    Ok(Json(CheckedTemplate::of(template)))
}

/// Makes a version the current one, for the API and the page.
///
/// # Errors
/// `NotFound` if there is no such version, `Conflict` if it is current, `Invalid` if its content is not allowed any more.
pub(in crate::http) async fn restored(
    app: &App,
    by: Actor,
    phase: Phase,
    number: i64,
) -> Result<TemplateView, Error> {
    let version = app
        .db
        .read(move |conn| template_versions::get(conn, phase, number))
        .await?;
    let checked = web::block(move || templates::Checked::new(phase, version.source()))
        .await
        .map_err(Error::internal)??;
    app.db
        .write(&by, move |tx| {
            template_versions::restore(tx, phase, number, &checked)
        })
        .await
}

/// Shows the emails that a template would produce, with sample data or for up to three people whom an incident affects. Nothing is
/// stored.
#[utoipa::path(tag = "Templates", security(("token" = ["admin"])))]
#[post("/templates/{phase}/preview")]
async fn preview(
    app: web::Data<App>,
    InPath(phase): InPath<Phase>,
    body: Json<TemplateTrial>,
) -> Answer<Json<TemplateTried>> {
    Ok(Json(previewed(&app, phase, body.0).await?))
}

/// Shows what a template would produce, for the API and the page.
///
/// # Errors
/// `Invalid` with what is wrong with the template or the incident, `NotFound` if the incident does not exist.
pub(in crate::http) async fn previewed(
    app: &App,
    phase: Phase,
    trial: TemplateTrial,
) -> Result<TemplateTried, Error> {
    let sending = app.sending.clone();
    let shown = match trial.incident.clone() {
        None => None,
        Some(incident) => {
            let sending = sending.clone();
            let read = move |conn: &mut crate::db::Conn| {
                template_preview::of_incident(conn, phase, &incident, &sending)
            };
            Some(app.db.read(read).await?)
        }
    };
    web::block(move || template_preview::render(phase, &trial, shown.as_ref(), &sending))
        .await
        .map_err(Error::internal)?
}
