//! The status page: `/status`, the documents for programs, the feeds and the calendar.
//!
//! Unknown query parameters are ignored, because programs that forward links add their own.

use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_SECURITY_POLICY, ETAG, IF_NONE_MATCH, LOCATION, VARY,
};
use actix_web::middleware::from_fn;
use actix_web::{HttpRequest, HttpResponse, get, web};

use super::answer::Declared;
use super::error_page::for_browsers;
use super::language;
use super::pages::PUBLIC_POLICY;
use super::problem::{Answer, Problem};
use super::status_page::{Address, Document};
use super::subscribe;
use crate::base::error::Error;
use crate::base::language::Language;
use crate::http::App;

/// How long a browser or a CDN may keep an answer: a post is seen at once, and the page stays when Candor does not answer.
const CACHING: &str = "public, max-age=1, stale-while-revalidate=5, stale-if-error=86400";

pub(super) fn routes(config: &mut utoipa_actix_web::service_config::ServiceConfig<'_>) {
    config
        // These come before the pages whose language is in the path.
        .service(subscribe::form)
        .service(subscribe::subscribe)
        .service(subscribe::show)
        .service(subscribe::confirm)
        .service(subscribe::end)
        .service(page)
        .service(incident_page)
        .service(component_page)
        .service(page_in)
        .service(incident_page_in)
        .service(component_page_in)
        .service(summary)
        .service(status)
        .service(components)
        .service(incidents)
        .service(unresolved)
        .service(maintenances)
        .service(atom)
        .service(rss)
        .service(maintenance_calendar);
}

/// Answers with what is at an address. `varies` says that another language has another answer at the same path.
async fn answer(app: &App, req: &HttpRequest, address: Address, varies: bool) -> Answer<Declared> {
    let snapshot = app.status.current(&app.db).await?;
    let file = snapshot.file(&address)?;
    let file =
        file.ok_or_else(|| Problem::Domain(Error::NotFound("this part of the status page".to_owned())))?;
    let known = req.headers().get_all(IF_NONE_MATCH).any(|value| {
        let value = value.to_str().unwrap_or_default();
        let mut tags = value.split(',').map(|tag| tag.trim().trim_start_matches("W/"));
        value.trim() == "*" || tags.any(|tag| tag == file.etag)
    });
    let mut response = match (&file.moved, known) {
        (Some(path), _) => {
            let mut moved = HttpResponse::Found();
            moved.insert_header((LOCATION, path.as_str()));
            moved
        }
        (None, true) => HttpResponse::NotModified(),
        (None, false) => HttpResponse::Ok(),
    };
    response
        .insert_header((CACHE_CONTROL, CACHING))
        .insert_header((ETAG, file.etag.as_str()));
    if varies {
        response.insert_header((VARY, "accept-language"));
    }
    match file.media.starts_with("text/html") {
        true => response.insert_header((CONTENT_SECURITY_POLICY, PUBLIC_POLICY)),
        // Programs on other sites may read what is public.
        false => response.insert_header((ACCESS_CONTROL_ALLOW_ORIGIN, "*")),
    };
    Ok(Declared(match known && file.moved.is_none() {
        true => response.finish(),
        false => response.content_type(file.media).body(file.body.clone()),
    }))
}

fn known_language(text: &str) -> Answer<Language> {
    Language::parse(text)
        .map_err(|_| Problem::Domain(Error::NotFound("this part of the status page".to_owned())))
}

fn number(text: &str) -> Answer<i64> {
    // Another spelling of the number, such as 007, is another path.
    let number = text
        .parse::<i64>()
        .ok()
        .filter(|number| number.to_string() == text);
    number.ok_or_else(|| Problem::Domain(Error::NotFound("this incident".to_owned())))
}

/// Shows the status page in the language of the reader: the parameter `lang`, or else `Accept-Language`.
#[utoipa::path(tag = "Status page", security(()), responses((status = 200, description = "A page", content_type = "text/html")))]
#[get("/status", wrap = "from_fn(for_browsers)")]
pub async fn page(app: web::Data<App>, req: HttpRequest) -> Answer<Declared> {
    let language = language::of_request(&req, Language::En);
    answer(&app, &req, Address::Home(language), true).await
}

/// Shows what is public about an incident, in the language of the reader. This address is permanent: that of a merged incident leads to
/// the one that it is a part of now.
#[utoipa::path(tag = "Status page", security(()), responses((status = 200, description = "A page", content_type = "text/html"),
    (status = 302, description = "The incident is a part of another one now")))]
