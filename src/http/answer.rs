//! The answers of handlers. The type of an answer gives its status code and describes it in the OpenAPI document, so that
//! a handler says both once: `Answer<Created<Incident>>`.
//!
//! The problems that an operation can answer are added by the document itself, see [`super::api::Document`].

use std::cell::RefCell;
use std::collections::BTreeMap;

use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, Responder};
use serde::Serialize;
use utoipa::openapi::schema::Schema;
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema};

use super::extract::Json;
use super::problem::Problem;

/// 201: the thing that was created.
pub struct Created<T>(pub T);
/// 202: what was started. The work goes on after the answer.
pub struct Accepted<T>(pub T);
/// 204: it is done, and there is nothing to say about it.
pub struct NoContent;
/// An answer whose handler declares its responses itself, such as a page or a stream.
pub struct Declared(pub HttpResponse);

/// What a PUT has stored.
pub enum Put<T> {
    /// 201: nothing had this ID before.
    New(T),
    /// 200: what had this ID was changed.
    Changed(T),
}

impl<T> From<(T, bool)> for Put<T> {
    fn from((value, is_new): (T, bool)) -> Self {
        if is_new {
            Put::New(value)
        } else {
            Put::Changed(value)
        }
    }
}

/// An answer with a body has one status code.
macro_rules! with_body {
    ($($answer:ident: $status:ident),*) => {$(
        impl<T: Serialize> Responder for $answer<T> {
            type Body = BoxBody;

            fn respond_to(self, _: &HttpRequest) -> HttpResponse {
                HttpResponse::build(StatusCode::$status).json(self.0)
            }
        }

        impl<T: ToSchema> IntoResponses for $answer<T> {
            fn responses() -> Responses {
                Responses::from([described::<T>(StatusCode::$status)])
            }
        }
    )*};
}

with_body!(Json: OK, Created: CREATED, Accepted: ACCEPTED);

impl<T: Serialize> Responder for Put<T> {
    type Body = BoxBody;

    fn respond_to(self, req: &HttpRequest) -> HttpResponse {
        match self {
            Put::New(value) => Created(value).respond_to(req),
            Put::Changed(value) => Json(value).respond_to(req),
        }
    }
}

impl<T: ToSchema> IntoResponses for Put<T> {
    fn responses() -> Responses {
        Responses::from([
            described::<T>(StatusCode::OK),
            described::<T>(StatusCode::CREATED),
        ])
    }
}

impl Responder for NoContent {
    type Body = BoxBody;

    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        HttpResponse::NoContent().finish()
    }
}

impl IntoResponses for NoContent {
    fn responses() -> Responses {
        let response = named(StatusCode::NO_CONTENT).build();
        Responses::from([(StatusCode::NO_CONTENT.as_str().to_owned(), RefOr::T(response))])
    }
}

impl Responder for Declared {
    type Body = BoxBody;

    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        self.0
    }
}

impl IntoResponses for Declared {
    fn responses() -> Responses {
        Responses::new()
    }
}

impl IntoResponses for Problem {
    fn responses() -> Responses {
        Responses::new()
    }
}

/// The responses of an operation by their status codes.
type Responses = BTreeMap<String, RefOr<Response>>;

fn named(status: StatusCode) -> ResponseBuilder {
    ResponseBuilder::new().description(status.canonical_reason().unwrap_or_default())
}

fn described<T: ToSchema>(status: StatusCode) -> (String, RefOr<Response>) {
    let name = T::name();
    let schema = Ref::from_schema_name(name.clone());
    SCHEMAS.with_borrow_mut(|collected| {
        if let Some(schemas) = collected {
            T::schemas(schemas);
            schemas.push((name.into_owned(), T::schema()));
        }
    });
    let content = ContentBuilder::new().schema(Some(schema)).build();
    let response = named(status).content("application/json", content).build();
    (status.as_str().to_owned(), RefOr::T(response))
}

/// Schemas with their names.
pub type Schemas = Vec<(String, RefOr<Schema>)>;

thread_local! {
    /// The schemas of the answers that were described. None where nobody wants them.
    static SCHEMAS: RefCell<Option<Schemas>> = const { RefCell::new(None) };
}

/// Returns what `describe` returns, with the schemas of all answers that it describes. utoipa collects only the schemas
/// that stand in the attribute of a handler, and its trait for answers has no way to return those of the type.
pub fn with_schemas<T>(describe: impl FnOnce() -> T) -> (T, Schemas) {
    SCHEMAS.set(Some(Vec::new()));
    let described = describe();
    (described, SCHEMAS.take().unwrap_or_default())
}
