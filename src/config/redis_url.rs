//! The three forms of a Redis URL (spec section 6).

use std::{fmt, net::Ipv6Addr};

use percent_encoding::percent_decode_str;

use super::{Secret, text::stray};

/// Where Redis is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisUrl {
    /// Whether connections are encrypted.
    pub tls: bool,
    /// ACL user.
    pub user: Option<String>,
    /// Password.
    pub password: Option<Secret>,
    /// Database number; always 0 in a Cluster.
    pub db: u16,
    /// Which servers.
    pub nodes: RedisNodes,
}

/// The servers that a URL names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisNodes {
    /// One server.
    Single(Node),
    /// Sentinels that know who is the primary now.
    Sentinel {
        /// The Sentinels.
        nodes: Vec<Node>,
        /// The name of the primary that they watch.
        master: String,
    },
    /// Some nodes of a Cluster.
    Cluster(Vec<Node>),
}

/// Host and port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Node {
    /// Name or address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Without the password.
impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tls = if self.tls { "s" } else { "" };
        let list = |nodes: &[Node]| nodes.iter().map(Node::to_string).collect::<Vec<_>>().join(",");
        let (form, nodes, master) = match &self.nodes {
            RedisNodes::Single(node) => ("", node.to_string(), None),
            RedisNodes::Sentinel { nodes, master } => ("+sentinel", list(nodes), Some(master)),
            RedisNodes::Cluster(nodes) => ("+cluster", list(nodes), None),
        };
        write!(f, "redis{tls}{form}://")?;
        if self.password.is_some() {
            write!(f, "{}:...@", self.user.as_deref().unwrap_or_default())?;
        }
        write!(f, "{nodes}")?;
        if let Some(master) = master {
            write!(f, "/{master}")?;
        }
        write!(f, "/{}", self.db)
    }
}

impl RedisUrl {
    /// Reads a URL. The message of an error repeats nothing of it: a password that is not encoded as it
    /// should be can stand anywhere.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").ok_or("is not a URL")?;
        let (tls, form) = match scheme {
            "redis" => (false, ""),
            "rediss" => (true, ""),
            "redis+sentinel" => (false, "sentinel"),
            "rediss+sentinel" => (true, "sentinel"),
            "redis+cluster" => (false, "cluster"),
            "rediss+cluster" => (true, "cluster"),
            _ => {
                let what = "its scheme is not one of redis, rediss, redis+sentinel, \
                            rediss+sentinel, redis+cluster, rediss+cluster";
                return Err(what.into());
            }
        };
        // The last one: an @ in a password is often left as it is.
        let (login, rest) = match rest.rsplit_once('@') {
            Some((login, rest)) => (Some(login), rest),
            None => (None, rest),
        };
        let (user, password) = login.map_or(Ok((None, None)), credentials)?;
        let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
        if rest.contains(['?', '#']) {
            return Err("must not have a query or a fragment".into());
        }
        let default_port = if form == "sentinel" { 26379 } else { 6379 };
        let mut nodes: Vec<Node> =
            hosts.split(',').map(|host| node(host, default_port)).collect::<Result<_, _>>()?;
        let mut path = path.split('/').filter(|part| !part.is_empty());
        let nodes = match form {
            "sentinel" => {
                let master = path.next().ok_or("must name the primary: .../master-name")?;
                RedisNodes::Sentinel { nodes, master: master.into() }
            }
            "cluster" => RedisNodes::Cluster(nodes),
            _ if nodes.len() > 1 => {
                return Err("names several hosts: +sentinel or +cluster?".into());
            }
            _ => RedisNodes::Single(nodes.remove(0)),
        };
        let db = match path.next() {
            None => 0,
            Some(_) if matches!(nodes, RedisNodes::Cluster(_)) => {
                return Err("must not name a database: a Cluster has only 0".into());
            }
            Some(db) => db.parse().map_err(|_| "what follows the host is not a database number")?,
        };
        if path.next().is_some() {
            return Err("has too many parts after the host".into());
        }
        Ok(Self { tls, user, password: password.map(Secret::new), db, nodes })
    }
}

/// `user:password`, percent-encoded; `:password` for the default user. Either without the other is
/// refused: Redis would take a user without a password as one whose password is empty, or, where
/// nothing is sent, us for its default user.
fn credentials(login: &str) -> Result<(Option<String>, Option<String>), String> {
    if let Some(found) = login.chars().find(|c| matches!(c, '/' | '?' | '#')) {
        let code = u32::from(found);
        return Err(format!(
            "has a '{found}' in its user or password (before the last @): write %{code:02X} for it"
        ));
    }
    let decode = |text: &str| -> Result<Option<String>, &str> {
        let text = percent_decode_str(text).decode_utf8().map_err(|_| {
            "has a user or a password whose %-codes are not UTF-8: write %25 for a % of its own"
        })?;
        Ok(Some(text.into_owned()).filter(|text| !text.is_empty()))
    };
    match login.split_once(':') {
        None | Some((_, "")) => Err("has no password before the @: write user:password@, or \
                                     :password@ for the default user; where a user has nopass, any \
                                     password will do; to give none, leave the @ out, too"
            .into()),
        Some((user, password)) => {
            // Put together from variables, one of which ends with a line break.
            if let Some(what) = [user, password].into_iter().find_map(stray) {
                return Err(format!("has a user or a password that {what}"));
            }
            Ok((decode(user)?, decode(password)?))
        }
    }
}

