//! The service as a process of the run's own.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use super::{Error, child::Own};

/// How long it may take to start.
const START_TIME: Duration = Duration::from_secs(20);

/// What the service is started with.
#[derive(Clone, Debug)]
pub struct Settings(BTreeMap<String, String>);

impl Settings {
    /// Free ports, no limits that a load from one address would run into, nothing logged per login.
    pub fn new(app_secret: &str) -> Self {
        Self(BTreeMap::new())
            .with("LISTEN", "127.0.0.1:0")
            .with("ADMIN_LISTEN", "127.0.0.1:0")
            .with("APP_JWT_SECRET", app_secret)
            .with("TOKEN_SECRET", "web-tokens-of-a-load-test-are-signed-with-this")
            .with("CONNECTS_PER_MINUTE", "0")
            .with("SCANS_PER_MINUTE", "0")
            .with("CLAIMS_PER_USER", "0")
            .with("DRAIN_SECONDS", "0")
            .with("LOG_FORMAT", "json")
            .with("LOG", "info,scanlogin::journal=warn")
    }

    /// Sets `SCANLOGIN_<name>`.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.0.insert(format!("SCANLOGIN_{name}"), value.into());
        self
    }
}

/// A running instance.
#[derive(Debug)]
pub struct OwnService {
    process: Own,
    /// Browsers and phones.
    pub address: SocketAddr,
    /// Metrics and health.
    pub admin: SocketAddr,
}

impl OwnService {
    /// Starts one, and waits until it is ready.
    ///
    /// # Errors
    /// Where it ends at once, or is not ready in time: with its last line.
    pub fn start(binary: &Path, settings: &Settings) -> Result<Self, Error> {
        let mut command = Command::new(binary);
        command.env_clear().envs(&settings.0).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = Own::start(&mut command)?;
        let stderr = process.stderr().expect("piped above");
        let (sender, lines) = mpsc::channel();
        // Reads on for as long as it writes: a full pipe would block it.
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let deadline = Instant::now() + START_TIME;
        let mut last = String::from("nothing was logged");
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = lines.recv_timeout(left) else {
                return Err(Error::Service(last));
            };
            if line.contains("\"listening\"")
                && let Some((address, admin)) = addresses(&line)
            {
                let service = Self { process, address, admin };
                return service.is_ready(deadline).then_some(service).ok_or(Error::Service(last));
            }
            last = line;
        }
    }

    fn is_ready(&self, deadline: Instant) -> bool {
        while Instant::now() < deadline {
            if self.admin_get("/readyz").is_some_and(|answer| answer.starts_with("HTTP/1.1 200")) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }

    fn admin_get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(self.admin).ok()?;
        stream.set_read_timeout(Some(START_TIME)).ok()?;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.admin);
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    /// The sum of a family of series in `/metrics`, its labels whatever they are.
    pub fn metric(&self, family: &str) -> f64 {
        let text = self.admin_get("/metrics").unwrap_or_default();
        let values = text.lines().filter_map(|line| {
            let rest = line.strip_prefix(family)?;
            let value = rest.strip_prefix(' ').or_else(|| rest.split_once("} ").map(|(_, v)| v))?;
            value.trim().parse::<f64>().ok()
        });
        values.sum()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }
}

fn addresses(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    let field = |name: &str| line["fields"][name].as_str()?.parse().ok();
    Some((field("address")?, field("admin_address")?))
}

/// The service's binary beside our own. A release build is brought up to date first, if cargo is
/// there to do it, since figures of yesterday's code mislead; a debug build, which is for tests,
/// only where there is none.
///
/// # Errors
/// Where there is none.
pub fn binary() -> Result<PathBuf, Error> {
    let ours = std::env::current_exe()?;
    // target/<profile>/loadtest, or target/<profile>/deps/<a test>.
    let folder = ours.ancestors().skip(1).find(|folder| !folder.ends_with("deps"));
    let folder = folder.ok_or(Error::NoBinary)?;
    let beside = folder.join("scanlogin");
    let release = folder.ends_with("release");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().filter(|root| root.is_dir());
    if let Some(root) = root.filter(|_| release || !beside.is_file()) {
        let mut cargo = Command::new("cargo");
        cargo.args(["build", "--quiet", "--package", "scanlogin", "--bin", "scanlogin"]);
        if release {
            cargo.arg("--release");
        }
        // Where it fails, what was built before does.
        let _ = cargo.current_dir(root).stdin(Stdio::null()).status();
    }
    if beside.is_file() { Ok(beside) } else { Err(Error::NoBinary) }
}
