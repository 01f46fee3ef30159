//! What the service shows of itself, and what it must not show.

use std::collections::BTreeSet;

use crate::helpers::{Browser, Phone, RedisServer, Service, Settings, both};

/// The names of the contract's section 7 that exist so far, with a label where they have one.
const NAMES: &[&str] = &[
    "scanlogin_waiting_sockets",
    "scanlogin_sockets_opened_total{protocol=\"plain\"}",
    "scanlogin_sockets_opened_total{protocol=\"json\"}",
    "scanlogin_sockets_refused_total{reason=\"origin\"}",
    "scanlogin_sockets_refused_total{reason=\"full\"}",
    "scanlogin_sockets_refused_total{reason=\"store\"}",
    "scanlogin_logins_total{outcome=\"delivered\"}",
    "scanlogin_logins_total{outcome=\"undelivered\"}",
    "scanlogin_logins_total{outcome=\"denied\"}",
    "scanlogin_logins_total{outcome=\"expired\"}",
    "scanlogin_logins_total{outcome=\"cancelled\"}",
    "scanlogin_logins_total{outcome=\"failed\"}",
    "scanlogin_scans_total{result=\"approved\"}",
    "scanlogin_scans_total{result=\"unknown\"}",
    "scanlogin_open_to_key_seconds_count",
    "scanlogin_scan_to_push_seconds_count",
    "scanlogin_wait_seconds_count",
    "scanlogin_resumes_total{result=\"resumed\"}",
    "scanlogin_notifications_total{result=\"delivered\"}",
    "scanlogin_feed_resyncs_total{reason=\"reconnected\"}",
    "scanlogin_feed_probe_seconds_count",
    "scanlogin_feed_rescued_total",
    "scanlogin_store_seconds_count{operation=\"create\"}",
    "scanlogin_store_errors_total{kind=\"io\",operation=\"create\"}",
    "scanlogin_registry_mailbox",
    "scanlogin_runtime_queue{thread=\"1\"}",
    "scanlogin_trace_spans_total{result=\"dropped\"}",
    "scanlogin_http_requests_total{route=\"/scan\",status=\"200\"}",
    "scanlogin_http_request_seconds_count{route=\"/scan\"}",
    "scanlogin_draining",
];

async fn get(address: std::net::SocketAddr, path: &str) -> (u16, String) {
    let answer = reqwest::get(format!("http://{address}{path}")).await.expect("an answer");
    (answer.status().as_u16(), answer.text().await.expect("a text"))
}

#[tokio::test]
async fn every_series_is_there_at_zero_before_anything_has_happened() {
    let service = Service::start(Settings::embedded()).await;
    for series in NAMES {
        assert_eq!(service.metric(series).await, 0.0, "{series}");
    }
    let (status, text) = get(service.admin_address, "/metrics").await;
    assert_eq!(status, 200);
    assert!(text.contains("scanlogin_build_info{version="));
    assert!(text.contains("process_resident_memory_bytes"));
    for line in text.lines().filter(|line| line.starts_with("# HELP")) {
        assert!(line.split(' ').count() > 4, "says something: {line}");
    }
}

/// (name, type, labels with their values where the set is closed) of each row of docs/metrics.md.
fn documented() -> BTreeSet<(String, String, String)> {
    let page = std::fs::read_to_string(crate::readme::METRICS).expect("the page");
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split(" | ").collect();
        let name = cells[0].trim_matches(['|', ' ', '`']).to_owned();
        let kind = cells[1].split(',').next().expect("a type").to_owned();
        (name, kind, cells[2].to_owned())
    })
    .collect()
}

#[tokio::test]
async fn what_is_documented_is_what_is_shown_and_the_other_way_round() {
    let redis = RedisServer::start().await;
    let service = Service::start(Settings::redis(&redis)).await;
    let (_, text) = get(service.admin_address, "/metrics").await;
    let shown = crate::readme::exposed(&text).into_iter().map(|(name, about)| {
        let labels = about.labels.into_iter().map(|(label, values)| match label.as_str() {
            "node" => "`node`= host:port of Redis".into(),
            "thread" => "`thread`= number of the worker thread, from 0".into(),
            "version" => "`version`= of the service".into(),
            _ => format!("`{label}`: {}", values.into_iter().collect::<Vec<_>>().join(", ")),
        });
        (name, about.kind, labels.collect::<Vec<_>>().join("; "))
    });
    let (shown, documented) = (shown.collect::<BTreeSet<_>>(), documented());
    let only = |a: &BTreeSet<_>, b: &BTreeSet<_>| a.difference(b).cloned().collect::<Vec<_>>();
    assert_eq!(only(&shown, &documented), [], "not documented");
    assert_eq!(only(&documented, &shown), [], "not shown");
    assert!(shown.len() > 40);
}

