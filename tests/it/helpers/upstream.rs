//! A server of the app's: what the service calls. Says what the test wants, and keeps what it heard.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::Duration,
};

use actix_web::{
    App, HttpRequest, HttpResponse, HttpServer, dev::ServerHandle, http::StatusCode, web,
};
use serde_json::Value;
use tokio::sync::Semaphore;

use super::free_port;

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
    pub(crate) bytes: web::Bytes,
}

impl Heard {
    /// A header's text; empty where there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(header, _)| header.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value)
    }

    /// The body.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("JSON")
    }
}

/// What it answers.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Json(Value),
    Status(u16),
    Text(String),
    Redirect(String),
    /// Takes the request and says nothing for longer than anybody should wait.
    Never,
    /// Says so as soon as the gate is open.
    Held(Gate, Box<Reply>),
}

/// Holds answers back until the test opens it.
#[derive(Clone, Debug)]
pub(crate) struct Gate(Arc<Semaphore>);

impl Gate {
    pub(crate) fn closed() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }

    pub(crate) fn open(&self) {
        self.0.add_permits(Semaphore::MAX_PERMITS);
    }
}

type Answering = dyn Fn(&Heard) -> Reply + Send + Sync;

struct State {
    answering: Mutex<Arc<Answering>>,
    heard: Mutex<Vec<Heard>>,
}

/// The server.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
    running: Option<(ServerHandle, JoinHandle<()>)>,
}

impl Upstream {
    /// One that answers everything like this.
    pub(crate) async fn start(answering: impl Fn(&Heard) -> Reply + Send + Sync + 'static) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let state = State { answering: Mutex::new(Arc::new(answering)), heard: Mutex::default() };
        let mut upstream = Self { address, state: Arc::new(state), running: None };
        upstream.up().await;
        upstream
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Answers like this from now on.
    pub(crate) fn answer(&self, answering: impl Fn(&Heard) -> Reply + Send + Sync + 'static) {
        *self.state.answering.lock().expect("never poisoned") = Arc::new(answering);
    }

    /// Everything that came so far.
    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.state.heard.lock().expect("never poisoned").clone()
    }

    /// Listens again.
    pub(crate) async fn up(&mut self) {
        let (state, address) = (self.state.clone(), self.address);
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let thread = std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let server = HttpServer::new(move || {
                    App::new()
                        .app_data(web::Data::from(state.clone()))
                        .default_service(web::to(serve))
                });
                let server = server.workers(1).disable_signals().shutdown_timeout(0);
                let server = server.bind(address).expect("a free port").run();
                let _ = sender.send(server.handle());
                server.await.expect("it runs until it is stopped");
            });
        });
        self.running = Some((receiver.await.expect("it starts"), thread));
    }

    /// Connections are refused from now on.
    pub(crate) async fn down(&mut self) {
        if let Some((handle, thread)) = self.running.take() {
            handle.stop(false).await;
            tokio::task::spawn_blocking(move || thread.join())
                .await
                .expect("a thread to wait in")
                .expect("it ended well");
        }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        if let Some((handle, _thread)) = self.running.take() {
            // Not waited for: nobody is left to be told.
            drop(handle.stop(false));
        }
    }
}

async fn serve(request: HttpRequest, bytes: web::Bytes, state: web::Data<State>) -> HttpResponse {
    let headers = request.headers().iter();
    let headers = headers
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().to_owned()));
    let (path, headers) = (request.path().into(), headers.collect());
    let body = String::from_utf8_lossy(&bytes).into_owned();
    let heard = Heard { path, headers, body, bytes };
    state.heard.lock().expect("never poisoned").push(heard.clone());
    let answering = state.answering.lock().expect("never poisoned").clone();
    let mut reply = answering(&heard);
    while let Reply::Held(gate, then) = reply {
        let _ = gate.0.acquire().await;
        reply = *then;
    }
    match reply {
        Reply::Json(value) => HttpResponse::Ok().json(value),
        Reply::Status(status) => {
            HttpResponse::build(StatusCode::from_u16(status).expect("a status")).finish()
        }
        Reply::Text(text) => HttpResponse::Ok().body(text),
        Reply::Redirect(to) => HttpResponse::Found().insert_header(("Location", to)).finish(),
        Reply::Held(..) | Reply::Never => {
            tokio::time::sleep(Duration::from_secs(600)).await;
            HttpResponse::Ok().finish()
        }
    }
}
