//! Who is refused costs Redis nothing but a look, and changes nothing there.

use serde_json::json;

use super::{confirm, matching, scanned};
use crate::helpers::{
    Browser, Phone, RedisServer, Service, Settings, phone::answer, recording::Recording,
};

/// What a refused client may cause: reading.
const READS: [&str; 4] = ["GET", "MGET", "TIME", "ECHO"];

/// Commands that are no reads, canaries aside.
fn writes(lines: &[String]) -> Vec<String> {
    let is_write = |line: &&String| {
        let name = line.split(' ').nth(3).expect("a command").trim_matches('"').to_uppercase();
        !line.contains("scanlogin:probe:") && !READS.contains(&&name[..])
    };
    lines.iter().filter(is_write).cloned().collect()
}

#[tokio::test]
async fn refusals_before_the_store_is_asked_to_change_anything_write_nothing() {
    let redis = RedisServer::start().await;
    let settings = matching("always")(Settings::redis(&redis))
        .with("MAX_WAITING", "1")
        .with("CLAIMS_PER_USER", "1")
        .with("SCANS_PER_MINUTE", "6");
    let service = Service::start(settings).await;
    let phone = Phone::of(service.address, "alice");
    let (_browser, asked, _) = scanned(&service, &phone).await;
    let own = format!("http://{}", service.address);
    let json_protocol = Some("scanlogin.v1");
    // One that never was.
    let never = "A".repeat(43);
    let recording = Recording::start(&redis).await;

    for (protocol, headers, wanted) in [
        (json_protocol, vec![("Origin", "https://evil.example")], (403, -7)),
        (Some("chat"), vec![], (400, -5)),
        (None, vec![], (400, -5)),
        (json_protocol, vec![("Origin", &own[..])], (503, -6)),
    ] {
        let refused = Browser::open(service.address, "", protocol, &headers).await.err();
        let refused = refused.expect("refused");
        assert_eq!((refused.status, refused.body["code"].as_i64().unwrap()), wanted);
    }
    let rebound = phone.request(reqwest::Method::GET, "/ws").header("Host", "rebound.example");
    assert_eq!(answer(rebound).await.codes(), (403, -7));
    let stranger = Phone::with_token(service.address, "x");
    assert_eq!(stranger.scan(&never).await.codes(), (401, -2));
    let request = || phone.request(reqwest::Method::POST, "/scan");
    let evil = request().header("Origin", "https://evil.example").json(&json!({ "key": never }));
    assert_eq!(answer(evil).await.codes(), (403, -7));
    // The first of six was the scan; then these, each counted.
    assert_eq!(phone.scan(&never).await.codes(), (429, -4), "one is open already");
    assert_eq!(answer(request().body("x")).await.codes(), (415, -5));
    assert_eq!(phone.post("/scan", &json!({ "key": 7 })).await.codes(), (400, -5));
    let large = json!({ "key": never, "more": "x".repeat(9000) });
    assert_eq!(phone.post("/scan", &large).await.codes(), (413, -5));
    assert_eq!(confirm(&phone, asked.text("claim"), "x").await.codes(), (400, -5));
    for _ in 0..2 {
        assert_eq!(phone.scan(&never).await.codes(), (429, -4), "too often");
    }
    let lines = recording.lines(&redis).await;
    assert_eq!(writes(&lines), Vec::<String>::new());
    let reads = lines.iter().filter(|line| line.contains("GET\"")).count();
    assert!(reads <= 2, "the one that was crowded out: {lines:#?}");

    for (series, value) in [
        ("scanlogin_sockets_refused_total{reason=\"origin\"}", 1.0),
        ("scanlogin_sockets_refused_total{reason=\"host\"}", 1.0),
        ("scanlogin_sockets_refused_total{reason=\"protocol\"}", 2.0),
        ("scanlogin_sockets_refused_total{reason=\"full\"}", 1.0),
        ("scanlogin_scans_total{result=\"unauthenticated\"}", 1.0),
        ("scanlogin_scans_total{result=\"forbidden\"}", 1.0),
        ("scanlogin_scans_total{result=\"crowded\"}", 1.0),
        ("scanlogin_scans_total{result=\"malformed\"}", 4.0),
        ("scanlogin_scans_total{result=\"limited\"}", 2.0),
    ] {
        assert_eq!(service.metric(series).await, value, "{series}");
    }
}
