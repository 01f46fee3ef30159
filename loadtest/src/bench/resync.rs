//! How long it takes until all waiting logins are read again after Redis has dropped the lines that
//! listen, and whom that delays.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tokio::{task::JoinSet, time::timeout};

use super::{Figures, Row, SETTLE, Settings, crew};
use crate::{
    crew::{Crew, PATIENCE},
    dialect::Dialect,
    fleet::Fleet,
    pacer::Arrivals,
    target::{Error, Target, redis::Seen},
};

/// Logins a second beside it.
const OTHERS: f64 = 200.0;
/// How long they go on, and when the lines are dropped.
const TIME: Duration = Duration::from_secs(6);
const DROPPED_AFTER: Duration = Duration::from_secs(2);
/// From a browser's arrival to its scan.
const THINK: Duration = Duration::from_millis(500);

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
    let monitor = redis.questions().monitor()?;
    let (start, wall) = (Instant::now(), wall());
    let tokens = Arc::new(Mutex::new(Vec::new()));
    let mut logins = JoinSet::new();
    let mut dropped = None;
    for arrival in Arrivals::new(start, OTHERS, 5) {
        if arrival > start + TIME {
            break;
        }
        crew.pacer.until(arrival).await;
        if dropped.is_none() && arrival > start + DROPPED_AFTER {
            dropped = Some(wall + start.elapsed().as_secs_f64());
            redis.questions().ask("CLIENT KILL TYPE pubsub")?;
        }
        logins.spawn(log_in(crew.clone(), arrival + THINK, tokens.clone()));
    }
    while logins.join_next().await.is_some() {}
    drop(fleet);
    let (first, last) = reading(&monitor.seen(), dropped.unwrap_or(wall));
    let took = 1000.0 * (last - first);
    let from = start + Duration::from_secs_f64((first - wall).max(0.0));
    let tokens = tokens.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let beside = |(due, _): &&Token| (from..from + Duration::from_secs(1)).contains(due);
    let worst = tokens.iter().filter(beside).map(|(_, took)| *took).max().unwrap_or_default();
    progress(&format!("resync: {took:.0} ms, beside it a token took {worst:?} at most"));
    figures.set(Row::ResyncTime, took);
    figures.set(Row::WorstBesideResync, 1000.0 * worst.as_secs_f64());
    Ok(())
}

/// What the times of `MONITOR` are compared with: Redis is on this machine.
#[expect(clippy::disallowed_methods, reason = "Redis shows the wall clock's time")]
fn wall() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// When the first line that was made anew said its first word, and when the last of them asked for
/// the last records, on Redis's clock in seconds.
fn reading(seen: &[Seen], dropped: f64) -> (f64, f64) {
    let mut lines: BTreeMap<&str, (f64, Option<f64>)> = BTreeMap::new();
    let old: std::collections::BTreeSet<&str> =
        seen.iter().filter(|one| one.at < dropped).map(|one| &one.client[..]).collect();
    for one in seen.iter().filter(|one| !old.contains(&one.client[..])) {
        let line = lines.entry(&one.client).or_insert((one.at, None));
        if one.name == "mget" {
            line.1 = Some(one.at);
        }
    }
    let lines = lines.values().filter_map(|(first, last)| Some((*first, (*last)?)));
    lines.fold((f64::MAX, 0.0), |(first, last), line| (line.0.min(first), line.1.max(last)))
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
        let _ = crew.acknowledge(&mut visitor.browser).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_that_are_new_and_have_read_count() {
        let seen =
            |at, client: &str, name: &str| Seen { at, client: client.into(), name: name.into() };
        let all = [
            seen(1.0, "a", "mget"),
            seen(5.0, "a", "mget"),
            seen(3.0, "b", "subscribe"),
            seen(3.5, "b", "mget"),
            seen(3.1, "c", "subscribe"),
            seen(3.9, "c", "mget"),
            seen(2.9, "d", "info"),
        ];
        assert_eq!(reading(&all, 2.0), (3.0, 3.9));
    }
}
