//! What the browser's instance can do, and what it is refused; and how long things stay.

use std::sync::Arc;

use scanlogin::{
    clock::Clock,
    keys::{Entropy, Seed},
    login::{
        Answer, Because, Ending, Held, Login, Outcome, OwnerRefusal, PhoneRefusal, Protocol,
        RECEIPT, SLACK, State,
    },
    metrics::Metrics,
    store::{Backend, EndDone, ResumeDone, StoreFactory, redis::Connector},
};

use crate::helpers::{RedisServer, Settings};

use super::{COLLECT, Rig, SECOND, Subject, WAIT, approve, assert_close, claim, facts, on_both};

use OwnerRefusal::{Approved, Early, Over, Superseded};

const ENDED: EndDone = EndDone::Ended { undelivered: false };

fn why(done: EndDone) -> OwnerRefusal {
    match done {
        EndDone::Refused(why, _) => why,
        other => panic!("a refusal was expected, not {other:?}"),
    }
}

#[tokio::test]
async fn a_new_login_waits_with_everything_that_it_was_made_with() {
    on_both(async |rig| {
        for (protocol, rotate) in [(Protocol::Plain, None), (Protocol::Json, Some(30 * SECOND))] {
            let login = Subject::new();
            let new = login.new_login(protocol, rotate);
            let now = rig.create(&new).await.unwrap();
            assert_close(now, rig.now());
            let record = login.record(rig).await;
            assert_eq!(record.state, State::Waiting { deadline: now + WAIT });
            assert_eq!((record.epoch, record.protocol), (1, protocol));
            assert_eq!((record.created, record.changed, record.codes.start), (now, now, now));
            assert_eq!((record.codes.rotate, record.codes.first), (rotate, 1));
            assert_eq!(record.codes.hashes, new.hashes);
            assert_eq!(record.facts, Some(facts()));
            assert_eq!(record.proof, login.seed.proof());
        }
    })
    .await;
}

#[tokio::test]
async fn records_are_read_in_the_order_of_the_ids() {
    on_both(async |rig| {
        let (first, second) = (
            Subject::created(rig, Protocol::Plain).await,
            Subject::created(rig, Protocol::Json).await,
        );
        let ids = [second.id, Subject::new().id, first.id, second.id];
        let read = rig.read(&ids).await.unwrap();
        let protocols: Vec<_> =
            read.iter().map(|login| login.as_ref().map(|login| login.protocol)).collect();
        let (plain, json) = (Some(Protocol::Plain), Some(Protocol::Json));
        assert_eq!(protocols, [json, None, plain, json]);
        assert_eq!(rig.read(&[]).await.unwrap(), []);
    })
    .await;
}

#[tokio::test]
async fn a_login_that_nobody_scanned_goes_without_a_trace() {
    on_both(async |rig| {
        let login = Subject::created(rig, Protocol::Json).await;
        assert_eq!(why(login.end(rig, 1, Because::Deadline).await), Early);
        assert!(rig.record(login.id).await.is_some());
        assert_eq!(login.end(rig, 1, Because::Left).await, ENDED);
        assert_eq!(rig.record(login.id).await, None);
        assert_eq!(login.end(rig, 1, Because::Left).await, EndDone::Gone);
        let login = Subject::created(rig, Protocol::Plain).await;
        assert_eq!(login.end(rig, 1, Because::Lost).await, ENDED);
        assert_eq!(rig.record(login.id).await, None);
        let login = Subject::aged(rig, WAIT + SECOND, None).await;
        assert_eq!(login.end(rig, 1, Because::Deadline).await, ENDED);
        assert_eq!(rig.record(login.id).await, None);
        assert_eq!(rig.lives().await, []);
    })
    .await;
}

