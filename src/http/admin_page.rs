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
            resource,
        });
        self
    }

    /// Returns all pages in their order.
    pub(super) fn into_all(self) -> Vec<Page> {
        self.0
    }
}
