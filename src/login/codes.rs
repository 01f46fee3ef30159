//! The codes of a login and their windows of time.

use std::time::Duration;

use super::{GRACE, MAX_CODES};
use crate::{
    clock::Timestamp,
    keys::{Hash, Seed},
};

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

/// In front of the hash of a browser's cookie; nothing that is hashed gives it.
const BOUND: Hash = Hash::from_bytes([0; 16]);

/// The codes of a login: their hashes, each with its window of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Codes {
    /// When the first of them was shown.
    pub start: Timestamp,
    /// How long each is shown; `None`: one code for the whole life.
    pub rotate: Option<Duration>,
    /// The number of the first.
    pub first: u32,
    /// The hashes, in order. Where the login belongs to a browser, two more: a mark, and the hash of
    /// its cookie. They stand here because a version that knows nothing of them takes them for codes
    /// that nobody scans, and keeps them; a field of their own would not survive it.
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
        let count = hashes.len() - if self.browser().is_some() { 2 } else { 0 };
        Windows { start, rotate, first, count: count as u32 }
    }

    /// The hash of the cookie of the browser that the login belongs to, if it does to one.
    pub fn browser(&self) -> Option<Hash> {
        match self.hashes[..] {
            [.., mark, browser] if mark == BOUND => Some(browser),
            _ => None,
        }
    }

    /// The login belongs to the browser whose cookie has this hash.
    pub fn bind(&mut self, browser: Hash) {
        if self.browser().is_some() {
            self.hashes.pop();
            self.hashes.push(browser);
        } else {
            bind(&mut self.hashes, browser);
        }
    }

    /// The login is over: nothing can be scanned any more.
    pub(super) fn forget(&mut self) {
        self.hashes.clear();
    }

    /// The number of the code with this hash, whatever the time.
    pub fn number_of(&self, code: &Hash) -> Option<u32> {
        let index = self.hashes.iter().position(|hash| hash.matches(code))?;
        Some(self.first + index as u32)
    }
}

/// A login with these codes belongs to the browser whose cookie has this hash.
pub fn bind(hashes: &mut Vec<Hash>, browser: Hash) {
    hashes.extend([BOUND, browser]);
}

/// The hashes of `count` codes, numbered from `first`.
pub fn hashes(seed: &Seed, first: u32, count: u32) -> Vec<Hash> {
    seed.codes(first, count).map(|code| code.hash()).collect()
}
