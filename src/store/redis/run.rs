//! How the store of a thread gets its connection and runs a command on it.

use std::{cell::Cell, rc::Rc, sync::Arc, time::Duration};

use bb8_redis::bb8;
use redis::{FromRedisValue, ScriptInvocation};

use super::{
    RedisStore, ThreadLine,
    connect::{CONNECT_TIMEOUT, Connector, Manager, NotMade, store_error},
    connection::Connection,
};
use crate::{
    clock::{Clock, Timestamp},
    metrics::StoreErrorKind,
    store::StoreError,
};

/// After a connection could not be made, how long commands fail at once instead of each trying.
const BACK_OFF: Duration = Duration::from_millis(100);

impl RedisStore {
    /// A store that connects when it is first used, and uses the feed's line while there is one.
    pub fn new(connector: Arc<Connector>, clock: Clock, line: Rc<ThreadLine>) -> Self {
        let not_made = NotMade::default();
        // One pipelining connection a thread: a second one would only split the pipelines.
        let pool = bb8::Pool::builder()
            .max_size(1)
            .connection_timeout(CONNECT_TIMEOUT * 2)
            .idle_timeout(None)
            .max_lifetime(None)
            .retry_connection(false)
            .test_on_check_out(false)
            .error_sink(Box::new(not_made.clone()))
            .build_unchecked(Manager::new(connector.clone()));
        Self { line, pool, not_made, connector, clock, away_until: Cell::new(Timestamp::default()) }
    }

    /// A handle of the shared connection.
    pub async fn connection(&self) -> Result<Connection, StoreError> {
        if let Some(line) = self.line.get() {
            return Ok(line);
        }
        if self.line.leave_broken() {
            // The pool's first connection is then one in the place of one that was lost.
            self.connector.note_disturbance();
        }
        if self.clock.now() < self.away_until.get() {
            let detail = "not reachable a moment ago".into();
            return Err(StoreError { kind: StoreErrorKind::Io, detail });
        }
        self.get().await.inspect_err(|_| self.away_until.set(self.clock.now() + BACK_OFF))
    }

    /// One from the pool, which would let its callers wait for a connection that could not be made
    /// until their time is over.
    async fn get(&self) -> Result<Connection, StoreError> {
        loop {
            let failed = self.not_made.happened.notified();
            let got = tokio::select! {
                biased;
                got = self.pool.get() => got,
                () = failed => return Err(self.not_made.error()),
            };
            let connection = got.map_err(|error| match error {
                bb8::RunError::User(error) => store_error(&error),
                bb8::RunError::TimedOut => StoreError {
                    kind: StoreErrorKind::Timeout,
                    detail: "no connection in time".into(),
                },
            })?;
            // A broken one is thrown away when it is given back.
            if !connection.is_broken() {
                return Ok(connection.clone());
            }
        }
    }

    /// Runs a command. One that finds its connection dropped is sent once more over a new one:
    /// every transition of ours may be repeated by the same caller.
    pub(super) async fn run<T>(
        &self,
        command: impl AsyncFn(&mut Connection) -> redis::RedisResult<T>,
    ) -> Result<T, StoreError> {
        let mut connection = self.connection().await?;
        match command(&mut connection).await {
            Err(error) if !error.is_timeout() && error.is_unrecoverable_error() => {
                let mut connection = self.connection().await?;
                command(&mut connection).await
            }
            result => result,
        }
        .map_err(|error| store_error(&error))
    }

    pub(super) async fn script<T: FromRedisValue>(
        &self,
        call: &ScriptInvocation<'_>,
    ) -> Result<T, StoreError> {
        self.run(async |connection| call.invoke_async(connection).await).await
    }
}
