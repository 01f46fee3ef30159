//! The service: inside the test's process, or as the real binary where it must die.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, mpsc},
    thread::JoinHandle,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use scanlogin::{
    app::{Application, Options},
    config::{Config, Parsed, Values},
    keys::Entropy,
    lifecycle::Stopper,
};

use super::RedisServer;

pub(crate) const APP_SECRET: &str = "the-app-secret-of-these-tests-is-long-enough";
pub(crate) const TOKEN_SECRET: &str = "the-token-secret-of-these-tests-is-long-enough";

/// The environment of a service under test.
#[derive(Clone, Debug)]
pub(crate) struct Settings(BTreeMap<String, String>);

impl Settings {
    /// The embedded store, free ports, no limits that a test of something else would run into.
    pub(crate) fn embedded() -> Self {
        let none = Self(BTreeMap::new());
        none.with("LISTEN", "127.0.0.1:0")
            .with("ADMIN_LISTEN", "127.0.0.1:0")
            .with("APP_JWT_SECRET", APP_SECRET)
            .with("TOKEN_SECRET", TOKEN_SECRET)
            .with("CONNECTS_PER_MINUTE", "0")
            .with("SCANS_PER_MINUTE", "0")
            .with("CLAIMS_PER_USER", "0")
            .with("BAD_TOKENS_PER_MINUTE", "0")
            .with("DRAIN_SECONDS", "0")
            .with("WORKERS", "2")
            .with("LOG_FORMAT", "json")
    }

    /// The same on this Redis.
    pub(crate) fn redis(redis: &RedisServer) -> Self {
        Self::embedded().with("REDIS_URL", &redis.url())
    }

    /// Sets `SCANLOGIN_<name>`.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.0.insert(format!("SCANLOGIN_{name}"), value.into());
        self
    }

    /// Sets a variable that is not one of the service's own.
    pub(crate) fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.0.insert(name.into(), value.into());
        self
    }

    /// Leaves `SCANLOGIN_<name>` out.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.0.remove(&format!("SCANLOGIN_{name}"));
        self
    }

    /// Nothing but these.
    pub(crate) fn only(self, names: &[&str]) -> Self {
        let kept = |name: &String| {
            name.strip_prefix("SCANLOGIN_").is_some_and(|name| names.contains(&name))
        };
        Self(self.0.into_iter().filter(|(name, _)| kept(name)).collect())
    }

    pub(crate) fn config(&self) -> Config {
        match Values::read(["scanlogin".into()], self.0.clone()) {
            Ok(Parsed::Run(values)) => {
                Config::from_values(&values, Entropy::Os).expect("a good configuration")
            }
            _ => panic!("a good configuration: {self:?}"),
        }
    }
}

/// A service in a thread of this process.
pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    pub(crate) admin_address: SocketAddr,
    stopper: Stopper,
    thread: Option<JoinHandle<()>>,
}

impl Service {
    pub(crate) async fn start(settings: Settings) -> Self {
        Self::with_options(settings, Options::default()).await
    }

    pub(crate) async fn with_options(settings: Settings, options: Options) -> Self {
        let (stopper, stops) = Stopper::new();
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let thread = std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let config = settings.config();
                let application =
                    Application::build(config, options).await.expect("the service starts");
                let parts = (application.address(), application.admin_address());
                let _ = sender.send(parts);
                application.run(stops).await.expect("the service runs until it is stopped");
            });
        });
        let (address, admin_address) = receiver.await.expect("the service starts");
        let service = Self { address, admin_address, stopper, thread: Some(thread) };
        let ready = format!("http://{admin_address}/readyz");
        super::eventually("the service is ready", || async {
            reqwest::get(&ready).await.ok().filter(|answer| answer.status() == 200)
        })
        .await;
        service
    }

    /// The value of a series as `/metrics` shows it, such as `scanlogin_logins_total{outcome="x"}`.
    pub(crate) async fn metric(&self, series: &str) -> f64 {
        metric(self.admin_address, series).await
    }

    /// Asks it to stop; to be asked twice to stop at once.
    pub(crate) fn stop(&self) {
        self.stopper.stop();
    }

    /// Asks it to drain, and waits until it has.
    pub(crate) async fn drained(mut self) {
        self.stopper.stop();
        let thread = self.thread.take().expect("joined once");
        tokio::task::spawn_blocking(move || thread.join())
            .await
            .expect("a thread to wait in")
            .expect("the service ended well");
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stopper.stop();
        self.stopper.stop();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the service panicked");
        }
    }
}

