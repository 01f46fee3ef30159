//! A login is kept for one user while a token is made elsewhere.

use scanlogin::{
    login::{Answer, PhoneRefusal, Protocol, State},
    store::{Backend, ResumeDone},
};

use super::{Duration, Rig, SECOND, Subject, WAIT, approve, claim, on_both};

use PhoneRefusal::{Conflict, Unknown};

const LEASE: Duration = Duration::from_secs(60);

impl Subject {
    async fn reserve(
        &self,
        rig: &Rig,
        number: u32,
        user: &str,
        lease: Duration,
    ) -> Result<Option<Answer>, PhoneRefusal> {
        let code = self.seed.code(number).hash();
        rig.reserve(self.id, &code, user, lease).await.expect("the store answers")
    }

    async fn release(&self, rig: &Rig, number: u32, user: &str) {
        let code = self.seed.code(number).hash();
        rig.release(self.id, &code, user).await.expect("the store answers");
    }
}

#[tokio::test]
async fn others_are_refused_while_a_login_is_kept_and_its_user_is_not() {
    on_both(async |rig| {
        for protocol in [Protocol::Plain, Protocol::Json] {
            let login = Subject::created(rig, protocol).await;
            assert_eq!(login.reserve(rig, 1, "alice", LEASE).await, Ok(None));
            for then in [approve(), claim()] {
                assert_eq!(login.scan(rig, 1, "bob", then).await, Err(Conflict));
            }
            assert_eq!(login.reserve(rig, 1, "bob", LEASE).await, Err(Conflict));
            assert_eq!(login.reserve(rig, 9, "bob", LEASE).await, Err(Unknown));
            // A phone that asks again asks for the same token.
            assert_eq!(login.reserve(rig, 1, "alice", LEASE).await, Ok(None));
            assert!(matches!(login.record(rig).await.state, State::Waiting { .. }));
            let done = login.scan(rig, 1, "alice", approve()).await.unwrap();
            assert_eq!((done.answer, done.repeated), (Answer::Approved, false));
            assert_eq!(login.record(rig).await.reserved, None);
            let again = login.reserve(rig, 1, "alice", LEASE).await;
            assert_eq!(again, Ok(Some(Answer::Approved)), "there is nothing to make any more");
            assert_eq!(login.reserve(rig, 1, "bob", LEASE).await, Err(Conflict));
            login.acknowledge(rig, 1, "alice").await.unwrap();
            assert_eq!(login.reserve(rig, 1, "bob", LEASE).await, Err(Unknown));
        }
    })
    .await;
}

#[tokio::test]
async fn a_login_that_is_released_or_whose_lease_is_over_is_as_it_was() {
    on_both(async |rig| {
        let login = Subject::created(rig, Protocol::Json).await;
        let before = login.record(rig).await;
        login.reserve(rig, 1, "alice", LEASE).await.unwrap();
        rig.assert_life(&before).await;
        login.release(rig, 1, "bob").await;
        login.release(rig, 2, "alice").await;
        assert_eq!(login.scan(rig, 1, "bob", approve()).await, Err(Conflict), "not their own");
        login.release(rig, 1, "alice").await;
        assert_eq!(login.record(rig).await, before);
        rig.assert_life(&before).await;
        login.reserve(rig, 1, "alice", Duration::ZERO).await.unwrap();
        let done = login.scan(rig, 1, "bob", approve()).await;
        assert_eq!(done.map(|done| done.answer), Ok(Answer::Approved));
        // Who comes too late with the token finds another's login.
        assert_eq!(login.scan(rig, 1, "alice", approve()).await, Err(Conflict));
        let State::Approved { scan, .. } = login.record(rig).await.state else { panic!() };
        assert_eq!(scan.user, "bob");
    })
    .await;
}

#[tokio::test]
async fn the_code_stays_good_for_as_long_as_the_login_is_kept() {
    on_both(async |rig| {
        // Code 1 is good from 0 to 45 s; kept at 40 s, stored when it is over.
        let login = Subject::new();
        let mut record = login.waiting(rig.now() - 50 * SECOND, Some(30 * SECOND));
        record = record
            .reserve(&login.seed.code(1).hash(), "alice", LEASE, rig.now() - 10 * SECOND)
            .expect("a code that is good")
            .0;
        rig.reclaim(login.id, &record).await.unwrap();
        assert_eq!(login.scan(rig, 1, "bob", approve()).await, Err(Conflict));
        let done = login.scan(rig, 1, "alice", approve()).await;
        assert_eq!(done.map(|done| done.answer), Ok(Answer::Approved));
        let late = Subject::aged(rig, 50 * SECOND, Some(30 * SECOND)).await;
        assert_eq!(late.scan(rig, 1, "alice", approve()).await, Err(Unknown));
        assert_eq!(late.reserve(rig, 1, "alice", LEASE).await, Err(Unknown));
    })
    .await;
}

#[tokio::test]
async fn what_is_kept_can_be_resumed_and_ends_as_any_other() {
    on_both(async |rig| {
        let login = Subject::created(rig, Protocol::Json).await;
        login.reserve(rig, 1, "alice", LEASE).await.unwrap();
        let resumed = rig.resume(login.id, &login.seed.proof()).await.unwrap();
        let ResumeDone::Resumed(resumed) = resumed else { panic!("{resumed:?}") };
        assert!(resumed.reserved.is_some());
        let over = Subject::aged(rig, WAIT + SECOND, None).await;
        assert_eq!(over.reserve(rig, 1, "alice", LEASE).await, Err(Unknown));
        let left = super::Because::Left;
        assert_eq!(login.end(rig, 2, left).await, super::EndDone::Ended { undelivered: false });
        assert_eq!(login.scan(rig, 1, "alice", approve()).await, Err(Unknown));
    })
    .await;
}