#[get("/status/incidents/{number}", wrap = "from_fn(for_browsers)")]
pub async fn incident_page(
    app: web::Data<App>,
    req: HttpRequest,
    path: web::Path<String>,
) -> Answer<Declared> {
    let language = language::of_request(&req, Language::En);
    answer(&app, &req, Address::Incident(language, number(&path)?), true).await
}

/// Shows the history of a component, in the language of the reader.
#[utoipa::path(tag = "Status page", security(()), responses((status = 200, description = "A page", content_type = "text/html")))]
#[get("/status/components/{id}", wrap = "from_fn(for_browsers)")]
pub async fn component_page(
    app: web::Data<App>,
    req: HttpRequest,
    path: web::Path<String>,
) -> Answer<Declared> {
    let language = language::of_request(&req, Language::En);
    answer(&app, &req, Address::Component(language, path.into_inner()), true).await
}

/// Shows the status page in a language.
#[utoipa::path(tag = "Status page", security(()), responses((status = 200, description = "A page", content_type = "text/html")))]
#[get("/status/{language}", wrap = "from_fn(for_browsers)")]
pub async fn page_in(app: web::Data<App>, req: HttpRequest, path: web::Path<String>) -> Answer<Declared> {
    answer(&app, &req, Address::Home(known_language(&path)?), false).await
}

/// Shows what is public about an incident, in a language.
#[utoipa::path(tag = "Status page", security(()), responses((status = 200, description = "A page", content_type = "text/html"),
    (status = 302, description = "The incident is a part of another one now")))]
#[get("/status/{language}/incidents/{number}", wrap = "from_fn(for_browsers)")]
pub async fn incident_page_in(
    app: web::Data<App>,
    req: HttpRequest,
    path: web::Path<(String, String)>,
) -> Answer<Declared> {
    let address = Address::Incident(known_language(&path.0)?, number(&path.1)?);
    answer(&app, &req, address, false).await
}

/// Shows the history of a component, in a language.
#[utoipa::path(tag = "Status page", security(()), responses((status = 200, description = "A page", content_type = "text/html")))]
#[get("/status/{language}/components/{id}", wrap = "from_fn(for_browsers)")]
pub async fn component_page_in(
    app: web::Data<App>,
    req: HttpRequest,
    path: web::Path<(String, String)>,
) -> Answer<Declared> {
    let (language, id) = path.into_inner();
    let address = Address::Component(known_language(&language)?, id);
    answer(&app, &req, address, false).await
}

/// Makes the handler of a document.
macro_rules! document {
    ($(#[$doc:meta])* $name:ident, $path:literal, $address:expr, $media:literal) => {
        $(#[$doc])*
        #[utoipa::path(tag = "Status page", security(()), responses((status = 200, description = "The document", content_type = $media)))]
        #[get($path)]
        pub async fn $name(app: web::Data<App>, req: HttpRequest) -> Answer<Declared> {
            answer(&app, &req, $address, false).await
        }
    };
}

document!(
    /// Returns the state of everything, in the format of Statuspage: the page, the components, the unresolved incidents and the planned maintenances.
    summary, "/api/v2/summary.json", Address::Json(Document::Summary), "application/json"
);
document!(
    /// Returns how bad everything together is, in the format of Statuspage.
    status, "/api/v2/status.json", Address::Json(Document::Status), "application/json"
);
document!(
    /// Returns the components, in the format of Statuspage.
    components, "/api/v2/components.json", Address::Json(Document::Components), "application/json"
);
document!(
    /// Returns the 50 newest incidents, in the format of Statuspage.
    incidents, "/api/v2/incidents.json", Address::Json(Document::Incidents), "application/json"
);
document!(
    /// Returns the incidents that are not resolved, in the format of Statuspage.
    unresolved, "/api/v2/incidents/unresolved.json", Address::Json(Document::Unresolved), "application/json"
);
document!(
    /// Returns the planned maintenances, in the format of Statuspage.
    maintenances, "/api/v2/scheduled-maintenances.json", Address::Json(Document::Maintenances), "application/json"
);
document!(
    /// Returns the incidents as an Atom feed.
    atom, "/history.atom", Address::Atom, "application/atom+xml"
);
document!(
    /// Returns the incidents as an RSS feed.
    rss, "/history.rss", Address::Rss, "application/rss+xml"
);
document!(
    /// Returns the planned maintenances as a calendar.
    maintenance_calendar, "/maintenance.ics", Address::Calendar, "text/calendar"
);
