//! Each scenario for about a second against a real service: that it plays, reports and judges.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Command, Output, Stdio},
    time::Duration,
};

use loadtest::target::{Store, Target, Wanted, service};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

fn command(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadtest"));
    command.args(words).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn loadtest(words: &[&str]) -> Output {
    command(words).output().expect("it starts")
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Plays a scenario on the embedded store, and reads its result.
fn play(scenario: &str, more: &[&str]) -> Value {
    play_on("embedded", scenario, more)
}

fn play_on(store: &str, scenario: &str, more: &[&str]) -> Value {
    let folder = tempfile::tempdir().expect("a directory");
    let json = folder.path().join("result.json");
    let json = json.to_str().expect("a plain path");
    let mut words = vec![scenario, "--seconds", "1", "--store", store, "--json", json];
    // A debug build beside other tests is slow, which is not what is tested here.
    words.extend(["--max-p99", "60000"]);
    words.extend(more);
    let output = loadtest(&words);
    let code = output.status.code();
    // 3: this machine was too busy to drive it in time; it was driven all the same.
    assert!(matches!(code, Some(0 | 3)), "{scenario}: {code:?}: {}", errors(&output));
    let result: Value =
        serde_json::from_slice(&std::fs::read(json).expect("a file")).expect("JSON");
    assert_eq!(result["scenario"], scenario);
    assert_eq!(result["failures"], 0, "{result}");
    for percentiles in ["scan_to_token_ms", "open_to_key_ms"] {
        for name in ["p50", "p90", "p99", "p999", "max"] {
            assert!(result[percentiles][name].is_number(), "{scenario}: {percentiles} {name}");
        }
    }
    for field in ["logins", "logins_per_second", "waiting", "client_late_ms_max"] {
        assert!(result[field].is_number(), "{scenario}: {field}");
    }
    assert!(result["client_limited"].is_boolean(), "{scenario}");
    result
}

fn counted(result: &Value, step: &str) -> u64 {
    result["steps"][step]["count"].as_u64().unwrap_or_default()
}

const FEW: [&str; 4] = ["--logins-per-second", "20", "--think-seconds", "0.1-0.3"];

#[test]
fn login_logs_in_by_both_protocols() {
    for protocol in ["plain", "json"] {
        let more = [&FEW[..], &["--protocol", protocol]].concat();
        let result = play("login", &more);
        assert!(result["logins"].as_u64() > Some(0), "{result}");
        assert!(result["scan_to_token_ms"]["p50"].as_f64() > Some(0.0), "{result}");
        assert!(result["open_to_key_ms"]["p50"].as_f64() > Some(0.0), "{result}");
    }
}

#[test]
fn login_confirms() {
    let result = play("login", &[&FEW[..], &["--confirm"]].concat());
    assert!(counted(&result, "confirm") > 0, "{result}");
}

#[test]
fn wait_waits() {
    for protocol in ["plain", "json"] {
        let result = play("wait", &["--waiting", "50", "--protocol", protocol]);
        assert_eq!(result["more"]["still_waiting_at_the_end"], 50.0);
        assert!(result["waiting"].as_u64() <= Some(50), "{result}");
    }
}

#[test]
fn a_browser_that_waits_is_weighed() {
    let result = play("wait", &["--waiting", "600"]);
    // A debug build's, so that only its order is right; the README has the release build's.
    let bytes = result["client"]["bytes_per_browser"].as_f64();
    assert!(bytes > Some(500.0) && bytes < Some(32_768.0), "{result}");
}

#[test]
fn abandon_leaves_nothing() {
    for protocol in ["plain", "json"] {
        let result = play("abandon", &[&FEW[..], &["--protocol", protocol]].concat());
        assert_eq!(result["more"]["sockets_left_afterwards"], 0.0);
        assert!(counted(&result, "end") > 0, "{result}");
    }
}

#[test]
fn storm_resumes() {
    let result = play("storm", &["--waiting", "50"]);
    assert!(counted(&result, "resume") >= 50, "{result}");
    assert_eq!(result["logins"], 50, "{result}");
}

#[test]
fn storm_opens_again_what_cannot_resume() {
    let result = play("storm", &["--waiting", "20", "--protocol", "plain", "--confirm"]);
    assert!(counted(&result, "key") >= 20, "{result}");
    assert_eq!(result["logins"], 20, "{result}");
}

#[test]
fn race_has_one_winner() {
    for mode in [&["--protocol", "json"][..], &["--protocol", "plain", "--confirm"]] {
        let few = [&FEW[..2], &["--think-seconds", "0.1", "--phones", "5"], mode].concat();
        let result = play("race", &few);
        let logins = counted(&result, "token");
        assert!(logins > 0, "{result}");
        assert_eq!(counted(&result, "refusal"), 4 * logins, "{result}");
    }
}

#[test]
fn abuse_is_answered() {
    for mode in [&["--protocol", "json", "--confirm"][..], &["--protocol", "plain"]] {
        let result = play("abuse", &[&FEW[..], mode].concat());
        assert!(counted(&result, "refusal") > 0, "{result}");
        assert!(result["more"]["scan_to_token_p50_ms_before_the_attack"].is_number(), "{result}");
    }
}

#[test]
fn mixed_mixes() {
    for mode in [&["--protocol", "json", "--confirm"][..], &["--protocol", "plain"]] {
        let result = play("mixed", &[&FEW[..], &["--set", "WAIT_SECONDS=1"], mode].concat());
        assert!(result["logins"].as_u64() > Some(0), "{result}");
    }
}

/// Two workers, two instances, and nginx in front of them: nothing is counted twice or lost.
#[test]
fn several_processes_add_up() {
    let folder = tempfile::tempdir().expect("a directory");
    let html = folder.path().join("goose.html");
    let html = html.to_str().expect("a plain path");
    let words = ["--processes", "2", "--instances", "2", "--nginx", "--waiting", "61"];
    let result = play_on("redis", "login", &[&FEW[..], &words, &["--html", html]].concat());
    assert_eq!(result["client"]["processes"], 2, "{result}");
    assert_eq!(result["servers"]["instances"], 2, "{result}");
    assert_eq!(result["more"]["still_waiting_at_the_end"], 61.0, "{result}");
    let logins = result["logins"].as_u64().expect("a number");
    assert!(logins > 0, "{result}");
    assert_eq!(counted(&result, "token"), logins, "{result}");
    // goose has them from both, those of the warm-up too.
    let html = std::fs::read_to_string(html).expect("a file");
    for (step, least) in [
        (("WS", "connect"), 61 + logins),
        (("WS", "key"), 61 + logins),
        (("POST", "scan"), logins),
        (("WS", "token"), logins),
        (("WS", "received"), logins),
    ] {
        let count = in_goose(&html, step);
        assert!(count >= Some(least) && count < Some(61 + 10 * logins), "{step:?}: {count:?}");
    }
}

/// With few files to open, as any process has in the end.
fn with_files(files: u32, words: &[&str]) -> Output {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("ulimit -n {files} && exec \"$0\" \"$@\"")]);
    shell.arg(env!("CARGO_BIN_EXE_loadtest")).args(words).output().expect("it starts")
}

