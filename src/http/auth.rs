//! Checks, before a request is read, who sends it and whether the caller has the role that the route needs.
//!
//! Every path below `/api/v1` needs a role. Each handler declares it in its `#[utoipa::path]`, and the guard reads it from
//! [`Routes`]. A path that is not in the document is answered here, so that no handler runs without a role.

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::{HttpMessage, HttpResponse, web};

use super::edge;
use super::problem::{Answer, Problem};
use super::refusals::RefusalKind;
use super::routes::{Route, Routes};
use crate::audit::{Action, Actor, Event};
use crate::auth::{Caller, Role, authenticate};
use crate::base::code::Code;
use crate::base::error::Error;
use crate::http::App;

/// Accepts requests that have a valid token with a sufficient role and only declared query parameters. Forbidden requests
/// are recorded in the audit trail.
pub async fn guard(
    req: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let (app, caller, routes) = match holder(&req).await {
        Ok(held) => held,
        Err(problem) => return Ok(req.error_response(problem)),
    };
    let Some(route) = routes.find(req.method(), req.match_info().as_str()) else {
        return match not_served(&req).await {
            Ok(answer) => Ok(req.into_response(answer)),
            Err(problem) => Ok(req.error_response(problem)),
        };
    };
    let actor = caller.actor();
    if let Err(problem) = admit(&app, &caller, route, &req).await {
        return Ok(req.error_response(problem));
    }
    req.extensions_mut().insert(caller);
    let (method, path) = (req.method().to_string(), req.path().to_owned());
    let response = next.call(req).await?.map_into_boxed_body();
    // A permission that only the domain can deny (the approval by a second person) is recorded in the same
    // way.
    if response.status() == actix_web::http::StatusCode::FORBIDDEN {
        let recorded = record(&app, &actor, Action::AccessForbidden, method, path).await;
        if let Err(problem) = recorded {
            return Ok(response.into_response(HttpResponse::from_error(problem)));
        }
    }
    Ok(response)
}

/// Returns the caller of a request, with the application and the routes.
///
/// # Errors
/// 401 if the request has no valid token, or 429 after too many of them.
async fn holder(req: &ServiceRequest) -> Answer<(web::Data<App>, Caller, web::Data<Routes>)> {
    let app: web::Data<App> = configured(req)?;
    let routes = configured(req)?;
    let now = app.clock().now();
    let caller = match bearer(req) {
        None => None,
        Some(secret) => app.db.read(move |conn| authenticate(conn, &secret, now)).await?,
    };
    let Some(caller) = caller else {
        let why = Problem::Unauthorized("a valid token is needed: Authorization: Bearer TOKEN");
        return Err(app.refusals.refuse(req.request(), RefusalKind::Token, now, why));
    };
    app.token_uses.note(&caller.id, now);
    Ok((app, caller, routes))
}

/// Checks that the caller has the role of the route, and that the request has no unknown query parameter.
async fn admit(app: &App, caller: &Caller, route: &Route, req: &ServiceRequest) -> Answer<()> {
    // Every route of this guard has a role.
    let needed = route.role.unwrap_or(Role::Admin);
    require(app, caller, needed, req, "the token has").await?;
    Ok(route.check_query(req.query_string())?)
}

/// Checks that a caller has a role. `who_has` is the subject and the verb of the second half of the error, such as "the token
/// has".
///
/// # Errors
/// `Forbidden` if the role is not sufficient. The refusal is recorded in the audit trail.
pub(super) async fn require(
    app: &App,
    caller: &Caller,
    needed: Role,
    req: &ServiceRequest,
    who_has: &str,
) -> Answer<()> {
    if caller.role.covers(needed) {
        return Ok(());
    }
    let (method, path) = (req.method().to_string(), req.path().to_owned());
    record(app, &caller.actor(), Action::AccessForbidden, method, path).await?;
    let why = format!("this needs the role {needed}; {who_has} the role {}", caller.role);
    Err(Error::Forbidden(why).code(Code::RoleMissing).into())
}

/// Returns the answer to a request for which the document has no operation.
async fn not_served(req: &ServiceRequest) -> Answer<HttpResponse> {
    edge::not_served(req.request().clone(), configured(req)?).await
}

/// Returns data that the server was started with.
///
/// # Errors
/// `Internal` if the server was started without it.
pub(super) fn configured<T: 'static>(req: &ServiceRequest) -> Answer<web::Data<T>> {
    req.app_data::<web::Data<T>>()
        .cloned()
        .ok_or_else(|| Problem::Domain(Error::internal("the application is not configured")))
}

/// Records a refusal in the audit trail.
pub(super) async fn record(
    app: &App,
    actor: &Actor,
    action: Action,
    method: String,
    path: String,
) -> Result<(), Problem> {
    let path: String = path.chars().take(300).collect();
    app.db
        .write(actor, move |tx| {
            tx.record(Event::new(action, "request", path).after(serde_json::json!({"method": method})));
            Ok(())
        })
        .await?;
    Ok(())
}

/// Returns the token of a request.
pub(super) fn bearer(req: &ServiceRequest) -> Option<String> {
    let value = req.headers().get("authorization")?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim().to_owned())
        .filter(|token| !token.is_empty())
}

/// The caller that [`guard`] accepted, as the actor for the audit trail. If the request has an idempotency key, the actor
/// contains the key.
pub struct By(pub Actor);

impl actix_web::FromRequest for By {
    type Error = Problem;
    type Future = std::future::Ready<Result<Self, Problem>>;

    fn from_request(req: &actix_web::HttpRequest, _: &mut actix_web::dev::Payload) -> Self::Future {
        let extensions = req.extensions();
        let actor = extensions.get::<Caller>().map(|caller| {
            let actor = caller.actor();
            match extensions.get::<super::idempotency::Running>() {
                Some(running) => actor.for_request(running.id.clone()),
                None => actor,
            }
        });
        std::future::ready(
            actor
                .map(By)
                .ok_or_else(|| Problem::Domain(Error::internal("a handler outside the guarded paths"))),
        )
    }
}
