//! What a phone can do, and what it is refused.

use scanlogin::{
    login::{
        Answer, Because, CONFIRM, Ending, GRACE, PhoneRefusal, Profile, Protocol, RECEIPT, State,
        Then,
    },
    store::{Backend, ConfirmDone, ScanDone},
};

use super::{COLLECT, SECOND, Subject, WAIT, approve, assert_close, claim, facts, on_both};

use PhoneRefusal::{Conflict, NotYours, Unknown};

#[tokio::test]
async fn a_scan_in_one_step_leaves_the_sealed_token_for_the_browser() {
    on_both(async |rig| {
        for protocol in [Protocol::Plain, Protocol::Json] {
            let login = Subject::created(rig, protocol).await;
            let before = login.record(rig).await;
            let done = login.scan(rig, 1, "alice", approve()).await;
            assert_eq!(
                done,
                Ok(ScanDone {
                    answer: Answer::Approved,
                    repeated: false,
                    facts: None,
                    asks_number: false
                })
            );
            let record = login.record(rig).await;
            let State::Approved { collect_until, scan, sealed } = &record.state else {
                panic!("approved, not {:?}", record.state)
            };
            assert_eq!((&scan.user[..], scan.number), ("alice", 1));
            assert!(scan.claim.matches(&login.claim(1, "alice").hash()));
            assert_eq!(sealed, b"sealed");
            assert_close(*collect_until, rig.now() + COLLECT);
            assert_close(record.changed, rig.now());
            assert_eq!((record.epoch, record.protocol), (1, protocol));
            assert_eq!((record.created, record.proof), (before.created, before.proof));
            assert_eq!(record.facts, Some(facts()), "the user's entry will have them");
        }
    })
    .await;
}

#[tokio::test]
async fn the_phone_that_scanned_is_told_the_same_whatever_came_after() {
    on_both(async |rig| {
        let repeated =
            |answer| Ok(ScanDone { answer, repeated: true, facts: None, asks_number: false });
        let login = Subject::created(rig, Protocol::Json).await;
        login.scan(rig, 1, "alice", approve()).await.unwrap();
        let other_token = Then::Approve { sealed: b"another".to_vec(), collect: SECOND };
        let again = login.scan(rig, 1, "alice", other_token).await;
        assert_eq!(again, repeated(Answer::Approved));
        let State::Approved { sealed, .. } = login.record(rig).await.state else { panic!() };
        assert_eq!(sealed, b"sealed", "a repetition changes nothing");
        login.acknowledge(rig, 1, "alice").await.unwrap();
        assert_eq!(login.scan(rig, 1, "alice", approve()).await, repeated(Answer::Approved));

        let login = Subject::created(rig, Protocol::Json).await;
        let first = login.scan(rig, 1, "alice", claim()).await.unwrap();
        let again = login.scan(rig, 1, "alice", claim()).await.unwrap();
        assert_eq!(again, ScanDone { repeated: true, ..first });
        login.deny(rig, 1, "alice").await.unwrap();
        // The browser's facts only while they are needed for the decision.
        assert_eq!(login.scan(rig, 1, "alice", claim()).await, repeated(Answer::Claimed));
    })
    .await;
}

#[tokio::test]
async fn another_user_is_too_late_while_the_login_is_open_and_finds_nothing_after() {
    on_both(async |rig| {
        let login = Subject::created(rig, Protocol::Json).await;
        login.scan(rig, 1, "alice", claim()).await.unwrap();
        assert_eq!(login.scan(rig, 1, "bob", claim()).await, Err(Conflict));
        login.confirm(rig, 1, "alice").await.unwrap();
        assert_eq!(login.scan(rig, 1, "bob", claim()).await, Err(Conflict));
        let no_code = login.scan(rig, 9, "bob", claim()).await;
        assert_eq!(no_code, Err(Unknown), "who has not seen a code learns nothing");
        login.acknowledge(rig, 1, "alice").await.unwrap();
        assert_eq!(login.scan(rig, 1, "bob", claim()).await, Err(Unknown));
        for because in [Because::Left, Because::Lost] {
            let login = Subject::created(rig, Protocol::Json).await;
            login.scan(rig, 1, "alice", claim()).await.unwrap();
            login.end(rig, 1, because).await;
            assert_eq!(login.scan(rig, 1, "bob", claim()).await, Err(Unknown));
        }
    })
    .await;
}