#[test]
fn more_browsers_than_files_spread_over_processes_and_instances() {
    let folder = tempfile::tempdir().expect("a directory");
    let json = folder.path().join("result.json");
    let json = json.to_str().expect("a plain path");
    // 900 for a process, 500 for an instance.
    let words = ["wait", "--waiting", "950", "--seconds", "1", "--store", "redis", "--json", json];
    let output = with_files(1_500, &words);
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let result: Value =
        serde_json::from_slice(&std::fs::read(json).expect("a file")).expect("JSON");
    assert_eq!(result["client"]["processes"], 2, "{result}");
    assert_eq!(result["servers"]["instances"], 2, "{result}");
    assert_eq!(result["more"]["still_waiting_at_the_end"], 950.0, "{result}");
    assert_eq!(counted(&result, "key"), 950, "{result}");
}

#[test]
fn more_browsers_than_instances_can_hold_is_said_before_the_start() {
    for (words, advice) in [
        (&["--store", "embedded"][..], "install redis-server"),
        (&["--store", "redis", "--instances", "1"], "leave out --instances"),
    ] {
        let output = with_files(1_500, &[&["wait", "--waiting", "800"], words].concat());
        assert_eq!(output.status.code(), Some(2));
        let said = errors(&output);
        assert!(said.contains("800 browsers are more than the 500"), "{said}");
        assert!(said.contains(advice), "{said}");
    }
}

