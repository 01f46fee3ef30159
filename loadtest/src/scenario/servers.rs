//! The servers for a scenario: those that are there, or those that it takes.

use super::{Error, Plan, Scenario, Settings, run::processes};
use crate::{
    limits,
    target::{self, Store, Target, Wanted, redis, service},
    tokens,
};

/// The servers for a scenario.
///
/// # Errors
/// [`Error`].
pub fn target(plan: &Plan, settings: &Settings) -> Result<Target, Error> {
    // Before anything is started.
    processes(plan, settings)?;
    if let Some(host) = &settings.host {
        return Ok(Target::there(host, app_tokens(settings)?)?);
    }
    let installed = redis::is_installed();
    let store = settings.store.unwrap_or(if installed { Store::Redis } else { Store::Embedded });
    let most = limits::browsers_of_this_memory();
    if plan.browsers() > most {
        return Err(Error::Memory(plan.browsers(), most));
    }
    let instances = instances(plan, settings, store)?;
    let binary = match &settings.service {
        Some(binary) => binary.clone(),
        None => service::binary()?,
    };
    let mut more: Vec<(String, String)> = Vec::new();
    if plan.scenario == Scenario::Abuse {
        // What answers attackers is what is tested here. People have an address and a user each.
        more.push(("CONNECTS_PER_MINUTE".into(), "600".into()));
        more.push(("SCANS_PER_MINUTE".into(), "30".into()));
    }
    for set in &settings.set {
        let (name, value) = set.split_once('=').ok_or_else(|| Error::Set(set.clone()))?;
        more.push((name.to_owned(), value.to_owned()));
    }
    let browsers = plan.browsers();
    let proxy_workers = browsers.div_ceil(limits::browsers_of_a_proxy_worker()).max(1);
    Ok(Target::start(&Wanted {
        binary,
        store,
        instances,
        confirm: settings.confirm,
        wait: plan.scenario.defaults().wait,
        proxy_workers: settings.nginx.then_some(proxy_workers as usize),
        more,
    })?)
}

/// As many as are asked for, or as it takes to hold all browsers.
fn instances(plan: &Plan, settings: &Settings, store: Store) -> Result<usize, Error> {
    let (browsers, each) = (plan.browsers(), limits::browsers_of_an_instance());
    let needed = browsers.div_ceil(each).max(1) as usize;
    let instances = match store {
        Store::Embedded => 1,
        Store::Redis | Store::Cluster => settings.instances.unwrap_or(needed).max(1),
    };
    if instances >= needed {
        return Ok(instances);
    }
    let advice = match store {
        Store::Embedded => "install redis-server, so that several instances can share a store",
        Store::Redis | Store::Cluster => "leave out --instances",
    };
    Err(Error::Instances { browsers, most: each * instances as u64, instances, advice })
}

fn app_tokens(settings: &Settings) -> Result<Vec<String>, target::Error> {
    let file_error = |file: &std::path::PathBuf| {
        let file = file.clone();
        move |error| target::Error::File(file, error)
    };
    if let Some(file) = &settings.app_tokens {
        return tokens::read(file).map_err(file_error(file));
    }
    let (name, secret) = match &settings.app_secret_file {
        Some(file) => {
            let text = std::fs::read_to_string(file).map_err(file_error(file))?;
            // As the service reads it.
            let line = text.strip_suffix('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
            ("--app-secret-file", line.unwrap_or(&text).to_owned())
        }
        None => {
            let secret = settings.app_secret.clone().ok_or(target::Error::NoTokens)?;
            ("SCANLOGIN_APP_JWT_SECRET", secret)
        }
    };
    if secret.trim() != secret || secret.starts_with('\u{feff}') {
        return Err(target::Error::Secret(name));
    }
    Ok(tokens::mint(&secret, target::USERS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_as_the_service_reads_it() {
        let path = std::env::temp_dir().join(format!("loadtest-secret-{}", std::process::id()));
        let of_file = |text: &str| {
            std::fs::write(&path, text).expect("a file");
            let file = Some(path.clone());
            app_tokens(&Settings { app_secret_file: file, ..Settings::default() })
        };
        let of_variable = |text: &str| {
            app_tokens(&Settings { app_secret: Some(text.into()), ..Settings::default() })
        };
        for good in ["secret", "secret\n", "secret\r\n"] {
            assert!(of_file(good).is_ok(), "{good:?}");
        }
        assert!(of_variable("secret").is_ok());
        for wrong in ["secret\n\n", " secret", "secret \n", "\u{feff}secret\n"] {
            let error = of_file(wrong).expect_err(wrong).to_string();
            assert!(error.starts_with("--app-secret-file begins or ends"), "{error}");
        }
        let error = of_variable("secret\n").expect_err("a line break").to_string();
        assert!(error.starts_with("SCANLOGIN_APP_JWT_SECRET begins or ends"), "{error}");
        std::fs::remove_file(path).expect("ours");
    }
}
