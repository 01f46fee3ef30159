//! A name of Redis with several addresses, at some of which nobody answers.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

use super::{Waiter, all_are_logged_in};
use crate::helpers::{
    Process, RedisServer, Settings, acl,
    cluster::Cluster,
    eventually, free_port,
    sentinel::Sentinels,
    service::command,
    tls::Certificates,
    upstream::{Reply, Upstream},
};

const NAME: &str = "several.test";
const SIX: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
/// Further addresses of this machine.
const SECOND: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
const GOOD: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A resolver of the test's own.
struct Hosts(TempDir);

impl Hosts {
    /// `NAME` has these addresses, in this order.
    fn of(addresses: &[IpAddr]) -> Self {
        Self::naming(NAME, addresses)
    }

    fn naming(name: &str, addresses: &[IpAddr]) -> Self {
        let hosts = Self(tempfile::tempdir().expect("a directory"));
        let lines = addresses.iter().map(|address| format!("{address} {name}\n"));
        fs::write(hosts.file(), lines.collect::<String>()).expect("a file");
        hosts
    }

    fn file(&self) -> String {
        self.0.path().join("hosts").to_str().expect("a path in UTF-8").to_owned()
    }

    /// nss_wrapper answers in place of the system's resolver.
    fn with(&self, settings: Settings) -> Settings {
        settings
            .with_variable("LD_PRELOAD", "libnss_wrapper.so")
            .with_variable("NSS_WRAPPER_HOSTS", &self.file())
    }
}

/// How an address does not answer.
#[derive(Clone, Copy, Debug)]
enum Silence {
    /// No connection can be made, and none is refused: its backlog is full.
    Full,
    /// A connection is made, and nobody says anything on it.
    Mute,
}

/// An address where nobody answers.
struct Silent {
    _listener: Socket,
    _filling: Vec<TcpStream>,
}

impl Silent {
    fn at(address: SocketAddr, how: Silence) -> Self {
        let socket =
            Socket::new(Domain::for_address(address), Type::STREAM, None).expect("a socket");
        socket.set_reuse_address(true).expect("an option");
        socket.bind(&address.into()).expect("a free port");
        let (backlog, filling) = match how {
            Silence::Full => (0, usize::MAX),
            Silence::Mute => (128, 0),
        };
        socket.listen(backlog).expect("it listens");
        let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(500)).ok();
        let filling = std::iter::from_fn(connect).take(filling).collect();
        Self { _listener: socket, _filling: filling }
    }
}

/// A service that knows Redis by that name, and whose name has these silent addresses in front.
async fn works(url: &str, ports: &[u16], silent: &[IpAddr], how: Silence, more: Settings) {
    let addresses = silent.iter().flat_map(|ip| ports.iter().map(|port| (*ip, *port).into()));
    let _silent: Vec<Silent> = addresses.map(|address| Silent::at(address, how)).collect();
    let hosts = Hosts::of(&[silent, &[GOOD]].concat());
    let process = Process::start(hosts.with(more.with("REDIS_URL", url))).await;
    all_are_logged_in(Waiter::some(process.address, 4).await, process.address).await;
}

#[tokio::test]
async fn a_name_of_redis_is_tried_at_each_of_its_addresses() {
    let redis = RedisServer::start().await;
    let url = format!("redis://{NAME}:{}", redis.port);
    for how in [Silence::Full, Silence::Mute] {
        for silent in [&[SIX][..], &[SECOND], &[SIX, SECOND]] {
            works(&url, &[redis.port], silent, how, Settings::embedded()).await;
        }
    }
    // As a user, whose name and password go to each.
    acl::prepare(&redis, "").await;
    let url = acl::url(&redis).replace("127.0.0.1", NAME);
    works(&url, &[redis.port], &[SIX], Silence::Mute, Settings::embedded()).await;
}

/// Whatever the resolver says: who answers for it could have the password sent anywhere.
#[tokio::test]
async fn a_name_of_redis_under_localhost_is_this_machine() {
    let redis = RedisServer::start().await;
    for name in ["redis.localhost", "Redis.LOCALHOST", "localhost"] {
        // Nobody listens there.
        let hosts = Hosts::naming(name, &[SECOND]);
        let url = format!("redis://{name}:{}", redis.port);
        let settings = Settings::embedded().with("REDIS_URL", &url);
        let process = Process::start(hosts.with(settings)).await;
        all_are_logged_in(Waiter::some(process.address, 1).await, process.address).await;
    }
}

#[tokio::test]
async fn a_name_of_redis_is_tried_at_each_of_its_addresses_by_tls_too() {
    let certificates = Certificates::make_for(NAME);
    let port = free_port();
    let (ca, cert, key) = (
        certificates.path("ca.crt"),
        certificates.path("server.crt"),
        certificates.path("server.key"),
    );
    let tls_port = port.to_string();
    let options = ["--tls-port", &tls_port, "--tls-ca-cert-file", &ca, "--tls-cert-file", &cert];
    let options = [&options[..], &["--tls-key-file", &key, "--tls-auth-clients", "no"]].concat();
    let _redis = RedisServer::with(&options).await;
    let settings = Settings::embedded().with("REDIS_CA_FILE", &ca);
    for how in [Silence::Full, Silence::Mute] {
        works(&format!("rediss://{NAME}:{port}"), &[port], &[SIX], how, settings.clone()).await;
    }
}

