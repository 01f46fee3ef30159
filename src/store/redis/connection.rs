//! A connection that commands are sent over, whatever carries it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use redis::{
    Cmd, ErrorKind, Pipeline, RedisError, RedisFuture, ServerErrorKind, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    cluster_async::ClusterConnection,
};

use super::{multiplexer::Multiplexer, piggyback::Role};

/// What carries it.
#[derive(Clone)]
pub(super) enum Link {
    Line(Multiplexer),
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// A shared, pipelining connection that knows when it has broken.
#[derive(Clone)]
pub struct Connection {
    link: Link,
    broken: Arc<AtomicBool>,
}

impl From<Link> for Connection {
    fn from(link: Link) -> Self {
        Self { link, broken: Arc::default() }
    }
}

impl From<Multiplexer> for Connection {
    fn from(line: Multiplexer) -> Self {
        Link::Line(line).into()
    }
}

impl Connection {
    /// The same connection, for commands of this role, where it is one that knows of roles.
    pub(super) fn with_role(self, role: Role) -> Self {
        match self.link {
            Link::Line(line) => Self { link: Link::Line(line.with_role(role)), ..self },
            Link::Single(_) | Link::Cluster(_) => self,
        }
    }

    /// Whether an error means that this connection is of no use any more.
    fn note(&self, error: &RedisError) {
        // A Cluster connection mends its links itself, but not always: after a slot had moved, many
        // concurrent reads were seen to time out again and again until it was made anew. A server
        // that has become a replica must be left for the new primary; after a timeout nobody knows
        // what the line is worth.
        let broken = match &self.link {
            Link::Cluster(_) => error.is_unrecoverable_error() || error.is_timeout(),
            Link::Line(_) | Link::Single(_) => {
                error.is_io_error()
                    || error.is_unrecoverable_error()
                    || error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly)
            }
        };
        if broken {
            self.broken.store(true, Ordering::Relaxed);
        }
    }

    /// Whether it is of no use any more.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// The Cluster's own connection, where it is one.
    pub fn cluster(&self) -> Option<ClusterConnection> {
        match &self.link {
            Link::Cluster(cluster) => Some(cluster.clone()),
            Link::Line(_) | Link::Single(_) => None,
        }
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(async move {
            let result = match &mut self.link {
                Link::Line(link) => link.req_packed_command(cmd).await,
                Link::Single(link) => link.req_packed_command(cmd).await,
                Link::Cluster(link) => link.req_packed_command(cmd).await,
            };
            // What the server refused comes as a value.
            let result = match result {
                Ok(Value::ServerError(refused)) => Err(refused.into()),
                result => result,
            };
            result.inspect_err(|error| self.note(error))
        })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        cmd: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        Box::pin(async move {
            let result = match &mut self.link {
                Link::Line(link) => link.req_packed_commands(cmd, offset, count).await,
                Link::Single(link) => link.req_packed_commands(cmd, offset, count).await,
                Link::Cluster(link) => link.req_packed_commands(cmd, offset, count).await,
            };
            for value in result.iter().flatten() {
                if let Value::ServerError(error) = value {
                    self.note(&error.clone().into());
                }
            }
            result.inspect_err(|error| self.note(error))
        })
    }

    fn get_db(&self) -> i64 {
        match &self.link {
            Link::Line(link) => link.get_db(),
            Link::Single(link) => link.get_db(),
            Link::Cluster(link) => link.get_db(),
        }
    }
}
