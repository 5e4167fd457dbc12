//! An HTTP server that plays a system of a customer. It keeps all requests and answers as the test says.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use serde_json::Value;
use tokio::sync::Semaphore;

use super::wait::{DEADLINE, eventually};

/// A received request.
#[derive(Clone, Debug)]
pub struct Received {
    pub method: String,
    pub path: String,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Received {
    /// Returns the header, or an empty text.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(String::as_str).unwrap_or_default()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

/// The answer of the server.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    /// A semaphore whose permit the answer waits for.
    pub hold: Option<Arc<Semaphore>>,
}

impl Reply {
    pub fn of(status: u16) -> Self {
        Reply {
            status,
            ..Reply::default()
        }
    }

    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }
}

type Script = Arc<dyn Fn(usize, &Received) -> Reply + Send + Sync>;

#[derive(Clone)]
struct Shared {
    script: Script,
    received: Arc<Mutex<Vec<Received>>>,
}

/// A running server on its own port.
pub struct Receiver {
    shared: Shared,
    port: u16,
    handle: ServerHandle,
}

impl Receiver {
    /// Starts a server that answers everything with 200.
    pub fn start() -> Self {
        Self::answering(|_, _| Reply::of(200))
    }

    /// Starts a server that answers with a script. The script gets the number of the request, from 1, and the
    /// request.
    pub fn answering(script: impl Fn(usize, &Received) -> Reply + Send + Sync + 'static) -> Self {
        let shared = Shared {
            script: Arc::new(script),
            received: Arc::default(),
        };
        let state = shared.clone();
        let server = HttpServer::new(move || {
            App::new()
                .app_data(web::Data::new(state.clone()))
                .default_service(web::to(take))
        })
        .workers(1)
        .disable_signals()
        .bind(("127.0.0.1", 0))
        .expect("a port");
        let port = server.addrs()[0].port();
        let server = server.run();
        let handle = server.handle();
        actix_web::rt::spawn(server);
        Receiver { shared, port, handle }
    }

    /// Returns the URL of a path, with the address of the server.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the requests so far.
    pub fn received(&self) -> Vec<Received> {
        self.shared
            .received
            .lock()
            .expect("no panic while adding")
            .clone()
    }

    /// Waits for `n` requests and returns all so far. It fails after a deadline if there are fewer, and if
    /// there are more.
    pub async fn requests(&self, n: usize) -> Vec<Received> {
        let received = eventually(&format!("{n} requests"), DEADLINE, async || {
            let received = self.received();
            (received.len() >= n).then_some(received)
        })
        .await;
        assert_eq!(received.len(), n, "{received:#?}");
        received
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // This sends the stop. The server ends with the runtime of the test at the latest.
        drop(self.handle.stop(false));
    }
}

async fn take(request: HttpRequest, body: web::Bytes, shared: web::Data<Shared>) -> HttpResponse {
    let received = Received {
        method: request.method().to_string(),
        path: request.uri().to_string(),
        headers: request
            .headers()
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().to_owned()))
            .collect(),
        body: body.to_vec(),
    };
    let number = {
        let mut all = shared.received.lock().expect("no panic while adding");
        all.push(received.clone());
        all.len()
    };
    let reply = (shared.script)(number, &received);
    if let Some(hold) = &reply.hold {
        hold.acquire().await.expect("an open semaphore").forget();
    }
    let status = actix_web::http::StatusCode::from_u16(reply.status).expect("a status");
    let mut response = HttpResponse::build(status);
    for (name, value) in reply.headers {
        response.insert_header((name, value));
    }
    response.body(reply.body)
}
