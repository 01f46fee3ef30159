//! A redis-server of the run's own, and what it counts.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    net::TcpStream,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::child::{Own, free_port};

/// How long it may take to start.
const START_TIME: Duration = Duration::from_secs(5);
/// How long the nodes of a Cluster may take to find together.
const CLUSTER_TIME: Duration = Duration::from_secs(20);
/// Hash slots of a Cluster.
const SLOTS: u32 = 16_384;

/// A redis-server without persistence.
#[derive(Debug)]
pub struct OwnRedis {
    questions: Questions,
    process: Own,
    _directory: TempDir,
}

/// Asks a redis-server on the loopback interface, on connections of its own.
#[derive(Clone, Copy, Debug)]
pub struct Questions {
    port: u16,
}

/// Whether redis-server is installed.
pub fn is_installed() -> bool {
    let version = Command::new("redis-server").arg("--version").stdout(Stdio::null()).status();
    version.is_ok_and(|status| status.success())
}

impl OwnRedis {
    /// Starts one on a free port of the loopback interface.
    ///
    /// # Errors
    /// Where it is not installed, or does not answer.
    pub fn start() -> io::Result<Self> {
        Self::with(&[])
    }

    fn with(options: &[&str]) -> io::Result<Self> {
        let (port, directory) = (free_port()?, tempfile::tempdir()?);
        let mut command = Command::new("redis-server");
        command
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .args(["--appendonly", "no", "--daemonize", "no", "--maxclients", "10000"])
            .args(options)
            .current_dir(directory.path())
            .stdout(Stdio::null());
        let process = Own::start(&mut command)?;
        let redis = Self { questions: Questions { port }, process, _directory: directory };
        let deadline = Instant::now() + START_TIME;
        while redis.questions.ask("PING").is_err() {
            if Instant::now() > deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(redis)
    }

    /// Starts a Cluster of so many primaries, without replicas.
    ///
    /// # Errors
    /// Where they do not find together.
    pub fn start_cluster(primaries: u16) -> io::Result<Vec<Self>> {
        let mut nodes: Vec<Self> = Vec::new();
        for number in 0..primaries {
            // The bus has a port of its own: the default, 10,000 above, may not exist.
            let bus = free_port()?.to_string();
            let node = Self::with(&["--cluster-enabled", "yes", "--cluster-port", &bus])?;
            let ask = |command: String| node.questions.ask(&command);
            let slot = |number: u16| u32::from(number) * SLOTS / u32::from(primaries);
            let (from, to) = (slot(number), slot(number + 1) - 1);
            ask(format!("CLUSTER ADDSLOTSRANGE {from} {to}"))?;
            ask(format!("CLUSTER SET-CONFIG-EPOCH {}", number + 1))?;
            // All of them to each: gossip alone may take long until everybody has heard of everybody.
            let port = node.questions.port;
            for other in &nodes {
                other.questions.ask(&format!("CLUSTER MEET 127.0.0.1 {port} {bus}"))?;
            }
            nodes.push(node);
        }
        let deadline = Instant::now() + CLUSTER_TIME;
        let size = format!("cluster_size:{primaries}");
        let agrees = |node: &Self| {
            let info = node.questions.ask("CLUSTER INFO").unwrap_or_default();
            info.contains("cluster_state:ok") && info.contains(&size)
        };
        while !nodes.iter().all(agrees) {
            if Instant::now() > deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(nodes)
    }

    /// Its address.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.questions.port)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// How to ask it something.
    pub fn questions(&self) -> Questions {
        self.questions
    }
}

impl Questions {
    /// Sends an inline command on a connection of its own, and reads a bulk or simple answer.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn ask(self, command: &str) -> io::Result<String> {
        let mut stream = self.connect()?;
        stream.write_all(format!("{command}\r\n").as_bytes())?;
        bulk(&mut stream)
    }

    fn connect(self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(START_TIME))?;
        Ok(stream)
    }

    /// A number of `INFO`.
    pub fn number(self, name: &str) -> Option<u64> {
        let info = self.ask("INFO").ok()?;
        let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().parse().ok()
    }

    /// How often a command was called so far; asking costs Redis a hundredth of a millisecond or two.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn counter(self) -> io::Result<Counter> {
        Ok(Counter(self.connect()?))
    }

    /// Watches every command from now on. It slows Redis: for counting, never beside a clock.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn monitor(self) -> io::Result<Monitor> {
        let mut stream = self.connect()?;
        stream.write_all(b"MONITOR\r\n")?;
        let mut ok = [0; 5];
        stream.read_exact(&mut ok)?;
        Ok(Monitor(stream))
    }
}

/// Reads a bulk or simple answer.
fn bulk(stream: &mut TcpStream) -> io::Result<String> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 16 * 1024];
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((first, rest)) = text.split_once("\r\n") {
            match first.strip_prefix('$').and_then(|length| length.parse::<usize>().ok()) {
                None => return Ok(first.to_owned()),
                // The line end after it is read too: the next answer begins behind it.
                Some(length) if rest.len() >= length + 2 => return Ok(rest[..length].to_owned()),
                Some(_) => {}
            }
        }
        match stream.read(&mut chunk)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => bytes.extend_from_slice(&chunk[..read]),
        }
    }
}

/// Counts commands beside a clock.
pub struct Counter(TcpStream);

impl Counter {
    /// How often each of these was called so far.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn calls<const N: usize>(&mut self, names: [&str; N]) -> io::Result<[u64; N]> {
        self.0.write_all(b"INFO commandstats\r\n")?;
        let stats = bulk(&mut self.0)?;
        let calls = |name| {
            let line = stats.lines().find_map(|line| {
                line.strip_prefix("cmdstat_")?.strip_prefix(name)?.strip_prefix(":calls=")
            });
            line.and_then(|line| line.split(',').next()?.parse().ok()).unwrap_or_default()
        };
        Ok(names.map(calls))
    }
}

/// Commands as Redis saw them.
pub struct Monitor(TcpStream);

/// Commands by name.
#[derive(Clone, Debug, Default)]
pub struct Commands {
    /// Those that clients sent.
    pub sent: BTreeMap<String, u64>,
    /// Those that scripts called.
    pub inside: BTreeMap<String, u64>,
}

impl Monitor {
    /// Ends by a time-out: MONITOR never does.
    fn rest(&mut self) -> String {
        let _ = self.0.set_read_timeout(Some(Duration::from_millis(500)));
        let mut bytes = Vec::new();
        let _ = self.0.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// What was seen until now; commands that name one of `others` are left out.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn finish(mut self, others: &[&str]) -> io::Result<Commands> {
        let text = self.rest();
        let mut commands = Commands::default();
        for line in text.lines() {
            // +1700000000.000000 [0 127.0.0.1:50000] "get" "a key"
            let Some((source, rest)) = line.split_once("] \"") else { continue };
            let Some((name, arguments)) = rest.split_once('"') else { continue };
            if others.iter().any(|other| arguments.contains(other)) {
                continue;
            }
            let inside = source.ends_with(" lua");
            let map = if inside { &mut commands.inside } else { &mut commands.sent };
            *map.entry(name.to_ascii_lowercase()).or_default() += 1;
        }
        Ok(commands)
    }
}
