//! The queue of revocations in Redis: one sorted set, scored by when an entry is due.

use std::{sync::LazyLock, time::Duration};

use redis::Script;

use super::{RedisStore, nonsense};
use crate::store::{
    StoreError,
    outbox::{LIFE, MOST, Put, Revocation, Taken, WORK},
};

static PUT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("outbox_put.lua")));
static TAKE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("outbox_take.lua")));
static AGAIN: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("outbox_again.lua")));

fn millis(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

impl RedisStore {
    fn outbox_key(&self) -> String {
        self.connector.names().outbox()
    }

    pub(super) async fn put(&self, one: &Revocation, after: Duration) -> Result<Put, StoreError> {
        let mut call = PUT.key(self.outbox_key());
        call.arg(one.pack()).arg(millis(after)).arg(MOST).arg(millis(LIFE));
        match self.script::<u8>(&call).await? {
            0 => Ok(Put::Known),
            1 => Ok(Put::New),
            2 => Ok(Put::Full),
            other => Err(nonsense(format_args!("outbox_put.lua answered {other}"))),
        }
    }

    pub(super) async fn take(&self, most: usize) -> Result<Taken, StoreError> {
        let mut call = TAKE.key(self.outbox_key());
        call.arg(most).arg(millis(WORK)).arg(millis(LIFE));
        let (length, due): (u64, Vec<Vec<u8>>) = self.script(&call).await?;
        let unpack = |bytes: &Vec<u8>| {
            Revocation::unpack(bytes).ok_or_else(|| nonsense("a revocation cannot be read"))
        };
        Ok(Taken { due: due.iter().map(unpack).collect::<Result<_, _>>()?, length })
    }

    pub(super) async fn done(&self, one: &Revocation) -> Result<(), StoreError> {
        let remove = redis::cmd("ZREM").arg(self.outbox_key()).arg(one.pack()).take();
        self.run(async |connection| remove.query_async(connection).await).await
    }

    pub(super) async fn again(
        &self,
        one: &Revocation,
        next: &Revocation,
        after: Duration,
    ) -> Result<(), StoreError> {
        let mut call = AGAIN.key(self.outbox_key());
        call.arg(one.pack()).arg(next.pack()).arg(millis(after)).arg(millis(LIFE));
        self.script::<u8>(&call).await.map(drop)
    }
}
