//! Connections: how they end with the service, and what happens when there is no room for more.

use std::time::{Duration, Instant};

use tokio::{io::AsyncReadExt, net::TcpStream, time::sleep};

use crate::helpers::{
    PATIENCE, Phone, Process, Service, Settings, eventually, raw::Raw, service::command_with_files,
};

/// A phone's call of which only the body's first byte was sent.
async fn half_a_call(service: &Service) -> Raw {
    let mut raw = Raw::connect(service.address).await;
    let head = format!(
        "POST /scan HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nContent-Length: 11\r\n\r\n{{",
        service.address,
        Phone::of(service.address, "alice").token
    );
    raw.send(head.as_bytes()).await.unwrap();
    raw
}

#[tokio::test]
async fn idle_connections_end_at_once_when_the_service_stops_and_a_call_is_finished() {
    let service = Service::start(Settings::embedded()).await;
    let mut idle = Vec::new();
    for _ in 0..10 {
        let mut raw = Raw::connect(service.address).await;
        let request = format!("GET /nothing HTTP/1.1\r\nHost: {}\r\n\r\n", service.address);
        raw.send(request.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        raw.0.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 404");
        idle.push(raw);
    }
    let mut call = half_a_call(&service).await;
    // Taken and waited for, all of them.
    assert_eq!(idle[0].rest(Duration::from_millis(300)).await, None);
    let (address, begin) = (service.address, Instant::now());
    let people = async {
        for raw in &mut idle {
            assert!(raw.rest(Duration::from_secs(2)).await.is_some(), "it is kept open");
        }
        // Each thread lets go of its connections and of its listener for itself.
        eventually("nobody listens any more", || async {
            TcpStream::connect(address).await.is_err().then_some(())
        })
        .await;
        call.send(br#""key":"x"}"#).await.unwrap();
        let answer = call.rest(PATIENCE).await.expect("an answer, and the end");
        assert!(answer.starts_with(b"HTTP/1.1 404"), "{}", String::from_utf8_lossy(&answer));
    };
    tokio::join!(people, service.drained());
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_call_that_does_not_end_is_given_five_seconds() {
    let service = Service::start(Settings::embedded()).await;
    let mut call = half_a_call(&service).await;
    assert_eq!(call.rest(Duration::from_millis(300)).await, None);
    let begin = Instant::now();
    let (rest, ()) = tokio::join!(call.rest(PATIENCE), service.drained());
    assert!(rest.is_some());
    let time = begin.elapsed();
    assert!(time > Duration::from_secs(4) && time < Duration::from_secs(8), "{time:?}");
}

/// Seconds of CPU that a process has used.
fn cpu(process: &Process) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.child.id())).unwrap();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    ticks as f64 / 100.0
}

#[tokio::test]
async fn without_files_for_more_connections_it_waits_for_some_and_goes_on() {
    let process = Process::of(command_with_files(&Settings::embedded(), 64)).await;
    let mut many = Vec::new();
    for _ in 0..100 {
        many.push(TcpStream::connect(process.address).await.unwrap());
    }
    let refused = "connections cannot be accepted now, and wait";
    eventually("it says that it cannot", || async {
        (!process.logged(refused).is_empty()).then_some(())
    })
    .await;
    let before = cpu(&process);
    sleep(Duration::from_secs(2)).await;
    let used = cpu(&process) - before;
    assert!(used < 0.5, "it waits, and does not try again and again: {used} s");
    let said = process.logged(refused);
    assert!(said.len() <= 2, "once for each thread: {}", said.len());
    assert!(said[0]["fields"]["error"].as_str().unwrap().contains("open files"), "{said:?}");
    drop(many);
    let phone = Phone::of(process.address, "alice");
    assert_eq!(phone.scan("x").await.codes(), (404, -1), "it goes on");
}
