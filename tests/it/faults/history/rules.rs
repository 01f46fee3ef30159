//! The rules that every history must keep (the list of "No login lost").
//!
//! Where Redis came back empty, writes that it had acknowledged are gone; the rules know that from
//! the fault, and only for the logins that were open then.

use std::{collections::BTreeSet, time::Duration};

use super::{
    people::{End, Story},
    world::{Fault, WAIT},
};

/// The clocks of browsers here and of Redis, and the time of a message.
const TOLERANCE: Duration = Duration::from_millis(400);

/// All that is wrong with this story.
pub(super) fn broken(story: &Story, faults: &[Fault]) -> Vec<String> {
    let mut wrong = Vec::new();
    let lost = |from: Duration, to: Duration| {
        faults.iter().any(|fault| fault.store_lost && fault.from <= to && from <= fault.to)
    };
    let forgot = lost(story.opened, story.ended);
    // Nobody is left who could make the record again, or who remembers that Redis was another one.
    let restarted = faults
        .iter()
        .any(|fault| fault.instance_lost && fault.from <= story.ended && story.opened <= fault.to);
    let winners: BTreeSet<&str> = story
        .told
        .iter()
        .filter(|told| told.codes == Some((200, 100)))
        .map(|told| told.user.as_str())
        .collect();

    // Which of them won first, and when the last one did: a record that was lost with the store in
    // between was made again as waiting, by whoever had not heard that the login was over (an instance
    // whose line to Redis was half-open, say), and its key could be scanned once more.
    let won = || story.told.iter().filter(|told| told.codes == Some((200, 100)));
    let first = won().map(|told| told.from).min().unwrap_or_default();
    let last = won().map(|told| told.at).max().unwrap_or_default();
    if winners.len() > 1 && !lost(first, last) {
        wrong.push(format!("two users won the key: {winners:?}"));
    }
    if let Some((user, _)) = &story.token {
        let scanned = story.told.iter().any(|told| told.user == *user);
        if !scanned {
            wrong.push(format!("a token of {user}, who did not scan this key"));
        }
        if !forgot && !winners.is_empty() && !winners.contains(user.as_str()) {
            wrong.push(format!("a token of {user}, but {winners:?} was told 100"));
        }
    }
    for told in story.told.iter().filter(|told| told.codes == Some((200, 100))) {
        // From the moment at which the phone asked: the answer comes after the write.
        let until = story.token.as_ref().map_or(Duration::MAX, |(_, at)| *at);
        if story.token.is_some() || lost(told.from, until) {
            continue;
        }
        match &story.end {
            // After a 1011 in the plain protocol the receipt says `undelivered` (spec 2.4).
            End::Left | End::Lost | End::Over(1011) => {}
            end => wrong.push(format!("{} was told 100 and the browser {end:?}", told.user)),
        }
    }
    match &story.end {
        End::Starved => wrong.push("a browser waited without a word".into()),
        End::Odd(what) => wrong.push(format!("not in the protocol: {what}")),
        End::Over(1000 | 4000)
            if story.ended + TOLERANCE < story.opened + WAIT && !(forgot && restarted) =>
        {
            wrong.push("told that it is over before its deadline".into());
        }
        _ => {}
    }
    for (claim_user, receipt) in &story.receipts {
        let has = story.token.as_ref().is_some_and(|(user, _)| user == claim_user);
        // In the plain protocol a Close of the browser's own that crossed the token on the wire
        // looks like its answer to ours (the known limit of spec 2.1).
        let crossed = !story.json && story.end == End::Left;
        if receipt == "delivered" && !has && !crossed {
            wrong.push(format!("{claim_user} was told `delivered`, the browser has nothing"));
        }
        if receipt == "delivered" && story.json && !story.said {
            wrong.push(format!("{claim_user} was told `delivered`, and no page has said so"));
        }
        let at = story.token.as_ref().map_or(Duration::MAX, |(_, at)| *at);
        let told = story.acknowledged.unwrap_or(at);
        let died = faults.iter().any(|fault| {
            fault.instance_lost
                && fault.from < told.saturating_add(Duration::from_secs(6))
                && at <= fault.to
        });
        // A plain browser's answer to our Close just before its line broke, which it believes to have
        // given. Who was told 1000 in the JSON protocol was heard.
        let cut_off = faults.iter().any(|fault| {
            !story.json
                && fault.browsers_lost
                && fault.from < at.saturating_add(TOLERANCE)
                && at < fault.to + TOLERANCE
        });
        if has
            && story.acknowledged.is_some()
            && !cut_off
            && receipt != "delivered"
            && !died
            && !forgot
            && !lost(at, Duration::MAX)
        {
            wrong.push(format!("acknowledged, and the receipt of {claim_user} says {receipt}"));
        }
    }
    wrong
}
