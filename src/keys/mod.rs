//! The strings that people and programs hold, and what is derived from what.
//!
//! ```text
//! seed   (256 bits, OS)      known to the browser's instance and, inside `resume`, to the browser
//!  |-- evidence            = HMAC(seed, "resume")           in the ticket; stored as a hash, the proof
//!  `-- code n              = HMAC(seed, "code" n)[..16]     in the QR; stored as a hash
//!       `-- claim MAC      = HMAC(code, "claim" user)       for the phone that scanned; stored as a hash
//!            |-- seal key  = HKDF(claim MAC)                never stored: opens the token
//!            `-- match mask = HMAC(claim MAC, "match" id)   never stored: hides the two digits
//!
//! browser (256 bits, OS)      in a cookie of the browser; stored as a hash, where tickets are bound to it
//!
//! key    = login id + code        resume = login id + seed        claim = login id + claim MAC
//! ticket = login id + claim MAC + evidence
//! ```
//!
//! Every derivation has its own label, so no stored hash says anything about another secret.

mod browser;
mod scanned;
mod ticket;

use std::fmt;

use aws_lc_rs::{constant_time, digest, hkdf, hmac};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use self::{browser::BrowserSecret, ticket::Ticket};

/// Longest text accepted as a key, a claim or a resume secret (spec section 1).
pub const MAX_TEXT: usize = 128;

/// Where random bytes come from.
#[derive(Clone, Copy, Debug)]
pub enum Entropy {
    /// The operating system's CSPRNG.
    Os,
    /// The same byte over and over: for tests that compare with golden values.
    Fixed(u8),
}

impl Entropy {
    /// `N` random bytes.
    ///
    /// # Panics
    /// If the operating system has no randomness to give: nothing safe can be done without.
    #[expect(clippy::disallowed_methods, reason = "the one place where randomness enters")]
    pub fn bytes<const N: usize>(self) -> [u8; N] {
        let mut bytes = [0; N];
        match self {
            Self::Os => getrandom::fill(&mut bytes).expect("the OS's random number generator"),
            Self::Fixed(byte) => bytes.fill(byte),
        }
        bytes
    }
}

/// Names a login everywhere: record, logs (hashed), `jti` of its token. Not a secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct LoginId(Uuid);

impl LoginId {
    /// A new random id (UUID v4).
    pub fn random(entropy: Entropy) -> Self {
        Self(uuid::Builder::from_random_bytes(entropy.bytes()).into_uuid())
    }

    /// The id as a `jti` shows it.
    pub fn parse(text: &str) -> Option<Self> {
        Uuid::try_parse(text).ok().map(Self)
    }

    /// The 16 bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// From the 16 bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// A short hash for logs: the browser's side and the phone's side of one login show the same.
    pub fn log_id(&self) -> String {
        hash(b"log", &[self.as_bytes()]).0[..6].iter().map(|b| format!("{b:02x}")).collect()
    }

    /// The trace of this login and its first span: whoever knows the id knows them.
    pub fn trace(&self) -> ([u8; 16], [u8; 8]) {
        let mut span = [0; 8];
        span.copy_from_slice(&hash(b"span", &[self.as_bytes()]).0[..8]);
        (hash(b"trace", &[self.as_bytes()]).0, span)
    }

    /// A number drawn by lot with the id: who chooses by it chooses alike on every instance.
    pub fn lot(&self) -> u32 {
        let [a, b, c, d, ..] = *self.as_bytes();
        u32::from_be_bytes([a, b, c, d])
    }
}

impl fmt::Display for LoginId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// 128 bits of a domain-separated SHA-256: what Redis may hold of a secret.
///
/// 128 bits suffice: what is hashed has at least 128 bits of entropy, and only preimages matter.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Hash(#[serde(with = "serde_bytes")] [u8; 16]);

impl Hash {
    /// The bytes, as they stand in a record.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// From the bytes of a record.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Compares without telling by its time where the difference is.
    pub fn matches(&self, other: &Self) -> bool {
        constant_time::verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hash(..)")
    }
}

fn hash(label: &[u8], parts: &[&[u8]]) -> Hash {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(b"scanlogin hash\0");
    context.update(label);
    context.update(b"\0");
    for part in parts {
        context.update(part);
    }
    let mut out = [0; 16];
    out.copy_from_slice(&context.finish().as_ref()[..16]);
    Hash(out)
}

fn mac(secret: &[u8], label: &[u8], data: &[u8]) -> [u8; 32] {
    mac_with(&hmac::Key::new(hmac::HMAC_SHA256, secret), label, data)
}

fn mac_with(key: &hmac::Key, label: &[u8], data: &[u8]) -> [u8; 32] {
    let mut context = hmac::Context::with_key(key);
    context.update(label);
    context.update(b"\0");
    context.update(data);
    let mut out = [0; 32];
    out.copy_from_slice(context.sign().as_ref());
    out
}

/// The name of a user where the plain one must not stand (Redis key names): a hash.
pub fn user_hash(user: &str) -> String {
    URL_SAFE_NO_PAD.encode(hash(b"user", &[user.as_bytes()]).0)
}

