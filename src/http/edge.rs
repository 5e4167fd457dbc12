//! Rules for every request and every answer: HEAD is answered like GET, but without the body. If a known path
//! does not accept a method, the answer names the methods that it accepts. Every answer has security headers.

use std::collections::BTreeSet;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ResourceDef, ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, LOCATION, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use actix_web::middleware::Next;
use actix_web::{HttpMessage, HttpRequest, HttpResponse, web};
use utoipa::openapi::OpenApi;

use super::admin_page::Page;
use super::problem::{Answer, Problem};
use super::static_files;

/// The policy for documents and errors, which load and run nothing.
const NOTHING: &str = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// The policy for the documentation page, which uses its own scripts and styles and calls this API. The hash is of the style inside
/// the logo of Swagger UI.
const DOCS: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'sha256-RL3ie0nH+Lzz2YNqQN83mnU0J1ot4QL7b99vMdIX99w='; img-src 'self' data:; \
                    font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Marks a request as HEAD. Handlers get a GET.
#[derive(Clone, Copy)]
pub struct IsHead;

/// Returns whether a request that looks like a GET is a HEAD.
pub fn is_head(req: &HttpRequest) -> bool {
    req.extensions().get::<IsHead>().is_some()
}

/// Turns HEAD into GET for the handlers, and adds the security headers to every answer.
pub async fn guard(
    mut req: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    if req.method() == Method::HEAD {
        // The server itself remembers that it was a HEAD. It sends the length of the body but not the body.
        req.head_mut().method = Method::GET;
        req.extensions_mut().insert(IsHead);
    }
    let docs = req.path().starts_with("/docs");
    // The sign-in leads back to the page on which somebody pressed a button. Another site gets no address.
    let admin = req.path().starts_with("/admin");
    let open = docs || req.path() == "/api/openapi.json";
    let mut response = next.call(req).await?.map_into_boxed_body();
    let headers = response.headers_mut();
    let mut set = |name: HeaderName, value: &'static str| {
        if !headers.contains_key(&name) {
            headers.insert(name, HeaderValue::from_static(value));
        }
    };
    set(X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(X_FRAME_OPTIONS, "DENY");
    set(REFERRER_POLICY, if admin { "same-origin" } else { "no-referrer" });
    set(CONTENT_SECURITY_POLICY, if docs { DOCS } else { NOTHING });
    // Everything except the documents of the API is about a person or is only the current state, so it must
    // not be stored.
    set(CACHE_CONTROL, if open { "no-cache" } else { "no-store" });
    Ok(response)
}

/// The paths that are served, with the methods of each.
#[derive(Clone)]
pub struct Paths(Vec<(ResourceDef, BTreeSet<&'static str>)>);

impl Paths {
    /// Collects the paths of the OpenAPI document and the paths that are not in it: those of the document itself and of
    /// the admin pages.
    pub fn new(document: &OpenApi, pages: &[Page]) -> Self {
        let documented = document.paths.paths.iter().map(|(path, item)| {
            let methods = [
                ("GET", item.get.is_some()),
                ("HEAD", item.get.is_some()),
                ("PUT", item.put.is_some()),
                ("POST", item.post.is_some()),
                ("PATCH", item.patch.is_some()),
                ("DELETE", item.delete.is_some()),
            ];
            let methods = methods.into_iter().filter(|(_, served)| *served);
            (
                ResourceDef::new(path.as_str()),
                methods.map(|(method, _)| method).collect(),
            )
        });
        let reading = || BTreeSet::from(["GET", "HEAD"]);
        let others = ["/", "/docs", "/docs/{_:.*}", "/api/openapi.json"].map(str::to_owned);
        let others = others.into_iter().chain(static_files::paths());
        let others = others.map(|path| (ResourceDef::new(path), reading()));
        let pages = pages.iter().map(|page| {
            let methods = if page.method == Method::POST {
                BTreeSet::from(["POST"])
            } else {
                reading()
            };
            (ResourceDef::new(page.path.as_str()), methods)
        });
        Paths(documented.chain(others).chain(pages).collect())
    }

    /// Returns whether a path accepts a method.
    pub(super) fn accept(&self, method: &Method, path: &str) -> bool {
        self.methods(path).contains(method.as_str())
    }

    fn methods(&self, path: &str) -> BTreeSet<&'static str> {
        let matching = self.0.iter().filter(|(pattern, _)| pattern.is_match(path));
        matching
            .flat_map(|(_, methods)| methods.iter().copied())
            .collect()
    }
}

/// Answers requests that no handler accepted: with 405 and `Allow` if the path has other methods, with the
/// methods for OPTIONS, with a redirect if the path exists without its trailing slash, and otherwise with
/// 404. Below `/admin` these answers become pages (see `error_page`).
pub async fn not_served(req: HttpRequest, paths: web::Data<Paths>) -> Answer<HttpResponse> {
    // The router has already decoded the part after a prefix.
    let path = req.match_info().as_str();
    let methods = paths.methods(path);
    if !methods.is_empty() {
        return other_method(&req, methods);
    }
    // A program that calls the API gets no redirect, so that it notices its wrong path.
    elsewhere(&req, path, |path| {
        !path.starts_with("/api/") && !paths.methods(path).is_empty()
    })
}

fn other_method(req: &HttpRequest, methods: BTreeSet<&'static str>) -> Answer<HttpResponse> {
    let methods = methods.into_iter().collect::<Vec<_>>().join(", ");
    if req.method() == Method::OPTIONS {
        return Ok(HttpResponse::NoContent().insert_header((ALLOW, methods)).finish());
    }
    Err(Problem::NoSuchMethod(methods.into()))
}

fn elsewhere(req: &HttpRequest, path: &str, served: impl Fn(&str) -> bool) -> Answer<HttpResponse> {
    let trimmed = path.trim_end_matches('/');
    let moved = req.method() == Method::GET && trimmed != path && !trimmed.is_empty() && served(trimmed);
    // A path that begins with two slashes would redirect to another host.
    if !moved || trimmed.starts_with("//") || !trimmed.starts_with('/') {
        return Err(Problem::NoSuchPath);
    }
    let raw = req.uri().path().trim_end_matches('/');
    let location = match req.uri().query() {
        Some(query) => format!("{raw}?{query}"),
        None => raw.to_owned(),
    };
    Ok(HttpResponse::PermanentRedirect()
        .insert_header((LOCATION, location))
        .finish())
}

/// Redirects `/` to the public page.
pub async fn root() -> HttpResponse {
    HttpResponse::Found()
        .insert_header((LOCATION, "/status"))
        .finish()
}
