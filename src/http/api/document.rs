//! Builds the complete OpenAPI document. It adds the errors that every operation can return to what the
//! handlers declare.

use std::collections::BTreeMap;

use utoipa::openapi::path::{Operation, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{AdditionalProperties, Object, ObjectBuilder, Schema, Type};
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, RefOr, Required, Response, ResponseBuilder};
use utoipa::{PartialSchema, ToSchema};

use crate::http::answer::Schemas;
use crate::http::problem::ProblemDocument;
use crate::http::routes::role_of;

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
    /// Gives every operation a unique name, the parameters of its path and all answers that it can have, and renders the
    /// document. `schemas` are those of the answers.
    pub fn new(mut document: OpenApi, mut schemas: Schemas) -> Self {
        let components = document.components.get_or_insert_default();
        ProblemDocument::schemas(&mut schemas);
        schemas.push((ProblemDocument::name().into_owned(), ProblemDocument::schema()));
        components.schemas.extend(schemas);
        open_parts(&mut components.schemas);
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
                    add_path_parameters(operation, path);
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

/// Opens the parts of each `allOf`. An answer can contain the fields of an input beside its own, and the schema of an input allows no
/// other fields, so that a part of this kind would forbid the answer.
fn open_parts(schemas: &mut BTreeMap<String, RefOr<Schema>>) {
    let forbids_others = |object: &Object| {
        matches!(
            object.additional_properties.as_deref(),
            Some(AdditionalProperties::FreeForm(false))
        )
    };
    let closed: BTreeMap<String, Object> = schemas
        .iter()
        .filter_map(|(name, schema)| match schema {
            RefOr::T(Schema::Object(object)) if forbids_others(object) => {
                Some((name.clone(), object.clone()))
            }
            _ => None,
        })
        .collect();
    for schema in schemas.values_mut() {
        let RefOr::T(Schema::AllOf(all)) = schema else {
            continue;
        };
        for part in &mut all.items {
            let RefOr::Ref(reference) = part else { continue };
            let name = reference.ref_location.rsplit('/').next().unwrap_or_default();
            if let Some(object) = closed.get(name) {
                let mut open = object.clone();
                open.additional_properties = None;
                *part = RefOr::T(Schema::Object(open));
            }
        }
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

/// Adds the parameters in the path that the handler does not declare, because it gets them parsed.
fn add_path_parameters(operation: &mut Operation, path: &str) {
    let names = path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    for name in names {
        let parameters = operation.parameters.get_or_insert_default();
        let declared = parameters.iter().any(|parameter| {
            matches!(parameter, RefOr::T(known) if known.name == name && known.parameter_in == ParameterIn::Path)
        });
        if !declared {
            let text = ObjectBuilder::new().schema_type(Type::String);
            let parameter = ParameterBuilder::new()
                .name(name)
                .parameter_in(ParameterIn::Path)
                .required(Required::True)
                .schema(Some(text));
            parameters.push(RefOr::T(parameter.build()));
        }
    }
}

/// Adds the errors that follow from what the operation declares: its role, its body, and what its path names.
fn add_common(operation: &mut Operation, method: &str, path: &str) {
    let role = role_of(operation).is_ok_and(|role| role.is_some());
    // The token in the path or in the body says for whom a hook is.
    let hook = path.starts_with("/hooks/") || path == "/v2/enqueue";
    let names = path.contains('{') || hook;
    // A request with an Idempotency-Key is read to its end before the handler runs.
    let reads_body = (role || hook) && (operation.request_body.is_some() || method == "post");
    // Whoever sends wrong tokens or has no session is refused, and after many refusals limited.
    let refuses = operation.responses.responses.contains_key("401");
    for (name, status, _) in COMMON {
        let occurs = match status {
            "401" => role || hook,
            "403" => role,
            // A filter or a body can also name something that does not exist.
            "404" => names || role,
            "408" | "413" | "415" => reads_body,
            "409" => role && method != "get",
            // The query has an unknown parameter, or the body is wrong.
            "422" => role || hook,
            "429" => role || names || refuses,
            "500" | "503" => path != "/healthz",
            // Only hooks, which declare it.
            _ => false,
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