macro_rules! redacted {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(redacted)"))
            }
        }
    )*};
}
redacted!(Seed, Code, Claim, Key, Resume, Ticket, SealKey, BrowserSecret);

/// The root secret of one login. Leaves the process only inside [`Resume`].
#[derive(Clone, PartialEq, Eq)]
pub struct Seed([u8; 32]);

impl Seed {
    /// A new one.
    pub fn random(entropy: Entropy) -> Self {
        Self(entropy.bytes())
    }

    /// The code with this number (from 1).
    pub fn code(&self, number: u32) -> Code {
        self.codes(number, 1).next().expect("one was asked for")
    }

    /// The codes from `first`, so many: the key of the HMAC is set up once.
    pub fn codes(&self, first: u32, count: u32) -> impl Iterator<Item = Code> + use<> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        (first..first + count).map(move |number| {
            let mut code = [0; 16];
            code.copy_from_slice(&mac_with(&key, b"code", &number.to_be_bytes())[..16]);
            Code(code)
        })
    }

    /// What shows that somebody has the seed, or had it from who has.
    fn evidence(&self) -> [u8; 32] {
        mac(&self.0, b"resume", b"")
    }

    /// What the record keeps to recognise the resume secret.
    pub fn proof(&self) -> Hash {
        proof_of(&self.evidence())
    }
}

fn proof_of(evidence: &[u8; 32]) -> Hash {
    hash(b"proof", &[evidence])
}

/// The secret half of a key: whoever brings it has seen the QR code.
#[derive(Clone, PartialEq, Eq)]
pub struct Code([u8; 16]);

impl Code {
    /// What the record keeps of it.
    pub fn hash(&self) -> Hash {
        hash(b"code", &[&self.0])
    }

    /// The claim that this code gives to this user.
    pub fn claim(&self, id: LoginId, user: &str) -> Claim {
        Claim { id, mac: mac(&self.0, b"claim", user.as_bytes()) }
    }
}

/// A text that is not a key, a claim or a resume secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not base64url without padding of the expected length")]
pub struct Malformed;

fn decode<const N: usize>(text: &str) -> Result<[u8; N], Malformed> {
    let mut out = [0; N];
    if text.len() > MAX_TEXT {
        return Err(Malformed);
    }
    match URL_SAFE_NO_PAD.decode_slice(text, &mut out) {
        Ok(n) if n == N => Ok(out),
        _ => Err(Malformed),
    }
}

/// Decodes `login id + secret`.
fn decode_pair<const N: usize, const ALL: usize>(
    text: &str,
) -> Result<(LoginId, [u8; N]), Malformed> {
    let all = decode::<ALL>(text)?;
    let (id, secret) = all.split_at(16);
    let id = id.try_into().map_err(|_| Malformed)?;
    Ok((LoginId::from_bytes(id), secret.try_into().map_err(|_| Malformed)?))
}

fn encode_pair(id: LoginId, secret: &[u8]) -> String {
    let mut all = Vec::with_capacity(16 + secret.len());
    all.extend_from_slice(id.as_bytes());
    all.extend_from_slice(secret);
    URL_SAFE_NO_PAD.encode(all)
}

/// What the QR code holds: login id + code.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    /// The login.
    pub id: LoginId,
    /// The proof of having seen the QR code.
    pub code: Code,
}

impl Key {
    /// Finds the key in what a phone has scanned, or a person has pasted: the key itself or the whole URL that the QR code
    /// held (`.../s#<key>`), also as messengers, browsers and mail programs hand it on (src/keys/scanned.rs). Of several keys the
    /// last.
    ///
    /// # Errors
    /// [`Malformed`] if there is none in it.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let trimmed = text.trim();
        let fragment = trimmed.rsplit_once('#').map_or(trimmed, |(_, fragment)| fragment);
        // As it nearly always comes.
        let pair = decode_pair::<16, 32>(fragment).or_else(|_| scanned::find(text))?;
        let (id, code) = pair;
        Ok(Self { id, code: Code(code) })
    }

    /// The text for the QR code. Named, not `Display`: a secret should not slip into a message.
    pub fn expose(&self) -> String {
        encode_pair(self.id, &self.code.0)
    }
}

/// What the phone that scanned gets: names the login and proves who scanned which code.
#[derive(Clone, PartialEq, Eq)]
pub struct Claim {
    /// The login.
    pub id: LoginId,
    mac: [u8; 32],
}

