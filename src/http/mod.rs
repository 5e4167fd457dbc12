//! HTTP: the API, the hooks, the pages. Parses requests into domain types, calls one domain function, answers.
//!
//! Must never happen here: a rule of the domain, SQL, or a path that accepts what it does not know.

pub mod admin;
pub mod api;
pub mod auth;
pub mod beats;
pub mod error_page;
pub mod extract;
pub mod feedback;
pub mod hooks;
pub mod idempotency;
pub mod memo;
pub mod metrics;
pub mod page;
pub mod pages;
pub mod problem;
pub mod public;
mod sns;
mod state;

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::middleware::from_fn;
use actix_web::{HttpResponse, HttpServer, web};
use utoipa_actix_web::AppExt;

use problem::Problem;
pub use state::App;

/// The server on a bound listener; it runs when it is awaited.
///
/// # Errors
/// Where the listener cannot be used.
pub fn server(app: Arc<App>, listener: TcpListener) -> std::io::Result<Server> {
    let data = web::Data::from(app);
    let server = HttpServer::new(move || {
        let (app, document) = actix_web::App::new()
            .into_utoipa_app()
            .openapi(api::document())
            .app_data(data.clone())
            .service(api::routes())
            .service(hooks::receive)
            .service(hooks::receive_get)
            .service(hooks::receive_put)
            .service(hooks::enqueue)
            .service(beats::beat)
            .service(beats::beat_head)
            .service(beats::beat_post)
            .service(beats::fail)
            .service(beats::fail_head)
            .service(beats::fail_post)
            .service(metrics::healthz)
            .service(metrics::readyz)
            .service(metrics::metrics)
            .service(public::status)
            .service(public::unsubscribe_page)
            .service(public::unsubscribe)
            .split_for_parts();
        app.wrap(from_fn(metrics::observe))
            .configure(admin::routes)
            .app_data(web::Data::new(api::Document::new(document)))
            .service(hooks::may_send)
            .service(api::openapi_json)
            .service(web::resource("/docs").route(web::get().to(api::docs_redirect)))
            .service(api::docs())
            .default_service(web::to(no_such_path))
    })
    .shutdown_timeout(20)
    .client_request_timeout(Duration::from_secs(30))
    // The program listens for signals itself, before it says that it serves; actix would some time after.
    .disable_signals()
    .workers(std::thread::available_parallelism().map_or(2, |n| n.get().clamp(2, 8)));
    Ok(server.listen(listener)?.run())
}

async fn no_such_path() -> Result<HttpResponse, Problem> {
    Err(Problem::NoSuchPath)
}
