//! The state machine of a login. Pure: transitions consume the login and take the time.
//!
//! ```text
//!  waiting --scan--> approved --acknowledge--> delivered
//!     |  \            ^    \--lost, or nobody came----> undelivered
//!     |   scan       confirm
//!     |     \-> scanned --deny--> denied
//!     \------------\--------- end --> expired | cancelled
//! ```
//!
//! The embedded store keeps these values and calls these functions under its lock; the Redis
//! store's `transition.lua` does the same on the record. One conformance suite runs on both.

use std::time::Duration;

use crate::{
    clock::Timestamp,
    keys::{Claim, Hash, LoginId, Seed},
};

/// How long a code stays good after the next one was shown (spec 2.4).
pub const GRACE: Duration = Duration::from_secs(15);
/// How long a person has to confirm after the scan (spec 2.4).
pub const CONFIRM: Duration = Duration::from_secs(90);
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

/// When which code is shown: `count` codes, numbered from `first`, each for `rotate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// When the first of them was shown.
    pub start: Timestamp,
    /// How long each is shown; `None`: one code for the whole life.
    pub rotate: Option<Duration>,
    /// The number of the first (1, unless the windows were laid out anew).
    pub first: u32,
    /// How many there are.
    pub count: u32,
}

impl Windows {
    /// The windows that fill a life of this length.
    pub fn lay_out(first: u32, start: Timestamp, life: Duration, rotate: Option<Duration>) -> Self {
        let count = rotate.map_or(1, |rotate| {
            let count = life.as_micros().div_ceil(rotate.as_micros().max(1));
            u32::try_from(count).unwrap_or(MAX_CODES).clamp(1, MAX_CODES)
        });
        Self { start, rotate, first, count }
    }

    /// The number of the last code.
    pub fn last(&self) -> u32 {
        self.first + self.count.saturating_sub(1)
    }

    /// The number of the code to show at `now`.
    pub fn shown_at(&self, now: Timestamp) -> u32 {
        let Some(rotate) = self.rotate else { return self.first };
        let past = now.since(self.start).as_micros() / rotate.as_micros().max(1);
        self.first.saturating_add(u32::try_from(past).unwrap_or(u32::MAX)).min(self.last())
    }

    /// When the code after `number` is to be shown; `None` if it is the last.
    pub fn next_after(&self, number: u32) -> Option<Timestamp> {
        let rotate = self.rotate?;
        (number < self.last()).then(|| self.start + rotate * (number + 1 - self.first))
    }

    /// Whether the code with this number may be scanned at `now`, grace included.
    pub fn is_open(&self, number: u32, now: Timestamp) -> bool {
        let Some(rotate) = self.rotate else { return true };
        let from = self.start + rotate * number.saturating_sub(self.first);
        now >= from && now < from + rotate + GRACE
    }
}

/// The codes of a login: their hashes, each with its window of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Codes {
    /// When the first of them was shown.
    pub start: Timestamp,
    /// How long each is shown; `None`: one code for the whole life.
    pub rotate: Option<Duration>,
    /// The number of the first.
    pub first: u32,
    /// The hashes, in order.
    pub hashes: Vec<Hash>,
}

impl Codes {
    /// The hashes of all codes that `seed` gives in these windows.
    pub fn of(seed: &Seed, windows: Windows) -> Self {
        let Windows { start, rotate, first, count } = windows;
        Self { start, rotate, first, hashes: hashes(seed, first, count) }
    }

    /// Their windows.
    pub fn windows(&self) -> Windows {
        let Self { start, rotate, first, ref hashes } = *self;
        Windows { start, rotate, first, count: hashes.len() as u32 }
    }

    /// The number of the code with this hash, whatever the time.
    pub fn number_of(&self, code: &Hash) -> Option<u32> {
        let index = self.hashes.iter().position(|hash| hash.matches(code))?;
        Some(self.first + index as u32)
    }
}

/// The hashes of `count` codes, numbered from `first`.
pub fn hashes(seed: &Seed, first: u32, count: u32) -> Vec<Hash> {
    (first..first + count).map(|number| seed.code(number).hash()).collect()
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
}

/// What the browser is shown of the person who scanned. Either may be absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// From the app token's `name`.
    pub name: Option<String>,
    /// From the app token's `picture`.
    pub picture: Option<String>,
}

