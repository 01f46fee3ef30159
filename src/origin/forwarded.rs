//! What proxies say about a client, read from the right: `X-Forwarded-For` and `Forwarded` (RFC 7239).
//!
//! A proxy appends to what the client sent, so everything left of the first address that is no
//! proxy's may be the client's own. `Forwarded` has quoted strings, and read from the left one open
//! quote of the client's would swallow what our proxies appended. So quotes are paired from the
//! right: in an element that is well formed a quote that closes can be told from its end alone, and
//! nothing that stands left of the element matters. A value that is well formed as a whole is taken
//! apart the same way from both ends.

use std::{
    borrow::Cow,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str,
};

use crate::config::ProxyHeader;

/// The addresses that one line of a header names, the last one first. `None` is an element that is
/// malformed or names no address; an empty one is too, since RFC 9110's rule to ignore those
/// (5.6.1.2) would make a proxy that appends an empty variable vouch for what the client sent.
pub(super) fn from_the_right(
    kind: ProxyHeader,
    line: &[u8],
) -> impl Iterator<Item = Option<IpAddr>> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let line = rest?;
        let start = match kind {
            ProxyHeader::XForwardedFor => start_of_last_part(line),
            ProxyHeader::Forwarded => start_of_last_element(line),
        };
        let Some(start) = start else {
            rest = None;
            return Some(None);
        };
        // The comma goes too.
        rest = start.checked_sub(1).map(|comma| &line[..comma]);
        let last = &line[start..];
        Some(match kind {
            ProxyHeader::XForwardedFor => address(last.trim_ascii()),
            ProxyHeader::Forwarded => element(last),
        })
    })
}

fn start_of_last_part(line: &[u8]) -> Option<usize> {
    Some(line.iter().rposition(|byte| *byte == b',').map_or(0, |comma| comma + 1))
}

/// `None` if the line begins inside quotes, as seen from its end.
fn start_of_last_element(line: &[u8]) -> Option<usize> {
    let mut quoted = false;
    for (at, byte) in line.iter().enumerate().rev() {
        match byte {
            b',' if !quoted => return Some(at + 1),
            b'"' if !quoted => quoted = true,
            // In quotes an odd number of backslashes in front makes it one of the string's own.
            b'"' => {
                let before = line[..at].iter().rev();
                quoted = before.take_while(|byte| **byte == b'\\').count() % 2 == 1;
            }
            _ => {}
        }
    }
    (!quoted).then_some(0)
}

/// The address in `[ forwarded-pair ] *( ";" [ forwarded-pair ] )`, if that is all there is.
fn element(text: &[u8]) -> Option<IpAddr> {
    let mut found = None;
    let mut rest = text;
    loop {
        rest = rest.trim_ascii();
        let (name, after) = token(rest);
        if !name.is_empty() {
            let (node, after) = value(after.strip_prefix(b"=")?)?;
            // Nothing says which of two counts.
            if name.eq_ignore_ascii_case(b"for") && found.replace(node).is_some() {
                return None;
            }
            rest = after.trim_ascii();
        }
        match rest.split_first() {
            None => return node_address(&found?),
            Some((b';', after)) => rest = after,
            Some(_) => return None,
        }
    }
}

/// A token or a quoted string without its quotes and backslashes, and what comes behind it.
fn value(text: &[u8]) -> Option<(Cow<'_, [u8]>, &[u8])> {
    let Some(quoted) = text.strip_prefix(b"\"") else {
        let (token, after) = token(text);
        return (!token.is_empty()).then_some((token.into(), after));
    };
    let plain = quoted.iter().take_while(|byte| is_quotable(**byte)).count();
    if quoted.get(plain) == Some(&b'"') {
        return Some((quoted[..plain].into(), &quoted[plain + 1..]));
    }
    let mut unescaped = Vec::new();
    let mut bytes = quoted.iter();
    loop {
        match *bytes.next()? {
            b'"' => return Some((unescaped.into(), bytes.as_slice())),
            b'\\' => {
                let byte = *bytes.next()?;
                (is_quotable(byte) || matches!(byte, b'"' | b'\\'))
                    .then(|| unescaped.push(byte))?;
            }
            byte if is_quotable(byte) => unescaped.push(byte),
            _ => return None,
        }
    }
}

