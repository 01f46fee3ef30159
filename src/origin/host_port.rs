//! `host[:port]`, read to its last byte.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::Host;

/// What a `Host` header holds (RFC 9110, 7.2), and an origin behind its scheme.
///
/// The URL parser would take more for one: a user in front, a path behind. A look for the last colon
/// takes `localhost:8080evil.example` for `localhost`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostPort<'a> {
    /// An IPv6 address in its brackets.
    name: &'a str,
    port: Option<u16>,
}

impl<'a> HostPort<'a> {
    /// Reads the whole text; `None` if it is anything else. An empty port counts as none.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (name, rest) = match text.strip_prefix('[') {
            Some(inner) => {
                let end = inner.find(']')?;
                inner[..end].parse::<Ipv6Addr>().ok()?;
                text.split_at(end + 2)
            }
            None => text.split_at(text.find(':').unwrap_or(text.len())),
        };
        if name.is_empty() || !(name.starts_with('[') || is_plain(name)) {
            return None;
        }
        let port = match rest.strip_prefix(':') {
            None if rest.is_empty() => None,
            None => return None,
            Some("") => None,
            // `parse` alone would take a sign.
            Some(digits) if digits.starts_with(|first: char| first.is_ascii_digit()) => {
                Some(digits.parse().ok()?)
            }
            Some(_) => return None,
        };
        Some(Self { name, port })
    }

    /// The host as URLs are compared: in lower case, addresses in one form. `None` for what no URL
    /// could name.
    pub fn host(&self) -> Option<Host> {
        Host::parse(self.name).ok()
    }

    /// The port, or the one that this scheme has where none is named; `None` for other schemes than
    /// http and https.
    pub fn port_of(&self, scheme: &str) -> Option<u16> {
        let usual = match scheme {
            "http" => 80,
            "https" => 443,
            _ => return None,
        };
        Some(self.port.unwrap_or(usual))
    }
}

fn is_plain(name: &str) -> bool {
    for byte in name.as_bytes() {
        if !matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'A'..=b'Z' | b'.' | b'-' | b'_') {
            return false;
        }
    }
    true
}

/// Where a name that means this machine is, in the order in which its addresses are tried.
pub const LOOPBACK: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// Whether a host means this machine: a loopback address, `localhost`, or a name under it (RFC 6761,
/// 6.3).
pub fn is_loopback<S: AsRef<str>>(host: &Host<S>) -> bool {
    match host {
        Host::Domain(name) => {
            let name = name.as_ref();
            let name = name.strip_suffix('.').unwrap_or(name);
            name == "localhost" || name.ends_with(".localhost")
        }
        Host::Ipv4(ip) => ip.is_loopback(),
        Host::Ipv6(ip) => ip.to_canonical().is_loopback(),
    }
}

/// The same of the name in a `Host` header.
pub fn names_loopback(host: &str) -> bool {
    HostPort::parse(host).and_then(|host| host.host()).is_some_and(|host| is_loopback(&host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address_with_a_port_or_without() {
        for (text, port) in [
            ("localhost", None),
            ("localhost:", None),
            ("a.example:8080", Some(8080)),
            ("my_service.:80", Some(80)),
            ("127.0.0.1:00080", Some(80)),
            ("[::1]", None),
            ("[::1]:443", Some(443)),
            ("[::ffff:127.0.0.1]:65535", Some(65535)),
        ] {
            let found = HostPort::parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(found.port, port, "{text}");
            assert!(found.host().is_some(), "{text}");
        }
        for text in [
            "",
            ":80",
            "localhost:8080evil.example",
            "localhost:80:80",
            "localhost:+80",
            "localhost:65536",
            "localhost: 80",
            "user@localhost",
            "localhost/path",
            "localhost?x",
            "localhost#x",
            "localhost\\x",
            "local host",
            "%6cocalhost",
            "*.example",
            "a.example,b.example",
            "[::1",
            "[::1]evil.example",
            "[::1]:80x",
            "[::1%25lo]",
            "[localhost]",
            "[]",
            "::1",
            "b\u{fc}cher.example",
        ] {
            assert_eq!(HostPort::parse(text), None, "{text}");
        }
    }

    #[test]
    fn names_of_this_machine_are_known() {
        for host in [
            "localhost:8080",
            "LOCALHOST",
            "localhost.",
            "127.0.0.1",
            "127.8.9.1:1",
            "[::1]:80",
            "[::ffff:127.0.0.1]",
            "a.localhost",
            "a.b.localhost.:80",
        ] {
            assert!(names_loopback(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "evillocalhost",
            "127.0.0.1.evil.example",
            "localhost:8080evil.example",
            "localhost:8080@evil.example",
            "[::1]evil.example",
            "10.0.0.1:8080",
            "[::2]",
        ] {
            assert!(!names_loopback(host), "{host}");
        }
    }

    #[test]
    fn a_missing_port_is_the_schemes_own() {
        let port = |text, scheme| HostPort::parse(text).unwrap().port_of(scheme);
        assert_eq!(port("a", "http"), Some(80));
        assert_eq!(port("a", "https"), Some(443));
        assert_eq!(port("a:81", "https"), Some(81));
        assert_eq!(port("a:81", "ftp"), None);
    }
}