#[test]
fn every_scenario_has_the_same_settings() {
    let settings = |scenario: &str| {
        let help = loadtest(&[scenario, "--help"]).stdout;
        let help = String::from_utf8(help).expect("text");
        // After the line that names the scenario.
        let usage = format!("Usage: loadtest {scenario} ");
        help.split_once(&usage).expect("usage").1.to_owned()
    };
    let login = settings("login");
    for flag in [
        "--logins-per-second",
        "--waiting",
        "--seconds",
        "--protocol",
        "--confirm",
        "--host",
        "--json",
    ] {
        assert!(login.contains(flag), "{flag}");
    }
    for scenario in ["wait", "abandon", "storm", "race", "abuse", "mixed"] {
        assert_eq!(settings(scenario), login, "{scenario}");
    }
}

/// How often goose saw a step, by the first table of its report.
fn in_goose(html: &str, (method, name): (&str, &str)) -> Option<u64> {
    let row = html.split("<tr").find(|row| {
        row.contains(&format!("{method}</td>")) && row.contains(&format!("{name}</td>"))
    })?;
    let cells = row.split("<td").skip(1).filter_map(|cell| {
        cell.split_once('>')?.1.split_once("</td>")?.0.trim().replace(',', "").parse().ok()
    });
    cells.into_iter().next()
}

#[test]
fn a_cluster_is_a_store() {
    let result = play_on("cluster", "login", &FEW);
    assert!(result["logins"].as_u64() > Some(0), "{result}");
    assert_eq!(result["servers"]["redis_nodes"], 3, "{result}");
}

