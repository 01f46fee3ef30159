//! A login as it stands in Redis: one MessagePack array under one key.
//!
//! An array, because Redis's Lua reads and writes it with the `cmsgpack` that it ships, and because
//! one string of 200 bytes costs Redis half of what a hash of fields costs. The positions are
//! counted the same in `prelude.lua`; new fields go to the end.

use std::time::Duration;

use rmp::{decode, encode};
use serde::Deserialize;
use serde_bytes::ByteBuf;

use crate::{
    clock::Timestamp,
    keys::{Hash, LoginId},
    login::{
        Answer, Attempt, Codes, Ending, Facts, HiddenNumber, Login, Matching, Profile, Protocol,
        Reservation, Scan, State, Then,
    },
    store::{Entry, Head, Session},
};

/// The array. Times are microseconds since the Unix epoch; absent texts are empty.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Record {
    state: u8,
    epoch: u32,
    protocol: u8,
    created: u64,
    changed: u64,
    end: u64,
    proof: ByteBuf,
    codes_start: u64,
    rotate: u64,
    first_code: u32,
    hashes: ByteBuf,
    facts: (String, String, String),
    /// Empty until somebody scans.
    #[serde(default)]
    scan: Vec<ScanRecord>,
    #[serde(default)]
    sealed: ByteBuf,
    /// Empty unless the login is kept for a user: user, code, until when.
    #[serde(default)]
    reserved: Vec<(String, ByteBuf, u64)>,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
struct ScanRecord {
    user: String,
    code: ByteBuf,
    number: u32,
    claim: ByteBuf,
    answer: u8,
    name: String,
    picture: String,
    /// The number of number matching, hidden. It and what follows stand here only where one is
    /// asked for, so that a version which does not know them reads what others write.
    #[serde(default)]
    hidden: Option<u8>,
    #[serde(default)]
    wrong: u8,
}

/// A number as the scripts get it; empty where there is none.
pub(super) fn hidden(number: Option<HiddenNumber>) -> String {
    number.map(|number| number.get().to_string()).unwrap_or_default()
}

/// What stands under the key is not a record.
#[derive(Debug, thiserror::Error)]
#[error("a record in Redis cannot be read: {0}")]
pub(super) struct BadRecord(String);

const WAITING: u8 = 0;
const SCANNED: u8 = 1;
const APPROVED: u8 = 2;
/// The endings follow, in the order of [`ENDINGS`].
const ENDED: u8 = 3;
const ENDINGS: [Ending; 6] = [
    Ending::Delivered,
    Ending::Undelivered,
    Ending::Denied,
    Ending::Expired,
    Ending::Cancelled,
    Ending::Revoked,
];

/// The numbers of `prelude.lua` that must be the same here.
pub(super) fn lua_constants() -> String {
    use crate::login::{CONFIRM, GRACE, MAX_WRONG, RECEIPT, SLACK};
    let constants = format!(
        "local MAX_WRONG = {MAX_WRONG}\n\
         local WAITING, SCANNED, APPROVED = {WAITING}, {SCANNED}, {APPROVED}\n\
         local DELIVERED, UNDELIVERED, DENIED, EXPIRED, CANCELLED, REVOKED = {}, {}, {}, {}, {}, {}\n\
         local GRACE, CONFIRM, RECEIPT, SLACK = {}, {}, {}, {}\n",
        ENDED,
        ENDED + 1,
        ENDED + 2,
        ENDED + 3,
        ENDED + 4,
        ENDED + 5,
        GRACE.as_micros(),
        CONFIRM.as_micros(),
        RECEIPT.as_micros(),
        SLACK.as_micros(),
    );
    constants + &super::standing::lua_constants()
}

fn hash(bytes: &[u8]) -> Result<Hash, BadRecord> {
    let bytes = bytes.try_into().map_err(|_| BadRecord("a hash has a wrong length".into()))?;
    Ok(Hash::from_bytes(bytes))
}

fn text(value: String) -> Option<String> {
    Some(value).filter(|value| !value.is_empty())
}

