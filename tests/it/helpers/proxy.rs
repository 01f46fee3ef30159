//! A TCP proxy that does to its connections what networks do: delay, cut, hold half-open, restore.
//!
//! It runs in a thread of its own, so that a test that blocks does not stop the traffic.

use std::{
    net::{SocketAddr, TcpListener as StdListener},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// What is done to connections, which are numbered as they come.
#[derive(Clone, Debug, Default)]
struct Control {
    /// Connections with a smaller number end.
    cut_before: usize,
    /// Connections with a smaller number forward nothing any more, and stay open.
    held_before: usize,
    /// All of them, until it is taken back.
    held: bool,
    /// New ones are closed at once.
    refused: bool,
    /// Each chunk of bytes waits this long.
    delay: Duration,
    stopped: bool,
}

pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    control: watch::Sender<Control>,
    connections: Arc<AtomicUsize>,
    attempts: Arc<AtomicUsize>,
    sent: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// A proxy in front of `target`.
    pub(crate) fn to(target: SocketAddr) -> Self {
        let listener = StdListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("its address");
        let (control, watched) = watch::channel(Control::default());
        let connections = Arc::new(AtomicUsize::new(0));
        let attempts = Arc::new(AtomicUsize::new(0));
        let sent = Arc::new(AtomicUsize::new(0));
        let counted = [connections.clone(), attempts.clone(), sent.clone()];
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(serve(listener, target, watched, counted));
        });
        Self { address, control, connections, attempts, sent, thread: Some(thread) }
    }

    /// A proxy in front of a server on this port of ours.
    pub(crate) fn to_port(port: u16) -> Self {
        Self::to(SocketAddr::from(([127, 0, 0, 1], port)))
    }

    /// A Redis URL that goes through it.
    pub(crate) fn redis_url(&self) -> String {
        format!("redis://{}", self.address)
    }

    fn change(&self, change: impl FnOnce(&mut Control)) {
        self.control.send_modify(change);
    }

    fn so_far(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// How many connections came so far, with those that were refused.
    pub(crate) fn attempts(&self) -> usize {
        self.attempts.load(Ordering::SeqCst)
    }

    /// How many bytes clients have sent so far, whether they were passed on or not.
    pub(crate) fn sent(&self) -> usize {
        self.sent.load(Ordering::SeqCst)
    }

    /// Ends all connections of this moment; new ones work.
    pub(crate) fn cut(&self) {
        let so_far = self.so_far();
        self.change(|control| control.cut_before = so_far);
    }

    /// Ends all, and closes new ones at once until [`Self::restore`].
    pub(crate) fn refuse(&self) {
        let so_far = self.so_far();
        self.change(|control| {
            control.refused = true;
            control.cut_before = so_far;
        });
    }

    /// Half-open, as when a firewall forgets: the connections of this moment stay open and never
    /// carry a byte again. New ones work.
    pub(crate) fn hold_present(&self) {
        let so_far = self.so_far();
        self.change(|control| control.held_before = so_far);
    }

    /// All connections, new ones too, carry nothing until [`Self::restore`]; then they go on.
    pub(crate) fn hold(&self) {
        self.change(|control| control.held = true);
    }

    /// Each chunk of bytes waits this long in each direction.
    pub(crate) fn delay(&self, delay: Duration) {
        self.change(|control| control.delay = delay);
    }

    /// Ends [`Self::hold`], [`Self::refuse`] and [`Self::delay`].
    pub(crate) fn restore(&self) {
        self.change(|control| {
            control.held = false;
            control.refused = false;
            control.delay = Duration::ZERO;
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.change(|control| control.stopped = true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve(
    listener: StdListener,
    target: SocketAddr,
    mut control: watch::Receiver<Control>,
    [connections, attempts, sent]: [Arc<AtomicUsize>; 3],
) {
    let listener = TcpListener::from_std(listener).expect("a socket");
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = control.wait_for(|control| control.stopped) => return,
        };
        let Ok((client, _)) = accepted else { continue };
        attempts.fetch_add(1, Ordering::SeqCst);
        if control.borrow().refused {
            continue;
        }
        let number = connections.fetch_add(1, Ordering::SeqCst);
        let (mut control, sent) = (control.clone(), sent.clone());
        tokio::spawn(async move {
            let work = relay(client, target, number, control.clone(), sent);
            tokio::select! {
                () = work => {}
                _ = control.wait_for(|control| number < control.cut_before || control.stopped) => {}
            }
        });
    }
}

async fn relay(
    client: TcpStream,
    target: SocketAddr,
    number: usize,
    control: watch::Receiver<Control>,
    sent: Arc<AtomicUsize>,
) {
    // A server that is away refuses its client too: by an end without a word.
    let Ok(server) = TcpStream::connect(target).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let ((from_client, to_client), (from_server, to_server)) =
        (client.into_split(), server.into_split());
    tokio::join!(
        pump(from_client, to_server, number, control.clone(), Some(sent)),
        pump(from_server, to_client, number, control, None),
    );
}

async fn pump(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    number: usize,
    mut control: watch::Receiver<Control>,
    sent: Option<Arc<AtomicUsize>>,
) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let count = from.read(&mut buffer).await.unwrap_or(0);
        if let Some(sent) = &sent {
            sent.fetch_add(count, Ordering::SeqCst);
        }
        let delay = control.borrow().delay;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let flows = |control: &Control| !control.held && number >= control.held_before;
        if control.wait_for(flows).await.is_err() {
            return;
        }
        // Nothing that was sent after `cut` or `refuse` returned may pass.
        if number < control.borrow().cut_before {
            return;
        }
        if count == 0 {
            let _ = to.shutdown().await;
            return;
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
