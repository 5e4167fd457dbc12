//! Builds the complete OpenAPI document. It adds the errors that every operation can return to what the
//! handlers declare.

use utoipa::openapi::path::Operation;
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, RefOr, Response, ResponseBuilder};

/// The media type of errors.
const PROBLEM: &str = "application/problem+json";

/// The errors of the guards and the extractors: the name in the document, the status code, and the
/// description.
const COMMON: [(&str, &str, &str); 12] = [
    ("Unauthorized", "401", "No valid token, or no proof of the secret"),
    (
        "Forbidden",
        "403",
        "The role of the token is not sufficient, or a rule forbids the action",
    ),
    (
        "NotFound",
        "404",
        "The item in the path or in the request does not exist",
    ),
    ("RequestTimeout", "408", "The request body arrives too slowly"),
    (
        "Conflict",
        "409",
        "The present state does not allow the request, or another request with the same `Idempotency-Key` is still running",
    ),
    ("TooLarge", "413", "The request body is too large"),
    (
        "UnsupportedMediaType",
        "415",
        "The Content-Type is not accepted, or the body is compressed",
    ),
    (
        "Invalid",
        "422",
        "The input is not valid; `errors` lists each field, parameter or line with the reason",
    ),
    (
        "TooManyRequests",
        "429",
        "Too many refused requests came from this address; repeat the request after the time in `Retry-After`",
    ),
    ("Internal", "500", "An internal error of Candor"),
    (
        "Unavailable",
        "503",
        "Candor is overloaded or not ready; repeat the request after the time in `Retry-After`",
    ),
    (
        "MethodNotAllowed",
        "405",
        "The path does not accept this method; `Allow` lists the methods that it accepts",
    ),
];

/// The complete document, which is rendered once.
pub struct Document(String);

impl Document {
    /// Gives every operation a unique name and all answers that it can have, and renders the document.
    pub fn new(mut document: OpenApi) -> Self {
        let components = document.components.get_or_insert_default();
        for (name, _, when) in COMMON {
            let response = ResponseBuilder::new()
                .description(when)
                .content(PROBLEM, problem())
                .build();
            components.responses.insert(name.to_owned(), RefOr::T(response));
        }
        for (path, item) in &mut document.paths.paths {
            let operations = [
                ("get", &mut item.get),
                ("put", &mut item.put),
                ("post", &mut item.post),
                ("patch", &mut item.patch),
                ("delete", &mut item.delete),
            ];
            for (method, operation) in operations {
                if let Some(operation) = operation {
                    // Handlers in different files have the same names.
                    operation.operation_id = Some(operation_id(method, path));
                    errors_are_problems(operation);
                    add_common(operation, method, path);
                    if !path.starts_with("/api/v1") {
                        operation.security = Some(Vec::new());
                    }
                }
            }
        }
        Document(document.to_pretty_json().unwrap_or_default())
    }

    /// Returns the document as JSON.
    pub fn json(&self) -> &str {
        &self.0
    }
}

fn problem() -> utoipa::openapi::Content {
    ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("ProblemDocument")))
        .build()
}

/// Makes every declared error a problem document with its media type.
fn errors_are_problems(operation: &mut Operation) {
    for (status, response) in &mut operation.responses.responses {
        let RefOr::T(response) = response else { continue };
        if !status.starts_with(['4', '5']) {
            continue;
        }
        let described = !response.description.is_empty();
        let known = COMMON.iter().find(|(_, common, _)| common == status);
        let description = match known {
            Some((_, _, when)) if !described => (*when).to_owned(),
            _ => std::mem::take(&mut response.description),
        };
        let page = response.content.shift_remove("text/html");
        *response = Response::new(description);
        response.content.insert(PROBLEM.to_owned(), problem().into());
        if let Some(page) = page {
            response.content.insert("text/html".to_owned(), page);
        }
    }
}

fn add_common(operation: &mut Operation, method: &str, path: &str) {
    let api = path.starts_with("/api/v1");
    // Whether the path or the body contains a secret or an ID.
    let names = path.contains('{') || path == "/v2/enqueue";
    let changes = method != "get";
    let hook = path.starts_with("/hooks/") || path == "/v2/enqueue";
    let body = matches!(method, "post" | "put" | "patch") && (api || hook);
    for (name, status, _) in COMMON {
        let occurs = match status {
            "401" => api || hook,
            "403" => api,
            // A filter can also name something that does not exist.
            "404" => names || api,
            "405" => hook && method == "get",
            "408" | "413" | "415" => body,
            "409" => api && changes,
            "422" => api || hook,
            "429" => api || (names && !path.starts_with("/status")),
            "500" | "503" => path != "/healthz",
            _ => changes,
        };
        if occurs {
            let responses = &mut operation.responses.responses;
            let common = || RefOr::Ref(Ref::from_response_name(name));
            responses.entry(status.to_owned()).or_insert_with(common);
        }
    }
}

/// Returns the name of an operation, for example `get_incidents_id_timeline` for `GET
/// /api/v1/incidents/{id}/timeline`.
fn operation_id(method: &str, path: &str) -> String {
    let path = path.strip_prefix("/api/v1").unwrap_or(path);
    let words = path
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty());
    words.fold(method.to_owned(), |id, word| id + "_" + word)
}