impl Record {
    pub(super) fn of(login: &Login) -> Self {
        let (state, end, sealed) = match &login.state {
            State::Waiting { deadline } => (WAITING, deadline, None),
            State::Scanned { deadline, .. } => (SCANNED, deadline, None),
            State::Approved { collect_until, sealed, .. } => {
                (APPROVED, collect_until, Some(sealed.clone()))
            }
            State::Ended { ending, until, sealed, .. } => {
                let index = ENDINGS.iter().position(|one| one == ending).unwrap_or_default();
                let sealed = Some(sealed.clone()).filter(|sealed| !sealed.is_empty());
                (ENDED + index as u8, until, sealed)
            }
        };
        let scan = login.scan().map(|scan| ScanRecord {
            user: scan.user.clone(),
            code: ByteBuf::from(scan.code.as_bytes()),
            number: scan.number,
            claim: ByteBuf::from(scan.claim.as_bytes()),
            answer: u8::from(scan.answer == Answer::Claimed),
            name: scan.profile.name.clone().unwrap_or_default(),
            picture: scan.profile.picture.clone().unwrap_or_default(),
            hidden: scan.matching.map(|matching| matching.hidden.get()),
            wrong: scan.matching.map_or(0, |matching| matching.wrong),
        });
        let facts = login.facts.clone().unwrap_or_default();
        // With the mark of the browser that it belongs to.
        let mut hashes = Vec::with_capacity(16 * login.codes.hashes.len());
        for hash in &login.codes.hashes {
            hashes.extend_from_slice(hash.as_bytes());
        }
        Self {
            state,
            epoch: login.epoch,
            protocol: u8::from(login.protocol == Protocol::Json),
            created: login.created.as_micros(),
            changed: login.changed.as_micros(),
            end: end.as_micros(),
            proof: ByteBuf::from(login.proof.as_bytes()),
            codes_start: login.codes.start.as_micros(),
            rotate: login.codes.rotate.map_or(0, |rotate| rotate.as_micros() as u64),
            first_code: login.codes.first,
            hashes: ByteBuf::from(hashes),
            facts: (facts.ip, facts.user_agent, facts.origin),
            scan: scan.into_iter().collect(),
            sealed: sealed.map(ByteBuf::from).unwrap_or_default(),
            reserved: login
                .reserved
                .iter()
                .map(|one| {
                    let code = ByteBuf::from(one.code.as_bytes());
                    (one.user.clone(), code, one.until.as_micros())
                })
                .collect(),
        }
    }

    pub(super) fn into_login(self) -> Result<Login, BadRecord> {
        let end = Timestamp::from_micros(self.end);
        let scan = self.scan.into_iter().next().map(|scan| {
            Ok::<_, BadRecord>(Scan {
                user: scan.user,
                code: hash(&scan.code)?,
                number: scan.number,
                claim: hash(&scan.claim)?,
                answer: if scan.answer == 1 { Answer::Claimed } else { Answer::Approved },
                profile: Profile { name: text(scan.name), picture: text(scan.picture) },
                matching: scan
                    .hidden
                    .and_then(HiddenNumber::from_record)
                    .map(|hidden| Matching { hidden, wrong: scan.wrong }),
            })
        });
        let scan = scan.transpose()?.ok_or_else(|| BadRecord("nobody has scanned".into()));
        let state = match self.state {
            WAITING => State::Waiting { deadline: end },
            SCANNED => State::Scanned { deadline: end, scan: scan? },
            APPROVED => {
                let sealed = self.sealed.into_vec();
                State::Approved { collect_until: end, scan: scan?, sealed }
            }
            ended => {
                let ending = ENDINGS.get(usize::from(ended - ENDED)).copied();
                let ending = ending.ok_or_else(|| BadRecord(format!("unknown state {ended}")))?;
                State::Ended { ending, until: end, scan: scan?, sealed: self.sealed.into_vec() }
            }
        };
        let (ip, user_agent, origin) = self.facts;
        let reserved = self.reserved.into_iter().next().map(|(user, code, until)| {
            let until = Timestamp::from_micros(until);
            Ok::<_, BadRecord>(Reservation { user, code: hash(&code)?, until })
        });
        Ok(Login {
            reserved: reserved.transpose()?,
            epoch: self.epoch,
            protocol: if self.protocol == 1 { Protocol::Json } else { Protocol::Plain },
            created: Timestamp::from_micros(self.created),
            changed: Timestamp::from_micros(self.changed),
            proof: hash(&self.proof)?,
            codes: Codes {
                start: Timestamp::from_micros(self.codes_start),
                rotate: (self.rotate > 0).then(|| Duration::from_micros(self.rotate)),
                first: self.first_code,
                hashes: self.hashes.chunks(16).map(hash).collect::<Result<_, _>>()?,
            },
            facts: (!ip.is_empty()).then_some(Facts { ip, user_agent, origin }),
            state,
        })
    }

