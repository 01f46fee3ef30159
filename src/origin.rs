//! Whose pages may use the service: `Origin`, `Host`, and the client's address behind proxies.

mod forwarded;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use url::{Host, Url};

use crate::config::ProxyHeader;

/// The origins that may log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// The host and port of the public URL, else of the request's `Host`.
    SameHost,
    /// Any, `null` too.
    Any,
    /// Exactly these.
    Listed(Vec<String>),
}

impl Origins {
    /// Reads a comma-separated list, or `*`.
    ///
    /// # Errors
    /// What is wrong with which part.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.trim() == "*" {
            return Ok(Self::Any);
        }
        let listed = text.split(',').map(|part| {
            let part = part.trim();
            let url = Url::parse(part).map_err(|_| format!("'{part}' is not an origin"))?;
            // `ascii_serialization` is what a browser sends; anything longer would never match.
            let origin = url.origin().ascii_serialization();
            if part == "*" || origin == "null" || !origin.eq_ignore_ascii_case(part) {
                return Err(format!(
                    "'{part}' is not an exact origin: scheme, host and port (unless it is the \
                     scheme's default), nothing else"
                ));
            }
            Ok(origin)
        });
        Ok(Self::Listed(listed.collect::<Result<_, _>>()?))
    }

    /// Whether this very origin is listed: `*` and the same host are not enough where a cookie
    /// speaks for somebody.
    pub fn list(&self, origin: &str) -> bool {
        matches!(self, Self::Listed(listed) if listed.iter().any(|one| one == origin))
    }

    /// Whether a request with this `Origin` (absent: no browser) and `Host` may pass.
    pub fn allow(&self, origin: Option<&str>, host: Option<&str>, public: Option<&Url>) -> bool {
        let Some(origin) = origin else { return true };
        match self {
            Self::Any => true,
            Self::Listed(_) => self.list(origin),
            // What nearly every browser sends, told without taking two URLs apart.
            Self::SameHost if public.is_none() && is_same_text(origin, host) => true,
            Self::SameHost => {
                let Ok(origin) = Url::parse(origin) else { return false };
                let (Some(name), Some(port)) = (origin.host(), origin.port_or_known_default())
                else {
                    return false;
                };
                if let Some(public) = public {
                    return public.host() == Some(name)
                        && public.port_or_known_default() == Some(port);
                }
                // Behind a TLS proxy the scheme is unknown here: the origin's own decides what a
                // missing port means.
                host.and_then(|host| Url::parse(&format!("{}://{host}", origin.scheme())).ok())
                    .is_some_and(|host| {
                        host.host() == Some(name) && host.port_or_known_default() == Some(port)
                    })
            }
        }
    }
}

/// Whether `origin` is a scheme in front of `host`, letter for letter, and both are plain.
fn is_same_text(origin: &str, host: Option<&str>) -> bool {
    let after = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    let Some(host) = host.filter(|host| after == Some(host)) else { return false };
    let (name, port) = host.rsplit_once(':').unwrap_or((host, "0"));
    !name.is_empty() && name.bytes().all(plain) && port.parse::<u16>().is_ok()
}

/// The name in a `Host` header, without its port.
pub fn host_name(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or(rest, |(name, _)| name),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    }
}

/// Whether a name means this machine.
pub fn is_loopback_host(name: &str) -> bool {
    match Host::parse(name) {
        Ok(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Ok(Host::Ipv4(ip)) => ip.is_loopback(),
        Ok(Host::Ipv6(ip)) => ip.is_loopback(),
        Err(_) => name.parse::<Ipv6Addr>().is_ok_and(|ip| ip.is_loopback()),
    }
}

/// The client's address: the peer's, unless the peer is a trusted proxy; then the rightmost
/// address of the header's lines, in their order, that is not a trusted proxy's. What cannot be read
/// cannot be trusted to be a proxy: beyond it nobody is believed, and the nearest known address
/// counts.
pub fn client_address<'a>(
    peer: IpAddr,
    trusted: &[IpNet],
    kind: ProxyHeader,
    lines: impl DoubleEndedIterator<Item = &'a [u8]>,
) -> IpAddr {
    let is_trusted = |ip: &IpAddr| trusted.iter().any(|net| net.contains(ip));
    let mut said = lines.rev().flat_map(|line| forwarded::from_the_right(kind, line));
    let mut client = peer;
    while is_trusted(&client) {
        let Some(Some(ip)) = said.next() else { break };
        client = ip;
    }
    client
}

/// What limits per client are counted on: the address, or the /64 that one IPv6 client has for
/// itself.
pub fn limit_key(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.into(),
        IpAddr::V6(ip) => {
            let network = u128::from(ip) & !(u128::from(u64::MAX));
            Ipv6Addr::from(network).into()
        }
    }
}

/// What [`limit_key`] gives, in eight bytes: every login keeps it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientNetwork(u64);

impl ClientNetwork {
    /// Above all /64s that a client may have: multicast has these (RFC 4291, 2.7).
    const IPV4: u64 = 0xffff_ffff_0000_0000;

