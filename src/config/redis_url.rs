//! The three forms of a Redis URL (spec section 6).

use std::fmt;

use percent_encoding::percent_decode_str;
use url::Url;

use super::Secret;

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
        match (&self.user, &self.password) {
            (None, None) => {}
            (user, None) => write!(f, "{}@", user.as_deref().unwrap_or_default())?,
            (user, Some(_)) => write!(f, "{}:...@", user.as_deref().unwrap_or_default())?,
        }
        write!(f, "{nodes}")?;
        if let Some(master) = master {
            write!(f, "/{master}")?;
        }
        write!(f, "/{}", self.db)
    }
}

impl RedisUrl {
    /// Reads a URL. The message of an error never repeats the URL: it may hold a password.
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
                return Err(format!(
                    "'{scheme}' is not one of redis, rediss, redis+sentinel, \
                                     rediss+sentinel, redis+cluster, rediss+cluster"
                ));
            }
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if path.contains(['?', '#']) || authority.contains(['?', '#']) {
            return Err("must not have a query or a fragment".into());
        }
        let (login, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = credentials(login)?;
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
            Some(db) => db.parse().map_err(|_| format!("'{db}' is not a database number"))?,
        };
        if path.next().is_some() {
            return Err("has too many parts after the host".into());
        }
        Ok(Self { tls, user, password, db, nodes })
    }
}

/// `user:password`, percent-encoded; `:password` for the default user.
fn credentials(login: &str) -> Result<(Option<String>, Option<Secret>), String> {
    if login.is_empty() {
        return Ok((None, None));
    }
    let url =
        Url::parse(&format!("redis://{login}@host")).map_err(|_| "has a malformed user part")?;
    let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let user = Some(decode(url.username())).filter(|user| !user.is_empty());
    Ok((user, url.password().map(|password| Secret::new(decode(password)))))
}

fn node(text: &str, default_port: u16) -> Result<Node, String> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => {
            (host, port.parse().map_err(|_| format!("'{port}' is not a port"))?)
        }
        _ => (text, default_port),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() {
        return Err("names no host".into());
    }
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
    fn what_is_wrong_is_named_and_a_password_is_not_repeated() {
        for (text, word) in [
            ("localhost", "not a URL"),
            ("http://h", "http"),
            ("redis://", "host"),
            ("redis://h:x", "port"),
            ("redis://h/x", "database"),
            ("redis://a,b", "several"),
            ("redis+sentinel://a", "primary"),
            ("redis+cluster://a/1", "database"),
            ("redis://h?x=1", "query"),
        ] {
            let error = RedisUrl::parse(text).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
        let error = RedisUrl::parse("redis://u:hunter2@h/x").unwrap_err();
        assert!(!error.contains("hunter2"), "{error}");
    }
}
