//! Calls that we make ourselves: to the app's key set, and to the webhook.

use std::{net::SocketAddr, time::Duration};

use reqwest::{Client, Response, redirect::Policy};
use url::{Host, Url};

use crate::origin::{LOOPBACK, is_loopback};

/// How long a call may take in all (the webhook's is the contract's: issue 4, 3 s).
pub const CALL_TIME: Duration = Duration::from_secs(3);

/// How long a connection may take. Each address of a name has its share of it (IPv6 and IPv4 each, side
/// by side), so that one where nobody answers leaves time for the next.
const CONNECT_TIME: Duration = Duration::from_secs(2);

/// What came of a call that brought nothing. Holds no secret: addresses are configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// No connection: nobody has heard us.
    #[error("no connection: {0}")]
    Unreachable(String),
    /// No whole answer in time, or the connection broke on the way.
    #[error("no answer: {0}")]
    NoAnswer(String),
    /// Another status than 200. Redirects are not followed: what we send is for one address.
    #[error("the answer has the status {0}, not 200")]
    Status(u16),
    /// The answer is too long, or not what it should be.
    #[error("the answer {0}")]
    Invalid(String),
}

/// A client for calls to this address: system's certificate authorities, no redirects, [`CALL_TIME`],
/// and the proxies of `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` but for what `NO_PROXY` names.
///
/// What is on this machine is called directly: a proxy elsewhere would find its own loopback there,
/// and would be shown what was meant to stay here. No DNS is asked for a name under `localhost`
/// (RFC 6761, 6.3): whoever answers could send it anywhere, and http is allowed for it.
///
/// # Errors
/// Where the system's certificate authorities cannot be read.
pub fn client(url: &Url) -> Result<Client, reqwest::Error> {
    let builder = Client::builder()
        .user_agent(concat!("scanlogin/", env!("CARGO_PKG_VERSION")))
        .redirect(Policy::none())
        .connect_timeout(CONNECT_TIME)
        .timeout(CALL_TIME);
    let here = match url.host() {
        Some(host) if is_loopback(&host) || is_unspecified(&host) => host,
        _ => return builder.build(),
    };
    let builder = builder.no_proxy();
    match here {
        Host::Domain(name) => {
            // 0: the port of the URL.
            let addresses = LOOPBACK.map(|ip| SocketAddr::new(ip, 0));
            builder.resolve_to_addrs(name, &addresses).build()
        }
        Host::Ipv4(_) | Host::Ipv6(_) => builder.build(),
    }
}

/// 0.0.0.0 or ::, where our own listener may be: connecting there stays on this machine.
fn is_unspecified(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(_) => false,
        Host::Ipv4(ip) => ip.is_unspecified(),
        Host::Ipv6(ip) => ip.is_unspecified(),
    }
}

/// The body of an answer with the status 200, of at most `most` bytes.
///
/// # Errors
/// [`CallError`].
pub async fn body(
    sent: Result<Response, reqwest::Error>,
    most: usize,
) -> Result<Vec<u8>, CallError> {
    let mut answer = sent.map_err(|error| failed(&error))?;
    if answer.status() != 200 {
        return Err(CallError::Status(answer.status().as_u16()));
    }
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| failed(&error))? {
        if body.len() + chunk.len() > most {
            return Err(CallError::Invalid(format!("has more than {most} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn failed(error: &reqwest::Error) -> CallError {
    // The innermost cause says what happened; the outer ones repeat the address.
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let text = cause.to_string();
    if error.is_connect() { CallError::Unreachable(text) } else { CallError::NoAnswer(text) }
}
