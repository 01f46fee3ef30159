//! The threads that serve the public port, each of which accepts for itself.
//!
//! Each listens with a socket of its own on the one address (`SO_REUSEPORT`), and the kernel spreads
//! connections over them by a hash of both ends' addresses. So a connection is accepted where it is
//! served: a thread that accepts for all others had to wake one of them for each (docs/capacity.md).
//!
//! What that means for a thread that is stuck: its share of the connections waits in its own queue,
//! as it would have waited in its channel; nobody else takes it. A thread that dies would take its
//! share with it, so the instance ends.

use std::{
    convert::Infallible,
    fmt::{Debug, Display},
    io::{self, ErrorKind},
    net::{SocketAddr, TcpListener},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use actix_http::Protocol;
use actix_service::{Service, ServiceFactory};
use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::{
    io::Interest,
    runtime::{self, LocalOptions},
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep, timeout},
};

use super::FINISH_TIME;
use crate::{
    connection::{Connection, GuardedStream, OpenConnections, Places, guard},
    crash::{Crash, Part},
};

/// After an error that the next connection would meet too, such as no file left: trying again at
/// once would only spin.
const PAUSE: Duration = Duration::from_millis(500);
/// How often a thread says so.
const COMPLAIN: Duration = Duration::from_secs(10);
/// How long a new connection may say nothing. Browsers connect ahead of what they may want, and clients keep a
/// connection that they turned out not to need: actix-http would answer it with 408 when its time is over, and
/// whoever asks something in that moment would take that for the answer.
const SILENCE: Duration = Duration::from_secs(5);
/// How much longer than it should take the end of a thread is waited for: one may be stuck.
const GRACE: Duration = Duration::from_secs(1);

/// How long a thread waits for a place while as many are connected as may be.
const CROWDED: Duration = Duration::from_millis(50);

/// A connection, and who is at its other end: what actix-http would ask the kernel for once more.
pub(super) type Accepted = (GuardedStream, Protocol, Option<SocketAddr>);

/// The threads, running; they end at once when this is dropped.
pub(super) struct Acceptors {
    stops: Vec<watch::Sender<()>>,
    ended: FuturesUnordered<oneshot::Receiver<Infallible>>,
}

impl Acceptors {
    /// Starts a thread for each of these listeners, with the service that `make` makes on it. `part`
    /// is what dies with one of them.
    pub(super) fn start<F, S>(
        listeners: Vec<TcpListener>,
        connections: &Arc<OpenConnections>,
        (part, crash): (Part, &Crash),
        make: F,
    ) -> io::Result<Self>
    where
        F: FnOnce(Stopping) -> S + Clone + Send + 'static,
        S: ServiceFactory<Accepted, Config = (), InitError: Debug, Service: 'static> + 'static,
    {
        let (mut stops, ended) = (Vec::new(), FuturesUnordered::new());
        for (number, listener) in listeners.into_iter().enumerate() {
            let (stop, stopping) = watch::channel(());
            let (life, end) = oneshot::channel();
            let (make, crash, connections) = (make.clone(), crash.clone(), connections.clone());
            let name = if part == Part::Admin { "admin" } else { "worker" };
            std::thread::Builder::new().name(format!("{name} {number}")).spawn(move || {
                // Not an actix arbiter, whose tasks go through a second scheduler on top of tokio's and
                // are in none of its counts.
                let mut runtime = runtime::Builder::new_current_thread();
                let runtime = runtime.enable_all().build_local(LocalOptions::default());
                let runtime = runtime.expect("the few files that an event loop needs");
                runtime.block_on(async move {
                    // Dropped after a panic too, which is heard of, and before the thread's other
                    // parts: whoever misses one of them knows why.
                    let _life: oneshot::Sender<Infallible> = life;
                    let doomed = crash.comes(part);
                    work(listener, connections, make, Stopping(stopping), doomed).await;
                });
            })?;
            stops.push(stop);
            ended.push(end);
        }
        Ok(Self { stops, ended })
    }

    /// Resolves when a thread has ended, though nobody asked it to.
    pub(super) async fn died(&mut self) {
        self.ended.next().await;
    }

    /// No connection is accepted from now on; those under way get [`FINISH_TIME`], or nothing.
    pub(super) async fn stop(mut self, gracefully: bool) {
        let patience = if gracefully { FINISH_TIME + GRACE } else { GRACE };
        if gracefully {
            for stop in &self.stops {
                stop.send_replace(());
            }
        } else {
            self.stops.clear();
        }
        let _ = timeout(patience, self.ended.count()).await;
    }
}