    /// Written by hand, because `cmsgpack` knows no MessagePack `bin`: bytes go as `str`, and no
    /// serialiser writes a `str` that is not UTF-8.
    pub(super) fn pack(&self) -> Vec<u8> {
        let mut out = Packer(Vec::with_capacity(128 + self.hashes.len() + self.sealed.len()));
        // What comes last may be absent; what comes before something may only be empty.
        let reserved = !self.reserved.is_empty();
        let sealed = reserved || !self.sealed.is_empty();
        let scan = sealed || !self.scan.is_empty();
        let fields = 12 + u32::from(scan) + u32::from(sealed) + u32::from(reserved);
        out.array(fields).uint(self.state).uint(self.epoch).uint(self.protocol);
        out.uint(self.created).uint(self.changed).uint(self.end).bytes(&self.proof);
        out.uint(self.codes_start).uint(self.rotate).uint(self.first_code).bytes(&self.hashes);
        let (ip, user_agent, origin) = &self.facts;
        out.array(3).bytes(ip.as_bytes()).bytes(user_agent.as_bytes()).bytes(origin.as_bytes());
        if scan {
            out.array(self.scan.len() as u32);
        }
        for scan in &self.scan {
            out.array(if scan.hidden.is_some() { 9 } else { 7 });
            out.bytes(scan.user.as_bytes()).bytes(&scan.code).uint(scan.number);
            out.bytes(&scan.claim).uint(scan.answer);
            out.bytes(scan.name.as_bytes()).bytes(scan.picture.as_bytes());
            if let Some(hidden) = scan.hidden {
                out.uint(hidden).uint(scan.wrong);
            }
        }
        if sealed {
            out.bytes(&self.sealed);
        }
        if reserved {
            out.array(self.reserved.len() as u32);
        }
        for (user, code, until) in &self.reserved {
            out.array(3).bytes(user.as_bytes()).bytes(code).uint(*until);
        }
        out.0
    }
}

struct Packer(Vec<u8>);

const IN_MEMORY: &str = "writing into memory";

impl Packer {
    fn array(&mut self, length: u32) -> &mut Self {
        encode::write_array_len(&mut self.0, length).expect(IN_MEMORY);
        self
    }

    fn uint(&mut self, number: impl Into<u64>) -> &mut Self {
        encode::write_uint(&mut self.0, number.into()).expect(IN_MEMORY);
        self
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        encode::write_str_len(&mut self.0, bytes.len() as u32).expect(IN_MEMORY);
        self.0.extend_from_slice(bytes);
        self
    }
}

/// Reads what stands under a record's key.
pub(super) fn unpack(bytes: &[u8]) -> Result<Login, BadRecord> {
    rmp_serde::from_slice::<Record>(bytes)
        .map_err(|error| BadRecord(error.to_string()))?
        .into_login()
}

/// Reads the beginning of what stands under a record's key: nothing is copied.
pub(super) fn head(mut bytes: &[u8]) -> Result<Head, BadRecord> {
    let bad = |error: &dyn std::fmt::Display| BadRecord(error.to_string());
    decode::read_array_len(&mut bytes).map_err(|error| bad(&error))?;
    let state: u8 = decode::read_int(&mut bytes).map_err(|error| bad(&error))?;
    let epoch = decode::read_int(&mut bytes).map_err(|error| bad(&error))?;
    Ok(Head { epoch, is_waiting: state == WAITING })
}

/// A login as the record's bytes.
pub(super) fn pack(login: &Login) -> Vec<u8> {
    Record::of(login).pack()
}

