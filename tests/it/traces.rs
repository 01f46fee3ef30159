//! Traces, as a collector and a webhook see them.

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::any_value::Value,
    trace::v1::{Span, span::SpanKind},
};
use prost::Message;
use reqwest::Method;
use serde_json::json;

use crate::{
    helpers::{
        Answer, Browser, Phone, Process, RedisServer, Service, Settings, eventually,
        phone::answer,
        upstream::{Reply, Upstream},
    },
    tokens::webhook,
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

async fn scan_in_trace(phone: &Phone, key: &str, flags: &str) -> Answer {
    let request = phone.request(Method::POST, "/scan").json(&json!({ "key": key }));
    answer(request.header("traceparent", format!("00-{TRACE}-{PARENT}-{flags}"))).await
}

/// A collector; it takes whatever comes.
pub(crate) async fn collector() -> Upstream {
    Upstream::start(|_| Reply::Text(String::new())).await
}

/// The spans that it has heard of.
pub(crate) fn spans(collector: &Upstream) -> Vec<Span> {
    let requests = collector.heard().into_iter().map(|heard| {
        assert_eq!(heard.path, "/v1/traces");
        assert_eq!(heard.header("Content-Type"), "application/x-protobuf");
        ExportTraceServiceRequest::decode(heard.bytes).expect("OTLP")
    });
    let resources = requests.flat_map(|request| request.resource_spans);
    resources
        .flat_map(|of| {
            let attributes = of.resource.expect("a resource").attributes;
            let service = attributes.iter().find(|attribute| attribute.key == "service.name");
            let service = service.and_then(|name| name.value.clone()?.value);
            assert_eq!(service, Some(Value::StringValue("scanlogin".into())));
            of.scope_spans.into_iter().flat_map(|scope| scope.spans)
        })
        .collect()
}

fn named<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let mut found = spans.iter().filter(|span| span.name == name);
    let first = found.next().unwrap_or_else(|| panic!("no {name} in {spans:?}"));
    assert!(found.next().is_none(), "two of {name}");
    first
}

