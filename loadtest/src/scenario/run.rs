//! One run: in this process, or in as many as its browsers need; goose drives, and gets every step.

use std::sync::{Arc, Mutex, Weak};

use tokio::sync::mpsc::unbounded_channel;

use super::{Error, Plan, Played, Scenario, Settings, play, preflight};
use crate::{
    crew::Crew,
    cues::{Cues, Observer, Used},
    goose_run::{self, Generator, Stop},
    limits,
    live::{Second, Watch, Watched},
    outcome::{Client, Outcome, Servers},
    recorder::{Percentiles, Recorder},
    target::Target,
    workers::{self, Board, Worker, wire::Assignment},
};

/// After the last browser has left, until the service must have noticed.
const FORGET: std::time::Duration = std::time::Duration::from_secs(2);
/// Browsers are numbered from here on in the next worker.
const NUMBERS: u64 = 1 << 40;

/// What the generators of a run came to, one after the other.
type Results = Arc<Mutex<Vec<Result<Played, Error>>>>;

/// Plays a scenario against these servers, driven by goose; `line` gets what a person wants to see
/// meanwhile.
///
/// # Errors
/// [`Error`].
pub async fn run(
    plan: &Plan,
    settings: &Settings,
    target: Arc<Target>,
    line: fn(&str),
) -> Result<Outcome, Error> {
    let processes = processes(plan, settings)?;
    let ports = limits::browsers_of_all_ports(&target.endpoints);
    if plan.browsers() > ports {
        return Err(Error::Ports(plan.browsers(), ports));
    }
    preflight::check(&target, settings).await?;
    let results = Results::default();
    let (watched, observer, generators) = if processes == 1 {
        in_this_process(plan, settings, &target, &results)?
    } else {
        in_others(plan, settings, &target, &results, processes).await?
    };
    let watch = Watch::start(watched, line);
    let stop = Stop::new(preflight::limited);
    let driven = goose_run::drive(
        plan.scenario.name(),
        &target.endpoints[0].host,
        settings.html.as_deref(),
        generators,
        &stop,
    );
    let driven = driven.await;
    let series = watch.finish();
    if let Some(why) = stop.why() {
        return Err(Error::Refused(format!("{}: {why}", target.description)));
    }
    driven?;
    let used = observer.finish().await;
    let results = std::mem::take(&mut *results.lock().unwrap_or_else(|p| p.into_inner()));
    let mut played = Played::default();
    for result in results {
        played.add(result?);
    }
    if plan.scenario == Scenario::Abandon && used.ended.server_pss > 0 {
        tokio::time::sleep(FORGET).await;
        played.sockets_left = Some(target.metric("scanlogin_waiting_sockets"));
    }
    Ok(outcome(plan, settings, &target, played, used, (processes, series)))
}

/// As many as are asked for, or as it takes to hold all browsers.
pub(super) fn processes(plan: &Plan, settings: &Settings) -> Result<usize, Error> {
    let (browsers, each) = (plan.browsers(), limits::browsers_of_a_process());
    let needed = browsers.div_ceil(each.max(1)).max(1) as usize;
    let processes = settings.processes.unwrap_or(needed).max(1);
    if processes < needed {
        let most = each * processes as u64;
        return Err(Error::Files { browsers, most, processes });
    }
    Ok(processes)
}

type Started = (Weak<dyn Watched>, Arc<Observer>, Vec<Generator>);

fn in_this_process(
    plan: &Plan,
    settings: &Settings,
    target: &Target,
    results: &Results,
) -> Result<Started, Error> {
    let (sender, samples) = unbounded_channel();
    let Settings { protocol, confirm, .. } = settings;
    let recorder = Recorder::with_goose(sender);
    let crew = Crew::new(&target.endpoints, *protocol, *confirm, target.tokens.clone(), recorder)?;
    let observer = Observer::new(target.watcher(), vec![std::process::id()]);
    let cues = Cues::Alone(observer.clone());
    let watched: Weak<dyn Watched> = Arc::<Crew>::downgrade(&crew);
    let (plan, results) = (plan.clone(), results.clone());
    let run = Box::pin(async move {
        let played = play(&plan, &crew, &cues).await;
        results.lock().unwrap_or_else(|p| p.into_inner()).push(Ok(played));
    });
    Ok((watched, observer, vec![Generator { run, samples }]))
}

