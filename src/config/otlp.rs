//! Where traces go.

use std::num::NonZeroU64;

use url::Url;

use super::{ConfigError, Values, base_url};

/// The collector of traces.
#[derive(Clone, Debug)]
pub struct Otlp {
    /// Its address, without the path of the signal.
    pub endpoint: Url,
    /// Of so many logins one is traced.
    pub one_in: NonZeroU64,
}

/// `None`: traces go nowhere.
pub(super) fn read(values: &Values) -> Result<Option<Otlp>, ConfigError> {
    const ENDPOINT: &str = "SCANLOGIN_OTLP_ENDPOINT";
    let one_in = values.number("SCANLOGIN_OTLP_ONE_IN", 1, 1..=1_000_000)?;
    let one_in = NonZeroU64::new(one_in).expect("at least 1");
    let Some(text) = values.get(ENDPOINT)? else { return Ok(None) };
    Ok(Some(Otlp { endpoint: base_url(ENDPOINT, &text)?, one_in }))
}
