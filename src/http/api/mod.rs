//! The API below `/api/v1`. It has one file for each part of the domain. The OpenAPI document is made from
//! the handlers.

pub mod account_recovery;
pub mod affected_people;
pub mod alert_rules;
pub mod alerts;
pub mod answers;
pub mod audience;
pub mod audit;
pub mod audit_proofs;
mod audit_tiles;
pub mod automation;
pub mod backups;
pub mod brand;
mod comparison_fetch;
pub mod comparisons;
mod contacts;
pub mod corrections;
pub mod directory;
mod document;
pub mod drafts;
pub mod emergency;
pub mod endpoints;
pub mod evidence;
pub mod feed_keys;
pub mod feedback;
pub mod forgetting;
pub mod history;
pub mod incidents;
pub mod limits;
pub mod mail;
pub mod maintenances;
mod merges;
pub mod mutes;
mod notice_values;
pub mod notices;
pub mod now;
pub mod operators;
pub mod people;
pub mod recipients;
pub mod recovery;
pub mod reports;
pub mod search;
pub mod selectors;
pub mod sending;
pub mod sources;
pub mod status;
pub mod system;
pub mod templates;
pub mod tokens;
pub mod watch;

pub use document::Document;

use actix_web::body::MessageBody;
use actix_web::dev::{HttpServiceFactory, ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::http::header::ContentEncoding;
use actix_web::middleware::from_fn;
use actix_web::{HttpRequest, HttpResponse, get, web};
use utoipa::openapi::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa_swagger_ui::Config;

use super::problem::{Answer, Problem};
use super::routes::{PREFIX, SCHEME};
use super::{auth, edge, idempotency, merged};
use crate::base::error::Error;

/// Returns the OpenAPI document without the handlers, which add themselves later.
pub fn document() -> OpenApi {
    let mut document = OpenApi::new(
        utoipa::openapi::InfoBuilder::new()
            .title("Candor")
            .version(env!("CARGO_PKG_VERSION"))
            .description(Some(
                "Candor finds the people whom an incident affects, notifies them, and records which notices they got. \
                 Errors are RFC 9457 problem documents. Unknown fields and unknown query parameters are errors. \
                 Every POST below /api/v1 accepts an `Idempotency-Key`: a second request with the same key and the same content \
                 gets the first answer again. That answer does not contain a secret that was shown only once, and `withheld` \
                 lists the JSON pointers of the secrets that are left out. \
                 Every answer has the header `X-Request-Id`: the one of the request, if that is valid (up to 128 letters, \
                 digits and -_.:=+/), or a new one. Problem documents and the log contain it too.",
            ))
            .build(),
        utoipa::openapi::Paths::new(),
    );
    let mut components = utoipa::openapi::Components::new();
    let bearer = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
    components.add_security_scheme(SCHEME, bearer);
    document.components = Some(components);
    document.security = Some(vec![SecurityRequirement::new(SCHEME, Vec::<String>::new())]);
    document
}

/// Returns everything below `/api/v1`, behind authentication and idempotency.
pub fn routes() -> utoipa_actix_web::scope::Scope<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<impl MessageBody>,
        Error = actix_web::Error,
        InitError = (),
    >,
> {
    utoipa_actix_web::scope(PREFIX)
        // The guard that is added last runs first.
        .wrap(from_fn(merged::guard))
        .wrap(from_fn(idempotency::guard))
        .wrap(from_fn(auth::guard))
        .configure(tokens::routes)
        .configure(feed_keys::routes)
        .configure(search::routes)
        .configure(directory::routes)
        .configure(people::routes)
        .configure(forgetting::routes)
        .configure(history::routes)
        .configure(sources::routes)
        .configure(contacts::routes)
        .configure(endpoints::routes)
        .configure(alerts::routes)
        .configure(watch::routes)
        .configure(alert_rules::routes)
        .configure(mutes::routes)
        .configure(selectors::routes)
        .configure(now::routes)
        .configure(merges::routes)
        .configure(incidents::routes)
        .configure(account_recovery::routes)
        .configure(affected_people::routes)
        .configure(comparisons::routes)
        .configure(comparison_fetch::routes)
        .configure(audience::routes)
        .configure(notices::routes)
        .configure(maintenances::routes)
        .configure(drafts::routes)
        .configure(limits::routes)
        .configure(brand::routes)
        .configure(recipients::routes)
        .configure(mail::routes)
        .configure(recovery::routes)
        .configure(sending::routes)
        .configure(backups::routes)
        .configure(emergency::routes)
        .configure(corrections::routes)
        .configure(notice_values::routes)
        .configure(answers::routes)
        .configure(feedback::routes)
        .configure(reports::routes)
        .configure(automation::routes)
        .configure(operators::routes)
        .configure(templates::routes)
        .configure(status::routes)
        .configure(system::routes)
        .configure(evidence::routes)
        .configure(audit::routes)
        .configure(audit_proofs::routes)
        .configure(audit_tiles::routes)
}

/// Returns the OpenAPI document.
#[get("/api/openapi.json")]
pub async fn openapi_json(document: web::Data<Document>) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("application/json")
        .body(document.json().to_owned())
}

/// Returns the documentation page. Everything that it needs is in the binary.
pub fn docs() -> impl HttpServiceFactory {
    web::resource("/docs/{file:.*}")
        .app_data(web::Data::new(Config::from("/api/openapi.json")))
        .route(web::get().to(docs_file))
        .default_service(web::to(edge::not_served))
}

/// The documentation page. The one of Swagger UI has no viewport, so a phone would show it as a desktop does.
const DOCS: &str = include_str!("../../../templates/docs.html");

async fn docs_file(req: HttpRequest, config: web::Data<Config<'static>>) -> Answer<HttpResponse> {
    let name = req.match_info().query("file");
    if matches!(name, "" | "index.html") {
        return Ok(HttpResponse::Ok()
            .content_type("text/html; charset=utf-8")
            .body(DOCS));
    }
    let file = utoipa_swagger_ui::serve(name, config.into_inner())
        .map_err(|error| Error::internal(error.to_string()))?
        .ok_or(Problem::NoSuchPath)?;
    let mut response = HttpResponse::Ok();
    if file.gzpipped {
        response.insert_header(ContentEncoding::Gzip);
    }
    Ok(response
        .content_type(file.content_type)
        .body(file.bytes.into_owned()))
}

/// Returns the redirect from `/docs` to `/docs/`, because the relative links of the page need the slash.
pub fn docs_without_slash() -> impl HttpServiceFactory {
    web::resource("/docs")
        .route(web::get().to(async || {
            HttpResponse::TemporaryRedirect()
                .insert_header(("location", "/docs/"))
                .finish()
        }))
        .default_service(web::to(edge::not_served))
}