#[tokio::test]
async fn names_of_sentinels_are_tried_at_each_of_their_addresses() {
    let sentinels = Sentinels::start().await;
    let url = sentinels.url().replace("127.0.0.1", NAME);
    for how in [Silence::Full, Silence::Mute] {
        works(&url, sentinels.ports(), &[SIX, SECOND], how, Settings::embedded()).await;
    }
}

/// The nodes of a Cluster name each other by address; only the first step needs the name.
#[tokio::test]
async fn names_of_a_clusters_nodes_are_tried_at_each_of_their_addresses() {
    let cluster = Cluster::start().await;
    let url = cluster.url().replace("127.0.0.1", NAME);
    let ports: Vec<u16> = cluster.servers.iter().map(|server| server.port).collect();
    works(&url, &ports, &[SIX], Silence::Full, Settings::embedded()).await;
    // By their own names, too: each line to a primary then goes by one.
    for server in &cluster.servers {
        server.command::<()>(&["CONFIG", "SET", "cluster-announce-hostname", NAME]).await;
        let kind = ["CONFIG", "SET", "cluster-preferred-endpoint-type", "hostname"];
        server.command::<()>(&kind).await;
    }
    for server in &cluster.servers {
        eventually("all know each other's names", || async {
            let nodes: String = server.command(&["CLUSTER", "NODES"]).await;
            (nodes.matches(NAME).count() == ports.len()).then_some(())
        })
        .await;
    }
    works(&url, &ports, &[SIX], Silence::Full, Settings::embedded()).await;
}

/// The siblings: what we call ourselves over HTTP. All of it is called by one client.
#[tokio::test]
async fn a_name_that_is_called_over_http_is_tried_at_each_of_its_addresses() {
    let collector = Upstream::start(|_| Reply::Text(String::new())).await;
    let url = collector.url("/");
    let port = url.trim_end_matches('/').rsplit(':').next().expect("a port").parse();
    let port: u16 = port.expect("a number");
    for silent in [&[SIX][..], &[SECOND], &[SIX, SECOND]] {
        let at = silent.iter().map(|ip| SocketAddr::new(*ip, port));
        let _silent: Vec<Silent> = at.map(|address| Silent::at(address, Silence::Full)).collect();
        let hosts = Hosts::of(&[silent, &[GOOD]].concat());
        let url = format!("http://{NAME}:{port}");
        let settings = Settings::embedded().with("OTLP_ENDPOINT", &url);
        let process = Process::start(hosts.with(settings)).await;
        all_are_logged_in(Waiter::some(process.address, 1).await, process.address).await;
        let before = collector.heard().len();
        eventually("its trace arrives", || async {
            (collector.heard().len() > before).then_some(())
        })
        .await;
    }
}

/// Where no address answers, the start ends in time and says why.
#[tokio::test]
async fn a_name_of_redis_of_which_no_address_answers_is_given_up() {
    let port = free_port();
    let _silent = [SIX, SECOND].map(|ip| Silent::at((ip, port).into(), Silence::Full));
    let hosts = Hosts::of(&[SIX, SECOND]);
    let url = format!("redis://{NAME}:{port}");
    let mut command = command(&hosts.with(Settings::embedded().with("REDIS_URL", &url)));
    let output = tokio::task::spawn_blocking(move || command.output());
    let output = tokio::time::timeout(Duration::from_secs(25), output).await;
    let output = output.expect("it gives up").expect("a thread").expect("the binary");
    assert_eq!(output.status.code(), Some(2));
    let errors = String::from_utf8_lossy(&output.stderr);
    let last = errors.lines().last().unwrap_or_default();
    assert!(last.starts_with("SCANLOGIN_REDIS_URL: Redis cannot be used: timed out"), "{errors}");
}

/// That the silent addresses of these tests are what they are said to be.
#[test]
fn a_silent_address_lets_nobody_in_or_says_nothing() {
    let full: SocketAddr = (SIX, free_port()).into();
    let _silent = Silent::at(full, Silence::Full);
    let error = TcpStream::connect_timeout(&full, Duration::from_millis(500)).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    let mute: SocketAddr = (SIX, free_port()).into();
    let _silent = Silent::at(mute, Silence::Mute);
    let mut stream = TcpStream::connect_timeout(&mute, Duration::from_millis(500)).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    stream.write_all(b"PING\r\n").unwrap();
    let error = BufReader::new(stream).read_line(&mut String::new()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    // It is a machine with addresses to spare.
    drop(TcpListener::bind((SECOND, free_port())).expect("127.0.0.2"));
}
