//! Shows errors as pages, for people with a browser. The text is the same as in the problem documents, with
//! the frame of the requested page. A customer whose browser prefers another language gets one of a few texts in that language.
//!
//! The status code is always the same as that of the API. The text of an internal error is never shown.

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{ACCEPT, ALLOW, CONTENT_TYPE, RETRY_AFTER};
use actix_web::middleware::Next;
use actix_web::{HttpResponse, web};
use serde_json::{Value, json};

use super::customer_page;
use super::language;
use super::problem::{Problem, ProblemDocument};
use super::request_id;
use crate::http::App;
use crate::words::{Area, Words};

/// Makes an error on a public path a page if the caller accepts HTML, as browsers do. Otherwise it stays a
/// problem document.
pub async fn for_browsers(
    req: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let browser = req
        .headers()
        .get(ACCEPT)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|accepted| accepted.contains("text/html"));
    let response = next.call(req).await?.map_into_boxed_body();
    if !browser {
        return Ok(response);
    }
    Ok(dress(response, |app, response, error| {
        let language = language::of_request(response.request(), app.sending.language);
        let words = Words::of(Area::Customer, language)?;
        // In English, an error says exactly what is wrong, as it does to programs.
        let (title, detail) = match language.is_english() {
            true => (
                error.title.as_str(),
                error.document.as_ref().map(|document| document.detail.as_str()),
            ),
            false => {
                let kind = error.kind();
                (
                    words.text(&format!("error_{kind}_title"))?,
                    Some(words.text(&format!("error_{kind}_text"))?),
                )
            }
        };
        let (status, id) = (error.status.to_string(), request_id::current());
        let values = [
            ("status", status.as_str()),
            ("id", id.as_deref().unwrap_or_default()),
        ];
        let rest = json!({"error": error.value(), "detail": detail});
        let data = customer_page::data(app, language, title, &values, rest)?;
        app.pages.answer_with(response.status(), "public/error", &data)
    }))
}

/// The data of an error page.
pub(super) struct Shown {
    pub(super) title: String,
    document: Option<ProblemDocument>,
    status: u16,
    /// Whether it is about a link in an email.
    is_link: bool,
}

impl Shown {
    /// Returns which of the errors that are written in each language it is.
    fn kind(&self) -> &'static str {
        match self.status {
            404 if self.is_link => "link",
            404 | 405 => "not_found",
            408 | 429 | 500..=599 => "busy",
            _ => "wrong",
        }
    }

    pub(super) fn value(&self) -> Value {
        let detail = self.document.as_ref().map(|document| document.detail.clone());
        let errors: Vec<Value> = self
            .document
            .iter()
            .flat_map(|document| &document.errors)
            .map(|error| json!({"pointer": error.pointer, "detail": error.detail}))
            .collect();
        json!({
            "title": self.title, "status": self.status, "detail": detail, "errors": errors,
            "request_id": request_id::current(),
        })
    }
}

pub(super) fn dress(
    response: ServiceResponse<BoxBody>,
    page: impl Fn(&App, &ServiceResponse<BoxBody>, &Shown) -> Result<HttpResponse, Problem>,
) -> ServiceResponse<BoxBody> {
    let status = response.status();
    let html = response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|media| media.starts_with("text/html"));
    if html || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let Some(app) = response.request().app_data::<web::Data<App>>().cloned() else {
        return response;
    };
    let problem = response
        .response()
        .error()
        .and_then(|error| error.as_error::<Problem>());
    let document = problem.map(Problem::document);
    let title = match &document {
        Some(document) if document.status == 404 => "Page not found".to_owned(),
        Some(document) => document.title.to_owned(),
        None => status.canonical_reason().unwrap_or("Error").to_owned(),
    };
    let shown = Shown {
        title,
        document,
        status: status.as_u16(),
        is_link: matches!(problem, Some(Problem::NoSuchLink)),
    };
    match page(&app, &response, &shown) {
        Ok(mut answer) => {
            // A browser gets the same headers as a program.
            for name in [RETRY_AFTER, ALLOW] {
                if let Some(value) = response.headers().get(&name) {
                    answer.headers_mut().insert(name, value.clone());
                }
            }
            response.into_response(answer)
        }
        Err(problem) => {
            tracing::error!(%problem, "an error page could not be rendered");
            response
        }
    }
}
