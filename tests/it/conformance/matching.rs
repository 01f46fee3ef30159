//! Number matching: what a right, a wrong and a missing number do.

use scanlogin::{
    login::{Because, Ending, MAX_WRONG, PhoneRefusal, Protocol, RECEIPT, State},
    store::Backend,
};

use super::{SECOND, Subject, assert_close, claim, claim_with, on_both};

use PhoneRefusal::{CannotMatch, Unknown, WrongNumber};

/// What a person types, and what is shown.
const RIGHT: Option<u64> = Some(7);
const WRONG: Option<u64> = Some(70);

async fn scanned(rig: &super::Rig, protocol: Protocol) -> Subject {
    let login = Subject::created(rig, protocol).await;
    let done = login.scan(rig, 1, "alice", claim_with(Some(login.hidden(1, "alice", 7)))).await;
    assert!(done.unwrap().asks_number);
    login
}

#[tokio::test]
async fn only_the_number_that_is_shown_confirms_and_the_third_wrong_one_denies() {
    on_both(async |rig| {
        let login = scanned(rig, Protocol::Json).await;
        let record = login.record(rig).await;
        let matching = record.scan().unwrap().matching.unwrap();
        assert_eq!(
            (matching.hidden.shown(&login.claim(1, "alice")).expose(), matching.wrong),
            ("07".into(), 0)
        );
        // A missing number is a wrong one.
        let missed = login.confirm_with(rig, 1, "alice", None).await;
        assert_eq!(missed, Err(WrongNumber { tries_left: 2 }));
        let missed = login.confirm_with(rig, 1, "alice", WRONG).await;
        assert_eq!(missed, Err(WrongNumber { tries_left: 1 }));
        let State::Scanned { deadline, scan } = login.record(rig).await.state else { panic!() };
        assert_eq!(scan.matching.unwrap().wrong, 2);
        let State::Scanned { deadline: before, .. } = record.state else { panic!() };
        assert_eq!(deadline, before, "a try buys no time");
        let again = login.scan(rig, 1, "alice", claim()).await.unwrap();
        assert!(again.repeated && again.asks_number, "and nor does a repetition buy a try");
        assert_eq!(login.confirm(rig, 1, "alice").await, Err(WrongNumber { tries_left: 0 }));
        let record = login.record(rig).await;
        let State::Ended { ending: Ending::Denied, until, .. } = &record.state else { panic!() };
        assert_close(*until, rig.now() + RECEIPT);
        assert_eq!(record.facts, None);
        assert_eq!(login.confirm_with(rig, 1, "alice", RIGHT).await, Err(Unknown), "too late");
        assert_eq!(login.deny(rig, 1, "alice").await, Ok(true), "it is what has happened");

        let login = scanned(rig, Protocol::Json).await;
        login.confirm_with(rig, 1, "alice", WRONG).await.unwrap_err();
        login.confirm_with(rig, 1, "alice", WRONG).await.unwrap_err();
        assert!(!login.confirm_with(rig, 1, "alice", RIGHT).await.unwrap().repeated);
        // Once confirmed, a repetition needs no number: it decides nothing.
        assert!(login.confirm_with(rig, 1, "alice", None).await.unwrap().repeated);
    })
    .await;
}

#[tokio::test]
async fn where_no_number_is_asked_for_one_too_many_does_no_harm() {
    on_both(async |rig| {
        let login = Subject::created(rig, Protocol::Json).await;
        assert!(!login.scan(rig, 1, "alice", claim()).await.unwrap().asks_number);
        assert!(login.confirm_with(rig, 1, "alice", WRONG).await.is_ok());
    })
    .await;
}

#[tokio::test]
async fn the_next_code_has_a_number_of_its_own_and_no_more_tries() {
    on_both(async |rig| {
        let login = Subject::aged(rig, 35 * SECOND, Some(30 * SECOND)).await;
        login.scan(rig, 1, "alice", claim_with(Some(login.hidden(1, "alice", 7)))).await.unwrap();
        login.confirm_with(rig, 1, "alice", WRONG).await.unwrap_err();
        let second = claim_with(Some(login.hidden(2, "alice", 42)));
        login.scan(rig, 2, "alice", second).await.unwrap();
        let missed = login.confirm_with(rig, 2, "alice", RIGHT).await;
        assert_eq!(missed, Err(WrongNumber { tries_left: MAX_WRONG - 2 }));
        assert!(login.confirm_with(rig, 2, "alice", Some(42)).await.is_ok());
    })
    .await;
}

#[tokio::test]
async fn a_plain_browser_cannot_show_a_number_and_its_login_is_denied() {
    on_both(async |rig| {
        let login = Subject::created(rig, Protocol::Plain).await;
        let number = || claim_with(Some(login.hidden(1, "alice", 7)));
        assert_eq!(login.scan(rig, 1, "alice", number()).await, Err(CannotMatch));
        assert_eq!(login.ending(rig).await, Some(Ending::Denied));
        assert_eq!(login.scan(rig, 1, "alice", number()).await, Err(CannotMatch), "repeated");
        assert_eq!(login.scan(rig, 1, "bob", claim()).await, Err(Unknown));
        assert_eq!(login.confirm_with(rig, 1, "alice", RIGHT).await, Err(Unknown));
        login.end(rig, 1, Because::Lost).await;
        assert_eq!(login.ending(rig).await, Some(Ending::Denied));
    })
    .await;
}