impl Claim {
    /// Reads a claim.
    ///
    /// # Errors
    /// [`Malformed`] if it is none.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let (id, mac) = decode_pair::<32, 48>(text)?;
        Ok(Self { id, mac })
    }

    /// The text for the phone.
    pub fn expose(&self) -> String {
        encode_pair(self.id, &self.mac)
    }

    /// What the record keeps of it.
    pub fn hash(&self) -> Hash {
        hash(b"claim", &[self.id.as_bytes(), &self.mac])
    }

    /// What hides the number of number matching in the record: 0 to 99.
    pub(crate) fn match_mask(&self) -> u8 {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&mac(&self.mac, b"match", self.id.as_bytes())[..8]);
        // 2^64 is so much more than 100 that no number is noticeably likelier than another.
        (u64::from_be_bytes(bytes) % 100) as u8
    }

    /// The key that seals the token for the browser that owns the seed.
    pub fn seal_key(&self) -> SealKey {
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, self.id.as_bytes());
        let mut key = [0; 32];
        salt.extract(&self.mac)
            .expand(&[b"scanlogin token seal"], &aws_lc_rs::aead::AES_256_GCM)
            .and_then(|okm| okm.fill(&mut key))
            .expect("32 bytes are within HKDF's limit of 255 hashes");
        SealKey(key)
    }
}

/// An AES-256-GCM key.
pub struct SealKey(pub(crate) [u8; 32]);

/// The browser's own secret: login id + seed.
#[derive(Clone, PartialEq, Eq)]
pub struct Resume {
    /// The login.
    pub id: LoginId,
    /// Its seed.
    pub seed: Seed,
}

impl Resume {
    /// Reads a resume secret.
    ///
    /// # Errors
    /// [`Malformed`] if it is none: a QR key is too short to be one.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let (id, seed) = decode_pair::<32, 48>(text)?;
        Ok(Self { id, seed: Seed(seed) })
    }

    /// The text for the browser.
    pub fn expose(&self) -> String {
        encode_pair(self.id, &self.seed.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login() -> (LoginId, Seed) {
        (LoginId::random(Entropy::Fixed(7)), Seed::random(Entropy::Fixed(9)))
    }

    #[test]
    fn each_text_form_reads_back_and_no_other_form_is_taken_for_it() {
        let (id, seed) = login();
        let key = Key { id, code: seed.code(1) };
        let claim = key.code.claim(id, "alice");
        let resume = Resume { id, seed: seed.clone() };
        assert_eq!(Key::parse(&key.expose()), Ok(key.clone()));
        assert_eq!(Key::parse(&format!("https://x.example/s#{}", key.expose())), Ok(key.clone()));
        assert_eq!(Claim::parse(&claim.expose()), Ok(claim.clone()));
        assert_eq!(Resume::parse(&resume.expose()), Ok(resume.clone()));
        let ticket = Ticket::new(&seed, claim.clone());
        assert!(ticket.expose().len() <= MAX_TEXT);
        assert_eq!(Ticket::parse(&ticket.expose()), Ok(ticket.clone()));
        assert_eq!(ticket.proof(), seed.proof());
        assert_ne!(ticket.evidence, seed.0, "a ticket must not resume");
        assert_eq!(Ticket::parse(&resume.expose()), Err(Malformed));
        assert_eq!(Resume::parse(&key.expose()), Err(Malformed));
        assert_eq!(Key::parse(&resume.expose()), Err(Malformed));
        for text in ["", "#", "AAAA", &"A".repeat(129), &format!("{}=", key.expose())] {
            assert_eq!(Key::parse(text), Err(Malformed), "{text}");
        }
        // A claim has a resume secret's length: the proof must tell them apart.
        let forged = Resume::parse(&claim.expose()).unwrap();
        assert_ne!(forged.seed.proof(), seed.proof());
    }

    #[test]
    fn codes_claims_and_seals_differ_by_number_user_and_login() {
        let (id, seed) = login();
        let other = LoginId::random(Entropy::Os);
        assert_ne!(seed.code(1), seed.code(2));
        let claim = seed.code(1).claim(id, "alice");
        assert_ne!(claim, seed.code(1).claim(id, "bob"));
        assert_ne!(claim, seed.code(2).claim(id, "alice"));
        assert_ne!(claim.hash(), seed.code(1).claim(other, "alice").hash());
        assert_ne!(claim.seal_key().0, seed.code(1).claim(other, "alice").seal_key().0);
        assert_ne!(claim.seal_key().0[..16], claim.hash().0[..]);
    }

    #[test]
    fn debug_output_shows_no_secret() {
        let (id, seed) = login();
        let key = Key { id, code: seed.code(1) };
        let all = format!(
            "{:?} {:?} {:?} {:?} {:?} {:?}",
            seed,
            Ticket::new(&seed, key.code.claim(id, "alice")),
            key,
            key.code,
            key.code.claim(id, "alice"),
            seed.proof()
        );
        assert!(!all.contains('['), "{all}");
    }

    #[test]
    fn derivations_never_change_because_records_outlive_a_release() {
        let (id, seed) = login();
        assert_eq!(id.to_string(), "07070707-0707-4707-8707-070707070707");
        let claim = seed.code(3).claim(id, "alice");
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let golden = [
            hex(&seed.code(3).0),
            hex(&seed.proof().0),
            hex(&claim.hash().0),
            hex(&claim.seal_key().0),
            claim.match_mask().to_string(),
            Ticket::new(&seed, claim).expose(),
        ];
        assert_eq!(golden, include_str!("golden.txt").lines().collect::<Vec<_>>()[..]);
    }
}
