//! How each scenario goes.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::{Plan, Scenario};
use crate::{
    attack::Attack,
    crew::Crew,
    cues::Cues,
    engine::{Load, Span, open_loop},
    fleet::Fleet,
    pacer::Random,
    proc,
    recorder::{Measured, Micros, Step, add, micros},
    visit::Visit,
};

/// Of a hundred people in the morning: who leaves without a word, who cancels, who never scans.
const DROP: u64 = 12;
const CANCEL: u64 = 5;
const EXPIRE: u64 = 3;
/// Pages come back with jitter: within this time.
const RETURN: Duration = Duration::from_millis(500);
/// Between two storms.
const CALM: Duration = Duration::from_millis(500);
/// Fewer browsers than this are lost in what their process needs anyway.
const ENOUGH_TO_WEIGH: u64 = 500;

/// Browsers that came to wait.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Assembled {
    /// How many there were.
    pub browsers: u64,
    /// Seconds until the last had its key.
    pub seconds: f64,
    /// By how much their processes grew, in bytes (PSS).
    pub bytes: u64,
    /// How many there were in the end.
    pub still: u64,
}

impl Assembled {
    /// What one costs its process; nothing where there are too few to tell.
    pub fn bytes_per_browser(&self) -> Option<f64> {
        (self.browsers >= ENOUGH_TO_WEIGH).then(|| self.bytes as f64 / self.browsers as f64)
    }
}

/// What playing a scenario gave.
#[derive(Clone, Debug, Default)]
pub struct Played {
    /// The steps and counts.
    pub measured: Measured,
    /// Scan to token before an attack began.
    pub before_the_attack: Option<Micros>,
    /// Seconds that were measured.
    pub seconds: f64,
    /// Those that wait, if any.
    pub assembled: Option<Assembled>,
    /// Sockets that a service still has when all browsers have left.
    pub sockets_left: Option<f64>,
}

impl Played {
    /// Adds what another process has played at the same time.
    pub fn add(&mut self, other: Self) {
        self.measured.add(&other.measured);
        if let Some(before) = other.before_the_attack {
            add(self.before_the_attack.get_or_insert_with(micros), &before);
        }
        self.seconds = self.seconds.max(other.seconds);
        if let Some(more) = other.assembled {
            let all = self.assembled.get_or_insert_default();
            all.browsers += more.browsers;
            all.seconds = all.seconds.max(more.seconds);
            all.bytes += more.bytes;
            all.still += more.still;
        }
    }
}

/// Plays it.
pub async fn play(plan: &Plan, crew: &Arc<Crew>, cues: &Cues) -> Played {
    let before = proc::pss(std::process::id()).unwrap_or_default();
    let mut fleet = Fleet::assemble(crew, plan.waiting).await;
    let after = proc::pss(std::process::id()).unwrap_or_default();
    let arrived = crew.recorder.so_far();
    cues.together().await;
    let mut played = match plan.scenario {
        Scenario::Storm => storms(plan, crew, cues, &mut fleet).await,
        _ if plan.logins_per_second == 0.0 => wait(plan, crew, cues).await,
        Scenario::Abuse => abuse(plan, crew, cues).await,
        _ => arrivals(plan, plan.span(), crew, cues).await,
    };
    if plan.scenario == Scenario::Wait {
        // What counts there is how they came, too: the warm-up of other scenarios.
        played.measured.add(&Measured { logins: 0, late: micros(), ..arrived });
    }
    played.assembled = (plan.waiting > 0).then(|| Assembled {
        browsers: plan.waiting,
        seconds: fleet.assembled_in.as_secs_f64(),
        bytes: after.saturating_sub(before),
        still: fleet.waiting() as u64,
    });
    played
}

fn counted(load: Load) -> Played {
    let seconds = load.time.as_secs_f64();
    Played { measured: load.measured, seconds, ..Played::default() }
}

async fn wait(plan: &Plan, crew: &Arc<Crew>, cues: &Cues) -> Played {
    crew.recorder.reset();
    cues.counting();
    tokio::time::sleep(plan.time).await;
    cues.counted();
    counted(Load { measured: crew.recorder.so_far(), time: plan.time })
}

async fn arrivals(plan: &Plan, span: Span, crew: &Arc<Crew>, cues: &Cues) -> Played {
    let mut random = Random::new(plan.time.as_micros() as u64 ^ crew.first());
    let choose = |arrival: Instant| choose(plan, arrival, &mut random);
    // Said when it is over, not when the last login that was due then has ended.
    let over = async {
        crew.pacer.until(span.until).await;
        cues.counted();
    };
    let load = open_loop(crew, plan.logins_per_second, span, choose, || cues.counting());
    let (load, ()) = tokio::join!(load, over);
    counted(load)
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
async fn storms(plan: &Plan, crew: &Arc<Crew>, cues: &Cues, fleet: &mut Fleet) -> Played {
    crew.recorder.reset();
    cues.counting();
    let started = Instant::now();
    while started.elapsed() < plan.time {
        cues.together().await;
        fleet.cut(RETURN).await;
        tokio::time::sleep(CALM).await;
    }
    cues.together().await;
    fleet.log_in(plan.in_the_end).await;
    cues.counted();
    counted(Load { measured: crew.recorder.so_far(), time: started.elapsed() })
}

/// First people alone, then beside attackers: what the attack costs them is the difference.
async fn abuse(plan: &Plan, crew: &Arc<Crew>, cues: &Cues) -> Played {
    let mut random = Random::new(plan.time.as_micros() as u64 ^ crew.first());
    let alone = Span::of(plan.warm_up(), plan.time / 3);
    let choose = |arrival: Instant| choose(plan, arrival, &mut random);
    let before = open_loop(crew, plan.logins_per_second, alone, choose, || {}).await;
    cues.together().await;
    let attack = plan.attackers.then(|| Attack::start(crew));
    let played = arrivals(plan, plan.span(), crew, cues).await;
    if let Some(attack) = attack {
        attack.finish().await;
    }
    Played { before_the_attack: Some(before.measured.step(Step::Token)), ..played }
}