fn attribute(span: &Span, name: &str) -> Option<Value> {
    span.attributes.iter().find(|attribute| attribute.key == name)?.value.clone()?.value
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn a_traceparent_is_passed_on_and_logged_without_anything_being_exported() {
    let maker = webhook::maker().await;
    let process = Process::start(webhook::hooked(Settings::embedded(), &maker)).await;
    let phone = Phone::of(process.address, "alice");
    let (_browser, key) = Browser::plain(process.address).await;
    assert_eq!(scan_in_trace(&phone, &key, "00").await.codes(), (200, 100));
    let (_other, key) = Browser::plain(process.address).await;
    assert_eq!(phone.scan(&key).await.codes(), (200, 100));
    let heard = maker.heard();
    assert_eq!(heard[0].header("traceparent"), format!("00-{TRACE}-{PARENT}-00"));
    assert_eq!(heard[1].header("traceparent"), "", "none came");
    let lines = eventually("both scans are logged", || async {
        Some(process.logged("scanned")).filter(|lines| lines.len() == 2)
    })
    .await;
    assert_eq!(lines[0]["fields"]["trace"], TRACE);
    assert_eq!(lines[1]["fields"].get("trace"), None);
}

#[tokio::test]
async fn both_sides_of_a_login_meet_in_one_trace_whatever_instances_they_are_on() {
    let (redis, collector, maker) =
        (RedisServer::start().await, collector().await, webhook::maker().await);
    let settings = webhook::hooked(Settings::redis(&redis), &maker);
    let settings = settings.with("OTLP_ENDPOINT", &collector.url(""));
    let (a, b) = (Service::start(settings.clone()).await, Service::start(settings).await);
    let (mut browser, key) = Browser::json(a.address).await;
    let phone = Phone::of(b.address, "alice");
    assert_eq!(phone.scan(key["key"].as_str().unwrap()).await.codes(), (200, 100));
    browser.message_of("token").await;
    browser.say(&json!({ "type": "received" })).await;
    browser.closed().await;
    // What waits is sent before they end.
    a.drained().await;
    b.drained().await;
    let spans = spans(&collector);
    let login = named(&spans, "login");
    assert!(login.parent_span_id.is_empty());
    assert_eq!(attribute(login, "scanlogin.outcome"), Some(Value::StringValue("delivered".into())));
    let events: Vec<_> = login.events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(events, ["approved", "pushed"]);
    assert!(login.start_time_unix_nano < login.end_time_unix_nano);
    let (ws, scan) = (named(&spans, "GET /ws"), named(&spans, "POST /scan"));
    let call = named(&spans, "webhook");
    for (span, parent, kind) in [
        (ws, login, SpanKind::Server),
        (scan, login, SpanKind::Server),
        (call, scan, SpanKind::Client),
    ] {
        assert_eq!(span.trace_id, login.trace_id, "{}", span.name);
        assert_eq!(span.parent_span_id, parent.span_id, "{}", span.name);
        assert_eq!(span.kind, kind as i32, "{}", span.name);
    }
    for span in [ws, scan] {
        assert_eq!(attribute(span, "scanlogin.login"), attribute(login, "scanlogin.login"));
    }
    assert_eq!(attribute(scan, "http.response.status_code"), Some(Value::IntValue(200)));
    let expected = format!("00-{}-{}-01", hex(&call.trace_id), hex(&call.span_id));
    assert_eq!(maker.heard()[0].header("traceparent"), expected);
    let text = format!("{spans:?}");
    assert!(!text.contains("alice") && !text.contains(key["key"].as_str().unwrap()));
}

#[tokio::test]
async fn a_call_that_brings_a_trace_stays_in_it_and_links_to_the_login() {
    let collector = collector().await;
    // Of a million logins one: those that come with a sampled trace are followed all the same.
    let settings = Settings::embedded()
        .with("OTLP_ENDPOINT", &collector.url("/"))
        .with("OTLP_ONE_IN", "1000000");
    let service = Service::start(settings).await;
    let phone = Phone::of(service.address, "alice");
    for flags in ["01", "00"] {
        let (_browser, key) = Browser::plain(service.address).await;
        assert_eq!(scan_in_trace(&phone, &key, flags).await.codes(), (200, 100));
    }
    let exported = "scanlogin_trace_spans_total{result=\"exported\"}";
    eventually("it is exported by itself", || async {
        (service.metric(exported).await == 1.0).then_some(())
    })
    .await;
    service.drained().await;
    let spans = spans(&collector);
    assert_eq!(spans.len(), 1, "nobody asked for the others: {spans:?}");
    let scan = named(&spans, "POST /scan");
    assert_eq!((hex(&scan.trace_id), hex(&scan.parent_span_id)), (TRACE.into(), PARENT.into()));
    assert_eq!(scan.links.len(), 1);
    assert_ne!(scan.links[0].trace_id, scan.trace_id);
}

#[tokio::test]
async fn a_collector_that_is_away_costs_spans_and_no_login() {
    let process =
        Process::start(Settings::embedded().with("OTLP_ENDPOINT", "http://127.0.0.1:9")).await;
    let phone = Phone::of(process.address, "alice");
    let failed = "scanlogin_trace_spans_total{result=\"failed\"}";
    for round in 1..=2 {
        let (mut browser, key) = Browser::plain(process.address).await;
        assert_eq!(phone.scan(&key).await.codes(), (200, 100));
        assert!(browser.text().await.len() > 100);
        eventually("its spans are given up", || async {
            let count = crate::helpers::service::metric(process.admin_address, failed).await;
            (count >= f64::from(2 * round)).then_some(())
        })
        .await;
    }
    assert_eq!(process.logged("traces cannot be exported").len(), 1, "said once");
}