#[tokio::test]
async fn a_login_that_was_taken_over_and_left_is_not_made_again_by_its_former_holder() {
    on_both(async |rig| {
        let login = Subject::created(rig, Protocol::Json).await;
        let held = login.record(rig).await;
        login.resumed(rig).await.expect("resumed");
        assert_eq!(why(login.end(rig, 1, Because::Left).await), Superseded);
        assert_eq!(login.end(rig, 2, Because::Left).await, ENDED);
        let found = rig.reclaim(login.id, &held).await.unwrap();
        assert_eq!(found.epoch, 2, "the holder sees that it has lost it");
        let State::Waiting { deadline } = found.state else { panic!("{:?}", found.state) };
        assert_close(deadline, rig.now());
        assert_eq!((found.facts, found.codes.hashes), (None, Vec::new()), "of no more use");
        assert_eq!(login.scan(rig, 1, "alice", claim()).await, Err(PhoneRefusal::Unknown));
        assert_eq!(login.resumed(rig).await, None);
        for (_, life) in rig.lives().await {
            assert!(life <= SLACK, "{life:?}");
        }
        // What was scanned ends as it always does, and so does a login whose time is up.
        let login = Subject::created(rig, Protocol::Json).await;
        login.scan(rig, 1, "alice", claim()).await.unwrap();
        login.resumed(rig).await.expect("resumed");
        assert_eq!(login.end(rig, 2, Because::Left).await, ENDED);
        assert_eq!(login.ending(rig).await, Some(Ending::Cancelled));
        let login = Subject::aged(rig, WAIT + SECOND, None).await;
        assert_eq!(login.end(rig, 2, Because::Deadline).await, ENDED);
        assert_eq!(rig.record(login.id).await, None);
    })
    .await;
}

#[tokio::test]
async fn a_login_that_ends_while_the_store_has_forgotten_it_is_not_made_again() {
    let redis = RedisServer::start().await;
    let config = Settings::redis(&redis).config().redis.expect("a Redis");
    let connector = Connector::new(config, true).expect("no files to read");
    // The one in memory forgets nothing.
    let factory = StoreFactory::Redis(connector.into());
    let store = factory.make(&Arc::new(Metrics::new()), &Clock::system());
    let login = Subject::new();
    let record = login.waiting(store.now(), None);
    let held = Held::of(login.id, login.seed.clone(), &record);
    let done = store.end_for_good(&held, Because::Left, WAIT).await.unwrap();
    assert_eq!(done, EndDone::Gone);
    // What was under way to make it again arrives now.
    let found = store.reclaim(held.id, &held.as_waiting(store.now())).await.unwrap();
    assert!(found.epoch > held.epoch, "{found:?}");
    let code = login.seed.code(1).hash();
    let reserved = store.reserve(held.id, &code, "alice", SECOND).await.unwrap();
    assert_eq!(reserved, Err(PhoneRefusal::Unknown));
    // Where it was made again a moment earlier, it ends as it always does.
    let other = Subject::new();
    let record = other.waiting(store.now(), None);
    store.reclaim(other.id, &record).await.unwrap();
    let held = Held::of(other.id, other.seed.clone(), &record);
    assert_eq!(store.end_for_good(&held, Because::Left, WAIT).await.unwrap(), ENDED);
}

#[tokio::test]
async fn a_scanned_login_ends_with_a_receipt() {
    on_both(async |rig| {
        for because in [Because::Left, Because::Lost] {
            let login = Subject::created(rig, Protocol::Json).await;
            login.scan(rig, 1, "alice", claim()).await.unwrap();
            assert_eq!(why(login.end(rig, 1, Because::Deadline).await), Early);
            assert_eq!(login.end(rig, 1, because).await, ENDED);
            assert_eq!(login.ending(rig).await, Some(Ending::Cancelled));
            assert_eq!(why(login.end(rig, 1, because).await), Over);
        }
        let (login, created) = (Subject::new(), rig.now() - 100 * SECOND);
        let scan = login.scan_of(1, "alice", Answer::Claimed);
        let state = State::Scanned { deadline: rig.now() - SECOND, scan };
        let record = login.later(login.waiting(created, None), state, created);
        rig.reclaim(login.id, &record).await.unwrap();
        assert_eq!(login.end(rig, 1, Because::Deadline).await, ENDED);
        assert_eq!(login.ending(rig).await, Some(Ending::Expired));
    })
    .await;
}

