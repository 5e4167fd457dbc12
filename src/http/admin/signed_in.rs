//! The person who is signed in, as a handler of an admin page gets it.

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpMessage, HttpRequest};

use crate::auth::Caller;
use crate::base::error::Error;
use crate::http::App;
use crate::http::problem::Problem;

/// The signed-in caller and the session. It exists for every request that [`guard`](super::session::guard) accepted.
pub struct SignedIn(pub Caller, pub(super) Session);

/// What a request brought with the session.
#[derive(Clone)]
pub(super) struct Session {
    /// The secret of the session, from its cookie.
    pub(super) secret: String,
    /// What the caller has just done, to be shown once.
    pub(super) done: Option<String>,
    /// The name of the caller's time zone.
    pub(super) zone: Option<String>,
    /// How many incidents are open, for the title of the browser's tab. `None` if none is.
    pub(super) open: Option<String>,
}

impl Session {
    /// A session with this secret, and with nothing else that a request brought.
    pub(super) fn new(secret: String) -> Session {
        Session {
            secret,
            done: None,
            zone: None,
            open: None,
        }
    }
}

impl SignedIn {
    /// Returns who sent a request. `None` if nobody is signed in.
    pub(super) fn of(req: &HttpRequest) -> Option<SignedIn> {
        let caller = req.extensions().get::<Caller>().cloned()?;
        let session = req.extensions().get::<Session>().cloned()?;
        Some(SignedIn(caller, session))
    }

    /// Returns the key that the forms of this session contain.
    pub fn form_key(&self, app: &App) -> String {
        app.links.form_key(&self.1.secret)
    }

    /// Returns whether a form came from a page of this session.
    pub fn sent(&self, app: &App, key: &str) -> bool {
        app.links.is_form_key(&self.1.secret, key)
    }

    /// Returns what the caller has just done, to be shown once.
    pub(super) fn done(&self) -> Option<&str> {
        self.1.done.as_deref()
    }

    /// Returns how many incidents are open, for the title of the browser's tab. `None` if none is.
    pub(super) fn open(&self) -> Option<&str> {
        self.1.open.as_deref()
    }

    /// Returns the name of the caller's time zone. `None` is UTC.
    pub(super) fn zone(&self) -> Option<&str> {
        self.1.zone.as_deref()
    }
}

impl FromRequest for SignedIn {
    type Error = Problem;
    type Future = std::future::Ready<Result<Self, Problem>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        std::future::ready(
            SignedIn::of(req)
                .ok_or_else(|| Problem::Domain(Error::internal("a page outside the guarded paths"))),
        )
    }
}
