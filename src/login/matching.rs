//! Number matching: the browser shows two digits, and the person types them on the phone.
//!
//! Two digits are no secret that a hash could keep: a hundred guesses against a dump would find
//! them. So the record holds their sum with a mask that only the claim gives, modulo 100, which
//! fits any two digits equally well for whoever has not got the claim. The phone has the claim and
//! not the record, the browser's instance derives the claim from the seed, and whoever checks an
//! answer compares sums.

use std::fmt;

use crate::keys::{Claim, Entropy};

/// The third wrong number ends the login.
pub const MAX_WRONG: u8 = 3;

/// What the browser shows: 00 to 99.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct MatchNumber(u8);

impl MatchNumber {
    /// A new one.
    pub fn random(entropy: Entropy) -> Self {
        // 2^64 is so much more than 100 that no number is noticeably likelier than another.
        Self((u64::from_be_bytes(entropy.bytes()) % 100) as u8)
    }

    /// Two digits, as the person typed them.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        if digits { text.parse().ok().map(Self) } else { None }
    }

    /// From a number; `None` if it has more than two digits.
    pub fn from_number(number: u64) -> Option<Self> {
        u8::try_from(number).ok().filter(|number| *number < 100).map(Self)
    }

    /// As the record holds it.
    pub fn hidden(self, claim: &Claim) -> HiddenNumber {
        HiddenNumber((self.0 + claim.match_mask()) % 100)
    }

    /// The two digits. Named, not `Display`: they should not slip into a message.
    pub fn expose(self) -> String {
        format!("{:02}", self.0)
    }
}

impl fmt::Debug for MatchNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MatchNumber(redacted)")
    }
}

/// A number that can be read only with the claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HiddenNumber(u8);

impl HiddenNumber {
    /// As it stands in a record: 0 to 99.
    pub fn get(self) -> u8 {
        self.0
    }

    /// From a record; `None` if it is none.
    pub fn from_record(number: u8) -> Option<Self> {
        (number < 100).then_some(Self(number))
    }

    /// The number itself.
    pub fn shown(self, claim: &Claim) -> MatchNumber {
        MatchNumber((self.0 + 100 - claim.match_mask()) % 100)
    }
}

/// The number of a scan, and how often it was missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Matching {
    /// The number.
    pub hidden: HiddenNumber,
    /// Wrong answers so far, of this login.
    pub wrong: u8,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{LoginId, Seed};

    #[test]
    fn a_number_is_read_back_with_its_claim_and_fits_any_two_digits_without() {
        let (id, seed) = (LoginId::random(Entropy::Os), Seed::random(Entropy::Os));
        let claim = seed.code(1).claim(id, "alice");
        let mut hidden: Vec<u8> = (0..100)
            .map(|number| {
                let number = MatchNumber::from_number(number).unwrap();
                assert_eq!(MatchNumber::parse(&number.expose()), Some(number));
                assert_eq!(number.hidden(&claim).shown(&claim), number);
                number.hidden(&claim).get()
            })
            .collect();
        hidden.sort_unstable();
        assert_eq!(hidden, (0..100).collect::<Vec<u8>>());
        // The masks of other users and codes differ, so the sums of two logins say nothing.
        let masks: std::collections::BTreeSet<u8> =
            (1..200).map(|code| seed.code(code).claim(id, "alice").match_mask()).collect();
        assert!(masks.len() > 50, "{masks:?}");
    }

    #[test]
    fn only_two_digits_are_a_number() {
        for text in ["", "7", "007", "+7", " 7", "7 ", "x1", "４２"] {
            assert_eq!(MatchNumber::parse(text), None, "{text}");
        }
        assert_eq!(MatchNumber::from_number(100), None);
        assert_eq!(HiddenNumber::from_record(255), None);
        assert!(
            !format!("{:?}", MatchNumber::random(Entropy::Fixed(1))).contains(char::is_numeric)
        );
    }
}