#[tokio::test]
async fn a_token_that_waits_keeps_its_login_from_ending_unless_nobody_can_come_back() {
    on_both(async |rig| {
        let login = Subject::created(rig, Protocol::Plain).await;
        login.scan(rig, 1, "alice", approve()).await.unwrap();
        let record = login.record(rig).await;
        for because in [Because::Deadline, Because::Left] {
            let done = login.end(rig, 1, because).await;
            assert_eq!(done, EndDone::Refused(Approved, Box::new(record.clone())));
        }
        let done = login.end(rig, 1, Because::Lost).await;
        assert_eq!(done, EndDone::Ended { undelivered: true });
        assert_eq!(login.ending(rig).await, Some(Ending::Undelivered));
        assert_eq!(why(login.end(rig, 1, Because::Lost).await), Over);
        assert_eq!(login.confirm(rig, 1, "alice").await, Ok(true), "it had been approved");
    })
    .await;
}

#[tokio::test]
async fn an_acknowledgement_makes_the_login_the_users_own() {
    on_both(async |rig| {
        let login = Subject::created(rig, Protocol::Json).await;
        assert_eq!(login.acknowledge(rig, 1, "nobody").await, Err(Over), "no token was waiting");
        login.scan(rig, 1, "alice", approve()).await.unwrap();
        assert_eq!(rig.current("alice").await.unwrap(), None);
        assert_eq!(login.acknowledge(rig, 1, "alice").await, Ok(()));
        assert_eq!(login.acknowledge(rig, 1, "alice").await, Ok(()), "a repetition");
        assert_eq!(rig.current("alice").await.unwrap(), Some(login.id));
        assert_eq!(rig.current("bob").await.unwrap(), None);
        let record = login.record(rig).await;
        let State::Ended { ending: Ending::Delivered, until, .. } = record.state else { panic!() };
        assert_close(until, rig.now() + RECEIPT);
        assert_eq!(record.codes.hashes, []);
        // A newer one replaces it, once it is acknowledged and not before.
        let newer = Subject::created(rig, Protocol::Json).await;
        newer.scan(rig, 1, "alice", approve()).await.unwrap();
        assert_eq!(rig.current("alice").await.unwrap(), Some(login.id));
        newer.acknowledge(rig, 1, "alice").await.unwrap();
        assert_eq!(rig.current("alice").await.unwrap(), Some(newer.id));
        for (seed, wanted) in [(Because::Left, Over), (Because::Lost, Over)] {
            assert_eq!(why(newer.end(rig, 1, seed).await), wanted);
        }
    })
    .await;
}

#[tokio::test]
async fn a_browser_that_comes_back_takes_its_login_over() {
    on_both(async |rig| {
        let login = Subject::created(rig, Protocol::Json).await;
        let resumed = login.resumed(rig).await.expect("resumed");
        assert_eq!(resumed.epoch, 2);
        assert_eq!(login.record(rig).await, resumed);
        // The older owner cannot do anything any more.
        for because in [Because::Deadline, Because::Left, Because::Lost] {
            assert_eq!(why(login.end(rig, 1, because).await), Superseded);
        }
        login.scan(rig, 1, "alice", approve()).await.unwrap();
        let resumed = login.resumed(rig).await.expect("a token waits");
        assert_eq!(resumed.epoch, 3);
        assert!(matches!(resumed.state, State::Approved { .. }));
        assert_eq!(login.acknowledge(rig, 2, "alice").await, Err(Superseded));
        assert!(matches!(login.record(rig).await.state, State::Approved { .. }));
        assert_eq!(why(login.end(rig, 2, Because::Lost).await), Superseded);
        assert_eq!(login.acknowledge(rig, 3, "alice").await, Ok(()));
        assert_eq!(login.resumed(rig).await, None, "it is over");
    })
    .await;
}

#[tokio::test]
async fn an_owner_that_is_ahead_of_the_record_is_believed() {
    on_both(async |rig| {
        let login = Subject::created(rig, Protocol::Json).await;
        login.scan(rig, 1, "alice", approve()).await.unwrap();
        assert_eq!(login.acknowledge(rig, 4, "alice").await, Ok(()));
        assert_eq!(login.record(rig).await.epoch, 4);
        let login = Subject::created(rig, Protocol::Json).await;
        login.scan(rig, 1, "alice", claim()).await.unwrap();
        assert_eq!(login.end(rig, 5, Because::Left).await, ENDED);
        assert_eq!(login.record(rig).await.epoch, 5);
    })
    .await;
}