/// What the person who confirms is shown of the browser. Kept only where confirmation needs it.
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
        /// The token, readable only with the claim.
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
    /// What is known of the browser.
    pub facts: Option<Facts>,
    /// Where it stands.
    pub state: State,
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
    /// Two steps: claim it for this user.
    Claim(Profile),
}

/// A transition that was not made. The login is handed back as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused<E> {
    /// As it was.
    pub login: Login,
    /// Why not.
    pub why: E,
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

/// Why an owner ends a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Because {
    /// The deadline has passed.
    Deadline,
    /// The browser's user left, or the socket of the plain protocol is gone.
    Left,
    /// The plain socket is gone, and nobody can come back for a token.
    Lost,
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

impl Login {
    /// A login that begins to wait.
    pub fn new(
        epoch: u32,
        protocol: Protocol,
        proof: Hash,
        codes: Codes,
        deadline: Timestamp,
        now: Timestamp,
    ) -> Self {
        let state = State::Waiting { deadline };
        Self { epoch, protocol, created: now, changed: now, proof, codes, facts: None, state }
    }

    /// When nothing of it is needed any more.
    pub fn gone_at(&self) -> Timestamp {
        match &self.state {
            State::Waiting { deadline } => *deadline + SLACK,
            State::Scanned { deadline: end, .. } | State::Approved { collect_until: end, .. } => {
                *end + SLACK + RECEIPT
            }
            State::Ended { until, .. } => *until,
        }
    }

    /// By whom it was scanned, if anybody has.
    pub fn scan(&self) -> Option<&Scan> {
        match &self.state {
            State::Waiting { .. } => None,
            State::Scanned { scan, .. }
            | State::Approved { scan, .. }
            | State::Ended { scan, .. } => Some(scan),
        }
    }

    fn with(mut self, state: State, now: Timestamp) -> Self {
        // What a later state has no use for does not stay at rest.
        if !matches!(state, State::Scanned { .. }) {
            self.facts = None;
        }
        if matches!(state, State::Ended { .. }) {
            self.codes.hashes.clear();
        }
        self.state = state;
        self.changed = now;
        self
    }

    fn refuse<E>(self, why: E) -> Refused<E> {
        Refused { login: self, why }
    }

    /// A phone scans. `Ok` with what the phone is to be told, and whether that repeats an earlier
    /// answer, in which case the login is as it was.
    ///
    /// # Errors
    /// [`PhoneRefusal::Unknown`] or [`PhoneRefusal::Conflict`].
    pub fn attempt(
        self,
        attempt: Attempt,
        now: Timestamp,
    ) -> Result<(Self, Answer, bool), Box<Refused<PhoneRefusal>>> {
        use PhoneRefusal::{Conflict, Unknown};
        let (open, first_user) = match &self.state {
            State::Waiting { deadline } => (now < *deadline, None),
            State::Scanned { deadline, scan } => (now < *deadline, Some(scan)),
            State::Approved { collect_until, scan, .. } => (now < *collect_until, Some(scan)),
            State::Ended { scan, .. } => (false, Some(scan)),
        };
        match first_user {
            Some(scan) if scan.user == attempt.user && scan.code.matches(&attempt.code) => {
                let answer = scan.answer;
                return Ok((self, answer, true));
            }
            _ if !open => return Err(Box::new(self.refuse(Unknown))),
            _ => {}
        }
        let Some(number) = self.codes.number_of(&attempt.code) else {
            return Err(Box::new(self.refuse(Unknown)));
        };
        match first_user {
            Some(scan)
                if scan.user != attempt.user || matches!(self.state, State::Approved { .. }) =>
            {
                return Err(Box::new(self.refuse(Conflict)));
            }
            _ => {}
        }
        if !self.codes.windows().is_open(number, now) {
            return Err(Box::new(self.refuse(Unknown)));
        }
        let Attempt { code, user, claim, then } = attempt;
        let scan = |answer, profile| Scan { user, code, number, claim, answer, profile };
        let (state, answer) = match then {
            Then::Approve { sealed, collect } => {
                let scan = scan(Answer::Approved, Profile::default());
                (State::Approved { collect_until: now + collect, scan, sealed }, Answer::Approved)
            }
            Then::Claim(profile) => {
                // A second code of the same login does not buy more time.
                let deadline = match &self.state {
                    State::Scanned { deadline, .. } => *deadline,
                    _ => now + CONFIRM,
                };
                let scan = scan(Answer::Claimed, profile);
                (State::Scanned { deadline, scan }, Answer::Claimed)
            }
        };
        Ok((self.with(state, now), answer, false))
    }

