//! Checks who sends a request and whether the caller has the role, before the request is read.
//!
//! Every path below `/api/v1` needs a role. The table below applies to every path, so no handler can forget
//! the check.

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::middleware::Next;
use actix_web::{HttpMessage, HttpResponse, web};

use super::problem::Problem;
use super::refusals::Door;
use crate::audit::{Action, Actor, Event};
use crate::auth::{Caller, Role, authenticate};
use crate::base::code::Code;
use crate::base::error::Error;
use crate::http::App;

/// Returns the role that a request needs. `path` is the part after `/api/v1`, decoded in the same way as by
/// the router: `%74okens` is `tokens`.
fn required(method: &Method, path: &str) -> Role {
    let reading = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    let first = path.split('/').nth(1).unwrap_or("");
    match (first, reading) {
        ("tokens", _) => Role::Admin,
        (_, true) => Role::Viewer,
        // Counting stores nothing. It is a POST, because a selector is too long for a query.
        ("selectors", _) => Role::Viewer,
        // A test stores nothing.
        ("automation", false) if path.ends_with("/try") => Role::Operator,
        (
            "integrations" | "templates" | "checks" | "heartbeats" | "automation" | "operators"
            | "alert-rules",
            false,
        ) => Role::Admin,
        ("directory", false) if path.split('/').nth(2) == Some("sources") => Role::Admin,
        ("notices", false) if path.ends_with("/approve") => Role::Approver,
        (_, false) => Role::Operator,
    }
}

/// Accepts requests with a valid token and a sufficient role, and records all others.
pub async fn guard(
    req: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let (app, actor) = match admit(&req).await {
        Ok(admitted) => admitted,
        Err(problem) => return Ok(req.into_response(HttpResponse::from_error(problem))),
    };
    let (method, path) = (req.method().to_string(), req.path().to_owned());
    let response = next.call(req).await?.map_into_boxed_body();
    // A permission that only the domain can deny (the approval by a second person) is recorded in the same
    // way.
    if response.status() == actix_web::http::StatusCode::FORBIDDEN {
        record(&app, &actor, Action::AccessForbidden, method, path).await?;
    }
    Ok(response)
}

/// Returns the caller of a request, if the caller has the role.
async fn admit(req: &ServiceRequest) -> Result<(web::Data<App>, Actor), Problem> {
    let app = app_of(req)?;
    let caller = match bearer(req) {
        None => None,
        Some(secret) => app.db.read(move |conn| authenticate(conn, &secret)).await?,
    };
    let Some(caller) = caller else {
        let why = Problem::Unauthorized("a valid token is needed: Authorization: Bearer TOKEN");
        let now = app.clock().now();
        return Err(app.refusals.refuse(req.request(), Door::Token, now, why));
    };
    let needed = required(req.method(), req.match_info().unprocessed());
    let actor = caller.actor();
    if !caller.role.covers(needed) {
        let (method, path) = (req.method().to_string(), req.path().to_owned());
        record(&app, &actor, Action::AccessForbidden, method, path).await?;
        let why = format!(
            "this needs the role {needed}; the token has the role {}",
            caller.role
        );
        return Err(Error::Forbidden(why).code(Code::RoleMissing).into());
    }
    req.extensions_mut().insert(caller);
    Ok((app, actor))
}

fn app_of(req: &ServiceRequest) -> Result<web::Data<App>, Problem> {
    req.app_data::<web::Data<App>>()
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

fn bearer(req: &ServiceRequest) -> Option<String> {
    let value = req.headers().get("authorization")?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim().to_owned())
        .filter(|token| !token.is_empty())
}

/// The caller that [`guard`] accepted. It acts for the idempotency key of the request, if there is one.
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