/// Header and claims of a JWT, unverified.
pub(crate) fn claims(token: &str) -> (serde_json::Value, serde_json::Value) {
    let decode = |part: &str| {
        let bytes = URL_SAFE_NO_PAD.decode(part).expect("base64url");
        serde_json::from_slice(&bytes).expect("JSON")
    };
    let mut parts = token.split('.');
    let mut next = || decode(parts.next().expect("three parts"));
    (next(), next())
}

/// The value of a series on an admin port.
pub(crate) async fn metric(admin: SocketAddr, series: &str) -> f64 {
    let text = reqwest::get(format!("http://{admin}/metrics")).await.expect("an answer");
    let text = text.text().await.expect("a text");
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no series {series}")).parse().expect("a number")
}

/// The real binary, for tests in which it dies.
pub(crate) struct Process {
    pub(crate) address: SocketAddr,
    pub(crate) admin_address: SocketAddr,
    pub(crate) child: Child,
    log: Arc<Mutex<Vec<String>>>,
}

impl Process {
    pub(crate) async fn start(settings: Settings) -> Self {
        Self::of(command(&settings)).await
    }

    /// The same, by a command that may run it within another program.
    pub(crate) async fn of(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().expect("it starts");
        let stderr = child.stderr.take().expect("piped");
        let log = Arc::new(Mutex::new(Vec::new()));
        let (sender, receiver) = mpsc::channel();
        let lines = log.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if line.contains("\"listening\"") {
                    let _ = sender.send(line.clone());
                }
                lines.lock().expect("never poisoned").push(line);
            }
        });
        let line = tokio::task::spawn_blocking(move || receiver.recv_timeout(super::PATIENCE));
        let line = line.await.expect("a thread").expect("it says that it is listening");
        let line: serde_json::Value = serde_json::from_str(&line).expect("a JSON log");
        let field = |name: &str| line["fields"][name].as_str().expect("a field").parse();
        let address = field("address").expect("an address");
        let admin_address = field("admin_address").expect("an address");
        let process = Self { address, admin_address, child, log };
        let ready = format!("http://{admin_address}/readyz");
        super::eventually("the process is ready", || async {
            reqwest::get(&ready).await.ok().filter(|answer| answer.status() == 200)
        })
        .await;
        process
    }

    /// Bytes of memory that it has for itself (PSS).
    pub(crate) fn memory(&self) -> u64 {
        let path = format!("/proc/{}/smaps_rollup", self.child.id());
        let text = std::fs::read_to_string(path).expect("it runs");
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).expect("a line");
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
        kib * 1024
    }

    /// The most memory that it has had so far, in bytes (resident).
    pub(crate) fn peak_memory(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let text = std::fs::read_to_string(path).expect("it runs");
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a line");
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
        kib * 1024
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().expect("never poisoned").join("\n")
    }

    /// The lines with this message that it has logged so far, as JSON.
    pub(crate) fn logged(&self, message: &str) -> Vec<serde_json::Value> {
        let log = self.log.lock().expect("never poisoned");
        let lines = log.iter().filter_map(|line| serde_json::from_str(line).ok());
        lines.filter(|line: &serde_json::Value| line["fields"]["message"] == message).collect()
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it was running");
        self.child.wait().expect("it has ended");
    }

    /// SIGTERM.
    pub(crate) fn terminate(&self) {
        let killed = Command::new("kill").arg(self.child.id().to_string()).status();
        assert!(killed.expect("kill works").success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The binary with these settings and nothing else of our environment.
pub(crate) fn command(settings: &Settings) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_scanlogin"));
    command.env_clear().envs(&settings.0).stdin(Stdio::null());
    command
}

/// The same with at most so many open files.
pub(crate) fn command_with_files(settings: &Settings, most: u32) -> Command {
    let plain = command(settings);
    let mut limited = Command::new("/bin/sh");
    limited.arg("-c").arg(format!("ulimit -n {most}; exec \"$0\"")).arg(plain.get_program());
    limited.stdin(Stdio::null()).env_clear();
    limited.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    limited
}
