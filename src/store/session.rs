//! A user's web login, as the user's entry has it.

use std::time::Duration;

use crate::{
    clock::Timestamp,
    keys::LoginId,
    login::{RECEIPT, SLACK},
};

/// How long it is remembered that a user's web logins were ended: longer than any login that was
/// approved before can be collected (`SCANLOGIN_RESUME_SECONDS` is at most 300) and acknowledged.
pub const ENDED_FOR: Duration = RECEIPT.saturating_add(SLACK);

/// The web login that a user has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The login that made it: the `jti` of its token.
    pub id: LoginId,
    /// When the user approved it: on the store's clock, and in the user's entry by the time of tokens
    /// ([`super::Backend::token_time`]), since that is shown to people.
    pub since: Timestamp,
    /// What is known of the browser, sealed ([`crate::tokens::FactsKey`]); empty: nothing is.
    pub browser: Vec<u8>,
}

/// What stands under a user's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Nothing.
    Nobody,
    /// The current web login.
    Session(Session),
    /// All web logins that were approved until then are over.
    Ended(Timestamp),
}

impl Entry {
    /// The `jti` of the current web login.
    pub fn id(&self) -> Option<LoginId> {
        match self {
            Self::Session(session) => Some(session.id),
            Self::Nobody | Self::Ended(_) => None,
        }
    }

    /// Whether a login that was approved at `approved` is over by what stands here.
    pub fn has_ended(&self, approved: Timestamp) -> bool {
        matches!(self, Self::Ended(until) if approved <= *until)
    }
}
