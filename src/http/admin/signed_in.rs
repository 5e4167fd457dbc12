//! The person who is signed in, as a handler of an admin page gets it.

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpMessage, HttpRequest};

use crate::auth::Caller;
use crate::base::error::Error;
use crate::http::App;
use crate::http::problem::Problem;

/// The signed-in caller and the session. It exists for every request that [`guard`](super::session::guard) accepted.
pub struct SignedIn(pub Caller, pub(super) Session);

/// The secret of a session, from its cookie.
#[derive(Clone)]
pub(super) struct Session(pub(super) String);

impl SignedIn {
    /// Returns the key that the forms of this session contain.
    pub fn form_key(&self, app: &App) -> String {
        app.links.form_key(&self.1.0)
    }

    /// Returns whether a form came from a page of this session.
    pub fn sent(&self, app: &App, key: &str) -> bool {
        app.links.is_form_key(&self.1.0, key)
    }
}

impl FromRequest for SignedIn {
    type Error = Problem;
    type Future = std::future::Ready<Result<Self, Problem>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        let caller = req.extensions().get::<Caller>().cloned();
        let session = req.extensions().get::<Session>().cloned();
        std::future::ready(
            caller
                .zip(session)
                .map(|(caller, session)| SignedIn(caller, session))
                .ok_or_else(|| Problem::Domain(Error::internal("a page outside the guarded paths"))),
        )
    }
}
