//! Mail templates.

use actix_web::{HttpResponse, delete, get, put, web};
use serde::Serialize;

use super::own;
use crate::http::App;
use crate::http::auth::By;
use crate::http::extract::{Body, NoParams, Params};
use crate::http::problem::{Answer, ProblemDocument};
use crate::notice::template::{Phase, Source};
use crate::notice::templates::{self, TemplateView};

pub(super) fn routes(config: &mut utoipa_actix_web::service_config::ServiceConfig<'_>) {
    config.service(list).service(get_one).service(save).service(reset);
}

/// All templates.
#[derive(Serialize, utoipa::ToSchema)]
struct Templates {
    /// One for each phase.
    items: Vec<TemplateView>,
    /// Always null: there are four.
    next_cursor: Option<String>,
}

/// The templates in use, one for each phase.
#[utoipa::path(tag = "Templates", responses((status = 200, body = Templates)))]
#[get("/templates")]
async fn list(app: web::Data<App>, _: Params<NoParams>) -> Answer<HttpResponse> {
    let items = app
        .db
        .read(|conn| {
            Phase::ALL
                .into_iter()
                .map(|phase| templates::current(conn, phase))
                .collect::<Result<_, _>>()
        })
        .await?;
    Ok(HttpResponse::Ok().json(Templates {
        items,
        next_cursor: None,
    }))
}

/// The template of a phase.
#[utoipa::path(tag = "Templates", responses((status = 200, body = TemplateView), (status = 404, body = ProblemDocument)))]
#[get("/templates/{phase}")]
async fn get_one(app: web::Data<App>, phase: web::Path<String>, _: Params<NoParams>) -> Answer<HttpResponse> {
    let phase = own("template", Phase::parse(&phase))?;
    Ok(HttpResponse::Ok().json(app.db.read(move |conn| templates::current(conn, phase)).await?))
}

/// Saves a template for the next notices of a phase; it is rendered on samples first.
#[utoipa::path(tag = "Templates", request_body = Source,
    responses((status = 200, body = TemplateView), (status = 404, body = ProblemDocument), (status = 422, body = ProblemDocument)))]
#[put("/templates/{phase}")]
async fn save(
    app: web::Data<App>,
    by: By,
    phase: web::Path<String>,
    _: Params<NoParams>,
    body: Body<Source>,
) -> Answer<HttpResponse> {
    let phase = own("template", Phase::parse(&phase))?;
    Ok(HttpResponse::Ok().json(
        app.db
            .write(&by.0, move |tx| templates::save(tx, phase, &body.0))
            .await?,
    ))
}

/// Returns a phase to the template that Candor comes with.
#[utoipa::path(tag = "Templates", responses((status = 204), (status = 404, body = ProblemDocument)))]
#[delete("/templates/{phase}")]
async fn reset(
    app: web::Data<App>,
    by: By,
    phase: web::Path<String>,
    _: Params<NoParams>,
) -> Answer<HttpResponse> {
    let phase = own("template", Phase::parse(&phase))?;
    app.db.write(&by.0, move |tx| templates::reset(tx, phase)).await?;
    Ok(HttpResponse::NoContent().finish())
}
