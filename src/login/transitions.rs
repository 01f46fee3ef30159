//! The transitions: each consumes the login and takes the time.

use std::time::Duration;

use super::{
    Answer, Attempt, Because, Bringer, CONFIRM, Codes, Ending, HiddenNumber, Login, MAX_WRONG,
    Matching, Outcome, OwnerRefusal, PhoneRefusal, Profile, Protocol, RECEIPT, Redeemed, Refused,
    Reservation, ResumeRefusal, SLACK, Scan, State, Then, TicketRefusal,
};
use crate::{
    clock::Timestamp,
    keys::{Claim, Hash, Ticket},
};

/// A phone that is not refused.
enum Admitted {
    /// It has scanned this before, and was told this.
    Again(Answer),
    /// It brings the code with this number.
    First(u32),
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
        let (facts, reserved) = (None, None);
        Self { epoch, protocol, created: now, changed: now, proof, codes, facts, reserved, state }
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

    /// Whether a token is being made for somebody.
    pub fn is_reserved(&self, now: Timestamp) -> bool {
        self.reserved.as_ref().is_some_and(|reserved| now < reserved.until)
    }

    fn with(mut self, state: State, now: Timestamp) -> Self {
        // What a later state has no use for does not stay at rest.
        if matches!(state, State::Ended { .. }) {
            self.facts = None;
            self.codes.forget();
        }
        self.reserved = None;
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
    /// [`PhoneRefusal::Unknown`], [`PhoneRefusal::Conflict`] or [`PhoneRefusal::CannotMatch`].
    pub fn attempt(
        self,
        attempt: Attempt,
        now: Timestamp,
    ) -> Result<(Self, Answer, bool), Box<Refused<PhoneRefusal>>> {
        let number = match self.admit(&attempt.code, &attempt.user, now) {
            Ok(Admitted::Again(answer)) => return Ok((self, answer, true)),
            Ok(Admitted::First(number)) => number,
            Err(why) => return Err(Box::new(self.refuse(why))),
        };
        let Attempt { code, user, claim, then } = attempt;
        let scan = |answer, profile, matching| Scan {
            user,
            code,
            number,
            claim,
            answer,
            profile,
            matching,
        };
        let (state, answer) = match then {
            Then::Approve { sealed, collect } => {
                let scan = scan(Answer::Approved, Profile::default(), None);
                (State::Approved { collect_until: now + collect, scan, sealed }, Answer::Approved)
            }
            Then::Claim(profile, hidden) => {
                // A second code of the same login does not buy more tries.
                let wrong = self.scan().and_then(|scan| scan.matching).map_or(0, |m| m.wrong);
                let matching = hidden.map(|hidden| Matching { hidden, wrong });
                if matching.is_some() && self.protocol == Protocol::Plain {
                    let scan = scan(Answer::Claimed, Profile::default(), matching);
                    let state = State::Ended {
                        ending: Ending::Denied,
                        until: now + RECEIPT,
                        scan,
                        sealed: Vec::new(),
                    };
                    let login = self.with(state, now);
                    return Err(Box::new(login.refuse(PhoneRefusal::CannotMatch)));
                }
                // Nor more time.
                let deadline = match &self.state {
                    State::Scanned { deadline, .. } => *deadline,
                    _ => now + CONFIRM,
                };
                let scan = scan(Answer::Claimed, profile, matching);
                (State::Scanned { deadline, scan }, Answer::Claimed)
            }
        };
        Ok((self.with(state, now), answer, false))
    }

    /// A token is to be made elsewhere for the user who scans: kept for that user until `lease` is
    /// over. `Some`: there is nothing to make, the phone is told the same again.
    ///
    /// # Errors
    /// As [`Self::attempt`].
    pub fn reserve(
        self,
        code: &Hash,
        user: &str,
        lease: Duration,
        now: Timestamp,
    ) -> Result<(Self, Option<Answer>), Box<Refused<PhoneRefusal>>> {
        match self.admit(code, user, now) {
            Ok(Admitted::Again(answer)) => Ok((self, Some(answer))),
            Ok(Admitted::First(_)) => {
                let until = now + lease;
                let reserved = Some(Reservation { user: user.into(), code: *code, until });
                Ok((Self { reserved, ..self }, None))
            }
            Err(why) => Err(Box::new(self.refuse(why))),
        }
    }

    /// No token could be made: the login is as it was before [`Self::reserve`].
    pub fn release(self, code: &Hash, user: &str) -> Self {
        let kept = |one: &Reservation| one.user != user || !one.code.matches(code);
        Self { reserved: self.reserved.filter(kept), ..self }
    }

    /// Whether this user may scan this code now, or has done so.
    fn admit(&self, code: &Hash, user: &str, now: Timestamp) -> Result<Admitted, PhoneRefusal> {
        use PhoneRefusal::{Conflict, Unknown};
        let (open, first_user) = match &self.state {
            State::Waiting { deadline } => (now < *deadline, None),
            State::Scanned { deadline, scan } => (now < *deadline, Some(scan)),
            State::Approved { collect_until, scan, .. } => (now < *collect_until, Some(scan)),
            State::Ended { scan, .. } => (false, Some(scan)),
        };
        if let Some(scan) = first_user
            && scan.user == user
            && scan.code.matches(code)
        {
            return match scan.matching {
                Some(_) if self.protocol == Protocol::Plain => Err(PhoneRefusal::CannotMatch),
                _ => Ok(Admitted::Again(scan.answer)),
            };
        }
        let number = self.codes.number_of(code).filter(|_| open).ok_or(Unknown)?;
        if first_user
            .is_some_and(|scan| scan.user != user || matches!(self.state, State::Approved { .. }))
        {
            return Err(Conflict);
        }
        let reserved = self.reserved.as_ref().filter(|reserved| now < reserved.until);
        let kept = match reserved {
            Some(reserved) if reserved.user != user => return Err(Conflict),
            Some(reserved) => reserved.code.matches(code),
            None => false,
        };
        if !kept && !self.codes.windows().is_open(number, now) {
            return Err(Unknown);
        }
        Ok(Admitted::First(number))
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

    /// The person confirms, with the number where one is asked for: the token is handed over.
    /// Repeated by the same claim: the same.
    ///
    /// # Errors
    /// Any [`PhoneRefusal`]; `Unknown` also after a denial or past the deadline.
    pub fn confirm(
        self,
        claim: &Claim,
        user: &str,
        number: Option<HiddenNumber>,
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
                if let Some(matching) = scan.matching.filter(|m| Some(m.hidden) != number) {
                    return Err(Box::new(self.missed(scan, matching, now)));
                }
                let collect_until = now + collect;
                Ok(self.with(State::Approved { collect_until, scan, sealed }, now))
            }
            State::Approved { .. }
            | State::Ended {
                ending: Ending::Delivered | Ending::Undelivered | Ending::Revoked,
                ..
            } => Ok(self),
            _ => Err(Box::new(self.refuse(PhoneRefusal::Unknown))),
        }
    }

