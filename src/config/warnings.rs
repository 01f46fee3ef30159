//! What is legal and gives something away, or is likely not meant: one line each, at the start and
//! in `check-config`.

use ipnet::IpNet;
use url::Url;

use super::{Config, Confirm, Deliver, is_loopback_address};
use crate::origin::{Origins, is_loopback};

/// The lines about a configuration, each with its setting, what comes of it, and what to do.
/// `app_given`: the app's secret or key is configured, and not made up for this run.
pub(super) fn of(config: &Config, app_given: bool) -> Vec<String> {
    let mut lines = Vec::new();
    tokens(config, &mut lines);
    addresses(config, &mut lines);
    admin(config, &mut lines);
    proxies(config, &mut lines);
    logins(config, app_given, &mut lines);
    lines
}

fn tokens(config: &Config, lines: &mut Vec<String>) {
    if !config.secrets_made_up && config.app_issuer.is_none() && config.app_audience.is_none() {
        lines.push(
            "neither SCANLOGIN_APP_JWT_ISSUER nor SCANLOGIN_APP_JWT_AUDIENCE is set: every JWT signed \
             by the app is accepted, whatever it was made for"
                .into(),
        );
    }
}

fn addresses(config: &Config, lines: &mut Vec<String>) {
    let public = config.public_url.as_ref();
    match public {
        None if config.redis.is_some() || !config.listens_on_loopback() => lines.push(
            "SCANLOGIN_PUBLIC_URL is not set: the QR code's address is taken from each request's \
             Host header"
                .into(),
        ),
        Some(url) if !is_protected(url) => lines.push(
            "SCANLOGIN_PUBLIC_URL begins with http://: whoever is on the way to it reads keys and \
             tokens; put TLS in front and let it begin with https://"
                .into(),
        ),
        _ => {}
    }
    let opens_apps = !config.app_links.apple.is_empty() || !config.app_links.android.is_empty();
    if opens_apps && public.is_none_or(|url| url.scheme() != "https") {
        lines.push(
            "SCANLOGIN_APPLE_APP_IDS and SCANLOGIN_ANDROID_APPS need SCANLOGIN_PUBLIC_URL to begin \
             with https://: phones open apps for no other address"
                .into(),
        );
    }
}

fn admin(config: &Config, lines: &mut Vec<String>) {
    if config.admin_token.is_none() && !is_loopback_address(config.admin_listen) {
        lines.push(
            "SCANLOGIN_ADMIN_TOKEN is not set, and SCANLOGIN_ADMIN_LISTEN is not a loopback address: \
             whoever reaches that port can end any user's web login with POST /revoke"
                .into(),
        );
    }
}

fn proxies(config: &Config, lines: &mut Vec<String>) {
    // Two halves of all addresses are all of them.
    let everybody = IpNet::aggregate(&config.trusted_proxies);
    if everybody.iter().any(|network| network.prefix_len() == 0) {
        lines.push(
            "SCANLOGIN_TRUSTED_PROXIES covers every address: anybody can claim any address, on the \
             phone's screen and past the limits; list the networks of your own proxies alone"
                .into(),
        );
    }
    if config.redis.is_some() && config.trusted_proxies.is_empty() {
        lines.push(
            "SCANLOGIN_TRUSTED_PROXIES is not set beside Redis: behind a load balancer all browsers \
             have its address, on the phone's screen and in the limits; list its networks (where \
             there is none, 127.0.0.1 trusts nobody else)"
                .into(),
        );
    }
}

fn logins(config: &Config, app_given: bool, lines: &mut Vec<String>) {
    let is_public = !config.listens_on_loopback();
    if is_public && config.origins == Origins::Any {
        lines.push(
            "SCANLOGIN_ALLOWED_ORIGINS=* on a listener that others reach: any website can show QR \
             codes of this service and get the tokens; list the origins of your own pages"
                .into(),
        );
    }
    if is_public && config.confirm == Confirm::Off {
        lines.push(
            "SCANLOGIN_CONFIRM=off on a listener that others reach: a scan alone logs the browser \
             in, also that of whoever shows your user a code of their own; set it to required"
                .into(),
        );
    }
    if let (Deliver::Ticket, Origins::Listed(listed)) = (config.deliver, &config.origins) {
        let open = |origin: &&String| Url::parse(origin).is_ok_and(|url| !is_protected(&url));
        let open: Vec<&str> = listed.iter().filter(open).map(String::as_str).collect();
        if !open.is_empty() {
            lines.push(format!(
                "SCANLOGIN_ALLOWED_ORIGINS lists {} beside SCANLOGIN_DELIVER=ticket: whoever is on \
                 the way to that page can change it and take its logins; list https origins alone",
                open.join(", ")
            ));
        }
    }
    if config.demo.is_some() && (app_given || config.redis.is_some()) {
        lines.push(
            "SCANLOGIN_DEMO=unsafe: anybody can log in as a demo user, and what the token opens is \
             open to them; leave it out where others can reach the service"
                .into(),
        );
    }
}

/// Whether nobody on the way can read or change what is said there: TLS, or this machine.
fn is_protected(url: &Url) -> bool {
    url.scheme() != "http" || url.host().is_some_and(|host| is_loopback(&host))
}
