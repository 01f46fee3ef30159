//! A byte stream to one Redis server: TCP, with TLS where the URL says so; and which of the addresses of
//! its name it is made to.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream::FuturesUnordered};
use redis::RedisResult;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    time::{sleep, timeout},
};
use tokio_rustls::TlsConnector;
use url::Host;

use super::CONNECT_TIMEOUT;
use crate::{
    config::{Node, Redis},
    origin,
};

/// Between the beginnings of two attempts (RFC 8305, 5: "Connection Attempt Delay").
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// What a connection reads and writes.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

/// Connects to one address of a server.
///
/// # Errors
/// Those of the network and of TLS.
pub(super) async fn open(
    node: &Node,
    address: SocketAddr,
    tls: Option<&TlsConnector>,
) -> io::Result<Box<dyn Stream>> {
    let tcp = TcpStream::connect(address).await?;
    // Else a command waits for the acknowledgement of the one before.
    tcp.set_nodelay(true)?;
    let Some(tls) = tls else { return Ok(Box::new(tcp)) };
    let name = ServerName::try_from(node.host.clone()).map_err(io::Error::other)?;
    Ok(Box::new(tls.connect(name, tcp).await?))
}

/// Makes a connection to a server, all within [`CONNECT_TIMEOUT`]: `attempt` is made at each address
/// of its name, side by side, and the first that gives something wins. An address where nobody answers
/// costs the others nothing but a moment.
///
/// # Errors
/// The name cannot be resolved, the time is over, or the last attempt's.
pub(super) async fn first_of<T, F: Future<Output = RedisResult<T>>>(
    node: &Node,
    attempt: impl Fn(SocketAddr) -> F,
) -> RedisResult<T> {
    let connect = async { first_that_works(addresses(node).await?, attempt).await };
    let late = |_| io::Error::from(io::ErrorKind::TimedOut);
    timeout(CONNECT_TIMEOUT, connect).await.map_err(late)?
}

/// The addresses of a server. No DNS is asked for a name that means this machine (RFC 6761, 6.3): whoever
/// answers could have the password sent anywhere.
async fn addresses(node: &Node) -> io::Result<Vec<SocketAddr>> {
    match Host::parse(&node.host) {
        Ok(host @ Host::Domain(_)) if origin::is_loopback(&host) => {
            Ok(origin::LOOPBACK.map(|ip| SocketAddr::new(ip, node.port)).into())
        }
        _ => Ok(lookup_host((node.host.as_str(), node.port)).await?.collect()),
    }
}

async fn first_that_works<T, F: Future<Output = RedisResult<T>>>(
    addresses: Vec<SocketAddr>,
    attempt: impl Fn(SocketAddr) -> F,
) -> RedisResult<T> {
    // However many there are, the last has half of the time.
    let delay = ATTEMPT_DELAY.min(CONNECT_TIMEOUT / 2 / addresses.len().max(1) as u32);
    let mut to_try = addresses.into_iter();
    let mut under_way = FuturesUnordered::new();
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address").into();
    loop {
        under_way.extend(to_try.next().map(&attempt));
        tokio::select! {
            Some(result) = under_way.next() => match result {
                Ok(made) => return Ok(made),
                // The next one at once.
                Err(error) => failed = error,
            },
            () = sleep(delay), if to_try.len() > 0 => {}
            else => return Err(failed),
        }
    }
}

/// What TLS needs: the configured CA or else the system's, and our certificate if there is one.
///
/// # Errors
/// A file that cannot be read, or does not hold what it should.
pub(super) fn tls(config: &Redis) -> io::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    if let Some(file) = &config.ca_file {
        for certificate in CertificateDer::pem_file_iter(file).map_err(io::Error::other)? {
            roots.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
        }
    } else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    let builder = ClientConfig::builder().with_root_certificates(roots);
    let client = match &config.client_identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = CertificateDer::pem_file_iter(certificate).map_err(io::Error::other)?;
            let chain = chain.collect::<Result<Vec<_>, _>>().map_err(io::Error::other)?;
            let key = PrivateKeyDer::from_pem_file(key).map_err(io::Error::other)?;
            builder.with_client_auth_cert(chain, key).map_err(io::Error::other)?
        }
    };
    Ok(TlsConnector::from(Arc::new(client)))
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, future::pending};

    use tokio::time::Instant;

    use super::*;

    fn addresses(count: u16) -> Vec<SocketAddr> {
        (1..=count).map(|port| ([127, 0, 0, 1], port).into()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn of_any_number_of_silent_addresses_the_one_that_answers_is_found_in_time() {
        for count in [1, 2, 7, 50] {
            let begun = Instant::now();
            let attempt = async |address: SocketAddr| {
                if address.port() < count { pending().await } else { Ok(address.port()) }
            };
            let found = first_that_works(addresses(count), attempt).await;
            assert_eq!(found.unwrap(), count);
            assert!(begun.elapsed() <= CONNECT_TIMEOUT / 2, "{count}: {:?}", begun.elapsed());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_address_that_answers_is_not_left_for_another() {
        let tried = RefCell::new(Vec::new());
        let attempt = async |address: SocketAddr| {
            tried.borrow_mut().push(address.port());
            sleep(ATTEMPT_DELAY / 2).await;
            Ok(address.port())
        };
        assert_eq!(first_that_works(addresses(3), attempt).await.unwrap(), 1);
        assert_eq!(*tried.borrow(), [1]);
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_refusal_the_next_address_is_tried_at_once_and_the_last_refusal_is_told() {
        let begun = Instant::now();
        let attempt = async |address: SocketAddr| -> RedisResult<()> {
            Err(io::Error::other(format!("refused by {}", address.port())).into())
        };
        let error = first_that_works(addresses(3), attempt).await.unwrap_err();
        assert!(error.to_string().contains("refused by 3"), "{error}");
        assert_eq!(begun.elapsed(), Duration::ZERO);
        let attempt = async |_| -> RedisResult<()> { unreachable!() };
        let error = first_that_works(Vec::new(), attempt).await.unwrap_err();
        assert!(error.to_string().contains("no address"), "{error}");
    }
}
