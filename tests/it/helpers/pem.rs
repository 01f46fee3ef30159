//! Keys that are made for a test, as an operator would: with openssl.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::Value;
use tempfile::TempDir;

/// A folder of PEM files.
pub(crate) struct Keys(TempDir);

impl Keys {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    pub(crate) fn path(&self, name: &str) -> String {
        let path: PathBuf = self.0.path().join(name);
        path.to_str().expect("a path in UTF-8").to_owned()
    }

    pub(crate) fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).expect("a file")
    }

    /// Writes a file and tells its path.
    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.path(name), text).expect("a file");
        self.path(name)
    }

    /// `<name>.pem`, a private key of this algorithm, and `<name>.pub`, the public one.
    pub(crate) fn make(&self, name: &str, algorithm: Algorithm) -> SigningKey {
        self.openssl(&format!(
            "genpkey {} -out {name}.pem",
            match algorithm {
                Algorithm::RS256 => "-algorithm RSA -pkeyopt rsa_keygen_bits:2048",
                Algorithm::ES256 => "-algorithm EC -pkeyopt ec_paramgen_curve:P-256",
                Algorithm::EdDSA => "-algorithm ed25519",
                other => panic!("no key for {other:?}"),
            }
        ));
        self.openssl(&format!("pkey -in {name}.pem -pubout -out {name}.pub"));
        let pem = self.text(&format!("{name}.pem"));
        let key = match algorithm {
            Algorithm::RS256 => EncodingKey::from_rsa_pem(pem.as_bytes()),
            Algorithm::ES256 => EncodingKey::from_ec_pem(pem.as_bytes()),
            _ => EncodingKey::from_ed_pem(pem.as_bytes()),
        };
        SigningKey { algorithm, id: None, key: key.expect("a key that openssl made") }
    }

    pub(crate) fn openssl(&self, arguments: &str) {
        let status = Command::new("openssl")
            .args(arguments.split_whitespace())
            .current_dir(self.0.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .expect("openssl is installed: tests/run does it");
        assert!(status.success(), "openssl {arguments}");
    }
}

/// The app's key.
#[derive(Clone)]
pub(crate) struct SigningKey {
    pub(crate) algorithm: Algorithm,
    pub(crate) id: Option<String>,
    pub(crate) key: EncodingKey,
}

impl SigningKey {
    pub(crate) fn sign(&self, claims: &Value) -> String {
        let mut header = Header::new(self.algorithm);
        header.kid = self.id.clone();
        encode(&header, claims, &self.key).expect("a signature")
    }
}