#[tokio::test]
async fn a_place_that_is_needed_ends_only_a_login_that_merely_waits() {
    on_both(async |rig| {
        let crowded = async |login: &Subject, epoch| login.end(rig, epoch, Because::Crowded).await;
        let waiting = Subject::created(rig, Protocol::Json).await;
        assert_eq!(crowded(&waiting, 1).await, ENDED);
        assert_eq!(rig.record(waiting.id).await, None, "nothing is left of it");
        assert_eq!(crowded(&waiting, 1).await, EndDone::Gone);
        // Its former holder must find that it is over.
        let resumed = Subject::created(rig, Protocol::Json).await;
        resumed.resumed(rig).await.expect("resumed");
        assert_eq!(why(crowded(&resumed, 1).await), Superseded);
        assert_eq!(crowded(&resumed, 2).await, ENDED);
        assert_eq!(resumed.scan(rig, 1, "alice", approve()).await, Err(PhoneRefusal::Unknown));
        // What somebody has scanned, or is being approved for, goes on as it is.
        let kept = async |login: &Subject, wanted| {
            let before = login.record(rig).await;
            assert_eq!(why(crowded(login, 1).await), wanted);
            assert_eq!(login.record(rig).await, before);
        };
        let scanned = Subject::created(rig, Protocol::Json).await;
        scanned.scan(rig, 1, "alice", claim()).await.unwrap();
        kept(&scanned, Early).await;
        scanned.confirm(rig, 1, "alice").await.unwrap();
        kept(&scanned, Approved).await;
        scanned.acknowledge(rig, 1, "alice").await.unwrap();
        kept(&scanned, Over).await;
        let reserved = Subject::created(rig, Protocol::Json).await;
        let code = reserved.seed.code(1).hash();
        rig.reserve(reserved.id, &code, "alice", 60 * SECOND).await.unwrap().unwrap();
        kept(&reserved, Early).await;
        rig.release(reserved.id, &code, "alice").await.unwrap();
        assert_eq!(crowded(&reserved, 1).await, ENDED);
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_resumed_is_refused_without_a_change() {
    on_both(async |rig| {
        let other = Seed::random(Entropy::Os).proof();
        let json = Subject::created(rig, Protocol::Json).await;
        let before = json.record(rig).await;
        let refused = async |login: &Subject, proof| {
            assert_eq!(rig.resume(login.id, &proof).await.unwrap(), ResumeDone::Refused);
        };
        let over = async |login: &Subject| {
            let record = login.record(rig).await;
            let done = rig.resume(login.id, &login.seed.proof()).await.unwrap();
            assert_eq!(done, ResumeDone::Over(Box::new(record.clone())));
            assert_eq!(login.record(rig).await, record);
            refused(login, other).await;
        };
        refused(&json, other).await;
        assert_eq!(json.record(rig).await, before);
        let plain = Subject::created(rig, Protocol::Plain).await;
        refused(&plain, plain.seed.proof()).await;
        let late = Subject::aged(rig, WAIT + SECOND, None).await;
        over(&late).await;
        let denied = Subject::created(rig, Protocol::Json).await;
        denied.scan(rig, 1, "alice", claim()).await.unwrap();
        denied.deny(rig, 1, "alice").await.unwrap();
        over(&denied).await;
        let never = Subject::new();
        assert_eq!(rig.resume(never.id, &never.seed.proof()).await.unwrap(), ResumeDone::Unknown);
        let uncollected = Subject::new();
        let record = approved(rig, &uncollected, rig.now() - SECOND);
        rig.reclaim(uncollected.id, &record).await.unwrap();
        over(&uncollected).await;
        let received = Subject::created(rig, Protocol::Json).await;
        received.scan(rig, 1, "alice", approve()).await.unwrap();
        received.acknowledge(rig, 1, "alice").await.unwrap();
        over(&received).await;
        assert_eq!(received.ending(rig).await, Some(Ending::Delivered));
    })
    .await;
}

/// The record of a login that was approved for `alice` and can be collected until then.
fn approved(rig: &Rig, login: &Subject, collect_until: scanlogin::clock::Timestamp) -> Login {
    let created = rig.now() - 100 * SECOND;
    let scan = login.scan_of(1, "alice", Answer::Approved);
    let state = State::Approved { collect_until, scan, sealed: b"sealed".to_vec() };
    login.later(login.waiting(created, None), state, created)
}

#[tokio::test]
async fn what_the_store_forgot_is_made_again_only_where_it_is_absent() {
    on_both(async |rig| {
        let login = Subject::created(rig, Protocol::Json).await;
        let record = login.record(rig).await;
        assert_eq!(login.end(rig, 1, Because::Left).await, ENDED);
        assert_eq!(rig.reclaim(login.id, &record).await.unwrap(), record);
        assert_eq!(login.record(rig).await, record);
        login.scan(rig, 1, "alice", approve()).await.unwrap();
        let approved = login.record(rig).await;
        assert_eq!(rig.reclaim(login.id, &record).await.unwrap(), approved, "it is there");
        // A take-over that was lost with the store: only the epoch is raised.
        let newer = Login { epoch: 3, ..record.clone() };
        let raised = Login { epoch: 3, ..approved };
        assert_eq!(rig.reclaim(login.id, &newer).await.unwrap(), raised);
        assert_eq!(rig.reclaim(login.id, &record).await.unwrap(), raised, "and never lowered");
        assert_eq!(login.record(rig).await, raised);
    })
    .await;
}

#[tokio::test]
async fn what_a_browser_was_told_is_over_is_not_made_again() {
    on_both(async |rig| {
        let login = Subject::new();
        let (proof, time) = (login.seed.proof(), 200 * SECOND);
        assert_eq!(rig.resume(login.id, &proof).await.unwrap(), ResumeDone::Unknown);
        assert!(rig.bury(login.id, &proof, time).await.unwrap());
        assert_eq!(login.resumed(rig).await, None);
        assert_eq!(login.scan(rig, 1, "alice", approve()).await, Err(PhoneRefusal::Unknown));
        // What is there is not buried.
        let other = Subject::created(rig, Protocol::Json).await;
        assert!(!rig.bury(other.id, &other.seed.proof(), time).await.unwrap());
        assert!(other.resumed(rig).await.is_some());
        if rig.redis.is_none() {
            // It forgets nothing, so nothing of its own is ever made again.
            return;
        }
        let lives = rig.lives().await;
        let (_, left) = lives.iter().max_by_key(|(_, left)| *left).unwrap();
        assert!(left.abs_diff(time) < super::TOLERANCE);
        let again = rig.reclaim(login.id, &login.waiting(rig.now(), None)).await.unwrap();
        assert_eq!(again.epoch, u32::MAX, "whoever held it has been taken over from");
        assert_eq!(login.scan(rig, 1, "alice", approve()).await, Err(PhoneRefusal::Unknown));
        assert_eq!(why(login.end(rig, 1, Because::Deadline).await), Superseded);
    })
    .await;
}

#[tokio::test]
async fn a_web_login_can_be_revoked_while_it_is_pending_and_while_it_is_current() {
    on_both(async |rig| {
        let login = Subject::created(rig, Protocol::Json).await;
        assert!(!rig.revoke("alice", login.id).await.unwrap(), "nobody has scanned");
        login.scan(rig, 1, "alice", approve()).await.unwrap();
        assert!(!rig.revoke("bob", login.id).await.unwrap(), "not hers");
        assert!(rig.revoke("alice", login.id).await.unwrap(), "pending");
        assert_eq!(login.ending(rig).await, Some(Ending::Revoked));
        assert_eq!(login.deny(rig, 1, "alice").await, Err(PhoneRefusal::Conflict));
        assert_eq!(login.confirm(rig, 1, "alice").await, Ok(true), "it had been approved");
        let outcome = login.record(rig).await.outcome(false, rig.now());
        assert_eq!(outcome, Outcome::Ended(Ending::Delivered), "whoever revokes has the token");
        assert!(!rig.revoke("alice", login.id).await.unwrap());

        let login = Subject::created(rig, Protocol::Json).await;
        login.scan(rig, 1, "alice", approve()).await.unwrap();
        login.acknowledge(rig, 1, "alice").await.unwrap();
        assert!(!rig.revoke("alice", Subject::new().id).await.unwrap(), "another one");
        assert_eq!(rig.current("alice").await.unwrap(), Some(login.id));
        assert!(rig.revoke("alice", login.id).await.unwrap(), "current");
        assert_eq!(rig.current("alice").await.unwrap(), None);
        let collectable = Subject::new();
        // It could be collected a moment ago, so its token may still be on its way.
        let record = approved(rig, &collectable, rig.now() - SLACK / 2);
        rig.reclaim(collectable.id, &record).await.unwrap();
        assert!(rig.revoke("alice", collectable.id).await.unwrap());
        let past = Subject::new();
        let record = approved(rig, &past, rig.now() - SLACK - SECOND);
        rig.reclaim(past.id, &record).await.unwrap();
        assert!(!rig.revoke("alice", past.id).await.unwrap());
    })
    .await;
}

#[tokio::test]
async fn a_login_that_was_revoked_before_its_acknowledgement_stays_revoked() {
    on_both(async |rig| {
        let login = Subject::created(rig, Protocol::Json).await;
        login.scan(rig, 1, "alice", approve()).await.unwrap();
        assert!(rig.revoke("alice", login.id).await.unwrap());
        assert_eq!(login.acknowledge(rig, 1, "alice").await, Err(Over));
        assert_eq!(rig.current("alice").await.unwrap(), None);
        // Nor does it take anything from an older one that it would have replaced, or a newer one.
        let older = Subject::created(rig, Protocol::Json).await;
        older.scan(rig, 1, "alice", approve()).await.unwrap();
        older.acknowledge(rig, 1, "alice").await.unwrap();
        let login = Subject::created(rig, Protocol::Json).await;
        login.scan(rig, 1, "alice", approve()).await.unwrap();
        assert!(rig.revoke("alice", login.id).await.unwrap());
        assert_eq!(login.acknowledge(rig, 1, "alice").await, Err(Over));
        assert_eq!(rig.current("alice").await.unwrap(), Some(older.id));
        let newer = Subject::created(rig, Protocol::Json).await;
        newer.scan(rig, 1, "alice", approve()).await.unwrap();
        newer.acknowledge(rig, 1, "alice").await.unwrap();
        assert!(!rig.revoke("alice", login.id).await.unwrap());
        assert_eq!(rig.current("alice").await.unwrap(), Some(newer.id));
        // Where the record was forgotten, the browser has its token all the same.
        assert_eq!(Subject::new().acknowledge(rig, 1, "bob").await, Err(Over));
        assert!(rig.current("bob").await.unwrap().is_some());
    })
    .await;
}

#[tokio::test]
async fn each_record_lives_as_long_as_its_state_needs() {
    on_both(async |rig| {
        let alone = async |login: &Subject| {
            let record = login.record(rig).await;
            rig.assert_life(&record).await;
            record
        };
        let login = Subject::created(rig, Protocol::Json).await;
        let waiting = alone(&login).await;
        assert_close(waiting.gone_at(), rig.now() + WAIT + SLACK);
        login.scan(rig, 1, "alice", claim()).await.unwrap();
        alone(&login).await;
        login.resumed(rig).await.expect("resumed");
        alone(&login).await;
        login.confirm(rig, 1, "alice").await.unwrap();
        let approved = alone(&login).await;
        assert_close(approved.gone_at(), rig.now() + COLLECT + SLACK + RECEIPT);
        rig.reclaim(login.id, &Login { epoch: 9, ..approved }).await.unwrap();
        alone(&login).await;
        login.acknowledge(rig, 9, "alice").await.unwrap();
        let delivered = alone(&login).await;
        assert_close(delivered.gone_at(), rig.now() + RECEIPT);
        if rig.redis.is_some() {
            let users: Vec<_> =
                rig.lives().await.into_iter().filter(|(key, _)| key.contains("u:")).collect();
            let [(_, left)] = &users[..] else { panic!("one web login, not {users:?}") };
            assert!(left.abs_diff(3600 * SECOND) < super::TOLERANCE);
        }
    })
    .await;
    on_both(async |rig| {
        // In one step, too.
        let login = Subject::created(rig, Protocol::Json).await;
        login.scan(rig, 1, "alice", approve()).await.unwrap();
        let approved = login.record(rig).await;
        assert_close(approved.gone_at(), rig.now() + COLLECT + SLACK + RECEIPT);
        rig.assert_life(&approved).await;
    })
    .await;
}