/// What a thread hears of its end: a value asks it to finish, and without a sender it is over. A
/// channel for each thread: every connection listens to it, and would share its lock with the other
/// threads'.
#[derive(Clone)]
pub(super) struct Stopping(watch::Receiver<()>);

impl Stopping {
    /// Resolves when connections are to finish, or were to before.
    pub(super) async fn asked(mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

async fn work<S>(
    listener: TcpListener,
    connections: Arc<OpenConnections>,
    make: impl FnOnce(Stopping) -> S,
    stopping: Stopping,
    doomed: impl Future<Output = ()>,
) where
    S: ServiceFactory<Accepted, Config = (), InitError: Debug, Service: 'static>,
{
    let service = make(stopping.clone()).new_service(()).await.expect("nothing of it can fail");
    let listener = tokio::net::TcpListener::from_std(listener).expect("a runtime");
    // Each connection has a sender: without any, nobody is connected any more.
    let (open, mut closed) = mpsc::channel(1);
    let mut stop = stopping.0;
    let gracefully = tokio::select! {
        never = accept(&listener, &connections, Rc::new(service), &open) => match never {},
        () = doomed => panic!("told to crash"),
        asked = stop.changed() => asked.is_ok(),
    };
    drop((listener, open));
    if gracefully {
        tokio::select! {
            _ = timeout(FINISH_TIME, closed.recv()) => {}
            _ = stop.changed() => {}
        }
    }
}

/// Accepts for ever. Not faster than the thread can serve: of a storm, tokio lets a task take 128
/// connections (the budget that it gives to each turn), then all others have theirs.
async fn accept<S>(
    listener: &tokio::net::TcpListener,
    connections: &Arc<OpenConnections>,
    service: Rc<S>,
    open: &mpsc::Sender<Infallible>,
) -> Infallible
where
    S: Service<Accepted> + 'static,
{
    let mut complained = Complaint::default();
    let places = Places::new(connections);
    loop {
        while places.are_taken() {
            complained.about(&"as many are open as leave files for Redis and the admin port");
            sleep(CROWDED).await;
        }
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Closed at once where its address has too many.
                let Some(place) = places.enter(peer.ip()) else { continue };
                // tokio takes a new one for readable until a read has found nothing. The kernel has not been
                // asked since it was registered, so what is there already is still to be told of.
                let nothing = || Err::<(), _>(ErrorKind::WouldBlock.into());
                let _ = stream.try_io(Interest::READABLE, nothing);
                // Who has said nothing yet is not waited for at the end.
                let (service, open) = (service.clone(), open.downgrade());
                // Called within the task: a panic ends this connection and nothing else. It need not
                // be asked whether it is ready: an application of actix-web always is.
                actix_rt::spawn(async move {
                    let connection = Connection::new(place);
                    let said = timeout(SILENCE, stream.readable()).await;
                    if said.is_ok_and(|said| said.is_ok())
                        && let Some(open) = open.upgrade()
                    {
                        connection.begin();
                        let stream = GuardedStream::new(stream, connection.clone());
                        let accepted = (stream, Protocol::Http1, Some(peer));
                        guard(connection, service.call(accepted)).await;
                        drop(open);
                    }
                });
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                complained.about(&error);
                sleep(PAUSE).await;
            }
        }
    }
}

/// Says now and then that nobody is accepted.
#[derive(Default)]
struct Complaint(Option<Instant>);

impl Complaint {
    fn about(&mut self, error: &dyn Display) {
        if self.0.is_none_or(|last| last.elapsed() >= COMPLAIN) {
            self.0 = Some(Instant::now());
            tracing::warn!(%error, "connections cannot be accepted now, and wait");
        }
    }
}

