//! HTTP: the API, the hooks and the pages. A handler parses a request into domain types, calls one domain
//! function, and returns the answer.
//!
//! Rules of the domain and SQL do not belong here. A path of the API refuses unknown input.

pub mod admin;
pub mod admin_page;
mod ago;
pub mod answer;
pub mod answers;
pub mod api;
pub mod audience_cache;
pub mod auth;
pub mod beats;
pub mod brand;
mod client;
mod customer_page;
pub mod edge;
pub mod error_page;
pub mod extract;
pub mod feed;
pub mod feedback;
mod hook_refusal;
pub mod hooks;
pub mod idempotency;
mod ids;
pub mod language;
mod merged;
pub mod metrics;
pub mod mine;
mod mine_view;
mod now;
pub mod page;
pub mod pages;
pub mod plans;
pub mod problem;
pub mod public;
pub mod refusals;
mod report_blocks;
pub mod request_id;
pub mod routes;
pub mod sending;
mod sns;
pub mod source_limit;
mod state;
mod static_files;
pub mod stats;
pub mod status;
pub mod status_page;
pub mod status_work;
mod subscribe;
mod svg;
mod template_source;
mod test_notice;
pub mod token_uses;
mod used_integrations;

use std::net::TcpListener;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actix_web::body::MessageBody;
use actix_web::dev::{Server, ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::middleware::from_fn;
use actix_web::{HttpServer, web};
use utoipa::openapi::OpenApi;
use utoipa_actix_web::AppExt;

use routes::Routes;
pub use state::App;

/// How long the headers of a request may take to arrive.
const HEAD_WITHIN: Duration = Duration::from_secs(15);
/// The largest number of connections of one server thread. Further connections wait to be accepted.
const MAX_CONNECTIONS: usize = 4_096;

/// Returns what the OpenAPI document describes, and the document: the API, the hooks, the heartbeats and the public paths.
fn documented() -> (
    actix_web::App<
        impl ServiceFactory<
            ServiceRequest,
            Config = (),
            Response = ServiceResponse<impl MessageBody>,
            Error = actix_web::Error,
            InitError = (),
        >,
    >,
    OpenApi,
) {
    actix_web::App::new()
        .into_utoipa_app()
        .openapi(api::document())
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
        .configure(status::routes)
        .service(brand::logo)
        .service(brand::color)
        .service(public::unsubscribe_page)
        .service(public::unsubscribe)
        .service(public::subscribe_again)
        .service(feed::routes())
        .service(feed::script)
        .service(mine::show)
        .service(mine::open_token)
        .service(mine::show_resources)
        .service(mine::download)
        .service(mine::save)
        .service(mine::end)
        .service(mine::show_link)
        .service(mine::open_link)
        .service(mine::show_ticket)
        .service(mine::open_ticket)
        .service(answers::show)
        .service(answers::answer)
        .split_for_parts()
}

/// Creates the server on a bound listener. It runs when it is awaited.
///
/// # Errors
/// An I/O error, if the listener cannot be used or if a route declares no role.
pub fn server(app: Arc<App>, listener: TcpListener) -> std::io::Result<Server> {
    let threads = app.http_threads;
    let data = web::Data::from(app);
    let Described {
        routes,
        paths,
        document,
    } = Described::of_this_program().map_err(std::io::Error::other)?;
    let server = HttpServer::new(move || {
        let (app, _) = documented();
        // The guard that is added last runs first.
        app.wrap(from_fn(edge::guard))
            .wrap(from_fn(metrics::observe))
            .app_data(data.clone())
            .app_data(routes.clone())
            .app_data(paths.clone())
            .app_data(document.clone())
            .service(web::resource("/").route(web::get().to(edge::root)).default_service(web::to(edge::not_served)))
            .configure(admin::routes)
            .configure(static_files::routes)
            .service(hooks::may_send)
            .service(api::openapi_json)
            .service(api::docs_without_slash())
            .service(api::docs())
            .default_service(web::to(edge::not_served))
    })
    .shutdown_timeout(20)
    .client_request_timeout(HEAD_WITHIN)
    .max_connections(MAX_CONNECTIONS)
    // The program listens for signals itself before it says that it serves. actix would begin only later.
    .disable_signals()
    .workers(threads);
    Ok(server.listen(listener)?.run())
}

/// What the routes of this program say about themselves. It is collected once in a process.
#[derive(Clone)]
struct Described {
    routes: web::Data<Routes>,
    paths: web::Data<edge::Paths>,
    document: web::Data<api::Document>,
}

impl Described {
    fn of_this_program() -> Result<Described, String> {
        static DESCRIBED: OnceLock<Result<Described, String>> = OnceLock::new();
        DESCRIBED.get_or_init(Self::collect).clone()
    }

    fn collect() -> Result<Described, String> {
        let ((_, document), schemas) = answer::with_schemas(documented);
        let pages = admin::pages();
        Ok(Described {
            routes: web::Data::new(Routes::new(&document, &pages)?),
            paths: web::Data::new(edge::Paths::new(&document, &pages)),
            document: web::Data::new(api::Document::new(document, schemas)),
        })
    }
}
