//! The real binary under libfaketime: its wall clock is stepped while it runs. Its monotonic clock is the system's,
//! which is what the first of these tests proves before it looks at any token.

use std::time::{Duration, Instant};

use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use super::{
    DAY, HOUR, STEPS, TOLERANCE, TTL, assert_minted_at, log_in, logged_in, phone_at, received, text,
};
use crate::{
    helpers::{
        Browser, Closed, Process, RedisServer, Settings, eventually,
        pem::Keys,
        phone::{now, verify},
        service::{command, metric},
        tls::Certificates,
        wall_clock::WallClock,
    },
    tokens::{
        REFUSED,
        key_set::{AWAY, make, with_certificate},
        scan_with,
    },
};

/// How long browsers wait where their waiting is what is looked at.
const WAIT: Duration = Duration::from_secs(6);
const OFFSET: &str = "scanlogin_store_clock_offset_seconds";

/// The service, and another with the same clock and store whose browsers wait for [`WAIT`] only.
async fn start(settings: Settings, clock: &WallClock) -> (Process, Process) {
    let settings = settings.with("TOKEN_TTL_SECONDS", &TTL.to_string());
    let brief = settings.clone().with("WAIT_SECONDS", &WAIT.as_secs().to_string());
    let process = |settings| Process::of(clock.within(command(&settings)));
    (process(settings).await, process(brief).await)
}

/// A browser that waits, and since when.
async fn waits(process: &Process) -> (Instant, Browser) {
    let began = Instant::now();
    (began, Browser::json(process.address).await.0)
}

/// The browser waits until its time is over.
async fn waits_to_the_end((began, mut browser): (Instant, Browser)) {
    let mut message = browser.message().await;
    while message["type"] == "key" {
        message = browser.message().await;
    }
    assert_eq!(message["type"], "expired");
    // Which is Redis's where there is one: it may be a little ahead.
    assert!(began.elapsed() > WAIT - Duration::from_millis(200), "after {:?}", began.elapsed());
    assert_eq!(browser.closed().await, Closed::Code(4000));
}

/// A login that lost its socket is resumed across a step, and its token across the step back.
async fn resumes_across_steps(process: &Process, clock: &WallClock, step: i64) {
    let (browser, key) = Browser::json(process.address).await;
    drop(browser);
    clock.set(step);
    let mut back = Browser::resume(process.address, text(&key, "resume")).await;
    assert_eq!(back.message().await["key"], key["key"], "the same code: {step} s");
    let phone = phone_at(process.address, clock.now());
    assert_eq!(phone.scan(text(&key, "key")).await.codes(), (200, 100));
    let token = back.message_of("token").await;
    drop(back);
    clock.set(0);
    let mut again = Browser::resume(process.address, text(&key, "resume")).await;
    assert_eq!(again.message_of("token").await["token"], token["token"], "{step} s");
    received(again).await;
}

/// As GNU date says it.
fn hour_of(seconds: u64) -> String {
    let output = std::process::Command::new("date")
        .args(["-u", "-d", &format!("@{seconds}"), "+%Y-%m-%dT%H"])
        .output()
        .expect("date works");
    String::from_utf8(output.stdout).expect("digits").trim().to_owned()
}

/// The log dates this end of a login by the clock.
async fn logs_at(process: &Process, clock: &WallClock, ended: usize) {
    let line: Value = eventually("the end of the login is logged", || async {
        process.logged("login ended").get(ended).cloned()
    })
    .await;
    let (at, now) = (text(&line, "timestamp").to_owned(), clock.now());
    let hours = [now - TOLERANCE, now].map(hour_of);
    assert!(hours.iter().any(|hour| at.starts_with(hour)), "logged at {at}, not in {hours:?}");
}

#[tokio::test]
async fn a_running_service_whose_wall_clock_is_set_keeps_its_deadlines_and_mints_by_the_new_time() {
    let clock = WallClock::new();
    let (process, brief) = start(Settings::embedded(), &clock).await;
    let mut ended = 0;
    for step in STEPS {
        // First of all: nothing that waits has noticed.
        let waiting = waits(&brief).await;
        clock.set(step);
        waits_to_the_end(waiting).await;
        clock.set(0);
        resumes_across_steps(&process, &clock, step).await;

        clock.set(step);
        let frame = log_in(&phone_at(process.address, clock.now())).await;
        assert_minted_at(&frame, clock.now());
        assert_eq!(verify(process.address, text(&frame, "token")).await.codes(), (200, 100));
        ended += 2;
        logs_at(&process, &clock, ended - 1).await;
        clock.set(step + TTL as i64 + TOLERANCE as i64);
        assert_eq!(verify(process.address, text(&frame, "token")).await.codes(), (401, -2));
        clock.set(0);
    }
    assert_eq!(metric(process.admin_address, OFFSET).await, 0.0);
}

