//! The guarded routes: the role that each route needs, and the query parameters that it accepts. The operations of the API
//! declare both in the OpenAPI document, and the admin pages in [`super::admin_page`]. The guards look up the route in this
//! table before the handler runs.
//!
//! A route that declares no role is an error when the process starts, so that no route gets a role by accident.

use std::collections::HashMap;

use actix_web::http::Method;
use utoipa::openapi::path::{Operation as Documented, ParameterIn, PathItem};
use utoipa::openapi::{OpenApi, RefOr};

use super::admin_page::Page;
use crate::auth::Role;
use crate::base::error::Error;

/// The prefix of every path of the API.
pub const PREFIX: &str = "/api/v1";
/// The name of the security scheme in the OpenAPI document. Its scope is the role.
pub const SCHEME: &str = "token";
/// The extension of an operation in the OpenAPI document that says that the last parameter of its path may have several segments.
const TAIL: &str = "x-tail";

/// A route that a guard protects.
pub struct Route {
    /// The role that the caller needs. `None` if everybody may call the route, for example the sign-in form.
    pub role: Option<Role>,
    /// The names of its query parameters. `None` if the handler itself refuses unknown parameters.
    pub parameters: Option<Vec<String>>,
    /// What the form does, if its text is kept when the session has ended.
    pub keeps_text: Option<&'static str>,
    /// The segments of the path, which are the parts between its slashes.
    segments: Vec<Segment>,
}

/// The part of a pattern between two slashes.
#[derive(PartialEq, Eq)]
enum Segment {
    /// A fixed text, which must be equal to the segment of the requested path.
    Word(String),
    /// A parameter, which matches one segment that is not empty, as in the router.
    Parameter,
}

impl Segment {
    fn of(text: &str) -> Self {
        if text.starts_with('{') && text.ends_with('}') {
            Segment::Parameter
        } else {
            Segment::Word(text.to_owned())
        }
    }

    fn takes(&self, text: &str) -> bool {
        match self {
            Segment::Word(word) => word == text,
            Segment::Parameter => !text.is_empty(),
        }
    }
}

/// Returns the segments of a path or of a pattern. Returns `None` if the text does not begin with a slash.
fn split(path: &str) -> Option<Vec<&str>> {
    Some(path.strip_prefix('/')?.split('/').collect())
}

/// The table of all guarded routes.
pub struct Routes {
    /// The routes by their method and number of segments. A route with a word comes before one with a parameter at the same
    /// position.
    by_shape: HashMap<(Method, usize), Vec<Route>>,
    /// The routes whose last parameter may have several segments. The other routes come before them.
    with_tail: HashMap<Method, Vec<Route>>,
}

impl Routes {
    /// Creates the table from the operations of the OpenAPI document and from the admin pages.
    ///
    /// # Errors
    /// A sentence that names every operation that declares no role, an unknown role, or a role where no token is checked.
    pub fn new(document: &OpenApi, pages: &[Page]) -> Result<Self, String> {
        let mut routes = Routes {
            by_shape: HashMap::new(),
            with_tail: HashMap::new(),
        };
        let mut wrong = Vec::new();
        for (path, item) in &document.paths.paths {
            for (method, operation) in methods(item) {
                let added = declared(path, operation).and_then(|declared| match declared {
                    None => Ok(()),
                    Some((role, parameters)) => {
                        let route = Route::of(path, Some(role), Some(parameters), None)?;
                        routes.add(&method, route, has_tail(operation))
                    }
                });
                if let Err(reason) = added {
                    wrong.push(format!("{method} {path}: {reason}"));
                }
            }
        }
        for page in pages {
            let parameters = (!page.reads_query).then(Vec::new);
            let route = Route::of(&page.path, page.role, parameters, page.keeps_text);
            if let Err(reason) = route.and_then(|route| routes.add(&page.method, route, false)) {
                wrong.push(format!("{} {}: {reason}", page.method, page.path));
            }
        }
        if !wrong.is_empty() {
            return Err(format!("routes are declared wrongly: {}", wrong.join("; ")));
        }
        for alike in routes.by_shape.values_mut() {
            alike.sort_by_key(|route| {
                let is_parameter = |segment: &Segment| *segment == Segment::Parameter;
                route.segments.iter().map(is_parameter).collect::<Vec<_>>()
            });
        }
        Ok(routes)
    }

    fn add(&mut self, method: &Method, route: Route, has_tail: bool) -> Result<(), String> {
        let alike = match has_tail {
            true => self.with_tail.entry(method.clone()).or_default(),
            false => {
                let shape = (method.clone(), route.segments.len());
                self.by_shape.entry(shape).or_default()
            }
        };
        if alike.iter().any(|other| other.segments == route.segments) {
            return Err("another route has the same path".to_owned());
        }
        alike.push(route);
        Ok(())
    }

