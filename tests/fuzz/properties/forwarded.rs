//! `X-Forwarded-For` and `Forwarded`: no bytes of a client's move or hide what a proxy of ours has
//! appended, and what is well formed means the same from both ends.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use scanlogin::{
    config::ProxyHeader,
    origin::{client_address, limit_key},
};

const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// What proxies of ours append about [`CLIENT`].
const APPENDED: [(ProxyHeader, &[u8]); 8] = [
    (ProxyHeader::XForwardedFor, b"192.0.2.1"),
    (ProxyHeader::XForwardedFor, b"192.0.2.1:80, 10.9.9.9"),
    (ProxyHeader::XForwardedFor, b"[::ffff:192.0.2.1]"),
    (ProxyHeader::Forwarded, b"for=192.0.2.1"),
    (ProxyHeader::Forwarded, b"for=\"192.0.2.1:80\";proto=https, for=\"10.9.9.9:_x\""),
    (ProxyHeader::Forwarded, b"for=192.0.2.1;host=\"a,for=203.0.113.5\""),
    (ProxyHeader::Forwarded, b"host=\"\\\",for=203.0.113.5;\\\\\";for=192.0.2.1"),
    (ProxyHeader::Forwarded, b"For=\"[::ffff:192.0.2.1]:1\";x=\"\", by=_a;for=10.9.9.9"),
];

/// What they append where they do not know it.
const UNKNOWN: [(ProxyHeader, &[u8]); 6] = [
    (ProxyHeader::XForwardedFor, b""),
    (ProxyHeader::XForwardedFor, b"unknown"),
    (ProxyHeader::Forwarded, b""),
    (ProxyHeader::Forwarded, b"for=unknown"),
    (ProxyHeader::Forwarded, b"for=_hidden;host=\"a,for=203.0.113.5\""),
    (ProxyHeader::Forwarded, b"proto=https"),
];

/// The lines of a header as a client sends them.
pub(crate) fn forwarded(data: &[u8]) {
    let lines: Vec<&[u8]> = data.split(|byte| *byte == b'\n').collect();
    for (kind, appended) in APPENDED {
        for lines in behind(&lines, appended) {
            assert_eq!(seen(kind, &lines), CLIENT, "{}", lines.join(&b'\n').escape_ascii());
        }
    }
    for (kind, appended) in UNKNOWN {
        for lines in behind(&lines, appended) {
            assert_eq!(seen(kind, &lines), PROXY, "{}", lines.join(&b'\n').escape_ascii());
        }
    }
    let trusted = ["10.0.0.0/8".parse().expect("a network")];
    for kind in [ProxyHeader::XForwardedFor, ProxyHeader::Forwarded] {
        let stranger = client_address(CLIENT, &trusted, kind, lines.iter().copied());
        assert_eq!(stranger, CLIENT, "nobody else is believed");
        let client = client_address(PROXY, &trusted, kind, lines.iter().copied());
        assert_eq!(limit_key(client), limit_key(client.to_canonical()));
    }
    // Where everybody is a proxy the whole is read, as far as it can be.
    let everybody = ["0.0.0.0/0", "::/0"].map(|network| network.parse().expect("a network"));
    for line in &lines {
        let Some(elements) = from_the_left(line) else { continue };
        let known = elements.into_iter().rev().map_while(|address| address);
        let read = client_address(PROXY, &everybody, ProxyHeader::Forwarded, [*line].into_iter());
        assert_eq!(read, known.last().unwrap_or(PROXY), "{}", line.escape_ascii());
    }
}

fn seen(kind: ProxyHeader, lines: &[Vec<u8>]) -> IpAddr {
    let trusted = ["10.0.0.0/8".parse().expect("a network")];
    client_address(PROXY, &trusted, kind, lines.iter().map(Vec::as_slice))
}

/// What comes out of a proxy that appends to the last line, and of one that adds a line.
fn behind(lines: &[&[u8]], appended: &[u8]) -> [Vec<Vec<u8>>; 2] {
    let mut added: Vec<Vec<u8>> = lines.iter().map(|line| line.to_vec()).collect();
    let mut joined = added.clone();
    added.push(appended.to_vec());
    let last = joined.last_mut().expect("a split has a part");
    last.extend_from_slice(b", ");
    last.extend_from_slice(appended);
    [added, joined]
}

/// The same grammar as the service's, read from the left: each element's address, or `None` if one
/// of them is malformed.
fn from_the_left(line: &[u8]) -> Option<Vec<Option<IpAddr>>> {
    split(line, b',')?.into_iter().map(element).collect()
}

/// The parts between these bytes, those in quotes left aside; `None` if a quote stays open.
fn split(text: &[u8], at: u8) -> Option<Vec<&[u8]>> {
    let (mut parts, mut start, mut quoted) = (Vec::new(), 0, false);
    let mut bytes = text.iter().enumerate();
    while let Some((position, byte)) = bytes.next() {
        match byte {
            b'"' => quoted = !quoted,
            b'\\' if quoted => drop(bytes.next()),
            byte if *byte == at && !quoted => {
                parts.push(&text[start..position]);
                start = position + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    (!quoted).then_some(parts)
}

/// The address that a well-formed element names, if it names one.
fn element(text: &[u8]) -> Option<Option<IpAddr>> {
    let mut found = None;
    for pair in split(text, b';')? {
        let pair = pair.trim_ascii();
        if pair.is_empty() {
            continue;
        }
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        let (name, value) = (&pair[..equals], &pair[equals + 1..]);
        let value = match value {
            [b'"', inside @ .., b'"'] => unquoted(inside)?,
            token => is_token(token).then(|| token.to_vec())?,
        };
        if !is_token(name) {
            return None;
        }
        if name.eq_ignore_ascii_case(b"for") && found.replace(value).is_some() {
            return None;
        }
    }
    Some(found.and_then(|node| address(str::from_utf8(&node).ok()?)))
}

fn is_token(text: &[u8]) -> bool {
    !text.is_empty()
        && text.iter().all(|byte| byte.is_ascii_graphic() && !b"(),/:;<=>?@[\\]{}\"".contains(byte))
}

fn unquoted(inside: &[u8]) -> Option<Vec<u8>> {
    let (mut text, mut bytes) = (Vec::new(), inside.iter());
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'"' => return None,
            b'\\' => bytes.next()?,
            byte => byte,
        };
        if byte.is_ascii_control() && *byte != b'\t' {
            return None;
        }
        text.push(*byte);
    }
    Some(text)
}

fn address(node: &str) -> Option<IpAddr> {
    let (ip, port) = match node.rsplit_once(':') {
        Some((ip, port)) if !port.contains(']') => (ip, Some(port)),
        _ => (node, None),
    };
    let is_port = |port: &str| match port.strip_prefix('_') {
        Some(name) => {
            !name.is_empty()
                && name.chars().all(|char| char.is_ascii_alphanumeric() || "._-".contains(char))
        }
        None => (1..6).contains(&port.len()) && port.chars().all(|char| char.is_ascii_digit()),
    };
    if !port.is_none_or(is_port) {
        return None;
    }
    let ip = match ip.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?.parse::<Ipv6Addr>().ok()?.into(),
        None => IpAddr::V4(ip.parse::<Ipv4Addr>().ok()?),
    };
    Some(ip.to_canonical())
}
