//! What a browser gets instead of a token, where tokens are delivered by ticket.

use super::{Claim, Hash, Malformed, Seed, decode_pair, encode_pair, proof_of};

/// What a browser redeems for its cookie, once: login id + claim MAC + evidence of the seed.
///
/// Derived, so that nobody stores it: the claim opens the sealed token, at any instance, and the
/// evidence is what the photographer of the QR code and the phone lack. It does not lead to the
/// seed, so whoever has a ticket cannot resume.
#[derive(Clone, PartialEq, Eq)]
pub struct Ticket {
    /// The claim that the token is sealed for.
    pub claim: Claim,
    pub(super) evidence: [u8; 32],
}

impl Ticket {
    /// The ticket of the login that `claim` was given out for.
    pub fn new(seed: &Seed, claim: Claim) -> Self {
        Self { claim, evidence: seed.evidence() }
    }

    /// Reads a ticket.
    ///
    /// # Errors
    /// [`Malformed`] if it is none.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let (id, both) = decode_pair::<64, 80>(text)?;
        let (mac, evidence) = both.split_at(32);
        let mac = mac.try_into().map_err(|_| Malformed)?;
        let evidence = evidence.try_into().map_err(|_| Malformed)?;
        Ok(Self { claim: Claim { id, mac }, evidence })
    }

    /// The text for the browser.
    pub fn expose(&self) -> String {
        encode_pair(self.claim.id, &[self.claim.mac, self.evidence].concat())
    }

    /// What the record has if the ticket is of its browser.
    pub fn proof(&self) -> Hash {
        proof_of(&self.evidence)
    }
}