/// Linux also hands over what the network had to say of a connection that is new (`man 2 accept`).
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionRefused
            | ErrorKind::HostUnreachable
            | ErrorKind::Interrupted
            | ErrorKind::NetworkDown
            | ErrorKind::NetworkUnreachable
    )
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    };

    use actix_service::fn_service;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };

    use super::{super::servers::bind_each, *};
    use crate::metrics::{Metrics, Port};

    fn connections() -> Arc<OpenConnections> {
        Arc::new(OpenConnections::new(Port::Public, 1000, Arc::new(Metrics::new())))
    }

    /// Gives each byte back, and panics over a `!`.
    async fn echo((mut stream, ..): Accepted) -> io::Result<()> {
        loop {
            let byte = stream.read_u8().await?;
            assert_ne!(byte, b'!', "told to crash");
            stream.write_u8(byte).await?;
        }
    }

    fn listeners(count: usize) -> (Vec<TcpListener>, SocketAddr) {
        let listeners = bind_each("LISTEN", "127.0.0.1:0".parse().unwrap(), "", count).unwrap();
        let address = listeners[0].local_addr().unwrap();
        (listeners, address)
    }

    fn start() -> (Acceptors, SocketAddr) {
        let (listeners, address) = listeners(1);
        let make = |_| fn_service(echo);
        (
            Acceptors::start(listeners, &connections(), (Part::Server, &Crash::default()), make)
                .unwrap(),
            address,
        )
    }

    /// What comes back; nothing where the connection ends, or nobody serves it.
    async fn say(stream: &mut TcpStream, byte: u8) -> Option<u8> {
        stream.write_u8(byte).await.ok()?;
        timeout(Duration::from_secs(5), stream.read_u8()).await.ok()?.ok()
    }

    #[actix_rt::test]
    async fn connections_are_spread_over_all_threads() {
        const THREADS: u8 = 3;
        let (listeners, address) = listeners(THREADS.into());
        let threads = Arc::new(AtomicU8::new(0));
        let make = move |_| {
            let thread = threads.fetch_add(1, Ordering::Relaxed);
            fn_service(
                move |(mut stream, ..): Accepted| async move { stream.write_u8(thread).await },
            )
        };
        let _acceptors =
            Acceptors::start(listeners, &connections(), (Part::Server, &Crash::default()), make)
                .unwrap();
        let mut served = [0; THREADS as usize];
        for _ in 0..90 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            served[usize::from(say(&mut stream, b'a').await.unwrap())] += 1;
        }
        // One of three goes without once in ten to the fifteenth.
        assert!(served.iter().all(|count| *count > 0), "{served:?}");
    }

    #[actix_rt::test]
    async fn a_panic_ends_its_own_connection_and_no_other() {
        let (mut acceptors, address) = start();
        let mut other = TcpStream::connect(address).await.unwrap();
        assert_eq!(say(&mut other, b'a').await, Some(b'a'));
        let mut doomed = TcpStream::connect(address).await.unwrap();
        assert_eq!(say(&mut doomed, b'!').await, None);
        assert_eq!(say(&mut other, b'b').await, Some(b'b'));
        let mut next = TcpStream::connect(address).await.unwrap();
        assert_eq!(say(&mut next, b'c').await, Some(b'c'));
        assert!(timeout(Duration::from_millis(50), acceptors.died()).await.is_err());
    }

    #[actix_rt::test]
    async fn who_says_nothing_is_let_go_without_a_word_and_is_not_waited_for() {
        let (acceptors, address) = start();
        let mut silent = TcpStream::connect(address).await.unwrap();
        let read = timeout(SILENCE * 2, silent.read(&mut [0])).await;
        assert_eq!(read.expect("an end").unwrap(), 0);
        let _silent = TcpStream::connect(address).await.unwrap();
        let mut other = TcpStream::connect(address).await.unwrap();
        assert_eq!(say(&mut other, b'a').await, Some(b'a'), "both are accepted");
        drop(other);
        let begin = Instant::now();
        acceptors.stop(true).await;
        assert!(begin.elapsed() < SILENCE / 2, "{:?}", begin.elapsed());
    }

    #[actix_rt::test]
    async fn a_connection_under_way_has_its_time_when_asked_gracefully_and_none_else() {
        for gracefully in [true, false] {
            let (acceptors, address) = start();
            let mut stream = TcpStream::connect(address).await.unwrap();
            assert_eq!(say(&mut stream, b'a').await, Some(b'a'));
            let begin = Instant::now();
            let talking = async {
                while begin.elapsed() < Duration::from_millis(300) {
                    say(&mut stream, b'b').await?;
                    sleep(Duration::from_millis(10)).await;
                }
                drop(stream);
                Some(())
            };
            let (talked, ()) = tokio::join!(talking, acceptors.stop(gracefully));
            assert_eq!(talked.is_some(), gracefully);
            assert!(begin.elapsed() < Duration::from_secs(1), "nobody is waited for in vain");
            assert!(TcpStream::connect(address).await.is_err(), "nobody listens");
        }
    }
}
