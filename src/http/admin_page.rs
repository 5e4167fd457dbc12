//! Declares the admin pages. One line contains the path of a page, the role that it needs, and its handler. The guard reads
//! the role from here, so no handler checks it and none can forget it.

use actix_web::http::Method;
use actix_web::{FromRequest, Handler, Resource, Responder, guard, web};

use crate::auth::Role;

/// The prefix of the path of every page.
pub const SCOPE: &str = "/admin";

/// A page, or the target of a form.
pub struct Page {
    /// The method: GET for a page, or POST for a form that changes something.
    pub method: Method,
    /// The whole path, with its parameters as `{name}`.
    pub path: String,
    /// The role that the caller needs. `None` if everybody may call it, which is the case only for signing in.
    pub role: Option<Role>,
    /// Whether the handler reads query parameters. Such a handler refuses unknown parameters itself.
    pub reads_query: bool,
    /// The operations of the API that the page shows or does, such as `POST /api/v1/tokens`.
    pub does: Vec<&'static str>,
    /// What the form does, if somebody types a text in it that is kept when the session has ended.
    pub keeps_text: Option<&'static str>,
    resource: Resource,
}

impl Page {
    /// Returns the resource for the router of actix.
    pub(super) fn into_resource(self) -> Resource {
        self.resource
    }
}

/// The pages, in the order in which the router tries them. A path with a word must come before one with a parameter in the
/// same place.
#[derive(Default)]
pub struct Pages(Vec<Page>);

impl Pages {
    /// Adds a page without query parameters.
    pub fn show<F, Args>(&mut self, path: &str, role: Role, handler: F) -> &mut Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.add(Method::GET, path, Some(role), false, handler)
    }

    /// Adds a page whose handler reads query parameters, with [`Form`](super::admin::params::Form).
    pub fn search<F, Args>(&mut self, path: &str, role: Role, handler: F) -> &mut Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.add(Method::GET, path, Some(role), true, handler)
    }

    /// Adds the target of a form.
    pub fn send<F, Args>(&mut self, path: &str, role: Role, handler: F) -> &mut Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.add(Method::POST, path, Some(role), false, handler)
    }

    /// Adds a page or the target of a form for people who are not signed in.
    pub(super) fn public<F, Args>(&mut self, method: Method, path: &str, handler: F) -> &mut Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.add(method, path, None, false, handler)
    }

    /// Adds a page for people who are not signed in, whose handler reads query parameters.
    pub(super) fn public_search<F, Args>(&mut self, method: Method, path: &str, handler: F) -> &mut Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.add(method, path, None, true, handler)
    }

    fn add<F, Args>(
        &mut self,
        method: Method,
        path: &str,
        role: Option<Role>,
        reads_query: bool,
        handler: F,
    ) -> &mut Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        let resource = web::resource(path)
            .guard(guard::Method(method.clone()))
            .to(handler);
        self.0.push(Page {
            method,
            path: format!("{SCOPE}{path}"),
            role,
            reads_query,
            does: Vec::new(),
            keeps_text: None,
            resource,
        });
        self
    }

    /// Says which operations of the API the page that was added last shows or does.
    pub fn does(&mut self, operations: &[&'static str]) -> &mut Self {
        if let Some(page) = self.0.last_mut() {
            page.does.extend(operations);
        }
        self
    }

    /// Keeps the text of the form that was added last if its session has ended. `what` is what the form does, such as "Save the
    /// incident": it is the label of the button with which the text is sent later.
    pub fn keeps_text(&mut self, what: &'static str) -> &mut Self {
        if let Some(page) = self.0.last_mut() {
            page.keeps_text = Some(what);
        }
        self
    }

    /// Returns all pages in their order.
    pub(super) fn into_all(self) -> Vec<Page> {
        self.0
    }
}
