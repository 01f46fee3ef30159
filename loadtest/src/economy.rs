//! What a login costs in commands and notifications, counted one by one.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::task::JoinSet;

use crate::{
    crew::Crew,
    target::{Error, Target, redis::Commands},
    visit::Visit,
};

/// Logins that are counted, and how many at a time.
const LOGINS: usize = 320;
const AT_A_TIME: usize = 16;
/// Until what is left of logins before has come to an end.
const SETTLE: Duration = Duration::from_secs(1);

/// What so many logins cost.
#[derive(Clone, Debug, Default)]
pub struct Counted {
    /// Commands that clients sent, by name.
    pub sent: BTreeMap<String, u64>,
    /// Commands that scripts called, by name.
    pub inside: BTreeMap<String, u64>,
    /// Notifications that the service heard, per login.
    pub notifications: f64,
}

impl Counted {
    /// Commands that clients sent, per login.
    pub fn sent_each(&self) -> f64 {
        self.sent.values().sum::<u64>() as f64 / LOGINS as f64
    }

    /// Commands that scripts called, per login.
    pub fn inside_each(&self) -> f64 {
        self.inside.values().sum::<u64>() as f64 / LOGINS as f64
    }
}

/// Counts under `MONITOR`, with the canary of the feed and our own questions left out; nothing where
/// the store is not Redis.
///
/// # Errors
/// Those of the connections to it.
pub async fn count(crew: &Arc<Crew>, target: &Target) -> Result<Option<Counted>, Error> {
    if target.redis.is_empty() {
        return Ok(None);
    }
    tokio::time::sleep(SETTLE).await;
    let heard = target.metric("scanlogin_notifications_total");
    let mut monitors = Vec::new();
    for redis in &target.redis {
        monitors.push(redis.questions().monitor()?);
    }
    let mut loops = JoinSet::new();
    for _ in 0..AT_A_TIME {
        let crew = crew.clone();
        loops.spawn(async move {
            for _ in 0..LOGINS / AT_A_TIME {
                crew.clone().visit(Visit::LogIn(None)).await;
            }
        });
    }
    while loops.join_next().await.is_some() {}
    tokio::time::sleep(SETTLE / 2).await;
    let heard = target.metric("scanlogin_notifications_total") - heard;
    let mut counted = Counted { notifications: heard / LOGINS as f64, ..Counted::default() };
    for monitor in monitors {
        let Commands { sent, inside } = monitor.finish(&["probe:", "nchan_"])?;
        for (all, node) in [(&mut counted.sent, sent), (&mut counted.inside, inside)] {
            for (name, count) in node {
                *all.entry(name).or_default() += count;
            }
        }
    }
    Ok(Some(counted))
}
