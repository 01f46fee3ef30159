//! Tickets, and web logins that are ended by others than their browsers.

use scanlogin::{
    keys::{Entropy, Seed, Ticket},
    login::{
        Bringer, Ending, Outcome,
        OwnerRefusal::{Over, Superseded},
        PhoneRefusal, Protocol, Redeemed, State,
    },
    store::{Backend, ENDED_FOR, Entry, Session},
};

use super::{
    COLLECT, Rig, SECOND, Subject, TOLERANCE, approve, assert_close, claim, facts, on_both,
};

/// One that alice has scanned, in one step.
async fn approved(rig: &Rig) -> Subject {
    let login = Subject::created(rig, Protocol::Json).await;
    login.scan(rig, 1, "alice", approve()).await.unwrap();
    login
}

/// Where tickets are bound to no browser.
async fn by_anyone(rig: &Rig, ticket: &Ticket) -> Option<Redeemed> {
    rig.redeem(ticket, Bringer::Anyone, COLLECT).await.unwrap().ok()
}

#[tokio::test]
async fn a_ticket_is_redeemed_once_and_then_acknowledged_whoever_owns_the_socket() {
    on_both(async |rig| {
        let login = approved(rig).await;
        let before = login.record(rig).await;
        let ticket = login.ticket(1, "alice");
        let redeemed = by_anyone(rig, &ticket).await.expect("it is good");
        assert_eq!((&redeemed.user[..], &redeemed.sealed[..]), ("alice", &b"sealed"[..]));
        assert_eq!((redeemed.approved, redeemed.facts), (before.changed, Some(facts())));
        assert_eq!(by_anyone(rig, &ticket).await, None, "once");
        let record = login.record(rig).await;
        assert!(record.is_redeemed());
        assert!(record.is_pending_for("alice", rig.now()), "until the acknowledgement");
        assert_eq!(record.outcome(false, rig.now()), Outcome::Approved, "not delivered yet");
        // Its browser resumes in the middle: the acknowledgement needs no epoch.
        rig.resume(login.id, &login.seed.proof()).await.unwrap();
        assert_eq!(login.record(rig).await.epoch, 2);
        assert_eq!(login.acknowledge(rig, 0, "alice").await, Ok(()));
        assert_eq!(login.ending(rig).await, Some(Ending::Delivered));
        assert_eq!(login.record(rig).await.epoch, 2, "the socket's owner is who it was");
        assert_eq!(rig.current("alice").await.unwrap(), Some(login.id));
        assert_eq!(by_anyone(rig, &ticket).await, None, "nor after");
        assert_eq!(login.record(rig).await.facts, None, "they are the entry's now");
    })
    .await;
}

#[tokio::test]
async fn of_many_who_redeem_one_ticket_at_once_exactly_one_has_the_token() {
    on_both(async |rig| {
        let login = approved(rig).await;
        let ticket = login.ticket(1, "alice");
        let all = futures_util::future::join_all(
            (0..50).map(|_| rig.backend.redeem(&ticket, Bringer::Anyone, COLLECT)),
        );
        let won = all.await.into_iter().filter(|done| done.as_ref().unwrap().is_ok()).count();
        assert_eq!(won, 1);
    })
    .await;
}

#[tokio::test]
async fn a_ticket_needs_the_seed_the_scanned_code_and_the_user_and_a_token_that_waits() {
    on_both(async |rig| {
        let login = Subject::created(rig, Protocol::Json).await;
        let ticket = login.ticket(1, "alice");
        assert_eq!(by_anyone(rig, &ticket).await, None, "nobody has scanned");
        login.scan(rig, 1, "alice", claim()).await.unwrap();
        assert_eq!(by_anyone(rig, &ticket).await, None, "nobody has confirmed");
        login.confirm(rig, 1, "alice").await.unwrap();
        let record = login.record(rig).await;
        // Who has photographed the code and knows the user has the claim, and not the seed.
        let photographer = Ticket::new(&Seed::random(Entropy::Os), login.claim(1, "alice"));
        let other = Subject::new();
        for wrong in [
            photographer,
            login.ticket(2, "alice"),
            login.ticket(1, "bob"),
            other.ticket(1, "alice"),
        ] {
            assert_eq!(by_anyone(rig, &wrong).await, None);
            assert_eq!(login.record(rig).await, record, "nothing changes");
        }
        assert!(by_anyone(rig, &ticket).await.is_some());

        let late = Subject::new();
        let scan = late.scan_of(1, "alice", scanlogin::login::Answer::Approved);
        let (created, collect_until) = (rig.now() - 100 * SECOND, rig.now() - SECOND);
        let state = State::Approved { collect_until, scan, sealed: b"sealed".to_vec() };
        let record = late.later(late.waiting(created, None), state, created);
        rig.reclaim(late.id, &record).await.unwrap();
        assert_eq!(by_anyone(rig, &late.ticket(1, "alice")).await, None, "too late");
        assert_eq!(late.record(rig).await, record);
    })
    .await;
}

