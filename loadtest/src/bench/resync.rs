//! How long it takes until all waiting logins are read again after Redis has dropped the lines that
//! listen, and whom that delays.

use std::{
    io,
    sync::{Arc, Mutex, mpsc},
    time::{Duration, Instant},
};

use tokio::{task::JoinSet, time::timeout};

use super::{Figures, Row, SETTLE, Settings, crew};
use crate::{
    crew::{Crew, PATIENCE},
    dialect::Dialect,
    fleet::Fleet,
    pacer::Arrivals,
    target::{Error, Target, redis::Counter},
};

/// Logins a second beside it.
const OTHERS: f64 = 200.0;
/// How long they go on, and when the lines are dropped.
const TIME: Duration = Duration::from_secs(6);
const DROPPED_AFTER: Duration = Duration::from_secs(2);
/// From a browser's arrival to its scan.
const THINK: Duration = Duration::from_millis(500);

/// How often Redis is asked what it has been asked.
const LOOK: Duration = Duration::from_millis(2);
/// Whoever was due so long after the drop was not delayed by it.
const BESIDE: Duration = Duration::from_secs(1);

/// When a scan was due, and how long after that its token was there.
type Token = (Instant, Duration);

pub(super) async fn measure(
    settings: &Settings,
    dialect: Dialect,
    target: &Target,
    figures: &mut Figures,
    progress: &impl Fn(&str),
) -> Result<(), Error> {
    let Some(redis) = target.redis.first() else { return Ok(()) };
    let crew = crew(target, dialect)?;
    let fleet = Fleet::assemble(&crew, settings.waiting).await;
    tokio::time::sleep(SETTLE).await;
    let questions = redis.questions();
    let start = Instant::now();
    let tokens = Arc::new(Mutex::new(Vec::new()));
    let mut logins = JoinSet::new();
    let mut dropped = None;
    for arrival in Arrivals::new(start, OTHERS, 5) {
        if arrival > start + TIME {
            break;
        }
        crew.pacer.until(arrival).await;
        if dropped.is_none() && arrival > start + DROPPED_AFTER {
            let watch = Watch::begin(questions.counter()?);
            questions.ask("CLIENT KILL TYPE pubsub")?;
            dropped = Some((Instant::now(), watch));
        }
        logins.spawn(log_in(crew.clone(), arrival + THINK, tokens.clone()));
    }
    while logins.join_next().await.is_some() {}
    drop(fleet);
    let Some((dropped, watch)) = dropped else { return Ok(()) };
    let took = watch.finish().ok_or_else(|| io::Error::other("no records were read again"))?;
    let took = 1000.0 * took.as_secs_f64();
    let tokens = tokens.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let beside = |(due, took): &&Token| *due + *took > dropped && *due < dropped + BESIDE;
    let worst = tokens.iter().filter(beside).map(|(_, took)| *took).max().unwrap_or_default();
    progress(&format!("resync: {took:.0} ms, beside it a token took {worst:?} at most"));
    figures.set(Row::ResyncTime, took);
    figures.set(Row::WorstBesideResync, 1000.0 * worst.as_secs_f64());
    Ok(())
}

/// Commands by which lines are made, and by which records are read again; no login uses either.
const COUNTED: [&str; 2] = ["hello", "mget"];

/// Watches from beside: `MONITOR` would double what it measures.
struct Watch {
    stop: mpsc::Sender<()>,
    counts: std::thread::JoinHandle<Vec<(Instant, [u64; 2])>>,
}

impl Watch {
    fn begin(mut counter: Counter) -> Self {
        let (stop, stopped) = mpsc::channel();
        let counts = std::thread::spawn(move || {
            let mut counts = Vec::new();
            while let Ok(calls) = counter.calls(COUNTED) {
                counts.push((Instant::now(), calls));
                if stopped.recv_timeout(LOOK) != Err(mpsc::RecvTimeoutError::Timeout) {
                    break;
                }
            }
            counts
        });
        Self { stop, counts }
    }

    /// How long the reading took.
    fn finish(self) -> Option<Duration> {
        let _ = self.stop.send(());
        reading(&self.counts.join().unwrap_or_default())
    }
}

/// From when the first line was made anew until the last records were asked for.
fn reading(counts: &[(Instant, [u64; 2])]) -> Option<Duration> {
    let rises = |which: usize| {
        let pairs = counts.windows(2).filter(move |pair| pair[0].1[which] < pair[1].1[which]);
        pairs.map(|pair| pair[1].0)
    };
    Some(rises(1).next_back()?.saturating_duration_since(rises(0).next()?))
}

async fn log_in(crew: Arc<Crew>, due: Instant, tokens: Arc<Mutex<Vec<Token>>>) {
    let Ok(mut visitor) = crew.open().await else { return };
    if crew.show_until(&mut visitor, due).await.is_err() {
        return;
    }
    let (number, key) = (visitor.number, std::mem::take(&mut visitor.shown.key));
    let token = async {
        let token = timeout(PATIENCE, crew.token_of(&mut visitor.browser)).await;
        token.is_ok_and(|token| token.is_ok()).then(|| due.elapsed())
    };
    let (took, _) = tokio::join!(token, crew.scan(number, number, &key));
    if let Some(took) = took {
        tokens.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push((due, took));
        let _ = crew.acknowledge(&mut visitor).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_lasts_from_the_first_new_line_to_the_last_records() {
        let start = Instant::now();
        let counts = [[2, 0], [2, 0], [3, 0], [4, 0], [4, 5], [4, 9], [4, 9]];
        let counts: Vec<_> = counts
            .into_iter()
            .zip(0..)
            .map(|(calls, ms)| (start + Duration::from_millis(ms), calls))
            .collect();
        assert_eq!(reading(&counts), Some(Duration::from_millis(3)));
        assert_eq!(reading(&counts[..4]), None, "nothing was read");
    }
}