#[test]
fn scaling_finds_one_notification_per_login() {
    let folder = tempfile::tempdir().expect("a directory");
    let json = folder.path().join("scaling.json");
    let words = ["scaling", "--instances", "1,2", "--store", "redis", "--seconds", "1"];
    let more = ["--logins-per-second", "20", "--waiting", "20", "--json"];
    let output = loadtest(&[&words[..], &more, &[json.to_str().expect("a plain path")]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let rows: Value = serde_json::from_slice(&std::fs::read(json).expect("a file")).expect("JSON");
    for row in rows.as_array().expect("rows") {
        let notifications = row["notifications"].as_f64();
        assert!(notifications > Some(0.99) && notifications < Some(1.01), "{row}");
        assert!(row["commands"].as_f64() < Some(8.0), "{row}");
    }
}

#[test]
fn capacity_finds_what_it_was_allowed_to_find() {
    let folder = tempfile::tempdir().expect("a directory");
    let json = folder.path().join("capacity.json");
    let words = ["capacity", "--only", "waiting", "--first-waiting", "20", "--most-waiting", "30"];
    let more = ["--seconds", "1", "--store", "embedded", "--max-p99", "60000", "--json"];
    let output = loadtest(&[&words[..], &more, &[json.to_str().expect("a plain path")]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let result: Value =
        serde_json::from_slice(&std::fs::read(json).expect("a file")).expect("JSON");
    assert_eq!(result["most_waiting"], 30.0, "{result}");
    assert_eq!(result["waiting"].as_array().map(Vec::len), Some(2), "{result}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("Most waiting browsers: **30**"));
}

#[test]
fn more_than_fits_is_said_before_the_start() {
    let output = loadtest(&["wait", "--waiting", "50000000", "--processes", "1"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(errors(&output).contains("50000000 browsers are more than"), "{}", errors(&output));
}

#[test]
fn nobody_there_is_said() {
    let secret = "x".repeat(32);
    let output = loadtest(&["login", "--host", "http://127.0.0.1:9", "--app-secret", &secret]);
    assert_eq!(output.status.code(), Some(2));
    assert!(errors(&output).contains("unreachable"), "{}", errors(&output));
}

#[test]
fn no_tokens_is_said() {
    let output = loadtest(&["login", "--host", "http://127.0.0.1:9"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(errors(&output).contains("SCANLOGIN_APP_JWT_SECRET"), "{}", errors(&output));
}

#[test]
fn a_number_that_is_none_is_said() {
    for wrong in ["-1", "NaN", "inf", "many"] {
        let output = loadtest(&["login", &format!("--logins-per-second={wrong}")]);
        assert_eq!(output.status.code(), Some(2), "{wrong}");
        assert!(errors(&output).contains("--logins-per-second"), "{}", errors(&output));
    }
}

fn target(more: &[(&str, &str)]) -> Target {
    let more = more.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
    Target::start(&Wanted {
        binary: service::binary().expect("cargo builds it"),
        store: Store::Embedded,
        instances: 1,
        confirm: false,
        proxy_workers: None,
        wait: None,
        more: more.collect(),
    })
    .expect("the service starts")
}

/// Plays `login` against what is there, as these users.
fn play_there(address: SocketAddr, tokens: &[String], load: &[&str]) -> Output {
    let folder = tempfile::tempdir().expect("a directory");
    let file = folder.path().join("tokens");
    std::fs::write(&file, tokens.join("\n")).expect("written");
    let (host, file) = (format!("http://{address}"), file.to_str().expect("a plain path"));
    let words = ["login", "--seconds", "1", "--host", &host, "--app-tokens", file];
    loadtest(&[&words[..], load].concat())
}

#[test]
fn a_refused_token_is_said() {
    let target = target(&[]);
    let host = format!("http://{}", target.endpoints[0].host);
    let secret = "y".repeat(40);
    let output = loadtest(&["login", "--host", &host, "--app-secret", &secret]);
    assert_eq!(output.status.code(), Some(2));
    assert!(errors(&output).contains("refuses the app token"), "{}", errors(&output));
}

#[test]
fn a_limited_user_is_said() {
    let target = target(&[("SCANS_PER_MINUTE", "1")]);
    let output = play_there(target.endpoints[0].address, &target.tokens[..1], &FEW);
    assert_eq!(output.status.code(), Some(2));
    assert!(errors(&output).contains("SCANLOGIN_SCANS_PER_MINUTE=0"), "{}", errors(&output));
}

#[test]
fn a_limited_address_is_said() {
    // One browser a minute from each of the addresses that are used in turn.
    let target = target(&[("CONNECTS_PER_MINUTE", "1")]);
    let often = ["--logins-per-second", "400", "--think-seconds", "0.1"];
    let output = play_there(target.endpoints[0].address, &target.tokens, &often);
    assert_eq!(output.status.code(), Some(2));
    assert!(errors(&output).contains("SCANLOGIN_CONNECTS_PER_MINUTE=0"), "{}", errors(&output));
}

/// A line to the service on which everything takes longer, both ways.
fn slow_line(to: SocketAddr, delay: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    std::thread::spawn(move || {
        for from in listener.incoming().map_while(Result::ok) {
            let to = TcpStream::connect(to).expect("the service");
            let ends = [from.try_clone().and_then(|f| Ok((f, to.try_clone()?))), Ok((to, from))];
            for (mut from, mut to) in ends.into_iter().map(|ends| ends.expect("a socket")) {
                std::thread::spawn(move || {
                    let mut bytes = [0; 16 * 1024];
                    while let Ok(read @ 1..) = from.read(&mut bytes) {
                        std::thread::sleep(delay);
                        if to.write_all(&bytes[..read]).is_err() {
                            break;
                        }
                    }
                    let _ = to.shutdown(std::net::Shutdown::Both);
                });
            }
        }
    });
    address
}

#[test]
fn a_slow_service_breaks_the_thresholds() {
    let target = target(&[]);
    let slow = slow_line(target.endpoints[0].address, Duration::from_millis(400));
    let output = play_there(slow, &target.tokens, &[&FEW[..], &["--max-p99", "100"]].concat());
    assert_eq!(output.status.code(), Some(1), "{}", errors(&output));
    assert!(errors(&output).contains("more than --max-p99 100"), "{}", errors(&output));
    // It is the threshold that decides.
    let output = play_there(slow, &target.tokens, &[&FEW[..], &["--max-p99", "60000"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
}

/// By the time that its `received` is there, the service has asked it to come back.
#[test]
fn a_browser_that_is_late_to_acknowledge_comes_back_until_it_is_heard() {
    let target = target(&[]);
    let slow = slow_line(target.endpoints[0].address, Duration::from_millis(1100));
    let output = play_there(slow, &target.tokens, &[&FEW[..], &["--max-p99", "60000"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
}

/// The client gets no processor for most of the time: what it measures then is itself.
#[test]
fn a_starved_client_says_so_instead_of_reporting_numbers() {
    let words = ["login", "--seconds", "2", "--store", "embedded"];
    let mut client = command(&[&words[..], &FEW].concat()).spawn().expect("it starts");
    let pid = Pid::from_child(&client);
    while client.try_wait().expect("ours").is_none() {
        for (signal, ms) in [(Signal::STOP, 100), (Signal::CONT, 50)] {
            // It may have ended in between.
            let _ = kill_process(pid, signal);
            std::thread::sleep(Duration::from_millis(ms));
        }
    }
    let output = client.wait_with_output().expect("ours");
    assert_eq!(output.status.code(), Some(3), "{}", errors(&output));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("THE CLIENT WAS THE BOTTLENECK"), "{said}");
    assert!(!said.contains("p99.9"), "{said}");
}