    /// The state if `claim` is the one that was given out.
    fn claimed(&self, claim: &Claim, user: &str) -> Result<&Scan, PhoneRefusal> {
        match self.scan() {
            Some(scan) if !scan.claim.matches(&claim.hash()) => Err(PhoneRefusal::Unknown),
            Some(scan) if scan.user != user => Err(PhoneRefusal::NotYours),
            Some(scan) => Ok(scan),
            None => Err(PhoneRefusal::Unknown),
        }
    }

    /// The person confirms: the token is handed over. Repeated by the same claim: the same.
    ///
    /// # Errors
    /// Any [`PhoneRefusal`]; `Unknown` also after a denial or past the deadline.
    pub fn confirm(
        self,
        claim: &Claim,
        user: &str,
        sealed: Vec<u8>,
        collect: Duration,
        now: Timestamp,
    ) -> Result<Self, Box<Refused<PhoneRefusal>>> {
        let scan = match self.claimed(claim, user) {
            Ok(scan) => scan.clone(),
            Err(why) => return Err(Box::new(self.refuse(why))),
        };
        match &self.state {
            State::Scanned { deadline, .. } if now < *deadline => {
                let collect_until = now + collect;
                Ok(self.with(State::Approved { collect_until, scan, sealed }, now))
            }
            State::Approved { .. }
            | State::Ended { ending: Ending::Delivered | Ending::Undelivered, .. } => Ok(self),
            _ => Err(Box::new(self.refuse(PhoneRefusal::Unknown))),
        }
    }

    /// The person declines. Repeated by the same claim: the same.
    ///
    /// # Errors
    /// Any [`PhoneRefusal`]; `Conflict` after an approval.
    pub fn deny(
        self,
        claim: &Claim,
        user: &str,
        now: Timestamp,
    ) -> Result<Self, Box<Refused<PhoneRefusal>>> {
        let scan = match self.claimed(claim, user) {
            Ok(scan) => scan.clone(),
            Err(why) => return Err(Box::new(self.refuse(why))),
        };
        match &self.state {
            State::Scanned { deadline, .. } if now < *deadline => {
                let (ending, until) = (Ending::Denied, now + RECEIPT);
                Ok(self.with(State::Ended { ending, until, scan }, now))
            }
            State::Ended { ending: Ending::Denied, .. } => Ok(self),
            State::Approved { .. }
            | State::Ended { ending: Ending::Delivered | Ending::Undelivered, .. } => {
                Err(Box::new(self.refuse(PhoneRefusal::Conflict)))
            }
            _ => Err(Box::new(self.refuse(PhoneRefusal::Unknown))),
        }
    }

    /// The browser has the token.
    ///
    /// # Errors
    /// [`OwnerRefusal::Superseded`], or `Over` where no token was waiting.
    pub fn acknowledge(
        self,
        epoch: u32,
        now: Timestamp,
    ) -> Result<Self, Box<Refused<OwnerRefusal>>> {
        if epoch < self.epoch {
            return Err(Box::new(self.refuse(OwnerRefusal::Superseded)));
        }
        match &self.state {
            State::Approved { scan, .. } => {
                let state = State::Ended {
                    ending: Ending::Delivered,
                    until: now + RECEIPT,
                    scan: scan.clone(),
                };
                Ok(Self { epoch, ..self.with(state, now) })
            }
            State::Ended { ending: Ending::Delivered, .. } => Ok(self),
            _ => Err(Box::new(self.refuse(OwnerRefusal::Over))),
        }
    }

    /// Its owner ends it. `Ok(None)`: nobody had scanned, nothing stays.
    ///
    /// # Errors
    /// Any [`OwnerRefusal`]: the caller acts on each.
    pub fn end(
        self,
        epoch: u32,
        because: Because,
        now: Timestamp,
    ) -> Result<Option<Self>, Box<Refused<OwnerRefusal>>> {
        if epoch < self.epoch {
            return Err(Box::new(self.refuse(OwnerRefusal::Superseded)));
        }
        let scan = match &self.state {
            State::Waiting { deadline } | State::Scanned { deadline, .. }
                if because == Because::Deadline && now < *deadline =>
            {
                return Err(Box::new(self.refuse(OwnerRefusal::Early)));
            }
            State::Waiting { .. } => return Ok(None),
            State::Approved { .. } if because != Because::Lost => {
                return Err(Box::new(self.refuse(OwnerRefusal::Approved)));
            }
            State::Ended { .. } => return Err(Box::new(self.refuse(OwnerRefusal::Over))),
            State::Scanned { scan, .. } | State::Approved { scan, .. } => scan.clone(),
        };
        let ending = match (&self.state, because) {
            (State::Approved { .. }, _) => Ending::Undelivered,
            (_, Because::Deadline) => Ending::Expired,
            (_, Because::Left | Because::Lost) => Ending::Cancelled,
        };
        let until = now + RECEIPT;
        Ok(Some(Self { epoch, ..self.with(State::Ended { ending, until, scan }, now) }))
    }

