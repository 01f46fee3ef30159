//! What the log says of single logins.

use serde_json::{Value, json};

use crate::helpers::{Browser, Phone, Process, RedisServer, Settings, eventually};

/// The lines about single logins that a process has written.
fn about_logins(process: &Process) -> usize {
    ["scanned", "confirmed", "denied", "login ended"]
        .iter()
        .map(|message| process.logged(message).len())
        .sum()
}

async fn ended(process: &Process) -> Value {
    eventually("its end is logged", || async { process.logged("login ended").pop() }).await
}

#[tokio::test]
async fn one_login_can_be_followed_across_instances_and_its_end_says_how_it_went() {
    let redis = RedisServer::start().await;
    let settings = Settings::redis(&redis).with("CONFIRM", "required");
    let (a, b) = (Process::start(settings.clone()).await, Process::start(settings).await);
    let (gone, key) = Browser::json(a.address).await;
    gone.leave(1001).await;
    let mut browser = Browser::resume(a.address, key["resume"].as_str().unwrap()).await;
    let phone = Phone::of(b.address, "alice");
    let claim = phone.scan(key["key"].as_str().unwrap()).await.text("claim").to_owned();
    browser.message_of("scanned").await;
    phone.post("/scan/confirm", &json!({ "claim": claim })).await;
    browser.message_of("token").await;
    browser.say(&json!({ "type": "received" })).await;
    let ended = ended(&a).await["fields"].take();
    for message in ["scanned", "confirmed"] {
        let lines = b.logged(message);
        assert_eq!(lines.len(), 1, "{message}");
        assert_eq!(lines[0]["fields"]["login"], ended["login"], "{message}");
    }
    assert_eq!(b.logged("login ended").len(), 0, "one line, by whoever held its socket");
    assert_eq!(a.logged("login ended").len(), 1);
    assert_eq!((&ended["outcome"], &ended["protocol"]), (&json!("delivered"), &json!("json")));
    assert_eq!(ended["resumes"], 1);
    let millis = |name: &str| ended[name].as_f64().unwrap_or_else(|| panic!("{name}: {ended}"));
    assert!(millis("waited_ms").floor() + 1.0 >= millis("push_ms") + millis("acknowledge_ms"));
    assert!(millis("push_ms") > 0.0);
    // Nothing in it finds the login, or its user.
    let text = a.log() + &b.log();
    assert!(!text.contains("alice") && !text.contains(&claim));
}

#[tokio::test]
async fn a_login_that_nobody_was_told_of_ends_without_times_of_a_push() {
    let process = Process::start(Settings::embedded()).await;
    let (browser, _) = Browser::plain(process.address).await;
    browser.leave(1000).await;
    let ended = ended(&process).await["fields"].take();
    assert_eq!((&ended["outcome"], &ended["protocol"]), (&json!("cancelled"), &json!("plain")));
    assert_eq!((ended.get("push_ms"), ended.get("acknowledge_ms")), (None, None));
}

#[tokio::test]
async fn what_a_flood_would_drown_is_left_out_and_counted() {
    const LOGINS: usize = 40;
    for (limit, all) in [("1", false), ("0", true)] {
        let settings = Settings::embedded().with("LOG_LINES_PER_SECOND", limit);
        let process = Process::start(settings).await;
        let phone = Phone::of(process.address, "alice");
        for _ in 0..LOGINS {
            let (mut browser, key) = Browser::plain(process.address).await;
            assert_eq!(phone.scan(&key).await.codes(), (200, 100));
            browser.text().await;
            browser.closed().await;
        }
        // A scan and an end for each: written, or counted as left out.
        eventually("nothing is unaccounted for", || async {
            let left_out = "scanlogin_log_lines_sampled_out_total";
            let left_out = crate::helpers::service::metric(process.admin_address, left_out).await;
            let written = about_logins(&process);
            assert!(written + left_out as usize <= 2 * LOGINS);
            (written + left_out as usize == 2 * LOGINS).then_some(())
        })
        .await;
        assert_eq!(about_logins(&process) == 2 * LOGINS, all, "limit {limit}");
        assert!(about_logins(&process) > 0);
    }
}
