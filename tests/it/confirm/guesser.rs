//! Plays the guesser, who does not see the browser: docs/security.md says what this finds.

use serde_json::json;

use super::{confirm, lock::try_scan, matching};
use crate::helpers::{Browser, Phone, Service, Settings};

/// A login that waits for the guesser's answer.
struct Asked {
    _browser: Browser,
    claim: String,
    digits: u8,
}

impl Asked {
    /// Scans one more login; `None`: the user is locked, or has as many open as one may.
    async fn next(service: &Service, phone: &Phone) -> Option<Self> {
        let (mut browser, _, answer) = try_scan(service, phone).await;
        if answer.codes() == (429, -4) {
            return None;
        }
        assert_eq!(answer.codes(), (200, 101));
        let told = browser.message_of("scanned").await;
        let digits = told["match"].as_str().unwrap().parse().unwrap();
        Some(Self { _browser: browser, claim: answer.text("claim").to_owned(), digits })
    }

    /// So many guesses, all of them wrong and none twice; then the guesser leaves the login.
    async fn guess(&self, phone: &Phone, guesses: u8) {
        for guess in 1..=guesses {
            let wrong = format!("{:02}", (self.digits + guess) % 100);
            assert_eq!(confirm(phone, &self.claim, &wrong).await.codes(), (403, -7));
        }
        phone.post("/scan/deny", &json!({ "claim": self.claim })).await;
    }
}

/// A service with as many open claims for each user as it has by default.
async fn guarded() -> Service {
    Service::start(matching("always")(Settings::embedded()).without("CLAIMS_PER_USER")).await
}

/// The chance that one of so many guesses in each login was right, in percent.
fn chance(guesses: &[u8]) -> f64 {
    let missed = guesses.iter().map(|guesses| 1.0 - f64::from(*guesses) / 100.0);
    100.0 * (1.0 - missed.product::<f64>())
}

/// One login after the other until the lock, with so many guesses in each in turn.
async fn one_by_one(service: &Service, user: &str, plan: &[u8]) -> Vec<u8> {
    let phone = Phone::of(service.address, user);
    let mut played = Vec::new();
    for guesses in plan.iter().cycle() {
        let Some(asked) = Asked::next(service, &phone).await else { break };
        asked.guess(&phone, *guesses).await;
        played.push(*guesses);
        assert!(played.len() < 20, "never locked: {plan:?}");
    }
    played
}

#[tokio::test]
async fn the_chance_of_a_guesser_before_the_lock_is_what_the_security_page_says() {
    let service = guarded().await;
    let mut played = Vec::new();
    for (user, plan) in
        [("one", &[1][..]), ("two", &[2]), ("three", &[3]), ("two-and-one", &[2, 2, 2, 2, 3])]
    {
        played.push(one_by_one(&service, user, plan).await);
    }
    // Eight, and then a login that the lock comes too late for.
    played.push(one_by_one(&service, "late", &[3, 3, 2, 3]).await);
    let best = |played: &[Vec<u8>]| played.iter().map(|p| chance(p)).fold(0.0, f64::max);
    let most = played.iter().map(|p| p.iter().sum::<u8>()).max().unwrap();
    let in_turn = format!("{most} guesses: {:.1} %", best(&played));

    // Whoever opens as many as may be open has all tries in each of them, whatever is counted.
    let phone = Phone::of(service.address, "open");
    let mut open = Vec::new();
    while let Some(asked) = Asked::next(&service, &phone).await {
        open.push(asked);
    }
    for asked in &open {
        asked.guess(&phone, 3).await;
    }
    assert!(Asked::next(&service, &phone).await.is_none(), "locked after that");
    let at_once = format!("{} guesses: {:.1} %", 3 * open.len(), chance(&vec![3; open.len()]));

    let root = env!("CARGO_MANIFEST_DIR");
    let page = std::fs::read_to_string(format!("{root}/docs/security.md")).expect("the page");
    for figure in [in_turn, at_once] {
        assert!(page.contains(&figure), "docs/security.md does not say: {figure}\n{played:?}");
    }
}
