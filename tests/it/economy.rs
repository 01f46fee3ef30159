//! What a login costs Redis, whatever the number of instances.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::helpers::{
    Browser, Closed, Phone, RedisServer, Service, Settings, recording::Recording,
};

/// Most commands that a one-step login may send to a single Redis: the record, its subscription, the
/// scan, the read after its notification, the end of the subscription, the acknowledgement.
const MOST_COMMANDS: usize = 6;
/// Where phone and browser are at one process, that has no need to read what it has just written.
const MOST_AT_ONE: usize = MOST_COMMANDS - 1;
/// Calls inside the three scripts of such a login: time and record of the creation; time, record and record of
/// the scan; time, two reads and two records of the acknowledgement. What is not the usual case reads its record
/// again, so one more would mean that the usual one is not recognised (src/store/redis/scan_waiting.lua).
const MOST_INSIDE: usize = 2 + 3 + 5;
/// With a confirmation: its own, a look at the login and its user before the scan, the read that
/// tells the browser who scanned, and the note of the confirmed address.
const MOST_CONFIRMED: usize = MOST_COMMANDS + 4;
const LOGINS: usize = 10;
/// Wake-ups a second of a thread that has nothing to do: 8, of which actix's clock for the `Date` header has 4. When
/// each thread looked for due browsers every 100 ms there were 25.
const MOST_WAKE_UPS: f64 = 14.0;

/// Commands of the service by name: sent by it, and called inside its scripts.
fn counted(lines: &[String]) -> (BTreeMap<String, usize>, BTreeMap<String, usize>) {
    let (mut sent, mut inside) = (BTreeMap::new(), BTreeMap::new());
    for line in lines {
        // 1795422968.475960 [0 127.0.0.1:40000] "EVALSHA" "..."
        let mut words = line.split(' ');
        let from = words.nth(2).expect("a line of MONITOR");
        let name = words.next().expect("a command").trim_matches('"').to_uppercase();
        let is_test = ["ECHO", "INFO", "KEYS", "CLIENT", "HELLO", "SELECT"].contains(&&name[..]);
        // The feed's canary, and the look at Redis's clock that goes with it: every 5 s, whoever logs in.
        let is_feed = line.contains("scanlogin:probe:") || name == "TIME" && from != "lua]";
        if is_test || is_feed {
            continue;
        }
        let counts = if from == "lua]" { &mut inside } else { &mut sent };
        *counts.entry(name).or_insert(0) += 1;
    }
    (sent, inside)
}

/// Canaries that the feeds have written.
fn canaries(lines: &[String]) -> usize {
    lines
        .iter()
        .filter(|line| line.contains("scanlogin:probe:") && line.contains("\"SET\""))
        .count()
}

/// How often the time was asked for outside a script.
fn asked_the_time(lines: &[String]) -> usize {
    lines.iter().filter(|line| line.contains("\"TIME\"") && !line.contains(" lua]")).count()
}

async fn log_in(services: &[Service], round: usize, json: bool) {
    let browser_at = services[round % services.len()].address;
    let phone = Phone::of(services[(round + 1) % services.len()].address, &format!("user-{round}"));
    if json {
        let (mut browser, key) = Browser::json(browser_at).await;
        assert_eq!(phone.scan(key["key"].as_str().unwrap()).await.codes(), (200, 100));
        browser.message_of("token").await;
        browser.say(&json!({ "type": "received" })).await;
        assert_eq!(browser.closed().await, Closed::Code(1000));
    } else {
        let (mut browser, key) = Browser::plain(browser_at).await;
        assert_eq!(phone.scan(&key).await.codes(), (200, 100));
        browser.text().await;
        assert_eq!(browser.closed().await, Closed::Code(1000));
    }
}

/// The same in two steps, with number matching.
async fn log_in_confirmed(services: &[Service], round: usize) {
    let browser_at = services[round % services.len()].address;
    let phone = Phone::of(services[(round + 1) % services.len()].address, &format!("user-{round}"));
    let (mut browser, key) = Browser::json(browser_at).await;
    let asked = phone.scan(key["key"].as_str().unwrap()).await;
    let told = browser.message_of("scanned").await;
    let body = json!({ "claim": asked.text("claim"), "match": told["match"] });
    assert_eq!(phone.post("/scan/confirm", &body).await.codes(), (200, 100));
    browser.message_of("token").await;
    browser.say(&json!({ "type": "received" })).await;
    assert_eq!(browser.closed().await, Closed::Code(1000));
}

async fn sum(services: &[Service], series: &str) -> f64 {
    let mut sum = 0.0;
    for service in services {
        sum += service.metric(series).await;
    }
    sum
}