#[tokio::test]
async fn logins_are_counted_and_no_series_comes_or_goes_with_them() {
    for (service, redis) in both(|settings| settings).await {
        let series = async || -> BTreeSet<String> {
            let (_, text) = get(service.admin_address, "/metrics").await;
            let names = text.lines().filter(|line| !line.starts_with('#'));
            names.map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect()
        };
        let before = series().await;
        let phone = Phone::of(service.address, "alice");
        let (mut browser, key) = Browser::plain(service.address).await;
        assert_eq!(service.metric("scanlogin_waiting_sockets").await, 1.0);
        let scanned = phone.scan(&key).await;
        browser.text().await;
        browser.closed().await;
        phone.outcome(scanned.text("claim"), 10).await;
        phone.scan("x").await;
        for (name, value) in [
            ("scanlogin_sockets_opened_total{protocol=\"plain\"}", 1.0),
            ("scanlogin_scans_total{result=\"approved\"}", 1.0),
            ("scanlogin_scans_total{result=\"unknown\"}", 1.0),
            ("scanlogin_open_to_key_seconds_count", 1.0),
            ("scanlogin_scan_to_push_seconds_count", 1.0),
            ("scanlogin_http_requests_total{route=\"/ws\",status=\"101\"}", 1.0),
            ("scanlogin_http_requests_total{route=\"/scan\",status=\"404\"}", 1.0),
            ("scanlogin_store_seconds_count{operation=\"create\"}", 1.0),
        ] {
            assert_eq!(service.metric(name).await, value, "{name}");
        }
        crate::helpers::eventually("the end is counted, once", || async {
            let delivered = service.metric("scanlogin_logins_total{outcome=\"delivered\"}").await;
            let waited = service.metric("scanlogin_wait_seconds_count").await;
            let sockets = service.metric("scanlogin_waiting_sockets").await;
            ((delivered, waited, sockets) == (1.0, 1.0, 0.0)).then_some(())
        })
        .await;
        assert_eq!(service.metric("scanlogin_registry_mailbox").await, 0.0);
        assert_eq!(series().await, before, "closed sets of labels");
        if let Some(redis) = redis {
            let node = format!("scanlogin_feed_connected{{node=\"127.0.0.1:{}\"}}", redis.port);
            assert_eq!(service.metric(&node).await, 1.0);
        }
    }
}

#[tokio::test]
async fn health_and_metrics_are_on_the_admin_port_only() {
    let service = Service::start(Settings::embedded()).await;
    for (path, starts) in [("/livez", "alive"), ("/readyz", "ready"), ("/metrics", "# HELP")] {
        let (status, text) = get(service.admin_address, path).await;
        assert_eq!((status, text.starts_with(starts)), (200, true), "{path}: {text}");
        assert_eq!(get(service.address, path).await.0, 404, "{path}");
    }
    for path in ["/ws", "/scan", "/verify", "/"] {
        assert_eq!(get(service.admin_address, path).await.0, 404, "{path}");
    }
}

#[tokio::test]
async fn every_waiting_socket_is_among_its_threads_tasks() {
    let service = Service::start(Settings::embedded().with("WORKERS", "1")).await;
    let tasks = async || service.metric("scanlogin_runtime_tasks{thread=\"0\"}").await;
    let before = crate::helpers::eventually("the thread has looked", || async {
        Some(tasks().await).filter(|tasks| *tasks > 0.0)
    })
    .await;
    let mut browsers = Vec::new();
    for _ in 0..10 {
        browsers.push(Browser::json(service.address).await);
    }
    crate::helpers::eventually("it has looked again", || async {
        (tasks().await >= before + 10.0).then_some(())
    })
    .await;
}
