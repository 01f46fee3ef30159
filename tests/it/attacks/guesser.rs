//! Guesses keys, and listens to what the answers say, and what they cost.
//!
//! Costs are counted in what the store is asked, not measured: a clock would need thousands of tries,
//! and would test the machine.

use scanlogin::keys::{Entropy, Key, LoginId, Seed};
use serde_json::json;

use crate::helpers::{
    Answer, Browser, Phone, RedisServer, Service, Settings, eventually, recording::Recording,
};

/// All that the guesser sees, but for the time of day.
fn seen(answer: &Answer) -> String {
    let mut headers = answer.headers.clone();
    headers.remove("date");
    format!("{} {headers:?} {}", answer.status, answer.body)
}

/// A key with this id, or another, and a code of its own.
fn guess(id: Option<LoginId>) -> String {
    let id = id.unwrap_or_else(|| LoginId::random(Entropy::Os));
    Key { id, code: Seed::random(Entropy::Os).code(1) }.expose()
}

/// The names of the commands that the service has sent since the last look, and the sizes of their
/// arguments; those that a script calls are marked.
async fn asked(recording: &Recording, redis: &RedisServer, seen: &mut usize) -> Vec<String> {
    let lines = recording.lines(redis).await;
    let new = lines[*seen..].to_vec();
    *seen = lines.len();
    let of_ours = new.iter().filter(|line| {
        let of_tests = ["\"ECHO\"", "\"CLIENT\"", "\"HELLO\"", "\"SELECT\"", "\"KEYS\""];
        // The canary, and the look at the clock that goes with it: the scripts look for themselves.
        let is_feed = line.contains("scanlogin:probe:")
            || line.contains("\"TIME\"") && !line.contains(" lua]");
        !is_feed
            && !line.to_uppercase().contains("SUBSCRIBE")
            && !of_tests.iter().any(|name| line.to_uppercase().contains(name))
    });
    of_ours
        .map(|line| {
            let inside = if line.contains(" lua]") { "inside " } else { "" };
            let words = line.split_once("] ").map_or("", |(_, words)| words);
            let words: Vec<&str> = words.split("\" \"").collect();
            format!(
                "{inside}{} of {} words",
                words[0].trim_matches('"').to_uppercase(),
                words.len()
            )
        })
        .collect()
}

#[tokio::test]
async fn unknown_wrong_and_ended_keys_have_one_answer_and_one_cost() {
    for confirm in ["off", "required"] {
        let redis = RedisServer::start().await;
        let settings = Settings::redis(&redis).with("WORKERS", "1").with("CONFIRM", confirm);
        let service = Service::start(settings).await;
        let phone = Phone::of(service.address, "mallory");
        let (_waiting, key) = Browser::json(service.address).await;
        let waiting = Key::parse(key["key"].as_str().expect("a key")).expect("a key");
        let (browser, ended) = Browser::json(service.address).await;
        browser.leave(1000).await;
        eventually("it has ended", || async {
            let cancelled = "scanlogin_logins_total{outcome=\"cancelled\"}";
            (service.metric(cancelled).await == 1.0).then_some(())
        })
        .await;
        // The first call loads the script and makes the connection.
        phone.scan(&guess(None)).await;
        let recording = Recording::start(&redis).await;
        let mut looked = 0;
        asked(&recording, &redis, &mut looked).await;

        let mut told = Vec::new();
        for (what, key) in [
            ("never existed", guess(None)),
            ("never existed either", guess(None)),
            ("a login that waits, another code", guess(Some(waiting.id))),
            ("a login that has ended", ended["key"].as_str().expect("a key").to_owned()),
        ] {
            let answer = phone.scan(&key).await;
            assert_eq!(answer.codes(), (404, -1), "{what}");
            let asked = asked(&recording, &redis, &mut looked).await;
            assert!(
                asked.iter().any(|command| command.starts_with("EVALSHA")),
                "{what}: {asked:?}"
            );
            told.push((what, seen(&answer), asked));
        }
        for (what, answer, asked) in &told {
            assert_eq!((answer, asked), (&told[0].1, &told[0].2), "{what}");
        }
        // What is no key at all is known to the guesser to be none: no question, and the answer says so. What looks like
        // one is answered by this alone in the same way as any that does not exist.
        let unknown = phone.scan(&guess(None)).await;
        assert_eq!(unknown.body, json!({ "code": -1, "msg": "Key does not exist" }));
        asked(&recording, &redis, &mut looked).await;
        for key in ["x", "", &"A".repeat(42), &"A".repeat(4000)] {
            let mut answer = phone.scan(key).await;
            assert_eq!(answer.body["is_key"], false, "{key:?}");
            answer.body.as_object_mut().expect("an object").remove("is_key");
            answer.headers.insert("content-length", unknown.headers["content-length"].clone());
            assert_eq!(seen(&answer), told[0].1, "{key:?}");
            assert_eq!(asked(&recording, &redis, &mut looked).await, [""; 0], "{key:?}");
        }
        // Claims, likewise.
        let mut told = Vec::new();
        for id in [LoginId::random(Entropy::Os), LoginId::random(Entropy::Os), waiting.id] {
            let claim = Seed::random(Entropy::Os).code(1).claim(id, "mallory").expose();
            for path in ["/scan/confirm", "/scan/deny"] {
                let answer = phone.post(path, &json!({ "claim": claim })).await;
                assert_eq!(answer.codes(), (404, -1), "{path}");
                told.push(seen(&answer));
            }
            told.push(seen(&phone.outcome(&claim, 0).await));
        }
        assert!(told.iter().all(|answer| *answer == told[0]), "{told:#?}");
    }
}