async fn delivered(services: &[Service], count: usize) {
    crate::helpers::eventually("all are written down", || async {
        let delivered = sum(services, "scanlogin_logins_total{outcome=\"delivered\"}").await;
        (delivered == count as f64).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_one_step_login_costs_one_notification_and_at_most_six_commands() {
    let mut report = Vec::new();
    for instances in [1, 2, 4] {
        let redis = RedisServer::start().await;
        let mut services = Vec::new();
        for _ in 0..instances {
            services.push(Service::start(Settings::redis(&redis).with("WORKERS", "1")).await);
        }
        // The first ones load the scripts and make the connections of each thread.
        for round in 0..2 * instances {
            log_in(&services, round, true).await;
        }
        delivered(&services, 2 * instances).await;
        let notified = async || {
            let mut all = 0.0;
            for result in ["delivered", "unknown", "full"] {
                let series = format!("scanlogin_notifications_total{{result=\"{result}\"}}");
                all += sum(&services, &series).await;
            }
            all
        };
        let before = notified().await;
        let recording = Recording::start(&redis).await;
        let statistics = CommandStatistics::of(&redis).await;
        for round in 0..LOGINS {
            log_in(&services, round, round % 2 == 0).await;
        }
        delivered(&services, 2 * instances + LOGINS).await;
        let lines = recording.lines(&redis).await;
        let (sent, inside) = counted(&lines);
        assert_eq!(canaries(&lines), asked_the_time(&lines), "a token asks for no time of its own");
        let all = CommandStatistics::of(&redis).await.since(&statistics);
        let (sent_sum, inside_sum): (usize, usize) = (sent.values().sum(), inside.values().sum());
        report.push(format!("{instances} instances, {LOGINS} logins: {sent:?}, inside {inside:?}"));
        let most = if instances == 1 { MOST_AT_ONE } else { MOST_COMMANDS };
        assert!(sent_sum <= most * LOGINS, "{report:#?}");
        // Redis's own count has the same, so the recording has missed nothing.
        for name in ["EVALSHA", "SUBSCRIBE", "UNSUBSCRIBE"] {
            let recorded = sent.get(name).copied().unwrap_or_default();
            assert_eq!(all.get(name), recorded, "{name}: {report:#?}");
        }
        assert!(all.get("TIME") >= inside["TIME"] && inside_sum > 0, "{report:#?}");
        assert!(inside_sum <= MOST_INSIDE * LOGINS, "{report:#?}");
        assert_eq!(notified().await - before, LOGINS as f64, "{report:#?}");
    }
    // Shown with --nocapture: the numbers of the closing note.
    eprintln!("{report:#?}");
}

#[tokio::test]
async fn a_thread_on_which_nobody_is_due_sleeps() {
    const WINDOW: Duration = Duration::from_secs(6);
    let redis = RedisServer::start().await;
    let service = Service::start(Settings::redis(&redis).with("WORKERS", "1")).await;
    let (_browser, _) = Browser::json(service.address).await;
    // The thread says how often it was woken when it is: the moments are its own.
    let wake_ups = async |after: f64| {
        crate::helpers::eventually("the thread counts", || async {
            let count = service.metric("scanlogin_runtime_wakeups_total{thread=\"0\"}").await;
            (count > after).then_some((count, Instant::now()))
        })
        .await
    };
    let (begin, began) = wake_ups(wake_ups(0.0).await.0).await;
    tokio::time::sleep(WINDOW).await;
    let seen = service.metric("scanlogin_runtime_wakeups_total{thread=\"0\"}").await;
    let (end, ended) = wake_ups(seen).await;
    let rate = (end - begin) / (ended - began).as_secs_f64();
    assert!(rate <= MOST_WAKE_UPS, "{rate} wake-ups a second");
}

#[tokio::test]
async fn a_confirmed_login_costs_two_notifications_and_at_most_ten_commands() {
    let redis = RedisServer::start().await;
    let mut services = Vec::new();
    for _ in 0..2 {
        let settings = Settings::redis(&redis).with("CONFIRM", "required").with("MATCH", "always");
        services.push(Service::start(settings.with("WORKERS", "1")).await);
    }
    for round in 0..4 {
        log_in_confirmed(&services, round).await;
    }
    delivered(&services, 4).await;
    let heard = "scanlogin_notifications_total{result=\"delivered\"}";
    let before = sum(&services, heard).await;
    let recording = Recording::start(&redis).await;
    for round in 0..LOGINS {
        log_in_confirmed(&services, round).await;
    }
    delivered(&services, 4 + LOGINS).await;
    let (sent, inside) = counted(&recording.lines(&redis).await);
    let report = format!("{LOGINS} confirmed logins: {sent:?}, inside {inside:?}");
    assert!(sent.values().sum::<usize>() <= MOST_CONFIRMED * LOGINS, "{report}");
    assert_eq!(sum(&services, heard).await - before, 2.0 * LOGINS as f64, "{report}");
    eprintln!("{report}");
}

/// Calls of each command since Redis's start, those inside scripts included.
struct CommandStatistics(BTreeMap<String, usize>);

impl CommandStatistics {
    async fn of(redis: &RedisServer) -> Self {
        let text: String = redis.command(&["INFO", "commandstats"]).await;
        let calls = text.lines().filter_map(|line| {
            // cmdstat_config|get:calls=1,usec=...
            let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
            let calls = rest.split(',').next()?.parse().ok()?;
            Some((name.to_uppercase(), calls))
        });
        Self(calls.collect())
    }

    fn since(self, before: &Self) -> Self {
        let calls = self.0.into_iter().map(|(name, calls)| {
            let earlier = before.get(&name);
            (name, calls - earlier)
        });
        Self(calls.collect())
    }

    fn get(&self, name: &str) -> usize {
        self.0.get(name).copied().unwrap_or_default()
    }
}
