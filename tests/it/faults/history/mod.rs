//! Random faults from a seed while hundreds of logins run; then every story is held to the rules.
//!
//! `tests/faults --seeds N` runs many. A seed decides what is done and when; how threads and
//! processes meet is left to the machine, so a rare failure may take a few runs of its seed.

mod dice;
mod people;
mod rules;
mod world;

use std::{sync::Mutex, time::Duration};

use futures_util::{StreamExt, future::join_all, stream};

use self::{
    dice::Dice,
    people::{Places, Story},
    world::{World, feel_the_pulse},
};
use crate::helpers::{Phone, phone};

const LOGINS: usize = 200;
/// Logins begin, and faults happen, over this time.
const BEGIN_OVER: Duration = Duration::from_secs(6);
const FAULTS_OVER: Duration = Duration::from_secs(9);

/// What is wrong with the history of this seed.
async fn violations(seed: u64) -> Vec<String> {
    let mut world = World::start().await;
    let places = Places {
        start: world.started(),
        browsers: world.nodes.iter().map(|node| node.from_browsers.address).collect(),
        phones: world.nodes.iter().map(|node| node.address).collect(),
        http: reqwest::Client::new(),
    };
    let lives = (0..LOGINS).map(|number| people::live(number, seed, places.clone(), BEGIN_OVER));
    let mut dice = Dice::of(seed);
    let starved = Mutex::default();
    let (mut stories, faults): (Vec<Story>, _) = tokio::select! {
        done = async { tokio::join!(join_all(lives), world.suffer(&mut dice, FAULTS_OVER)) } => done,
        () = feel_the_pulse(places.start, &starved) => unreachable!("it has no end"),
    };
    let starved = starved.into_inner().expect("never poisoned");
    let receipts = stories.iter_mut().map(|story| receipts(story, &places));
    join_all(receipts).await;

    let mut wrong = Vec::new();
    for story in &stories {
        let broken = rules::broken(story, &faults);
        if !broken.is_empty() {
            let protocol = if story.json { "JSON" } else { "plain" };
            wrong.push(format!(
                "seed {seed}, login {} ({protocol}): {}\n    {}",
                story.number,
                broken.join("; "),
                story.events.join("\n    "),
            ));
        }
    }
    wrong.extend(left_in_redis(&world, &stories).await);
    if !wrong.is_empty() {
        let faults = faults.iter().map(|fault| {
            let (from, to) = (fault.from.as_secs_f64(), fault.to.as_secs_f64());
            format!("\n    {from:8.3} to {to:8.3} {}", fault.what)
        });
        let faults: String = faults.collect();
        wrong.insert(0, format!("seed {seed}, starved {starved:?}, faults:{faults}"));
    }
    let tokens = stories.iter().filter(|story| story.token.is_some()).count();
    let told =
        stories.iter().filter(|story| story.told.iter().any(|told| told.codes == Some((200, 100))));
    let slowest = stories.iter().filter_map(|story| {
        let (user, at) = story.token.as_ref()?;
        let mut told = story.told.iter().filter(|told| told.user == *user);
        let told = told.find(|told| told.codes == Some((200, 100)))?;
        Some(at.saturating_sub(told.at).as_secs_f64())
    });
    let slowest = slowest.fold(0.0, f64::max);
    eprintln!(
        "seed {seed}: {} faults, {} told 100, {tokens} tokens, the slowest after {slowest:.1} s, \
         starved {} times, {} violations, {:.1} s",
        faults.len(),
        told.count(),
        starved.len(),
        wrong.len(),
        places.start.elapsed().as_secs_f64(),
    );
    // At once: a run of many seeds takes long, and may be stopped.
    for violation in &wrong {
        eprintln!("{violation}");
    }
    wrong
}

/// Asks for the receipts of all who were told 100; what was acknowledged gets a little time.
async fn receipts(story: &mut Story, places: &Places) {
    for told in story.told.iter().filter(|told| told.codes == Some((200, 100))) {
        let Some(claim) = &told.claim else { continue };
        let phone = Phone::of(places.phones[0], &told.user);
        let mut state = String::new();
        for _ in 0..30 {
            let answer = phone.outcome(claim, 0).await;
            state = answer.body["state"].as_str().unwrap_or("unknown").to_owned();
            if state == "delivered" || story.acknowledged.is_none() && answer.status != 503 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        story.receipts.push((told.user.clone(), state));
    }
}

/// Redis holds no key of ours without a TTL, and no login entry of an undelivered login.
async fn left_in_redis(world: &World, stories: &[Story]) -> Vec<String> {
    let mut wrong = Vec::new();
    for key in world.redis.keys().await {
        let ttl: i64 = world.redis.command(&["PTTL", &key]).await;
        if ttl == -1 {
            wrong.push(format!("{key} has no TTL"));
        }
    }
    for story in stories {
        for (user, state) in &story.receipts {
            let entry = scanlogin::store::redis::Names::new("scanlogin:", 0).user(user);
            let there: bool = world.redis.command(&["EXISTS", &entry]).await;
            if there && state == "undelivered" {
                wrong.push(format!("login {}: undelivered, and {user} is logged in", story.number));
            }
        }
    }
    wrong
}

#[expect(clippy::disallowed_methods, reason = "how tests/faults says which seeds to run")]
fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_history_under_random_faults_keeps_the_rules() {
    let (count, from) = (number("FAULT_SEEDS", 3), number("FAULT_FROM", 1));
    let at_once = number("FAULT_AT_ONCE", 3) as usize;
    let start = phone::now();
    let found: Vec<_> = stream::iter(from..from + count)
        .map(|seed| async move { tokio::spawn(violations(seed)).await.expect("no panic") })
        .buffer_unordered(at_once.max(1))
        .collect()
        .await;
    let found: Vec<String> = found.into_iter().flatten().collect();
    eprintln!("{count} seeds from {from} in {} s", phone::now() - start);
    assert!(found.is_empty(), "{} violations, as said above", found.len());
}
