//! The API for email templates.

use actix_web::{HttpResponse, delete, get, put, web};
use serde::Serialize;

use crate::base::error::Error;
use crate::http::App;
use crate::http::auth::By;
use crate::http::extract::Body;
use crate::http::ids::own;
use crate::http::problem::{Answer, ProblemDocument};
use crate::notice::template::{Phase, Source};
use crate::notice::templates::{self, TemplateView};

pub(super) fn routes(config: &mut utoipa_actix_web::service_config::ServiceConfig<'_>) {
    config.service(list).service(get_one).service(save).service(reset);
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
#[utoipa::path(tag = "Templates", security(("token" = ["viewer"])), responses((status = 200, body = Templates)))]
#[get("/templates")]
async fn list(app: web::Data<App>) -> Answer<HttpResponse> {
    let items: Vec<TemplateView> = app
        .db
        .read(|conn| {
            Phase::ALL
                .into_iter()
                .map(|phase| templates::current(conn, phase))
                .collect::<Result<_, _>>()
        })
        .await?;
    Ok(HttpResponse::Ok().json(Templates {
        items: items.into_iter().map(CheckedTemplate::of).collect(),
        next_cursor: None,
    }))
}

/// Returns the template of a phase.
#[utoipa::path(tag = "Templates", security(("token" = ["viewer"])), responses((status = 200, body = CheckedTemplate), (status = 404, body = ProblemDocument)))]
#[get("/templates/{phase}")]
async fn get_one(app: web::Data<App>, phase: web::Path<String>) -> Answer<HttpResponse> {
    let phase = own("template", Phase::parse(&phase))?;
    let template = app.db.read(move |conn| templates::current(conn, phase)).await?;
    Ok(HttpResponse::Ok().json(CheckedTemplate::of(template)))
}

/// Saves a template for the next notices of a phase. It is rendered with samples first. A template is refused if its
/// HTML part shows a value at a place where escaping does not protect the reader, such as a script, a style, a comment,
/// a value without quotes or a link target. The answer contains warnings about texts of an operator that its emails do
/// not show.
#[utoipa::path(tag = "Templates", security(("token" = ["admin"])), request_body = Source,
    responses((status = 200, body = CheckedTemplate), (status = 404, body = ProblemDocument), (status = 422, body = ProblemDocument)))]
#[put("/templates/{phase}")]
async fn save(
    app: web::Data<App>,
    by: By,
    phase: web::Path<String>,
    body: Body<Source>,
) -> Answer<HttpResponse> {
    let phase = own("template", Phase::parse(&phase))?;
    let checked = web::block(move || templates::Checked::new(phase, body.0))
        .await
        .map_err(Error::internal)??;
    let template = app
        .db
        .write(&by.0, move |tx| templates::save(tx, &checked))
        .await?;
    Ok(HttpResponse::Ok().json(CheckedTemplate::of(template)))
}

/// Sets a phase back to its built-in template.
#[utoipa::path(tag = "Templates", security(("token" = ["admin"])), responses((status = 204), (status = 404, body = ProblemDocument)))]
#[delete("/templates/{phase}")]
async fn reset(app: web::Data<App>, by: By, phase: web::Path<String>) -> Answer<HttpResponse> {
    let phase = own("template", Phase::parse(&phase))?;
    app.db.write(&by.0, move |tx| templates::reset(tx, phase)).await?;
    Ok(HttpResponse::NoContent().finish())
}
