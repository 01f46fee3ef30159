//! The names of our keys and channels in Redis.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::keys::{Hash, LoginId, user_hash};

/// The Cluster slot of a key without a hash tag: ours have none (Redis Cluster specification).
pub fn slot_of(key: &[u8]) -> u16 {
    crc16::State::<crc16::XMODEM>::calculate(key) % 16384
}

/// Builds names under one prefix, and reads them back.
#[derive(Clone, Debug)]
pub struct Names {
    prefix: String,
    db: u16,
    channel_prefix: String,
}

impl Names {
    /// Names under `prefix` in database `db`.
    pub fn new(prefix: &str, db: u16) -> Self {
        let channel_prefix = format!("__keyspace@{db}__:{prefix}l:");
        Self { prefix: prefix.into(), db, channel_prefix }
    }

    /// The record of a login.
    pub fn login(&self, id: LoginId) -> String {
        let mut name = String::with_capacity(self.prefix.len() + 24);
        name.push_str(&self.prefix);
        name.push_str("l:");
        URL_SAFE_NO_PAD.encode_string(id.as_bytes(), &mut name);
        name
    }

    /// The current web login of a user.
    pub fn user(&self, user: &str) -> String {
        format!("{}u:{}", self.prefix, user_hash(user))
    }

    /// What is remembered under a user's keyed hash.
    pub fn standing(&self, user: &Hash) -> String {
        format!("{}h:{}", self.prefix, URL_SAFE_NO_PAD.encode(user.as_bytes()))
    }

    /// The queue of what the webhook must still be told.
    pub fn outbox(&self) -> String {
        format!("{}outbox", self.prefix)
    }

    /// The channel on which Redis announces changes of a login's record.
    pub fn channel(&self, id: LoginId) -> String {
        let mut name = String::with_capacity(self.channel_prefix.len() + 22);
        name.push_str(&self.channel_prefix);
        URL_SAFE_NO_PAD.encode_string(id.as_bytes(), &mut name);
        name
    }

    /// The Cluster slot of a login's record.
    pub fn slot(&self, id: LoginId) -> u16 {
        slot_of(self.login(id).as_bytes())
    }

    /// A key that an instance writes to hear its notification.
    pub fn canary(&self, instance: &str) -> String {
        format!("{}probe:{instance}", self.prefix)
    }

    /// The channel on which Redis announces changes of any key of ours.
    pub fn channel_of_key(&self, key: &str) -> String {
        format!("__keyspace@{}__:{key}", self.db)
    }

    /// The login of a channel.
    pub fn login_of(&self, channel: &str) -> Option<LoginId> {
        let mut id = [0; 16];
        let text = channel.strip_prefix(&self.channel_prefix)?;
        let length = URL_SAFE_NO_PAD.decode_slice(text, &mut id).ok()?;
        (length == 16).then(|| LoginId::from_bytes(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Entropy;

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(slot_of(b"123456789"), 0x31c3);
    }

    #[test]
    fn a_channel_leads_back_to_its_login_and_others_to_none() {
        let names = Names::new("scanlogin:", 3);
        let id = LoginId::random(Entropy::Os);
        assert_eq!(names.channel(id), format!("__keyspace@3__:{}", names.login(id)));
        assert_eq!(names.login_of(&names.channel(id)), Some(id));
        assert_eq!(names.login_of("__keyspace@3__:scanlogin:l:x"), None);
        assert_eq!(names.login_of("__keyspace@0__:scanlogin:l:AAAAAAAAAAAAAAAAAAAAAA"), None);
    }
}
