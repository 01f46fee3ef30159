//! Before the load: one login, so that what is set up wrongly is said in one clear line.

use super::{Error, Settings};
use crate::{
    crew::{Crew, Wrong},
    recorder::{Recorder, Sample, Step},
    target::Target,
};

const ADDRESS: &str = "it limits this client's address: start it with \
     SCANLOGIN_CONNECTS_PER_MINUTE=0";
const USERS: &str = "it limits these users: start it with SCANLOGIN_SCANS_PER_MINUTE=0 and \
     SCANLOGIN_CLAIMS_PER_USER=0, or give more --app-tokens";

/// Whether a sample shows that the service's limits stand in the way, and which setting lifts them:
/// what is measured from there on is the limit. Attackers report their refusals as such.
pub(super) fn limited(sample: &Sample) -> Option<&'static str> {
    match (sample.step, sample.error.as_deref()?) {
        (Step::Connect, "429 code -4") => Some(ADDRESS),
        (Step::Scan | Step::Confirm, "429 code -4") => Some(USERS),
        _ => None,
    }
}

pub(super) async fn check(target: &Target, settings: &Settings) -> Result<(), Error> {
    let tokens = target.tokens.clone();
    let Settings { protocol, confirm, .. } = settings;
    let crew = Crew::new(&target.endpoints, *protocol, *confirm, tokens, Recorder::new())?;
    let visitor = crew.open().await;
    let result = match visitor {
        Ok(visitor) => crew.log_in(visitor, std::time::Instant::now()).await,
        Err(wrong) => Err(wrong),
    };
    let Err(Wrong(step, why)) = result else { return Ok(()) };
    let host = &target.description;
    Err(Error::Refused(match (step, why.as_str()) {
        (Step::Connect, "ConnectionRefused" | "TimedOut" | "timeout" | "HostUnreachable") => {
            format!("{host} is unreachable ({why}): is it running, and is this its public port?")
        }
        (Step::Connect, "429 code -4") => format!("{host}: {ADDRESS}"),
        (Step::Scan | Step::Confirm, "429 code -4") => format!("{host}: {USERS}"),
        (Step::Connect, "403 code -7") => format!(
            "{host} refuses this origin or host: SCANLOGIN_PUBLIC_URL or SCANLOGIN_ALLOWED_ORIGINS \
             must allow the one in --host"
        ),
        (Step::Connect, "503 code -6") => {
            format!("{host} is full, draining, or its store is away ({why})")
        }
        (Step::Scan, "401 code -2") => format!(
            "{host} refuses the app token: --app-secret-file must hold its SCANLOGIN_APP_JWT_SECRET, \
             or --app-tokens name tokens with its issuer and audience"
        ),
        (Step::Token, "timeout") if !confirm => format!(
            "{host} sent no token after the scan: if it runs with SCANLOGIN_CONFIRM=required, add \
             --confirm"
        ),
        (Step::Confirm, _) => format!(
            "{host} took the scan and not the confirmation ({why}): if it runs with \
             SCANLOGIN_CONFIRM=off, leave out --confirm"
        ),
        (step, why) => format!("{host}: a first login failed at {}: {why}", step.name()),
    }))
}