#[tokio::test]
async fn the_entry_keeps_since_when_and_the_sealed_facts() {
    on_both(async |rig| {
        assert_eq!(rig.entry("alice").await.unwrap(), Entry::Nobody);
        let login = approved(rig).await;
        assert_eq!(login.record(rig).await.facts, Some(facts()), "until it is over");
        let session = login.session(rig).await;
        login.acknowledge(rig, 1, "alice").await.unwrap();
        let Entry::Session(entry) = rig.entry("alice").await.unwrap() else { panic!("hers") };
        // Said to people, so by the wall clock where the store has none of its own.
        assert_close(entry.since, session.since);
        assert_eq!(Session { since: session.since, ..entry }, session);
    })
    .await;
}

#[tokio::test]
async fn ending_a_users_web_login_ends_what_is_approved_by_then_and_nothing_later() {
    on_both(async |rig| {
        assert_eq!(rig.end_session("alice").await.unwrap(), None, "there was none");
        let login = approved(rig).await;
        login.acknowledge(rig, 1, "alice").await.unwrap();
        // Approved and not acknowledged, one of them redeemed.
        let (pending, redeemed) = (approved(rig).await, approved(rig).await);
        by_anyone(rig, &redeemed.ticket(1, "alice")).await.expect("it is good");
        // Not approved yet: the user can still say no.
        let scanned = Subject::created(rig, Protocol::Json).await;
        scanned.scan(rig, 1, "alice", claim()).await.unwrap();
        assert_eq!(rig.end_session("alice").await.unwrap(), Some(login.id));
        assert_eq!(rig.current("alice").await.unwrap(), None);
        let Entry::Ended(at) = rig.entry("alice").await.unwrap() else { panic!("it is kept") };
        assert_close(at, rig.now());
        assert_eq!(rig.end_session("alice").await.unwrap(), None, "once");
        if rig.redis.is_some() {
            let lives = rig.lives().await;
            let (_, left) = lives.iter().find(|(key, _)| key.contains("u:")).expect("an entry");
            assert!(left.abs_diff(ENDED_FOR) < TOLERANCE, "{left:?}");
        }
        for (ended, epoch) in [(&pending, 1), (&redeemed, 0)] {
            let changed = ended.record(rig).await.changed;
            assert!(rig.entry("alice").await.unwrap().has_ended(changed));
            assert_eq!(ended.acknowledge(rig, epoch, "alice").await, Err(Over));
            assert_eq!(ended.ending(rig).await, Some(Ending::Revoked));
            assert_eq!(rig.current("alice").await.unwrap(), None);
        }
        assert!(!rig.revoke("alice", login.id).await.unwrap(), "it is over");
        assert!(matches!(rig.entry("alice").await.unwrap(), Entry::Ended(_)));
        assert_eq!(scanned.deny(rig, 2, "alice").await, Err(PhoneRefusal::Unknown));
        scanned.confirm(rig, 1, "alice").await.unwrap();
        assert_eq!(scanned.acknowledge(rig, 1, "alice").await, Ok(()));
        assert_eq!(rig.current("alice").await.unwrap(), Some(scanned.id), "approved after it");
        assert_eq!(rig.current("bob").await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn what_an_older_owner_acknowledged_before_there_was_a_token_is_nobodys_web_login() {
    on_both(async |rig| {
        let login = Subject::created(rig, Protocol::Json).await;
        login.scan(rig, 1, "alice", claim()).await.unwrap();
        assert_eq!(login.acknowledge(rig, 0, "alice").await, Err(Superseded));
        assert_eq!(login.acknowledge(rig, 1, "alice").await, Err(Over));
        assert_eq!(rig.current("alice").await.unwrap(), None);
    })
    .await;
}
