//! Has got hold of a dump of Redis, a recording of all its commands, every log line there can be, and
//! the metrics.

use futures_util::future::join_all;
use serde_json::json;

use crate::helpers::{
    Browser, Phone, Process, RedisServer, Settings,
    phone::{logout, verify},
    recording::Recording,
    secrets::{Secrets, unescaped},
};

/// Logins of each mode and protocol; two modes and two protocols make four times as many.
const LOGINS: usize = 75;
/// How many of them go on at once.
const BATCH: usize = 25;

struct Loot {
    secrets: Secrets,
    dumps: Vec<Vec<u8>>,
}

/// Logs a batch of users in; the store is dumped at each step.
async fn log_in(
    process: &Process,
    redis: &RedisServer,
    loot: &mut Loot,
    first: usize,
    json: bool,
    confirm: bool,
) {
    let phone = Phone::of(process.address, "nobody");
    let mut logins = Vec::new();
    for number in first..first + BATCH {
        let phone = phone.lent_to(&format!("user-{number}"));
        // An app token is no secret of ours, and no business of anybody who reads our log.
        loot.secrets.add_text("an app token", &phone.token);
        let (browser, key) = if json {
            let (browser, message) = Browser::json(process.address).await;
            loot.secrets.add_pair("a resume secret", message["resume"].as_str().unwrap());
            (browser, message["key"].as_str().unwrap().to_owned())
        } else {
            Browser::plain(process.address).await
        };
        loot.secrets.add_pair("a key", &key);
        logins.push((phone, browser, key));
    }
    loot.dumps.push(redis.dump().await);
    let claims = join_all(logins.iter().map(async |(phone, _, key)| {
        let scanned = phone.scan(key).await;
        assert_eq!(scanned.codes(), (200, if confirm { 101 } else { 100 }));
        // Malformed ones are not repeated either.
        phone.scan(&format!("{key}A")).await;
        scanned.text("claim").to_owned()
    }))
    .await;
    for claim in &claims {
        loot.secrets.add_pair("a claim", claim);
    }
    loot.dumps.push(redis.dump().await);
    if confirm {
        join_all(logins.iter().zip(&claims).enumerate().map(async |(n, ((phone, ..), claim))| {
            // One of five is denied.
            let path = if n % 5 == 0 { "/scan/deny" } else { "/scan/confirm" };
            assert_eq!(phone.post(path, &json!({ "claim": claim })).await.status, 200);
        }))
        .await;
        loot.dumps.push(redis.dump().await);
    }
    for (n, (phone, browser, _)) in logins.iter_mut().enumerate() {
        if confirm && n % 5 == 0 {
            continue;
        }
        let token = if json {
            browser.message_of("token").await["token"].as_str().unwrap().to_owned()
        } else {
            browser.text().await
        };
        loot.secrets.add_text("a web token", &token);
        if json {
            browser.say(&json!({ "type": "received" })).await;
        }
        browser.closed().await;
        phone.outcome(&claims[n], 10).await;
        assert_eq!(verify(process.address, &token).await.status, 200);
        if n % 3 == 0 {
            logout(process.address, &token).await;
        }
    }
    loot.dumps.push(redis.dump().await);
}

#[tokio::test]
async fn nothing_usable_is_in_a_dump_of_redis_its_recording_the_log_or_the_metrics() {
    for (mode, confirm) in [("off", false), ("required", true)] {
        // Compressed strings would hide what is looked for.
        let redis = RedisServer::with(&["--rdbcompression", "no"]).await;
        let recording = Recording::start(&redis).await;
        let settings = Settings::redis(&redis).with("LOG", "trace").with("CONFIRM", mode);
        let process = Process::start(settings).await;
        let mut loot = Loot { secrets: Secrets::default(), dumps: Vec::new() };
        for first in (0..2 * LOGINS).step_by(BATCH) {
            log_in(&process, &redis, &mut loot, first, first >= LOGINS, confirm).await;
        }
        let Loot { secrets, dumps } = loot;
        let lines = recording.lines(&redis).await;
        assert!(lines.iter().filter(|line| line.contains("EVALSHA")).count() > 2 * LOGINS);
        let commands = unescaped(&lines.join("\n"));
        let log = process.log();
        assert!(log.contains("\"TRACE\"") && log.contains("login ended"), "it logs everything");
        let metrics = reqwest::get(format!("http://{}/metrics", process.admin_address)).await;
        let metrics = metrics.expect("an answer").text().await.expect("a text");
        assert!(!metrics.contains("user-1"), "no user is a label");
        assert!(dumps.iter().all(|dump| dump.starts_with(b"REDIS")), "real files");
        let records = dumps.iter().any(|dump| contains(dump, b"scanlogin:"));
        assert!(records && contains(&commands, b"scanlogin:"), "with records in them");
        let texts = [
            ("MONITOR", &commands[..]),
            ("MONITOR, as it shows bytes", lines.join("\n").as_bytes()),
            ("the log", log.as_bytes()),
            ("/metrics", metrics.as_bytes()),
        ]
        .map(|(place, bytes)| (place, bytes.to_vec()));
        let places = texts.iter().map(|(place, bytes)| (*place, &bytes[..]));
        let places = places.chain(dumps.iter().map(|dump| ("a dump of Redis", &dump[..])));
        let found = secrets.found_in(places);
        assert!(found.is_empty(), "of {} forms: {found:#?}", secrets.count());

        // A leak is found: the search is no formality.
        let (_browser, key) = Browser::plain(process.address).await;
        let mut planted = secrets;
        planted.add_pair("a planted key", &key);
        redis.command::<()>(&["SET", "scanlogin:planted", &format!("x{key}x")]).await;
        let dump = redis.dump().await;
        let found = planted.found_in([("a dump of Redis", &dump[..])]);
        assert!(found.iter().any(|leak| leak.contains("a planted key")), "{found:?}");
        let lines = recording.lines(&redis).await.join("\n");
        let found = planted.found_in([("MONITOR", lines.as_bytes())]);
        assert!(found.iter().any(|leak| leak.contains("a planted key")), "{found:?}");
    }
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}
