//! The state machine of a login. Pure: transitions consume the login and take the time.
//!
//! ```text
//!  waiting --scan--> approved --acknowledge--> delivered
//!     |  \            ^    \--lost, or nobody came----> undelivered
//!     |   scan       confirm
//!     |     \-> scanned --deny, or the third wrong number--> denied
//!     \------------\--------- end --> expired | cancelled
//! ```
//!
//! The embedded store keeps these values and calls these functions under its lock; the Redis
//! store's `transition.lua` does the same on the record. One conformance suite runs on both.

mod codes;
mod held;
mod matching;
mod standing;
mod transitions;

use std::time::Duration;

pub use self::{
    codes::{Codes, Windows, bind, hashes},
    held::Held,
    matching::{HiddenNumber, MAX_WRONG, MatchNumber, Matching},
    standing::{
        FAILED_MATCH_WINDOW, HistoryKey, LOCK, MAX_FAILED_MATCHES, MAX_PLACES, Note, PLACE_LIFE,
        Standing,
    },
};
use crate::{clock::Timestamp, keys::Hash};

/// How long a code stays good after the next one was shown (spec 2.4).
pub const GRACE: Duration = Duration::from_secs(15);
/// How long a person has to confirm after the scan (spec 2.4).
pub const CONFIRM: Duration = Duration::from_secs(90);
/// How long a login is kept for a user while the webhook makes the token (issue 4: longer than the
/// call may take, so that the token is stored in time).
pub const LEASE: Duration = Duration::from_secs(5);
/// How long the phone can ask what became of a login after its end (spec 3.1).
pub const RECEIPT: Duration = Duration::from_secs(300);
/// How long a record outlives its own end, so that clocks that differ a little see the end and not
/// a gap; also how long a collectable token stays valid after it could last be collected (spec 4).
pub const SLACK: Duration = Duration::from_secs(30);
/// Most codes that one login may show (spec 6).
pub const MAX_CODES: u32 = 32;

/// Which of the two protocols the browser speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Bare strings, as the original had it.
    Plain,
    /// `scanlogin.v1`.
    Json,
}

/// A scan that won: who, with which code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// The user of the app's JWT.
    pub user: String,
    /// The hash of the code that was scanned.
    pub code: Hash,
    /// Its number: with it and the seed the browser's instance derives the claim.
    pub number: u32,
    /// The hash of the claim.
    pub claim: Hash,
    /// What the phone was told, and is told again when it asks again.
    pub answer: Answer,
    /// How the browser may show who scanned.
    pub profile: Profile,
    /// The number that the person must read off the browser; `None`: none is asked for.
    pub matching: Option<Matching>,
}

/// What the browser is shown of the person who scanned. Either may be absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// From the app token's `name`.
    pub name: Option<String>,
    /// From the app token's `picture`.
    pub picture: Option<String>,
}

/// What is known of the browser: shown to the person who confirms, and to the user whose web login
/// it becomes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The browser's address.
    pub ip: String,
    /// Its `User-Agent`, cut.
    pub user_agent: String,
    /// The page's origin.
    pub origin: String,
}

/// Most bytes kept of a browser's facts, all together (spec section 5).
pub const MAX_FACTS: usize = 256;

impl Facts {
    /// Facts within [`MAX_FACTS`]: the address always fits, then the origin, then what is left of
    /// the user agent.
    pub fn new(ip: String, origin: &str, user_agent: &str) -> Self {
        let cut = |text: &str, room: usize| text[..text.floor_char_boundary(room)].to_owned();
        let origin = cut(origin, (MAX_FACTS / 2).saturating_sub(ip.len()));
        let user_agent = cut(user_agent, MAX_FACTS.saturating_sub(ip.len() + origin.len()));
        Self { ip, user_agent, origin }
    }
}

/// What a successful scan was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 100: the token is on its way.
    Approved,
    /// 101: the person must still confirm.
    Claimed,
}

/// How a login ended that somebody had scanned. (One that nobody scanned leaves nothing.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The browser acknowledged the token.
    Delivered,
    /// Approved, and no browser acknowledged in time.
    Undelivered,
    /// Declined on the phone.
    Denied,
    /// Nobody confirmed in time.
    Expired,
    /// The browser's user left.
    Cancelled,
    /// The browser had the token and logged out before it acknowledged. For the phone: delivered.
    Revoked,
}

/// Where a login stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Nobody has scanned.
    Waiting {
        /// The end of the waiting.
        deadline: Timestamp,
    },
    /// Claimed by a user who must still confirm.
    Scanned {
        /// The end of the waiting.
        deadline: Timestamp,
        /// By whom.
        scan: Scan,
    },
    /// The token waits, sealed, for the browser.
    Approved {
        /// The end of the collecting.
        collect_until: Timestamp,
        /// By whom.
        scan: Scan,
        /// The token, readable only with the claim; empty once a ticket was redeemed for it, while
        /// the acknowledgement that follows is still to be written.
        sealed: Vec<u8>,
    },
    /// Over; kept as a receipt for the phone.
    Ended {
        /// How.
        ending: Ending,
        /// When the receipt goes.
        until: Timestamp,
        /// By whom it had been scanned.
        scan: Scan,
        /// The token, readable only with the claim, of a login that was delivered to the browser which
        /// it belongs to: that one may redeem its ticket again. Else empty.
        sealed: Vec<u8>,
    },
}