/// `1*tchar` (RFC 9110, 5.6.2), as far as it goes, and what comes behind it.
fn token(text: &[u8]) -> (&[u8], &[u8]) {
    let is_token = |byte: &&u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(*byte);
    text.split_at(text.iter().take_while(is_token).count())
}

/// What stands in quotes as it is: `qdtext` (RFC 9110, 5.6.4).
fn is_quotable(byte: u8) -> bool {
    matches!(byte, b'\t' | b' ' | b'!' | b'#'..=b'[' | b']'..=b'~' | 0x80..)
}

/// The address of a `node` (RFC 7239, 6). A token has neither colon nor bracket, so IPv6 and ports
/// are in quotes. `unknown` and names that a proxy made up are no addresses.
fn node_address(node: &[u8]) -> Option<IpAddr> {
    let node = str::from_utf8(node).ok()?;
    let (ip, port) = match node.strip_prefix('[') {
        Some(rest) => {
            let (ip, port) = rest.split_once(']')?;
            (IpAddr::V6(ip.parse::<Ipv6Addr>().ok()?), port)
        }
        None => {
            let (ip, port) = node.split_at(node.find(':').unwrap_or(node.len()));
            (IpAddr::V4(ip.parse::<Ipv4Addr>().ok()?), port)
        }
    };
    (port.is_empty() || is_port(port.strip_prefix(':')?)).then(|| ip.to_canonical())
}

