//! Whose pages may use the service: `Origin`, `Host`, and the client's address behind proxies.

mod forwarded;
mod host_port;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use url::Url;

pub use self::host_port::{HostPort, LOOPBACK, is_loopback, names_loopback};
use crate::config::ProxyHeader;

/// Longest origin, in bytes: a scheme, the longest name of DNS and a port. CORS says it again in the
/// answer, and the buffer of an event stream's answer lives as long as the stream.
pub const MAX_ORIGIN: usize = 320;

/// The origins that may log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// The host and port of the public URL, else of the request's `Host`.
    SameHost,
    /// Any of at most [`MAX_ORIGIN`] bytes, `null` too.
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
        let listed = text.split(',').map(|part| listed(part.trim()));
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
            Self::Any => origin.len() <= MAX_ORIGIN,
            Self::Listed(_) => self.list(origin),
            // What nearly every browser sends, told without taking two URLs apart.
            Self::SameHost if public.is_none() && is_same_text(origin, host) => true,
            Self::SameHost => {
                let Some((scheme, origin)) = origin.split_once("://") else { return false };
                // Behind a TLS proxy the scheme is unknown here: the origin's own decides what a
                // missing port means.
                let scheme = scheme.to_ascii_lowercase();
                let place = |text| {
                    let text = HostPort::parse(text)?;
                    text.host().zip(text.port_of(&scheme))
                };
                let Some((name, port)) = place(origin) else { return false };
                match public {
                    Some(public) => {
                        public.host().is_some_and(|host| host == name)
                            && public.port_or_known_default() == Some(port)
                    }
                    None => host.and_then(place) == Some((name, port)),
                }
            }
        }
    }
}

/// One origin of the list, as browsers send it.
fn listed(part: &str) -> Result<String, String> {
    if part.contains('@') {
        // Not repeated: what stands in front may be a password.
        return Err("an origin is a scheme, a host and a port: it has no user and no '@'".into());
    }
    if part.contains('*') {
        return Err(format!(
            "'{part}' would match no page: there are no patterns. List each origin by itself, or \
             write * alone for any"
        ));
    }
    let Some((scheme, rest)) = part.split_once("://") else {
        return Err(format!(
            "'{part}' is not an origin: that is a scheme and a host, such as https://a.example, \
             with a port unless it is the scheme's default"
        ));
    };
    match &scheme.to_ascii_lowercase()[..] {
        "http" | "https" => web_origin(part),
        "ws" | "wss" => Err(format!(
            "'{part}' would match no page: a page that opens a WebSocket has an origin that begins \
             with https:// or http://"
        )),
        "file" | "data" | "blob" | "about" | "javascript" => Err(format!(
            "'{part}' would match no page: the origin of such pages is 'null', which only * admits"
        )),
        lower => app_origin(part, scheme, lower, rest),
    }
}

/// Of a page of the web.
fn web_origin(part: &str) -> Result<String, String> {
    let url = Url::parse(part).map_err(|_| format!("'{part}' is not an origin"))?;
    // What a browser sends; anything longer would never match.
    let origin = url.origin().ascii_serialization();
    if !origin.eq_ignore_ascii_case(part) {
        return Err(format!(
            "'{part}' is not an exact origin: browsers send '{origin}'; write that"
        ));
    }
    Ok(origin)
}

/// Of an app's or an extension's page: compared letter for letter, since no rule says what is the same.
fn app_origin(part: &str, scheme: &str, lower: &str, rest: &str) -> Result<String, String> {
    if scheme != lower {
        return Err(format!("'{part}' would match no page: write the scheme as '{lower}://'"));
    }
    let is_scheme = lower.starts_with(|first: char| first.is_ascii_lowercase())
        && lower.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    if !is_scheme || HostPort::parse(rest).is_none() || rest.ends_with(':') {
        return Err(format!(
            "'{part}' is not an exact origin: scheme and host such as capacitor://localhost, app://. \
             or chrome-extension://<id>, nothing else"
        ));
    }
    Ok(part.into())
}