/// A scan as it will stand in the record, with what comes behind it: all but its code's number, which only the
/// record tells; what comes before that, and what after it.
pub(super) fn around_the_number(attempt: &Attempt) -> (Vec<u8>, Vec<u8>) {
    let nothing = Profile::default();
    let (answer, profile, sealed) = match &attempt.then {
        Then::Approve { sealed, .. } => (Answer::Approved, &nothing, &sealed[..]),
        Then::Claim(profile, _) => (Answer::Claimed, profile, &[][..]),
    };
    let mut front = Packer(Vec::with_capacity(32 + attempt.user.len()));
    front.array(1).array(7).bytes(attempt.user.as_bytes()).bytes(attempt.code.as_bytes());
    let text = |text: &Option<String>| text.clone().unwrap_or_default().into_bytes();
    let mut back = Packer(Vec::with_capacity(32 + sealed.len()));
    back.bytes(attempt.claim.as_bytes()).uint(u8::from(answer == Answer::Claimed));
    back.bytes(&text(&profile.name)).bytes(&text(&profile.picture)).bytes(sealed);
    (front.0, back.0)
}

/// A user's entry: the login, since when, and what is known of the browser. Where the user's web
/// logins were ended, there is no login, and the time is that of the end.
pub(super) fn pack_session(session: &Session) -> Vec<u8> {
    let mut out = Packer(Vec::with_capacity(32 + session.browser.len()));
    out.array(3).bytes(session.id.as_bytes()).uint(session.since.as_micros());
    out.bytes(&session.browser);
    out.0
}

/// Reads what stands under a user's key.
pub(super) fn unpack_entry(bytes: &[u8]) -> Result<Entry, BadRecord> {
    let (id, time, browser): (ByteBuf, u64, ByteBuf) =
        rmp_serde::from_slice(bytes).map_err(|error| BadRecord(error.to_string()))?;
    let time = Timestamp::from_micros(time);
    if id.is_empty() {
        return Ok(Entry::Ended(time));
    }
    let id = id.into_vec().try_into().map_err(|_| BadRecord("an id has a wrong length".into()))?;
    let (id, browser) = (LoginId::from_bytes(id), browser.into_vec());
    Ok(Entry::Session(Session { id, since: time, browser }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        keys::{Entropy, LoginId, Seed},
        login::{Attempt, MatchNumber, Then, Windows},
    };

    #[test]
    fn every_state_reads_back_as_it_was_written() {
        let (now, second) = (Timestamp::from_micros(1_795_422_968_475_960), Duration::from_secs(1));
        let (id, seed) = (LoginId::random(Entropy::Os), Seed::random(Entropy::Os));
        let windows = Windows::lay_out(1, now, second * 120, Some(second * 30));
        let codes = Codes::of(&seed, windows);
        let deadline = now + second * 120;
        let mut waiting = Login::new(3, Protocol::Json, seed.proof(), codes, deadline, now);
        waiting.facts = Some(Facts::new("::1".into(), "https://x.example", "Firefox"));
        let claim = seed.code(1).claim(id, "älice");
        let attempt = |then| Attempt {
            code: seed.code(1).hash(),
            user: "älice".into(),
            claim: claim.hash(),
            then,
        };
        let profile = Profile { name: Some("Älice".into()), picture: None };
        let number = MatchNumber::random(Entropy::Os).hidden(&claim);
        let then = Then::Claim(profile, Some(number));
        let scanned = waiting.clone().attempt(attempt(then), now).unwrap().0;
        let missed = scanned.clone().confirm(&claim, "älice", None, vec![], second, now);
        let missed = missed.unwrap_err().login;
        let sealed = (0..=255).collect::<Vec<u8>>();
        let approved =
            scanned.clone().confirm(&claim, "älice", Some(number), sealed, second, now).unwrap();
        let delivered = approved.clone().acknowledge(3, now).unwrap();
        let mut bound = waiting.clone();
        bound.codes.bind(seed.proof());
        let redeemable =
            bound.clone().attempt(attempt(Then::Approve { sealed: vec![1], collect: second }), now);
        let again = redeemable.clone().unwrap().0.acknowledge(0, now).unwrap();
        let redeemable = redeemable.unwrap().0;
        let denied = scanned.clone().deny(&claim, "älice", now).unwrap();
        let reserve = |login: Login| login.reserve(&seed.code(1).hash(), "älice", second, now);
        let reserved = reserve(waiting.clone()).unwrap().0;
        for login in [
            waiting, reserved, scanned, missed, approved, delivered, denied, bound, redeemable,
            again,
        ] {
            assert_eq!(unpack(&pack(&login)).unwrap(), login);
            assert_eq!(head(&pack(&login)).unwrap(), Head::of(&login));
        }
        assert!(unpack(b"").is_err());
        assert!(head(b"").is_err());
        assert!(unpack(&[0x9c, 0xff]).is_err());
    }
}
