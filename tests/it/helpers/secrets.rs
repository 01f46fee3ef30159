//! Everything that must be seen nowhere, in every form in which it could be seen.

use aho_corasick::AhoCorasick;
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};

#[derive(Default)]
pub(crate) struct Secrets {
    names: Vec<String>,
    forms: Vec<Vec<u8>>,
}

impl Secrets {
    /// A text of ours that holds the login's id, which is no secret, and then a secret.
    pub(crate) fn add_pair(&mut self, what: &str, text: &str) {
        let bytes = URL_SAFE_NO_PAD.decode(text).expect("base64url");
        self.add_text(what, text);
        // The secret half, wherever it may have been cut out: the id is 16 bytes, 21 1/3 characters.
        self.add(what, "its secret half", text.as_bytes()[22..].to_vec());
        self.add_bytes(what, &bytes[16..]);
    }

    /// A secret that is a text.
    pub(crate) fn add_text(&mut self, what: &str, text: &str) {
        self.add(what, "as it is", text.as_bytes().to_vec());
        let bytes = text.as_bytes();
        self.add(what, "hex", hex(bytes).into_bytes());
        self.add(what, "base64url", URL_SAFE_NO_PAD.encode(bytes).into_bytes());
        self.add(what, "base64", STANDARD_NO_PAD.encode(bytes).into_bytes());
        let encoded: String = bytes.iter().map(|byte| format!("%{byte:02X}")).collect();
        self.add(what, "URL-encoded", encoded.into_bytes());
        // A JWT's signature is what makes it one.
        if let Some((_, signature)) = text.rsplit_once('.') {
            self.add(what, "its signature", signature.as_bytes().to_vec());
        }
    }

    fn add_bytes(&mut self, what: &str, bytes: &[u8]) {
        self.add(what, "its bytes", bytes.to_vec());
        self.add(what, "its bytes in hex", hex(bytes).into_bytes());
        self.add(what, "its bytes in HEX", hex(bytes).to_uppercase().into_bytes());
        self.add(what, "its bytes in base64url", URL_SAFE_NO_PAD.encode(bytes).into_bytes());
        self.add(what, "its bytes in base64", STANDARD.encode(bytes).into_bytes());
        let listed = format!("{bytes:?}");
        self.add(what, "its bytes as Rust shows them", listed.trim_matches(['[', ']']).into());
    }

    fn add(&mut self, what: &str, form: &str, bytes: Vec<u8>) {
        assert!(bytes.len() >= 16, "{what}, {form}: too short to be told from chance");
        self.names.push(format!("{what}, {form}"));
        self.forms.push(bytes);
    }

    /// How many forms are looked for.
    pub(crate) fn count(&self) -> usize {
        self.forms.len()
    }

    /// What is found in these places.
    pub(crate) fn found_in<'a>(
        &self,
        places: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Vec<String> {
        let search = AhoCorasick::new(&self.forms).expect("few enough patterns");
        let mut found = Vec::new();
        for (place, bytes) in places {
            for one in search.find_iter(bytes).take(5) {
                found.push(format!("{} in {place}", self.names[one.pattern().as_usize()]));
            }
        }
        found
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// MONITOR shows bytes that are not printable as `\xNN` and a few others.
pub(crate) fn unescaped(line: &str) -> Vec<u8> {
    let (mut out, mut bytes) = (Vec::new(), line.bytes());
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        match bytes.next() {
            Some(b'x') => {
                let digits = [bytes.next().unwrap_or(b'0'), bytes.next().unwrap_or(b'0')];
                let digits = str::from_utf8(&digits).expect("ASCII");
                out.push(u8::from_str_radix(digits, 16).expect("two digits"));
            }
            Some(b'n') => out.push(b'\n'),
            Some(b'r') => out.push(b'\r'),
            Some(b't') => out.push(b'\t'),
            Some(b'a') => out.push(7),
            Some(b'b') => out.push(8),
            Some(other) => out.push(other),
            None => {}
        }
    }
    out
}
