//! What whoever starts the service for the first time wants to open.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use crate::config::Config;

/// A line for each address that is worth opening.
pub fn what_to_open(config: &Config, address: SocketAddr, admin: SocketAddr) -> Vec<String> {
    let mut lines = Vec::new();
    if config.demo.is_some() {
        lines.push(format!("the demo: open http://{}/ in a browser", reachable(address)));
        match network_address(address) {
            Some(here) => lines.push(format!("for a real phone, open http://{here}/ instead")),
            None => lines.push(
                "with a real phone: SCANLOGIN_DEMO=true and --listen 0.0.0.0:8080, see the README"
                    .into(),
            ),
        }
        lines.push("an app token for trying things: scanlogin token --user alice".into());
    }
    lines.push(format!("the API: http://{}/docs", reachable(address)));
    lines.push(format!("metrics: http://{}/metrics", reachable(admin)));
    lines
}

/// An address that a browser on this machine can open: nobody is at "any address".
fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        ip if !ip.is_unspecified() => address,
        IpAddr::V4(_) => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), address.port()),
        IpAddr::V6(_) => SocketAddr::new(std::net::Ipv6Addr::LOCALHOST.into(), address.port()),
    }
}

/// Where this machine's network finds the service; `None` where it listens for this machine only.
fn network_address(address: SocketAddr) -> Option<SocketAddr> {
    let ip = address.ip();
    if ip.is_loopback() {
        return None;
    }
    if !ip.is_unspecified() {
        return Some(address);
    }
    // Connecting a UDP socket sends nothing: it asks the routing table which address of ours faces
    // that way. The far one is from a block that is nobody's (RFC 5737).
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    let ours = socket.local_addr().ok()?.ip();
    (!ours.is_loopback()).then(|| SocketAddr::new(ours, address.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_to_be_opened_can_be_opened() {
        let shown = |text: &str| reachable(text.parse().expect("an address")).to_string();
        assert_eq!(shown("0.0.0.0:8080"), "127.0.0.1:8080");
        assert_eq!(shown("[::]:8080"), "[::1]:8080");
        assert_eq!(shown("192.0.2.7:80"), "192.0.2.7:80");
    }

    #[test]
    fn a_phone_is_sent_to_no_loopback_address() {
        let shown = |text: &str| network_address(text.parse().expect("an address"));
        assert_eq!(shown("127.0.0.1:8080"), None);
        assert_eq!(shown("192.0.2.7:80"), "192.0.2.7:80".parse().ok());
        let anywhere = shown("0.0.0.0:8080");
        assert!(anywhere.is_none_or(|it| !it.ip().is_unspecified() && it.port() == 8080));
    }
}