/// One login, as its record has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// Raised by each take-over: only the owner with the newest one may write.
    pub epoch: u32,
    /// The protocol of the browser.
    pub protocol: Protocol,
    /// When it was created, on the store's clock.
    pub created: Timestamp,
    /// When its state last changed, on the store's clock.
    pub changed: Timestamp,
    /// Recognises the resume secret.
    pub proof: Hash,
    /// The codes that may be scanned.
    pub codes: Codes,
    /// What is known of the browser, until the login is over.
    pub facts: Option<Facts>,
    /// For whom a token is being made elsewhere; only while it waits.
    pub reserved: Option<Reservation>,
    /// Where it stands.
    pub state: State,
}

/// A login that waits is kept for one user while the webhook makes the token.
///
/// It changes nothing of what the browser sees, and ends by itself: an instance that dies on the
/// way leaves the login as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// For whom.
    pub user: String,
    /// The hash of the code that was scanned: it stays good for as long as the reservation.
    pub code: Hash,
    /// Until when others are refused.
    pub until: Timestamp,
}

/// A phone's attempt to scan.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The hash of the code it brought.
    pub code: Hash,
    /// Who it is.
    pub user: String,
    /// The hash of the claim that this code and user give.
    pub claim: Hash,
    /// What is to happen.
    pub then: Then,
}

/// What a scan does.
#[derive(Clone, Debug)]
pub enum Then {
    /// One step: hand over the sealed token, collectable for this long.
    Approve {
        /// The token, sealed for the claim.
        sealed: Vec<u8>,
        /// How long it may be collected.
        collect: Duration,
    },
    /// Two steps: claim it for this user, who must bring the number where there is one.
    Claim(Profile, Option<HiddenNumber>),
}

/// A transition that was not made. The login is handed back as it was, unless the refusal itself
/// says otherwise ([`PhoneRefusal::WrongNumber`], [`PhoneRefusal::CannotMatch`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused<E> {
    /// As it is now.
    pub login: Login,
    /// Why not.
    pub why: E,
}

/// Who brings a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bringer {
    /// Anybody: tickets are bound to no browser.
    Anyone,
    /// The browser whose cookie has this hash; `None`: one without a cookie.
    Browser(Option<Hash>),
}

/// Why a ticket was refused. It is worth what it was worth before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TicketRefusal {
    /// There is no token for it (any more).
    Unknown,
    /// The login belongs to another browser.
    OtherBrowser,
}

/// What a ticket was redeemed for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redeemed {
    /// Whose token it is.
    pub user: String,
    /// The token, sealed for the claim.
    pub sealed: Vec<u8>,
    /// When the login was approved.
    pub approved: Timestamp,
    /// What is known of the browser.
    pub facts: Option<Facts>,
    /// Whether the login was delivered before: there is nothing to acknowledge.
    pub repeated: bool,
}

/// Why a phone's call was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PhoneRefusal {
    /// No such login, code or claim, or not any more: one answer for all.
    Unknown,
    /// Another user was first, or the login has gone past what is asked.
    Conflict,
    /// The claim belongs to another user.
    NotYours,
    /// Not the number that the browser shows. Counted in the login, and with no tries left the
    /// login is denied.
    WrongNumber {
        /// How often the person may still try.
        tries_left: u8,
    },
    /// A number is needed, and the plain protocol has no way to show one: the login is denied.
    CannotMatch,
}

/// Why an owner's call was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnerRefusal {
    /// Another socket has taken the login over.
    Superseded,
    /// The phone was quicker: a token waits.
    Approved,
    /// The end is not reached on the store's clock.
    Early,
    /// It is over already.
    Over,
}

/// Why a browser that comes back was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResumeRefusal {
    /// The resume secret is not this login's, or its protocol knows of none.
    NotYours,
    /// It has ended, or it is too late.
    Over,
}

/// Why an owner ends a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Because {
    /// The deadline has passed.
    Deadline,
    /// The browser's user left, or the socket of the plain protocol is gone.
    Left,
    /// The plain socket is gone, and nobody can come back for a token.
    Lost,
    /// Its place is needed. Only a login that waits, and is kept for nobody, ends by this.
    Crowded,
}

/// The outcome that the phone's receipt shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Not scanned.
    Waiting,
    /// Scanned, not confirmed.
    Scanned,
    /// Approved, not collected yet.
    Approved,
    /// How it ended.
    Ended(Ending),
}
