//! How each scenario goes.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use super::{Plan, Played, Scenario};
use crate::{
    attack::Attack,
    crew::Crew,
    engine::{Load, Span, open_loop},
    fleet::Fleet,
    pacer::Random,
    recorder::{Percentiles, Step},
    target::{Target, Usage},
    visit::Visit,
};

/// Of a hundred people in the morning: who leaves without a word, who cancels, who never scans.
const DROP: u64 = 12;
const CANCEL: u64 = 5;
const EXPIRE: u64 = 3;
/// After the last browser has left, until the service must have noticed.
const FORGET: Duration = Duration::from_secs(2);

/// Pages come back with jitter: within this time.
const RETURN: Duration = Duration::from_millis(500);
/// Between two storms.
const CALM: Duration = Duration::from_millis(500);
/// Logins after the last storm.
const IN_THE_END: u64 = 100;

pub(super) async fn play(plan: &Plan, crew: &Arc<Crew>, target: &Target) -> Played {
    let mut fleet = Fleet::assemble(crew, plan.waiting).await;
    let assembled = crew.recorder.so_far();
    let mut more = BTreeMap::new();
    if plan.waiting > 0 {
        let per_second = plan.waiting as f64 / fleet.assembled_in.as_secs_f64();
        more.insert("connects_per_second", per_second);
    }
    let mut played = match plan.scenario {
        Scenario::Wait if plan.logins_per_second == 0.0 => wait(plan, crew, target).await,
        Scenario::Storm => storms(plan, crew, target, &mut fleet).await,
        Scenario::Abuse => abuse(plan, crew, target, &mut more).await,
        _ => arrivals(plan, plan.span(), crew, target).await,
    };
    if let (Scenario::Wait, Some(measured)) = (plan.scenario, &mut played.measured) {
        // What counts there is how they came, too: the warm-up of other scenarios.
        for (step, histogram) in &assembled.steps {
            measured.steps.entry(*step).or_insert_with(crate::recorder::micros);
            if let Some(sum) = measured.steps.get_mut(step) {
                // The same bounds: nothing is lost.
                let _ = sum.add(histogram);
            }
        }
        for (why, count) in &assembled.failures {
            *measured.failures.entry(why.clone()).or_default() += count;
        }
    }
    if plan.waiting > 0 {
        more.insert("still_waiting_at_the_end", fleet.waiting() as f64);
    }
    drop(fleet);
    if plan.scenario == Scenario::Abandon && target.usage().server_pss > 0 {
        tokio::time::sleep(FORGET).await;
        let left = target.metric("scanlogin_waiting_sockets");
        more.insert("sockets_left_afterwards", left);
        if let (Some(measured), true) = (&mut played.measured, left > 0.0) {
            *measured.failures.entry("sockets left behind".into()).or_default() += left as u64;
        }
    }
    played.more.extend(more);
    played
}

/// Runs a load, with what the servers had used when it began to count.
async fn counted<F: Future<Output = Load>>(
    target: &Target,
    load: impl FnOnce(Box<dyn FnOnce() + Send>) -> F,
) -> Played {
    let begun = Arc::new(Mutex::new(Usage::default()));
    let usage = begun.clone();
    let pids = target.watcher();
    let begin = Box::new(move || *usage.lock().unwrap_or_else(|p| p.into_inner()) = pids.usage());
    let load = load(begin).await;
    let begun = *begun.lock().unwrap_or_else(|p| p.into_inner());
    let seconds = load.time.as_secs_f64();
    Played { measured: Some(load.measured), seconds, begun, ..Played::default() }
}

async fn wait(plan: &Plan, crew: &Arc<Crew>, target: &Target) -> Played {
    counted(target, |begin| async {
        crew.recorder.reset();
        begin();
        tokio::time::sleep(plan.time).await;
        Load { measured: crew.recorder.so_far(), time: plan.time }
    })
    .await
}

async fn arrivals(plan: &Plan, span: Span, crew: &Arc<Crew>, target: &Target) -> Played {
    let mut random = Random::new(plan.time.as_micros() as u64);
    let choose = |arrival: Instant| choose(plan, arrival, &mut random);
    counted(target, |begin| open_loop(crew, plan.logins_per_second, span, choose, begin)).await
}

fn choose(plan: &Plan, arrival: Instant, random: &mut Random) -> Visit {
    let due = arrival + plan.think.at(random.unit());
    let hundred = random.number() % 100;
    match plan.scenario {
        Scenario::Race => Visit::Race(due, plan.phones),
        Scenario::Abandon if hundred < 50 => Visit::Drop(due),
        Scenario::Abandon => Visit::Cancel(due),
        Scenario::Mixed if hundred < DROP => Visit::Drop(due),
        Scenario::Mixed if hundred < DROP + CANCEL => Visit::Cancel(due),
        Scenario::Mixed if hundred < DROP + CANCEL + EXPIRE => Visit::Expire,
        _ => Visit::LogIn(Some(due)),
    }
}

/// Every few seconds all connections are cut at once; in the end some log in, to show that what was
/// resumed is whole.
async fn storms(plan: &Plan, crew: &Arc<Crew>, target: &Target, fleet: &mut Fleet) -> Played {
    counted(target, |begin| async {
        crew.recorder.reset();
        begin();
        let started = Instant::now();
        while started.elapsed() < plan.time {
            fleet.cut(RETURN).await;
            tokio::time::sleep(CALM).await;
        }
        fleet.log_in(IN_THE_END).await;
        Load { measured: crew.recorder.so_far(), time: started.elapsed() }
    })
    .await
}

/// First people alone, then beside attackers: what the attack costs them is the difference.
async fn abuse(
    plan: &Plan,
    crew: &Arc<Crew>,
    target: &Target,
    more: &mut BTreeMap<&'static str, f64>,
) -> Played {
    let alone = Span::of(plan.warm_up(), plan.time / 3);
    let before = arrivals(plan, alone, crew, target).await;
    let before = before.measured.map(|measured| Percentiles::of(&measured.step(Step::Token)));
    let before = before.unwrap_or_default();
    more.insert("scan_to_token_p50_ms_before_the_attack", before.p50);
    more.insert("scan_to_token_p99_ms_before_the_attack", before.p99);
    let attack = Attack::start(crew, target.endpoints[0].clone());
    let played = arrivals(plan, plan.span(), crew, target).await;
    attack.finish().await;
    played
}