#[tokio::test]
async fn what_never_existed_is_unknown() {
    on_both(async |rig| {
        let never = Subject::new();
        assert_eq!(never.scan(rig, 1, "alice", approve()).await, Err(Unknown));
        assert_eq!(never.confirm(rig, 1, "alice").await, Err(Unknown));
        assert_eq!(never.deny(rig, 1, "alice").await, Err(Unknown));
        let login = Subject::created(rig, Protocol::Plain).await;
        assert_eq!(login.scan(rig, 2, "alice", approve()).await, Err(Unknown), "one code only");
        assert_eq!(login.confirm(rig, 1, "alice").await, Err(Unknown), "nobody has scanned");
        assert_eq!(login.deny(rig, 1, "alice").await, Err(Unknown));
        assert!(matches!(login.record(rig).await.state, State::Waiting { .. }));
    })
    .await;
}

#[tokio::test]
async fn a_code_is_good_in_its_window_and_a_grace_after() {
    on_both(async |rig| {
        let rotate = Some(30 * SECOND);
        // After 70 s: the first code's 30 s and its grace are over, the second's grace is not, the
        // third is shown, the fourth is not yet.
        assert!(GRACE < 30 * SECOND);
        for (number, wanted) in [(1, false), (2, true), (3, true), (4, false)] {
            let login = Subject::aged(rig, 70 * SECOND, rotate).await;
            let done = login.scan(rig, number, "alice", approve()).await;
            assert_eq!(done.is_ok(), wanted, "code {number}: {done:?}");
            if let Err(why) = done {
                assert_eq!(why, Unknown);
            } else {
                assert_eq!(login.record(rig).await.scan().unwrap().number, number);
            }
        }
        let login = Subject::aged(rig, 110 * SECOND, None).await;
        login.scan(rig, 1, "alice", approve()).await.expect("without rotation it never closes");
    })
    .await;
}

#[tokio::test]
async fn windows_that_were_laid_out_anew_count_from_their_own_first_code() {
    on_both(async |rig| {
        // In a record, a number takes more bytes from 128 on.
        for first_code in [5, 127, 128, 300] {
            for then in [claim, approve] {
                let login = Subject::new();
                let mut record = login.waiting(rig.now() - 40 * SECOND, Some(30 * SECOND));
                let held = scanlogin::login::Held {
                    first_code,
                    codes_start: rig.now() - SECOND,
                    ..login.held(&record)
                };
                record.codes = held.as_waiting(rig.now()).codes;
                rig.reclaim(login.id, &record).await.unwrap();
                for number in [1, 4, first_code + 1] {
                    let done = login.scan(rig, number, "alice", then()).await;
                    assert_eq!(done, Err(Unknown), "{number} of {first_code}");
                }
                login.scan(rig, first_code, "alice", then()).await.unwrap();
                let number = login.record(rig).await.scan().map(|scan| scan.number);
                assert_eq!(number, Some(first_code));
            }
        }
    })
    .await;
}

#[tokio::test]
async fn past_the_deadline_nothing_can_be_scanned() {
    on_both(async |rig| {
        let login = Subject::aged(rig, WAIT + SECOND, None).await;
        assert_eq!(login.scan(rig, 1, "alice", approve()).await, Err(Unknown));
        let (created, scan) =
            (rig.now() - 100 * SECOND, login.scan_of(1, "alice", Answer::Claimed));
        for (state, same_user) in [
            (State::Scanned { deadline: rig.now() - SECOND, scan: scan.clone() }, true),
            (
                State::Approved {
                    collect_until: rig.now() - SECOND,
                    scan: scan.clone(),
                    sealed: b"sealed".to_vec(),
                },
                true,
            ),
        ] {
            let login = Subject { id: Subject::new().id, ..login.clone() };
            let record = login.later(login.waiting(created, None), state, created);
            rig.reclaim(login.id, &record).await.unwrap();
            assert_eq!(login.scan(rig, 1, "bob", claim()).await, Err(Unknown));
            // The phone that was first is told what it was told, until the receipt ends.
            assert_eq!(login.scan(rig, 1, "alice", claim()).await.is_ok(), same_user);
        }
    })
    .await;
}