#[tokio::test]
async fn with_redis_tokens_have_its_time_and_the_operator_hears_of_the_difference() {
    let (redis, clock) = (RedisServer::start().await, WallClock::new());
    let (process, brief) = start(Settings::redis(&redis), &clock).await;
    let warned = || process.log().matches("more than 5 s apart").count();
    let apart = async |wanted: i64| {
        eventually("the clocks are compared", || async {
            let apart = metric(process.admin_address, OFFSET).await;
            ((apart - wanted as f64).abs() < TOLERANCE as f64).then_some(())
        })
        .await;
    };
    apart(0).await;
    assert_eq!(warned(), 0);
    for step in STEPS {
        let waiting = waits(&brief).await;
        clock.set(step);
        waits_to_the_end(waiting).await;
        apart(-step).await;
        eventually("it is said", || async { (warned() > 0).then_some(()) }).await;
        clock.set(0);
        resumes_across_steps(&process, &clock, step).await;
        apart(0).await;

        clock.set(step);
        let frame = log_in(&phone_at(process.address, clock.now())).await;
        assert_minted_at(&frame, now());
        assert_eq!(verify(process.address, text(&frame, "token")).await.codes(), (200, 100));
        clock.set(0);
    }
    assert_eq!(warned(), 1, "once, as long as it has not been well for a minute");
}

/// A machine that was suspended, and Redis with it: both wall clocks have gone on, no monotonic one has.
#[tokio::test]
async fn after_a_suspend_the_first_token_has_rediss_time() {
    const MINUTE: i64 = 60;
    let clock = WallClock::new();
    let redis = RedisServer::within(&[], clock.environment_of_redis()).await;
    let settings = Settings::redis(&redis).with("ROTATE_SECONDS", "0");
    let (process, _) = start(settings, &clock).await;
    let (browser, key) = Browser::json(process.address).await;
    clock.set(MINUTE);
    // Nothing but the scan itself: whoever came anew would bring Redis's time by the way.
    let first = logged_in(&phone_at(process.address, clock.now()), browser, &key).await;
    assert_minted_at(&first, clock.now());
    for (slept, wanted) in [(2 * MINUTE, (200, 100)), (3 * HOUR, (401, -2))] {
        clock.set(slept);
        let seen = verify(process.address, text(&first, "token")).await;
        assert_eq!(seen.codes(), wanted, "after {slept} s; it was good for {TTL} s");
    }
    let frame = log_in(&phone_at(process.address, clock.now())).await;
    assert_minted_at(&frame, clock.now());
    assert_eq!(verify(process.address, text(&frame, "token")).await.codes(), (200, 100));
    // Both have slept, so they agree.
    let warnings = process.log().matches("more than 5 s apart").count();
    assert_eq!((metric(process.admin_address, OFFSET).await.round(), warnings), (0.0, 0));
}

#[tokio::test]
async fn a_certificate_is_judged_by_the_wall_clock_of_the_moment() {
    let (clock, keys, certificates) = (WallClock::new(), Keys::new(), Certificates::make());
    let (_, jwk) = make(&keys, "key", Algorithm::ES256);
    let (_server, settings) = with_certificate(&keys, &jwk, &certificates);
    let settings = settings.with_variable("SSL_CERT_FILE", &certificates.path("ca.crt"));
    let process = Process::of(clock.within(command(&settings))).await;
    // A token that names another key has the set fetched; nobody can say whether it is good where that fails.
    let (stranger, _) = make(&keys, "stranger", Algorithm::EdDSA);
    let scan = async || {
        let claims = json!({ "sub": "alice", "exp": clock.now() + 600 });
        scan_with(process.address, &stranger.sign(&claims)).await
    };
    assert_eq!(scan().await, REFUSED);
    // The certificate is good from now on for two days.
    for step in [-DAY, 3 * DAY] {
        clock.set(step);
        assert_eq!(scan().await, AWAY, "{step} s");
        clock.set(0);
        assert_eq!(scan().await, REFUSED, "{step} s");
    }
}
