//! HTTP: the API, the hooks and the pages. A handler parses a request into domain types, calls one domain
//! function, and returns the answer.
//!
//! Rules of the domain and SQL do not belong here. A path of the API refuses unknown input.

pub mod admin;
pub mod api;
pub mod auth;
pub mod beats;
mod client;
pub mod edge;
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
pub mod refusals;
mod sns;
mod state;

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::middleware::from_fn;
use actix_web::{HttpServer, web};
use utoipa_actix_web::AppExt;

pub use state::App;

/// How long the headers of a request may take to arrive.
const HEAD_WITHIN: Duration = Duration::from_secs(15);
/// The largest number of connections of one server thread. Further connections wait to be accepted.
const MOST_CONNECTIONS: usize = 4_096;

/// Creates the server on a bound listener. It runs when it is awaited.
///
/// # Errors
/// An I/O error, if the listener cannot be used.
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
            .service(beats::beat_post)
            .service(beats::fail)
            .service(beats::fail_post)
            .service(metrics::healthz)
            .service(metrics::readyz)
            .service(metrics::metrics)
            .service(public::status)
            .service(public::unsubscribe_page)
            .service(public::unsubscribe)
            .split_for_parts();
        let paths = edge::Paths::new(&document);
        // The guard that is added last runs first.
        app.wrap(from_fn(edge::guard))
            .wrap(from_fn(metrics::observe))
            .app_data(web::Data::new(paths))
            .service(web::resource("/").route(web::get().to(edge::root)).default_service(web::to(edge::not_served)))
            .configure(admin::routes)
            .app_data(web::Data::new(api::Document::new(document)))
            .service(hooks::may_send)
            .service(api::openapi_json)
            .service(api::docs_without_slash())
            .service(api::docs())
            .default_service(web::to(edge::not_served))
    })
    .shutdown_timeout(20)
    .client_request_timeout(HEAD_WITHIN)
    .max_connections(MOST_CONNECTIONS)
    // The program listens for signals itself before it says that it serves. actix would begin only later.
    .disable_signals()
    .workers(std::thread::available_parallelism().map_or(2, |n| n.get().clamp(2, 8)));
    Ok(server.listen(listener)?.run())
}