    /// A browser comes back with its resume secret and takes the login over.
    ///
    /// # Errors
    /// `Over` for whatever cannot be resumed: wrong secret, plain protocol, ended, too late.
    pub fn resume(self, proof: &Hash, now: Timestamp) -> Result<Self, Box<Refused<OwnerRefusal>>> {
        let open = match &self.state {
            State::Waiting { deadline: end }
            | State::Scanned { deadline: end, .. }
            | State::Approved { collect_until: end, .. } => now < *end,
            State::Ended { .. } => false,
        };
        if !open || self.protocol == Protocol::Plain || !self.proof.matches(proof) {
            return Err(Box::new(self.refuse(OwnerRefusal::Over)));
        }
        Ok(Self { epoch: self.epoch + 1, ..self })
    }

    /// What the receipt shows at `now`; `current` tells whether the user's web login is this one.
    pub fn outcome(&self, current: bool, now: Timestamp) -> Outcome {
        match &self.state {
            State::Waiting { deadline } if now < *deadline => Outcome::Waiting,
            State::Scanned { deadline, .. } if now < *deadline => Outcome::Scanned,
            State::Waiting { .. } | State::Scanned { .. } => Outcome::Ended(Ending::Expired),
            State::Approved { .. } if current => Outcome::Ended(Ending::Delivered),
            State::Approved { collect_until, .. } if now < *collect_until => Outcome::Approved,
            State::Approved { .. } => Outcome::Ended(Ending::Undelivered),
            State::Ended { ending, .. } => Outcome::Ended(*ending),
        }
    }

    /// Whether the token of this login is good at `now` although nobody has acknowledged it yet.
    pub fn is_pending_for(&self, user: &str, now: Timestamp) -> bool {
        matches!(&self.state, State::Approved { collect_until, scan, .. }
            if scan.user == user && now < *collect_until + SLACK)
    }
}

/// What the browser's instance knows of a login besides its record: enough to make the record
/// again when Redis forgot it, and to open the token.
#[derive(Clone, Debug)]
pub struct Held {
    /// The login.
    pub id: LoginId,
    /// Its root secret.
    pub seed: Seed,
    /// The epoch under which this instance owns it.
    pub epoch: u32,
    /// The browser's protocol.
    pub protocol: Protocol,
    /// When it began, on the store's clock.
    pub created: Timestamp,
    /// The end of the waiting or, once approved, of the collecting, on the store's clock.
    pub deadline: Timestamp,
    /// When the first code was shown.
    pub codes_start: Timestamp,
    /// How long each code is shown.
    pub rotate: Option<Duration>,
    /// The number of the first code.
    pub first_code: u32,
}

impl Held {
    /// When which code is shown.
    pub fn windows(&self) -> Windows {
        let life = self.codes_start.until(self.deadline);
        Windows::lay_out(self.first_code, self.codes_start, life, self.rotate)
    }

    /// The record as it was when the waiting began.
    pub fn as_waiting(&self, now: Timestamp) -> Login {
        let (proof, codes) = (self.seed.proof(), Codes::of(&self.seed, self.windows()));
        let mut login =
            Login::new(self.epoch, self.protocol, proof, codes, self.deadline, self.created);
        login.changed = now;
        login
    }

    /// What a browser that comes back to `login` holds.
    pub fn of(id: LoginId, seed: Seed, login: &Login) -> Self {
        let deadline = match &login.state {
            State::Waiting { deadline: end }
            | State::Scanned { deadline: end, .. }
            | State::Approved { collect_until: end, .. }
            | State::Ended { until: end, .. } => *end,
        };
        Self {
            id,
            seed,
            epoch: login.epoch,
            protocol: login.protocol,
            created: login.created,
            deadline,
            codes_start: login.codes.start,
            rotate: login.codes.rotate,
            first_code: login.codes.first,
        }
    }
}