async fn in_others(
    plan: &Plan,
    settings: &Settings,
    target: &Target,
    results: &Results,
    processes: usize,
) -> Result<Started, Error> {
    let mut workers = Vec::new();
    for number in 0..processes {
        let users = target.tokens.iter().skip(number).step_by(processes).cloned();
        let assignment = Assignment {
            plan: plan.share(processes, number),
            protocol: settings.protocol,
            confirm: settings.confirm,
            endpoints: target.endpoints.clone(),
            tokens: users.collect(),
            first: NUMBERS * number as u64,
        };
        if assignment.tokens.is_empty() {
            return Err(Error::Refused(format!(
                "{processes} processes need at least as many app tokens: --app-tokens has {}",
                target.tokens.len()
            )));
        }
        workers.push(Worker::start(number, &assignment).await?);
    }
    let mut pids: Vec<u32> = workers.iter().map(Worker::pid).collect();
    pids.push(std::process::id());
    let (board, observer) = (Board::new(processes), Observer::new(target.watcher(), pids));
    let mut generators = Vec::new();
    for worker in workers {
        let (sender, samples) = unbounded_channel();
        let (board, observer, results) = (board.clone(), observer.clone(), results.clone());
        let run = Box::pin(async move {
            let played = worker.play(&board, &observer, sender).await;
            let played = played.map_err(|error: workers::Error| Error::from(error));
            results.lock().unwrap_or_else(|p| p.into_inner()).push(played);
        });
        generators.push(Generator { run, samples });
    }
    let watched: Weak<dyn Watched> = Arc::<Board>::downgrade(&board);
    Ok((watched, observer, generators))
}

fn outcome(
    plan: &Plan,
    settings: &Settings,
    target: &Target,
    mut played: Played,
    used: Used,
    (processes, series): (usize, Vec<Second>),
) -> Outcome {
    if let Some(left) = played.sockets_left.filter(|left| *left > 0.0) {
        let why = "sockets left behind".into();
        *played.measured.failures.entry(why).or_default() += left as u64;
    }
    let mut outcome = Outcome::new(plan.scenario.name(), &played.measured, played.seconds);
    outcome.target = target.description.clone();
    outcome.protocol = format!("{:?}", settings.protocol).to_lowercase();
    outcome.confirm = settings.confirm;
    outcome.waiting = series.iter().map(|second| second.waiting).max().unwrap_or_default();
    outcome.series = series;
    more(&mut outcome, &played);
    let seconds = used.time.as_secs_f64().max(f64::EPSILON);
    let share = |from: std::time::Duration, to: std::time::Duration| {
        100.0 * to.saturating_sub(from).as_secs_f64() / seconds
    };
    outcome.client = Client {
        processes,
        cpu_percent: share(std::time::Duration::ZERO, used.client),
        machine_percent: used.machine_percent,
        bytes_per_browser: played.assembled.and_then(|fleet| fleet.bytes_per_browser()),
    };
    let (begun, ended) = (used.begun, used.ended);
    outcome.servers = (ended.server_pss > 0).then(|| Servers {
        instances: target.instances(),
        redis_nodes: target.redis.len(),
        cpu_percent: share(begun.server_cpu, ended.server_cpu),
        redis_cpu_percent: share(begun.redis_cpu, ended.redis_cpu),
        proxy_cpu_percent: share(begun.proxy_cpu, ended.proxy_cpu),
        memory_bytes: ended.server_pss,
        redis_memory_bytes: ended.redis_memory,
    });
    outcome
}

fn more(outcome: &mut Outcome, played: &Played) {
    let more = &mut outcome.more;
    if let Some(fleet) = played.assembled {
        more.insert("connects_per_second", fleet.browsers as f64 / fleet.seconds);
        more.insert("still_waiting_at_the_end", fleet.still as f64);
    }
    if let Some(before) = &played.before_the_attack {
        let before = Percentiles::of(before);
        more.insert("scan_to_token_p50_ms_before_the_attack", before.p50);
        more.insert("scan_to_token_p99_ms_before_the_attack", before.p99);
    }
    if let Some(left) = played.sockets_left {
        more.insert("sockets_left_afterwards", left);
    }
}