fn node(text: &str, default_port: u16) -> Result<Node, String> {
    // `[::1]:6379` or `name:6379`
    let bracketed = text.strip_prefix('[').map(|rest| rest.split_once(']').unwrap_or((rest, "]")));
    let (host, port) = match bracketed {
        Some((host, "")) => (host, None),
        Some((host, rest)) => (host, Some(rest.strip_prefix(':').ok_or("has a [ without its ]")?)),
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    if host.is_empty() {
        return Err("names no host".into());
    }
    let is_of_host = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
    let is_host = match bracketed {
        Some(_) => host.parse::<Ipv6Addr>().is_ok(),
        None => host.chars().all(is_of_host),
    };
    if !is_host {
        return Err("names a host with characters that no host has".into());
    }
    let port = port.map_or(Ok(default_port), str::parse);
    let port = port.map_err(|_| "what follows a host's colon is not a port")?;
    Ok(Node { host: host.into(), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(host: &str, port: u16) -> Node {
        Node { host: host.into(), port }
    }

    #[test]
    fn the_three_forms_are_read() {
        let url = RedisUrl::parse("rediss://me:p%40s=&+@h:7/3").unwrap();
        assert_eq!((url.tls, url.db, url.user.as_deref()), (true, 3, Some("me")));
        assert_eq!(url.password, Some(Secret::new("p@s=&+")));
        assert_eq!(url.nodes, RedisNodes::Single(at("h", 7)));
        let url = RedisUrl::parse("redis+sentinel://:pw@a:1,b/main/2").unwrap();
        assert_eq!((url.tls, url.db, url.user), (false, 2, None));
        let nodes = vec![at("a", 1), at("b", 26379)];
        assert_eq!(url.nodes, RedisNodes::Sentinel { nodes, master: "main".into() });
        let url = RedisUrl::parse("redis+cluster://[::1]:7000,b").unwrap();
        assert_eq!(url.nodes, RedisNodes::Cluster(vec![at("::1", 7000), at("b", 6379)]));
    }

    #[test]
    fn a_password_is_what_it_is() {
        for (login, user, password) in [
            (":p@s:s", None, "p@s:s"),
            ("me:100%", Some("me"), "100%"),
            ("m%3Ae:%2F%3F%23%40", Some("m:e"), "/?#@"),
            (":a\tb%0A", None, "a\tb\n"),
        ] {
            let url = RedisUrl::parse(&format!("redis://{login}@h")).unwrap();
            assert_eq!((url.user.as_deref(), url.password), (user, Some(Secret::new(password))));
        }
    }

    #[test]
    fn what_is_wrong_is_named_and_a_password_is_not_repeated() {
        for (text, word) in [
            ("localhost", "not a URL"),
            ("http://h", "not one of redis"),
            ("redis://", "host"),
            ("redis://h:x", "port"),
            ("redis://h/x", "database"),
            ("redis://a,b", "several"),
            ("redis://a b", "characters"),
            ("redis://[::1", "]"),
            ("redis://[h]:1", "characters"),
            ("redis://::1", "host"),
            ("redis+sentinel://a", "primary"),
            ("redis+cluster://a/1", "database"),
            ("redis://h?x=1", "query"),
            ("redis://:hunter/2@h", "'/' in its user or password (before the last @): write %2F"),
            ("redis://bob:123/secret@h", "write %2F"),
            ("redis://:hunter?2@h", "write %3F"),
            ("redis://:hunter#2@h", "write %23"),
            ("redis://:%FF@h", "UTF-8"),
            ("redis://:hunter\n@h", "ends with a line break"),
            ("redis://:\u{feff}hunter@h", "begins with a byte order mark"),
            ("redis://bob@h", "no password before the @"),
            ("redis://bob:@h", "no password before the @"),
            ("redis://:@h", "no password before the @"),
            ("redis://@h", "no password before the @"),
            ("redis://:hunter", "host"),
            ("redis://h:hunter", "port"),
            ("redis:hunter@h://h", "not one of redis"),
        ] {
            let error = RedisUrl::parse(text).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
            assert!(!error.contains("hunter") && !error.contains("secret@"), "{text}: {error}");
        }
    }
}