    /// A wrong number, or none: counted, and the last one denies the login.
    fn missed(self, mut scan: Scan, matching: Matching, now: Timestamp) -> Refused<PhoneRefusal> {
        let wrong = matching.wrong + 1;
        scan.matching = Some(Matching { wrong, ..matching });
        let tries_left = MAX_WRONG.saturating_sub(wrong);
        let login = match self.state {
            State::Scanned { deadline, .. } if tries_left > 0 => {
                Self { state: State::Scanned { deadline, scan }, ..self }
            }
            _ => {
                let (ending, until) = (Ending::Denied, now + RECEIPT);
                self.with(State::Ended { ending, until, scan, sealed: Vec::new() }, now)
            }
        };
        login.refuse(PhoneRefusal::WrongNumber { tries_left })
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
                Ok(self.with(State::Ended { ending, until, scan, sealed: Vec::new() }, now))
            }
            State::Ended { ending: Ending::Denied, .. } => Ok(self),
            State::Approved { .. }
            | State::Ended {
                ending: Ending::Delivered | Ending::Undelivered | Ending::Revoked,
                ..
            } => Err(Box::new(self.refuse(PhoneRefusal::Conflict))),
            _ => Err(Box::new(self.refuse(PhoneRefusal::Unknown))),
        }
    }

    /// A browser redeems its ticket: the token is handed out. Of a login that belongs to no browser, or
    /// where nobody looks at that, once: who comes first has it. Else the token stays, for its own
    /// browser alone, until `again` after the delivery: a lost answer costs no scan.
    ///
    /// The login stays approved until the acknowledgement, which comes after the user's web login was
    /// written: if that never happens, it ends undelivered.
    ///
    /// # Errors
    /// Any [`TicketRefusal`]; the login is as it was.
    pub fn redeem(
        mut self,
        ticket: &Ticket,
        by: Bringer,
        again: Duration,
        now: Timestamp,
    ) -> Result<(Self, Redeemed), Box<Refused<TicketRefusal>>> {
        let browser = match by {
            Bringer::Anyone => None,
            Bringer::Browser(brought) => self.codes.browser().map(|own| (own, brought)),
        };
        let is_right = self.proof.matches(&ticket.proof())
            && self.scan().is_some_and(|scan| scan.claim.matches(&ticket.claim.hash()));
        let (sealed, repeated) = match &mut self.state {
            State::Approved { collect_until, sealed, .. } if now < *collect_until => {
                (sealed, false)
            }
            State::Ended { ending: Ending::Delivered, sealed, .. }
                if browser.is_some() && now < self.changed + again =>
            {
                (sealed, true)
            }
            _ => return Err(Box::new(self.refuse(TicketRefusal::Unknown))),
        };
        if !is_right || sealed.is_empty() {
            return Err(Box::new(self.refuse(TicketRefusal::Unknown)));
        }
        let token = match browser {
            None => std::mem::take(sealed),
            Some((own, Some(brought))) if own.matches(&brought) => sealed.clone(),
            Some(_) => return Err(Box::new(self.refuse(TicketRefusal::OtherBrowser))),
        };
        let user = self.scan().map(|scan| scan.user.clone()).unwrap_or_default();
        let (approved, facts) = (self.changed, self.facts.clone());
        Ok((self, Redeemed { user, sealed: token, approved, facts, repeated }))
    }

    /// The browser that holds the login has another cookie than it began with, as where two of its
    /// tabs asked for their first login at once: the login belongs to the cookie that is left. Only as
    /// long as nobody has scanned: from then on it is decided where the token goes.
    pub fn rebind(mut self, proof: &Hash, browser: Hash, now: Timestamp) -> (Self, bool) {
        let is_waiting = matches!(self.state, State::Waiting { deadline } if now < deadline);
        let binds = is_waiting && self.proof.matches(proof) && self.codes.browser().is_some();
        if binds {
            self.codes.bind(browser);
        }
        (self, binds)
    }

    /// Whether an acknowledgement under this epoch follows a redeemed ticket (epoch 0 says so), so that
    /// whoever owns the socket now has no say in it.
    fn is_acknowledged_by_ticket(&self, epoch: u32) -> bool {
        let is_bound = || self.codes.browser().is_some();
        self.is_redeemed()
            || epoch == 0 && (is_bound() || matches!(self.state, State::Ended { .. }))
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
        if epoch < self.epoch && !self.is_acknowledged_by_ticket(epoch) {
            return Err(Box::new(self.refuse(OwnerRefusal::Superseded)));
        }
        // Whoever redeemed a ticket may have lost the answer.
        let browser = self.codes.browser().filter(|_| epoch == 0);
        let epoch = epoch.max(self.epoch);
        match &self.state {
            State::Approved { scan, sealed, .. } => {
                let (ending, until) = (Ending::Delivered, now + RECEIPT);
                let sealed = if browser.is_some() { sealed.clone() } else { Vec::new() };
                let state = State::Ended { ending, until, scan: scan.clone(), sealed };
                let mut login = self.with(state, now);
                if let Some(browser) = browser {
                    login.codes.bind(browser);
                }
                Ok(Self { epoch, ..login })
            }
            State::Ended { ending: Ending::Delivered, .. } => Ok(self),
            _ => Err(Box::new(self.refuse(OwnerRefusal::Over))),
        }
    }

    /// Its owner ends it. `Ok(None)`: nobody had scanned, and nothing stays.
    ///
    /// But if the login has been taken over and its time is not up, its former holder may look for
    /// the record only now, and would make it again: then it stays, as one that is over.
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
            State::Scanned { .. } if because == Because::Crowded => {
                return Err(Box::new(self.refuse(OwnerRefusal::Early)));
            }
            State::Waiting { .. } if because == Because::Crowded && self.is_reserved(now) => {
                return Err(Box::new(self.refuse(OwnerRefusal::Early)));
            }
            State::Waiting { .. } if epoch > 1 && because != Because::Deadline => {
                let mut login = self.with(State::Waiting { deadline: now }, now);
                login.epoch = epoch;
                login.facts = None;
                login.codes.forget();
                return Ok(Some(login));
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
            (_, Because::Left | Because::Lost | Because::Crowded) => Ending::Cancelled,
        };
        let until = now + RECEIPT;
        Ok(Some(Self {
            epoch,
            ..self.with(State::Ended { ending, until, scan, sealed: Vec::new() }, now)
        }))
    }

    /// A browser comes back with its resume secret and takes the login over.
    ///
    /// # Errors
    /// Any [`ResumeRefusal`]; the login is as it was.
    pub fn resume(self, proof: &Hash, now: Timestamp) -> Result<Self, Box<Refused<ResumeRefusal>>> {
        if self.protocol == Protocol::Plain || !self.proof.matches(proof) {
            return Err(Box::new(self.refuse(ResumeRefusal::NotYours)));
        }
        let open = match &self.state {
            State::Waiting { deadline: end }
            | State::Scanned { deadline: end, .. }
            | State::Approved { collect_until: end, .. } => now < *end,
            State::Ended { .. } => false,
        };
        if !open {
            return Err(Box::new(self.refuse(ResumeRefusal::Over)));
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
            State::Ended { ending: Ending::Revoked, .. } => Outcome::Ended(Ending::Delivered),
            State::Ended { ending, .. } => Outcome::Ended(*ending),
        }
    }

    /// The pending web login is ended by who holds its token. `Err`: there is none of this user.
    ///
    /// # Errors
    /// The login as it was.
    pub fn revoke(self, user: &str, now: Timestamp) -> Result<Self, Box<Self>> {
        match &self.state {
            State::Approved { scan, .. } if self.is_pending_for(user, now) => {
                let (ending, until, scan) = (Ending::Revoked, now + RECEIPT, scan.clone());
                Ok(self.with(State::Ended { ending, until, scan, sealed: Vec::new() }, now))
            }
            _ => Err(Box::new(self)),
        }
    }

    /// Whether a ticket was redeemed and the acknowledgement is still to be written.
    pub fn is_redeemed(&self) -> bool {
        matches!(&self.state, State::Approved { sealed, .. } if sealed.is_empty())
    }

    /// Whether the token of this login is good at `now` although nobody has acknowledged it yet.
    pub fn is_pending_for(&self, user: &str, now: Timestamp) -> bool {
        matches!(&self.state, State::Approved { collect_until, scan, .. }
            if scan.user == user && now < *collect_until + SLACK)
    }
}
