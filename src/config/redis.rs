//! The Redis that instances share: where it is, and how it is known to be that one.

use std::path::{Path, PathBuf};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use super::{ConfigError, RedisUrl, Values, text::unreadable};

const CA: &str = "SCANLOGIN_REDIS_CA_FILE";
const CERT: &str = "SCANLOGIN_REDIS_CERT_FILE";
const KEY: &str = "SCANLOGIN_REDIS_KEY_FILE";

/// The Redis that instances share.
#[derive(Clone, Debug)]
pub struct Redis {
    /// Where it is.
    pub url: RedisUrl,
    /// The beginning of every key.
    pub prefix: String,
    /// Who signed its certificate.
    pub ca_file: Option<PathBuf>,
    /// Our own certificate and its key.
    pub client_identity: Option<(PathBuf, PathBuf)>,
}

/// Reads it; `None`: the embedded store.
pub(super) fn read(values: &Values) -> Result<Option<Redis>, ConfigError> {
    let url = values.get("SCANLOGIN_REDIS_URL")?;
    let path =
        |name| -> Result<Option<PathBuf>, ConfigError> { Ok(values.get(name)?.map(PathBuf::from)) };
    let ca_file = path(CA)?;
    let cert = path(CERT)?;
    let key = path(KEY)?;
    let prefix = values.get("SCANLOGIN_REDIS_PREFIX")?.unwrap_or_else(|| "scanlogin:".into());
    if prefix.len() > 64 || !prefix.bytes().all(|b| b.is_ascii_graphic() && b != b'{' && b != b'}')
    {
        return Err(ConfigError::new(
            "SCANLOGIN_REDIS_PREFIX",
            "must be at most 64 printable ASCII characters without blanks and braces",
        ));
    }
    let Some(url) = url else { return Ok(None) };
    let url =
        RedisUrl::parse(&url).map_err(|what| ConfigError::new("SCANLOGIN_REDIS_URL", what))?;
    let client_identity = match (cert, key) {
        (Some(cert), Some(key)) => Some((cert, key)),
        (None, None) => None,
        (Some(_), None) => return Err(ConfigError::new(KEY, format!("is missing beside {CERT}"))),
        (None, Some(_)) => return Err(ConfigError::new(CERT, format!("is missing beside {KEY}"))),
    };
    let redis = Redis { url, prefix, ca_file, client_identity };
    redis.check_files()?;
    Ok(Some(redis))
}

impl Redis {
    fn check_files(&self) -> Result<(), ConfigError> {
        let identity = self.client_identity.as_ref();
        let files = [
            (CA, self.ca_file.as_ref()),
            (CERT, identity.map(|it| &it.0)),
            (KEY, identity.map(|it| &it.1)),
        ];
        for (name, file) in files {
            let Some(file) = file else { continue };
            if !self.url.tls {
                return Err(ConfigError::new(name, "needs a rediss:// URL"));
            }
            if name == KEY {
                holds::<PrivateKeyDer<'_>>(name, file, "private key")?;
            } else {
                holds::<CertificateDer<'_>>(name, file, "certificate")?;
            }
        }
        Ok(())
    }
}

/// That a file can be read, and has what it is for. A file of authorities that names none would make
/// every server a stranger.
fn holds<T: PemObject>(name: &str, file: &Path, what: &str) -> Result<(), ConfigError> {
    let path = file.to_string_lossy();
    let text =
        std::fs::read(file).map_err(|error| ConfigError::new(name, unreadable(&path, &error)))?;
    // Its errors repeat what they could not read.
    T::from_pem_slice(&text).map(drop).map_err(|_| {
        ConfigError::new(name, format!("'{path}' holds no {what} in PEM form (-----BEGIN ...)"))
    })
}