/// Whether `origin` is a scheme in front of `host`, letter for letter, and both are plain.
fn is_same_text(origin: &str, host: Option<&str>) -> bool {
    let after = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    host.is_some_and(|host| after == Some(host) && HostPort::parse(host).is_some())
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
        fn allow(origin: Option<&str>, host: Option<&str>, public: Option<&str>) -> bool {
            let public = public.map(|url| Url::parse(url).unwrap());
            Origins::SameHost.allow(origin, host, public.as_ref())
        }
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
        assert!(allow(Some("https://[::1]:8443"), None, Some("https://[::1]:8443/base")));
        for host in ["a.example:80evil.example", "a.example/", "user@a.example", "a.example?"] {
            let origin = format!("http://{host}");
            assert!(!allow(Some(&origin), Some(host), None), "{origin}");
            assert!(!allow(Some(&origin), Some("a.example"), None), "{origin}");
            assert!(!allow(Some("http://a.example"), Some(host), None), "{host}");
            assert!(!allow(Some(&origin), None, Some("http://a.example")), "{origin}");
        }
        for scheme in ["ftp", "ws", "capacitor"] {
            let origin = format!("{scheme}://localhost:80");
            assert!(!allow(Some(&origin), Some("localhost:80"), None), "{origin}");
        }
    }

    #[test]
    fn a_list_is_exact() {
        let list = Origins::parse("https://a.example, http://b.example:81").unwrap();
        assert!(list.allow(Some("https://a.example"), None, None));
        assert!(list.allow(Some("http://b.example:81"), None, None));
        for origin in ["http://a.example", "https://a.example:444", "https://x.a.example", "null"] {
            assert!(!list.allow(Some(origin), Some("a.example"), None), "{origin}");
        }
        let any = Origins::parse("*").unwrap();
        assert!(any.allow(Some("null"), None, None));
        let of = |length: usize| format!("https://{}", "a".repeat(length - 8));
        assert!(any.allow(Some(&of(MAX_ORIGIN)), None, None));
        assert!(!any.allow(Some(&of(MAX_ORIGIN + 1)), None, None));
        for wrong in ["a.example", "https://a.example/", "https://*.a.example,*", "null", ""] {
            assert!(Origins::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn origins_of_apps_and_extensions_are_compared_letter_for_letter() {
        for origin in [
            "capacitor://localhost",
            "ionic://localhost",
            "tauri://localhost",
            "app://localhost",
            "app://.",
            "app://Bundle_1",
            "capacitor://localhost:8100",
            "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
            "moz-extension://1b9e0e6c-4b8e-4d51-a0c5-1f2d3c4b5a69",
            "com.example.app+x://local.host",
        ] {
            let list = Origins::parse(&format!("https://a.example,{origin}")).expect(origin);
            assert!(list.allow(Some(origin), None, None), "{origin}");
            let changed = [
                format!("{origin}/"),
                format!("{origin}x"),
                format!("{origin}:80"),
                origin.to_uppercase(),
                origin.replace("://", "://x."),
                origin.replacen("://", ":", 1),
                format!("x{origin}"),
                format!(" {origin}"),
            ];
            for other in changed {
                assert!(!list.allow(Some(&other), None, None), "{other}");
            }
        }
        assert!(!Origins::parse("app://Bundle").unwrap().allow(Some("app://bundle"), None, None));
    }

    #[test]
    fn an_origin_that_no_browser_sends_is_refused_and_the_refusal_says_what_to_write() {
        for (wrong, help) in [
            ("https://*.a.example", "there are no patterns"),
            ("https://a.example,*", "there are no patterns"),
            ("chrome-extension://*", "there are no patterns"),
            ("https://a.example/", "browsers send 'https://a.example'"),
            ("https://a.example:443", "browsers send 'https://a.example'"),
            ("https://b\u{fc}cher.example", "browsers send 'https://xn--bcher-kva.example'"),
            ("https://a.example/path?query", "browsers send 'https://a.example'"),
            ("wss://a.example", "begins with https:// or http://"),
            ("file://", "only * admits"),
            ("Capacitor://localhost", "'capacitor://'"),
            ("capacitor://localhost/", "scheme and host such as"),
            ("app://", "scheme and host such as"),
            ("chrome-extension://<id>", "scheme and host such as"),
            ("https://user:hunter2@a.example", "no user"),
            ("a.example", "not an origin"),
        ] {
            let error = Origins::parse(wrong).expect_err(wrong);
            assert!(error.contains(help), "{wrong}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
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
}
