//! The acknowledgement: the user's entry and the record, in one step where both are at one server.

use std::{sync::LazyLock, time::Duration};

use redis::{Script, ScriptInvocation};

use super::{
    REVOKE_CURRENT, RedisStore,
    answers::{GONE, OK, OVER, SUPERSEDED, nonsense},
    record, script,
};
use crate::{
    login::OwnerRefusal,
    store::{Session, StoreError},
};

script!(BOTH, "acknowledge_approved.lua", then "acknowledge_both.lua");
script!(RECORD, "acknowledge.lua");
static ENTER: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("enter.lua")));

/// What the script's answer means.
pub(super) fn acknowledged(tag: u8) -> Result<Result<(), OwnerRefusal>, StoreError> {
    match tag {
        OK => Ok(Ok(())),
        SUPERSEDED => Ok(Err(OwnerRefusal::Superseded)),
        // Gone: Redis forgot the record; the browser has its token all the same.
        GONE | OVER => Ok(Err(OwnerRefusal::Over)),
        other => Err(nonsense(format_args!("an acknowledgement was answered {other}"))),
    }
}

impl RedisStore {
    /// The one script.
    pub(super) fn acknowledgement(
        &self,
        epoch: u32,
        user: &str,
        session: &Session,
        ttl: Duration,
    ) -> ScriptInvocation<'static> {
        let mut call = BOTH.key(self.login_key(session.id));
        call.key(self.connector.names().user(user));
        call.arg(epoch).arg(record::pack_session(session));
        call.arg(session.since.as_micros()).arg(ttl.as_secs()).arg(user);
        call
    }

    pub(super) async fn acknowledge_in_one(
        &self,
        epoch: u32,
        user: &str,
        session: &Session,
        ttl: Duration,
    ) -> Result<Result<(), OwnerRefusal>, StoreError> {
        acknowledged(self.script(&self.acknowledgement(epoch, user, session, ttl)).await?)
    }

    /// In a Cluster the two have slots of their own.
    pub(super) async fn acknowledge_in_two(
        &self,
        epoch: u32,
        user: &str,
        session: &Session,
        ttl: Duration,
    ) -> Result<Result<(), OwnerRefusal>, StoreError> {
        let id = session.id;
        let mut call = ENTER.key(self.connector.names().user(user));
        call.arg(record::pack_session(session)).arg(session.since.as_micros()).arg(ttl.as_secs());
        let (entered, older): (bool, Vec<u8>) = self.script(&call).await?;
        if !entered {
            self.revoke_pending(user, id).await?;
            return Ok(Err(OwnerRefusal::Over));
        }
        let mut call = RECORD.key(self.login_key(id));
        call.arg(epoch);
        let tag = self.script::<u8>(&call).await?;
        if tag == OVER {
            // A log-out that came before the acknowledgement stands, and what this login would
            // have replaced goes on. No longer than its token says, whatever the entry does.
            let mut call = REVOKE_CURRENT.key(self.connector.names().user(user));
            call.arg(id.as_bytes());
            let is_other =
                |raw: &[u8]| record::unpack_entry(raw).is_ok_and(|entry| entry.id() != Some(id));
            if is_other(&older) {
                call.arg(older).arg(ttl.as_secs());
            }
            self.script::<bool>(&call).await?;
        }
        acknowledged(tag)
    }
}