#[tokio::test]
async fn a_scan_in_two_steps_shows_the_browsers_facts_and_keeps_who_scanned() {
    on_both(async |rig| {
        let login = Subject::created(rig, Protocol::Json).await;
        let created = login.record(rig).await.created;
        let done = login.scan(rig, 1, "alice", claim()).await.unwrap();
        assert_eq!((done.answer, done.repeated), (Answer::Claimed, false));
        assert_eq!(done.facts, Some((facts(), created)));
        let record = login.record(rig).await;
        let State::Scanned { deadline, scan } = &record.state else { panic!("scanned") };
        assert_close(*deadline, rig.now() + CONFIRM);
        assert_eq!(scan.profile, Profile { name: Some("Älice".into()), picture: None });
        let confirmed = login.confirm_with(rig, 1, "alice", None).await.unwrap();
        let wanted = ConfirmDone { repeated: false, ip: Some(facts().ip) };
        assert_eq!(confirmed, wanted, "who confirms takes the address along");
        let confirmed = login.confirm_with(rig, 1, "alice", None).await.unwrap();
        assert_eq!(confirmed, ConfirmDone { repeated: true, ip: None });
        let record = login.record(rig).await;
        let State::Approved { collect_until, sealed, .. } = &record.state else { panic!() };
        assert_close(*collect_until, rig.now() + COLLECT);
        assert_eq!((&sealed[..], &record.facts), (&b"sealed"[..], &Some(facts())));
        assert_eq!(login.deny(rig, 1, "alice").await, Err(Conflict), "it is too late");
        login.acknowledge(rig, 1, "alice").await.unwrap();
        assert_eq!(login.confirm(rig, 1, "alice").await, Ok(true));
        assert_eq!(login.deny(rig, 1, "alice").await, Err(Conflict));
    })
    .await;
}

#[tokio::test]
async fn the_same_user_may_scan_the_next_code_and_the_old_claim_is_worth_nothing() {
    on_both(async |rig| {
        let login = Subject::aged(rig, 35 * SECOND, Some(30 * SECOND)).await;
        login.scan(rig, 1, "alice", claim()).await.unwrap();
        let State::Scanned { deadline, .. } = login.record(rig).await.state else { panic!() };
        let again = login.scan(rig, 2, "alice", claim()).await.unwrap();
        assert!(!again.repeated);
        let State::Scanned { deadline: same, .. } = login.record(rig).await.state else { panic!() };
        assert_eq!(deadline, same, "a second code does not buy more time");
        assert_eq!(login.scan(rig, 3, "alice", claim()).await, Err(Unknown), "not shown yet");
        assert_eq!(login.confirm(rig, 1, "alice").await, Err(Unknown));
        assert_eq!(login.deny(rig, 1, "alice").await, Err(Unknown));
        assert_eq!(login.confirm(rig, 2, "alice").await, Ok(false));
        let too_late = login.scan(rig, 1, "alice", claim()).await;
        assert_eq!(too_late, Err(Conflict), "approved: only the scanned code is good");
    })
    .await;
}

#[tokio::test]
async fn a_claim_is_good_only_for_its_user() {
    on_both(async |rig| {
        let login = Subject::created(rig, Protocol::Json).await;
        login.scan(rig, 1, "alice", claim()).await.unwrap();
        let hers = login.claim(1, "alice");
        let confirmed = rig.confirm(&hers, "mallory", None, b"x".to_vec(), COLLECT).await.unwrap();
        assert_eq!(confirmed, Err(NotYours));
        assert_eq!(rig.deny(&hers, "mallory").await.unwrap(), Err(NotYours));
        // Nor does one's own claim open another's scan.
        assert_eq!(login.confirm(rig, 1, "mallory").await, Err(Unknown));
        assert!(matches!(login.record(rig).await.state, State::Scanned { .. }));
    })
    .await;
}

#[tokio::test]
async fn a_denial_ends_the_login_and_leaves_a_receipt() {
    on_both(async |rig| {
        let login = Subject::created(rig, Protocol::Json).await;
        login.scan(rig, 1, "alice", claim()).await.unwrap();
        assert_eq!(login.deny(rig, 1, "alice").await, Ok(false));
        assert_eq!(login.deny(rig, 1, "alice").await, Ok(true), "a repetition");
        assert_eq!(login.confirm(rig, 1, "alice").await, Err(Unknown));
        let record = login.record(rig).await;
        let State::Ended { ending: Ending::Denied, until, .. } = &record.state else { panic!() };
        assert_close(*until, rig.now() + RECEIPT);
        assert_eq!((record.facts, record.codes.hashes.len()), (None, 0));
    })
    .await;
}

#[tokio::test]
async fn nothing_can_be_decided_past_the_deadline() {
    on_both(async |rig| {
        let (created, deadline) = (rig.now() - 100 * SECOND, rig.now() - SECOND);
        let login = Subject::new();
        let scan = login.scan_of(1, "alice", Answer::Claimed);
        let state = State::Scanned { deadline, scan };
        let record = login.later(login.waiting(created, None), state, created);
        rig.reclaim(login.id, &record).await.unwrap();
        assert_eq!(login.confirm(rig, 1, "alice").await, Err(Unknown));
        assert_eq!(login.deny(rig, 1, "alice").await, Err(Unknown));
        assert_eq!(login.record(rig).await, record, "refusals change nothing");
    })
    .await;
}