    /// The network of this address.
    pub fn of(ip: IpAddr) -> Self {
        Self(match limit_key(ip) {
            IpAddr::V4(ip) => Self::IPV4 | u64::from(u32::from(ip)),
            IpAddr::V6(ip) => (u128::from(ip) >> 64) as u64,
        })
    }

    /// As [`limit_key`] gives it.
    pub fn limit_key(self) -> IpAddr {
        match self.0 {
            ipv4 if ipv4 >= Self::IPV4 => Ipv4Addr::from(ipv4 as u32).into(),
            network => Ipv6Addr::from(u128::from(network) << 64).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_default_an_origin_must_be_of_the_same_host_and_port() {
        let allow = |origin, host, public: Option<&str>| {
            let public = public.map(|url| Url::parse(url).unwrap());
            Origins::SameHost.allow(origin, host, public.as_ref())
        };
        assert!(allow(None, None, None));
        assert!(allow(Some("http://a.example"), Some("a.example"), None));
        assert!(allow(Some("https://a.example"), Some("a.example:443"), None));
        assert!(allow(Some("https://A.example"), Some("a.example"), None));
        assert!(allow(Some("http://[::1]:8080"), Some("[::1]:8080"), None));
        assert!(!allow(Some("http://a.example:8080"), Some("a.example"), None));
        assert!(!allow(Some("http://a.example.evil"), Some("a.example"), None));
        assert!(!allow(Some("null"), Some("a.example"), None));
        assert!(!allow(Some("http://a.example"), None, None));
        assert!(allow(Some("https://p.example"), Some("inner"), Some("https://p.example/base")));
        assert!(!allow(Some("https://inner"), Some("inner"), Some("https://p.example")));
    }

    #[test]
    fn a_list_is_exact() {
        let list = Origins::parse("https://a.example, http://b.example:81").unwrap();
        assert!(list.allow(Some("https://a.example"), None, None));
        assert!(list.allow(Some("http://b.example:81"), None, None));
        for origin in ["http://a.example", "https://a.example:444", "https://x.a.example", "null"] {
            assert!(!list.allow(Some(origin), Some("a.example"), None), "{origin}");
        }
        assert!(Origins::parse("*").unwrap().allow(Some("null"), None, None));
        for wrong in ["a.example", "https://a.example/", "https://*.a.example,*", "null", ""] {
            assert!(Origins::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_trusted_proxies_are_believed_and_only_the_rightmost_stranger_counts() {
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        let of = |peer: &str, kind, values: &[&str]| {
            let lines = values.iter().map(|value| value.as_bytes());
            client_address(peer.parse().unwrap(), &trusted, kind, lines).to_string()
        };
        let xff = ProxyHeader::XForwardedFor;
        assert_eq!(of("1.2.3.4", xff, &["6.6.6.6"]), "1.2.3.4");
        assert_eq!(of("10.0.0.1", xff, &["6.6.6.6, 5.5.5.5, 10.0.0.2"]), "5.5.5.5");
        assert_eq!(of("10.0.0.1", xff, &["6.6.6.6", "5.5.5.5"]), "5.5.5.5");
        assert_eq!(of("10.0.0.1", xff, &["6.6.6.6, garbage"]), "10.0.0.1");
        assert_eq!(of("10.0.0.1", xff, &[]), "10.0.0.1");
        let forwarded = ProxyHeader::Forwarded;
        assert_eq!(of("10.0.0.1", forwarded, &["for=9.9.9.9;proto=https"]), "9.9.9.9");
        assert_eq!(of("10.0.0.1", forwarded, &["for=\"[2001:db8::1]:80\""]), "2001:db8::1");
    }

    #[test]
    fn a_network_in_eight_bytes_is_what_limits_count_on() {
        for text in [
            "192.0.2.1",
            "0.0.0.0",
            "255.255.255.255",
            "::ffff:192.0.2.1",
            "::1",
            "2001:db8:1:2:3:4:5:6",
            "64:ff9b::192.0.2.1",
            "fe80::1",
        ] {
            let ip = text.parse().unwrap();
            assert_eq!(ClientNetwork::of(ip).limit_key(), limit_key(ip), "{text}");
        }
        let of = |text: &str| ClientNetwork::of(text.parse().unwrap());
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_ne!(of("2001:db8::"), of("2001:db8:0:1::"));
    }

    #[test]
    fn an_ipv6_client_is_limited_by_its_network() {
        let key = |text: &str| limit_key(text.parse().unwrap());
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_eq!(key("::ffff:1.2.3.4"), key("1.2.3.4"));
    }

    #[test]
    fn names_of_this_machine_are_known() {
        for host in ["localhost:8080", "127.0.0.1", "[::1]:80", "a.localhost"] {
            assert!(is_loopback_host(host_name(host)), "{host}");
        }
        for host in ["evil.example", "127.0.0.1.evil.example", "10.0.0.1:8080"] {
            assert!(!is_loopback_host(host_name(host)), "{host}");
        }
    }
}