    /// Returns the route of a path. The path is decoded as in the router: `%74okens` is `tokens`.
    pub fn find(&self, method: &Method, path: &str) -> Option<&Route> {
        let segments = split(path)?;
        let alike = self.by_shape.get(&(method.clone(), segments.len()));
        let with_tail = self.with_tail.get(method).into_iter().flatten();
        let with_tail = with_tail.filter(|route| route.segments.len() <= segments.len());
        alike.into_iter().flatten().chain(with_tail).find(|route| {
            let mut pairs = route.segments.iter().zip(&segments);
            pairs.all(|(segment, text)| segment.takes(text))
        })
    }
}

impl Route {
    /// # Errors
    /// A sentence if the path does not begin with a slash.
    fn of(
        path: &str,
        role: Option<Role>,
        parameters: Option<Vec<String>>,
        keeps_text: Option<&'static str>,
    ) -> Result<Route, String> {
        let segments = split(path).ok_or("a path must begin with a slash")?;
        Ok(Route {
            role,
            parameters,
            keeps_text,
            segments: segments.into_iter().map(Segment::of).collect(),
        })
    }

    /// Checks that a query has only parameters that the route declares. The handler checks their values.
    ///
    /// # Errors
    /// `Invalid`, which names the unknown parameter and the declared ones.
    pub fn check_query(&self, query: &str) -> Result<(), Error> {
        let Some(declared) = &self.parameters else {
            return Ok(());
        };
        let mut names = url::form_urlencoded::parse(query.as_bytes()).map(|(name, _)| name);
        let Some(unknown) = names.find(|name| !declared.iter().any(|known| known == name)) else {
            return Ok(());
        };
        let known: Vec<String> = declared.iter().map(|name| format!("`{name}`")).collect();
        let known = match known.as_slice() {
            [] => "there are no parameters".to_owned(),
            [only] => format!("expected {only}"),
            [one, other] => format!("expected {one} or {other}"),
            more => format!("expected one of {}", more.join(", ")),
        };
        Err(Error::invalid(
            format!("?{unknown}"),
            format!("unknown parameter `{unknown}`, {known}"),
        ))
    }
}

/// Returns the operations of a path with their methods.
fn methods(item: &PathItem) -> impl Iterator<Item = (Method, &Documented)> {
    let all = [
        (Method::GET, &item.get),
        (Method::PUT, &item.put),
        (Method::POST, &item.post),
        (Method::PATCH, &item.patch),
        (Method::DELETE, &item.delete),
        (Method::HEAD, &item.head),
        (Method::OPTIONS, &item.options),
        (Method::TRACE, &item.trace),
    ];
    all.into_iter()
        .filter_map(|(method, operation)| Some((method, operation.as_ref()?)))
}

/// Whether the last parameter of the path may have several segments.
fn has_tail(operation: &Documented) -> bool {
    let extensions = operation.extensions.as_ref();
    extensions.is_some_and(|all| all.get(TAIL) == Some(&serde_json::Value::Bool(true)))
}

/// Returns the role and the query parameters that an operation declares. Returns `None` if the operation is public.
fn declared(path: &str, operation: &Documented) -> Result<Option<(Role, Vec<String>)>, String> {
    let guarded = path
        .strip_prefix(PREFIX)
        .is_some_and(|behind| behind.starts_with('/'));
    let role = match (role_of(operation)?, guarded) {
        (Some(role), true) => role,
        (None, false) => return Ok(None),
        (None, true) => {
            return Err(format!(
                "a route below {PREFIX} must declare its role, such as security((\"{SCHEME}\" = [\"operator\"]))"
            ));
        }
        (Some(role), false) => {
            return Err(format!(
                "it declares the role {role}, but no token is checked outside {PREFIX}"
            ));
        }
    };
    let parameters = operation.parameters.iter().flatten();
    let parameters = parameters.filter_map(|parameter| match parameter {
        RefOr::T(parameter) if parameter.parameter_in == ParameterIn::Query => Some(parameter.name.clone()),
        _ => None,
    });
    Ok(Some((role, parameters.collect())))
}

/// Returns the role in `security`. Returns `None` if the operation declares that it needs no token.
///
/// # Errors
/// A sentence if the operation declares nothing or names no role.
pub(super) fn role_of(operation: &Documented) -> Result<Option<Role>, String> {
    let Some(security) = &operation.security else {
        return Err(format!(
            "it declares no role; write security((\"{SCHEME}\" = [\"ROLE\"])) at its handler, or security(()) where everybody may call it"
        ));
    };
    let security = serde_json::to_value(security).map_err(|error| error.to_string())?;
    let requirements = security.as_array().map(Vec::as_slice).unwrap_or_default();
    match requirements {
        [] => Ok(None),
        [only] if only.as_object().is_some_and(serde_json::Map::is_empty) => Ok(None),
        [only] => match only[SCHEME].as_array().map(Vec::as_slice) {
            Some([role]) => Role::parse(role.as_str().unwrap_or_default()).map(Some),
            _ => Err(format!("security must name exactly one role for \"{SCHEME}\"")),
        },
        _ => Err("security must have exactly one requirement".to_owned()),
    }
}
