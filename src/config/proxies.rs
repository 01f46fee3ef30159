//! Which proxies are believed about a client's address.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

use super::{ConfigError, Values, text::quoted};

/// The networks of our proxies; an empty element, such as behind a comma at the end, is passed over.
///
/// # Errors
/// An element that is no network, or none that is not empty.
pub(super) fn trusted(values: &Values) -> Result<Vec<IpNet>, ConfigError> {
    const NAME: &str = "SCANLOGIN_TRUSTED_PROXIES";
    let Some(text) = values.get(NAME)? else { return Ok(Vec::new()) };
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let bad = |what: String| ConfigError::new(NAME, what);
    let networks: Vec<IpNet> = parts
        .map(|part| {
            let what = || bad(format!("{} is not a network in CIDR form", quoted(part)));
            network(part).ok_or_else(what)
        })
        .collect::<Result<_, _>>()?;
    if networks.is_empty() {
        return Err(bad(format!("{} names no network", quoted(&text))));
    }
    Ok(networks)
}

/// IPv4 written as IPv6 (`::ffff:0:0/96`) is IPv4, as the addresses are that it is compared with.
fn network(text: &str) -> Option<IpNet> {
    /// The bits in front of an IPv4 address there (RFC 4291, 2.5.5.2).
    const PREFIX: u8 = 96;
    let network = text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))?;
    let v4 = match network {
        IpNet::V6(v6) => v6.addr().to_ipv4_mapped().zip(v6.prefix_len().checked_sub(PREFIX)),
        IpNet::V4(_) => None,
    };
    Some(match v4 {
        Some((ip, length)) => Ipv4Net::new(ip, length).ok()?.into(),
        None => network,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_what_its_addresses_are() {
        for (text, wanted) in [
            ("10.0.0.1", "10.0.0.1/32"),
            ("::ffff:10.0.0.1", "10.0.0.1/32"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:a00:1/128", "10.0.0.1/32"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("fd00::/8", "fd00::/8"),
            // A network that holds more than IPv4 stays IPv6.
            ("::/0", "::/0"),
            ("::fffe:0:0/95", "::fffe:0:0/95"),
        ] {
            assert_eq!(network(text).unwrap().to_string(), wanted, "{text}");
        }
    }
}
