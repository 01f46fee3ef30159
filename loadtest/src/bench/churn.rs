//! What is left of the memory's leanness after browsers have come and gone for long: an hour of a
//! service's life, compressed.

use std::time::{Duration, Instant};

use super::{Figures, Row, SETTLE, Settings, crew};
use crate::{
    dialect::Dialect,
    fleet::Fleet,
    target::{Error, Target},
};

/// Most that it may take: a machine that is slower gets fewer rounds.
const MOST: Duration = Duration::from_secs(150);

pub(super) async fn measure(
    settings: &Settings,
    dialect: Dialect,
    target: &Target,
    figures: &mut Figures,
    progress: &impl Fn(&str),
) -> Result<(), Error> {
    let crew = crew(target, dialect)?;
    let before = target.usage().server_pss;
    let mut fleet = Fleet::assemble(&crew, settings.churn_waiting).await;
    tokio::time::sleep(SETTLE).await;
    let each = |fleet: &mut Fleet| {
        let bytes = target.usage().server_pss.saturating_sub(before) as f64;
        bytes / fleet.waiting().max(1) as f64
    };
    let fresh = each(&mut fleet);
    let share = settings.churn_replaced as f64 / settings.churn_waiting.max(1) as f64;
    let started = Instant::now();
    let mut rounds = 0;
    while rounds < settings.churn_rounds && started.elapsed() < MOST {
        rounds += 1;
        let left = fleet.thin_out(share, rounds).await as u64;
        fleet.join(&crew, settings.churn_waiting.saturating_sub(left)).await;
    }
    tokio::time::sleep(SETTLE).await;
    let after = each(&mut fleet);
    progress(&format!("churn: {fresh:.0} bytes each before, {after:.0} after {rounds} rounds"));
    figures.set(Row::BytesBeforeChurn, fresh);
    figures.set(Row::ChurnRounds, rounds as f64);
    figures.set(Row::ChurnGrowth, 100.0 * (after / fresh.max(1.0) - 1.0));
    Ok(())
}