/// One to five digits, or an underscore and a name.
fn is_port(text: &str) -> bool {
    match text.strip_prefix('_') {
        Some(name) => {
            let named =
                |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
            !name.is_empty() && name.bytes().all(named)
        }
        None => (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

/// A part of `X-Forwarded-For`, for which there is no grammar: proxies write addresses with and
/// without a port, and IPv6 ones with and without brackets.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(text).ok()?;
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok().map(IpAddr::V6);
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    let ip = text.parse().ok().or_else(bracketed).or_else(with_port)?;
    Some(ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forwarded(line: &[u8]) -> Vec<Option<String>> {
        let said = from_the_right(ProxyHeader::Forwarded, line);
        said.map(|ip| ip.map(|ip| ip.to_string())).collect()
    }

    #[test]
    fn an_element_of_forwarded_names_the_address_of_its_for() {
        for (element, wanted) in [
            ("for=192.0.2.1", "192.0.2.1"),
            ("For=192.0.2.1;proto=https;by=203.0.113.43", "192.0.2.1"),
            ("proto=http;FOR=\"192.0.2.1\"", "192.0.2.1"),
            (";; for=192.0.2.1 ; proto=http;", "192.0.2.1"),
            ("for=\"192.0.2.1:47011\"", "192.0.2.1"),
            ("for=\"192.0.2.1:_a.B-1_\"", "192.0.2.1"),
            ("for=\"[2001:db8::1]\"", "2001:db8::1"),
            ("for=\"[2001:DB8::1]:80\"", "2001:db8::1"),
            ("for=\"[::ffff:192.0.2.1]\"", "192.0.2.1"),
            (r#"for="1\92.0.2\.1""#, "192.0.2.1"),
            ("for=192.0.2.1;host=\"a,for=203.0.113.5\"", "192.0.2.1"),
            (r#"host="\",for=203.0.113.5;x=\\";for=192.0.2.1"#, "192.0.2.1"),
            ("host=\"for=203.0.113.5;\u{e4}\";for=192.0.2.1;x=\"\"", "192.0.2.1"),
        ] {
            assert_eq!(forwarded(element.as_bytes()), [Some(wanted.into())], "{element}");
        }
    }

    #[test]
    fn what_is_malformed_or_no_address_names_nobody() {
        for element in [
            "",
            " ",
            ";",
            "192.0.2.1",
            "proto=https",
            "for",
            "for=",
            "for =192.0.2.1",
            "for= 192.0.2.1",
            "for=192.0.2.1 proto=http",
            "for=192.0.2.1;proto",
            "for=192.0.2.1;=http",
            "for=192.0.2.1;for=192.0.2.1",
            "for=192.0.2.1;FOR=\"203.0.113.5\"",
            "for=192.0.2.1:80",
            "for=2001:db8::1",
            "for=[2001:db8::1]",
            "for=\"2001:db8::1\"",
            "for=\"[192.0.2.1]\"",
            "for=\"[2001:db8::1]80\"",
            "for=\"[2001:db8::1]:\"",
            "for=\"[2001:db8::1\"",
            "for=\"192.0.2.1:\"",
            "for=\"192.0.2.1:123456\"",
            "for=\"192.0.2.1:_\"",
            "for=\"192.0.2.1:http\"",
            "for=\" 192.0.2.1\"",
            "for=192.0.2.01",
            "for=unknown",
            "for=Unknown",
            "for=_hidden",
            "for=\"_SEVKISEK:80\"",
            "for=\"192.0.2.1",
            "for=192.0.2.1\"",
            "for=\"192.0.2.1\"x",
            r#"for="192.0.2.1\""#,
            r#"for=192.0.2.1;host="\""#,
            "for=192.0.2.1;host=\"\"\"",
            "for=192.0.2.1;host=\"a\u{7f}\"",
            "for=192.0.2.1\u{e4}",
        ] {
            assert_eq!(forwarded(element.as_bytes()), [None], "{element}");
        }
    }

    #[test]
    fn no_quote_of_the_clients_reaches_into_what_was_appended() {
        let named = |line: &[u8]| forwarded(line).into_iter().next().flatten();
        for client in [
            &b"for=198.51.100.66"[..],
            b"for=\"198.51.100.66",
            b"for=198.51.100.66;host=\"",
            b"\"",
            b"\"\"",
            b"\"\"\"",
            b"\\",
            b"\"\\",
            b"\"\\\\",
            b"for=198.51.100.66;x=\"\\\"",
            b"",
            b",",
            b"\xff",
        ] {
            for element in [
                &b"for=192.0.2.1"[..],
                b"for=\"192.0.2.1:80\"",
                b"for=192.0.2.1;host=\"a,for=203.0.113.5\"",
                b"for=192.0.2.1;host=\"\\\",for=203.0.113.5\"",
                b"for=192.0.2.1;host=\"\\\\\"",
            ] {
                for comma in [&b","[..], b", ", b" , "] {
                    let line = [client, comma, element].concat();
                    assert_eq!(named(&line), Some("192.0.2.1".into()), "{}", line.escape_ascii());
                }
            }
        }
    }

    #[test]
    fn parts_of_x_forwarded_for_are_bytes() {
        let said = |line: &[u8]| {
            let said = from_the_right(ProxyHeader::XForwardedFor, line);
            said.map(|ip| ip.map(|ip| ip.to_string())).collect::<Vec<_>>()
        };
        let some = |ip: &str| Some(ip.to_owned());
        assert_eq!(said(b"\xff, 192.0.2.1:80"), [some("192.0.2.1"), None]);
        assert_eq!(said(b"192.0.2.1\xff,[2001:db8::1]"), [some("2001:db8::1"), None]);
        assert_eq!(
            said(b"[2001:db8::1]:80,2001:db8::2"),
            [some("2001:db8::2"), some("2001:db8::1")]
        );
        assert_eq!(said(b"::ffff:192.0.2.1,"), [None, some("192.0.2.1")]);
        for part in ["", "[2001:db8::1]x", "[192.0.2.1]", "192.0.2.1:", "\"192.0.2.1\"", "unknown"]
        {
            assert_eq!(said(part.as_bytes()), [None], "{part}");
        }
    }
}
