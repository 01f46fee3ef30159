//! The queue of what the webhook must still be told.

use std::time::Duration;

use scanlogin::{
    keys::{Entropy, LoginId},
    store::{
        Backend,
        outbox::{Cause, MOST, Put, Revocation, Taken},
    },
};

use super::on_both;

const HOUR: Duration = Duration::from_secs(3600);

fn revocation(user: &str) -> Revocation {
    Revocation::new(LoginId::random(Entropy::Os), user, Cause::Undelivered)
}

#[tokio::test]
async fn an_entry_is_taken_when_it_is_due_and_left_to_nobody_else_for_a_while() {
    on_both(async |rig| {
        let (due, later) = (revocation("älice"), revocation("bob"));
        assert_eq!(rig.outbox_put(&later, HOUR).await.unwrap(), Put::New);
        assert_eq!(rig.outbox_put(&due, HOUR).await.unwrap(), Put::New);
        let nothing = Taken { due: vec![], length: 2 };
        assert_eq!(rig.outbox_take(9).await.unwrap(), nothing);
        assert_eq!(rig.outbox_put(&due, Duration::ZERO).await.unwrap(), Put::Known);
        let taken = Taken { due: vec![due.clone()], length: 2 };
        assert_eq!(rig.outbox_take(9).await.unwrap(), taken);
        assert_eq!(rig.outbox_take(9).await.unwrap(), nothing, "somebody works on it");
        let next = due.after_attempt();
        rig.outbox_again(&due, &next, Duration::ZERO).await.unwrap();
        let taken = Taken { due: vec![next.clone()], length: 2 };
        assert_eq!(rig.outbox_take(9).await.unwrap(), taken);
        rig.outbox_done(&next).await.unwrap();
        rig.outbox_done(&later).await.unwrap();
        assert_eq!(rig.outbox_take(9).await.unwrap(), Taken::default());
        // What was settled meanwhile does not come back.
        rig.outbox_again(&next, &next.after_attempt(), Duration::ZERO).await.unwrap();
        assert_eq!(rig.outbox_take(9).await.unwrap(), Taken::default());
    })
    .await;
}

#[tokio::test]
async fn a_few_are_taken_at_a_time() {
    on_both(async |rig| {
        for _ in 0..5 {
            rig.outbox_put(&revocation("alice"), Duration::ZERO).await.unwrap();
        }
        for expected in [2, 2, 1, 0] {
            assert_eq!(rig.outbox_take(2).await.unwrap().due.len(), expected);
        }
    })
    .await;
}

#[tokio::test]
async fn a_full_queue_takes_nothing_new() {
    on_both(async |rig| {
        let known = revocation("alice");
        rig.outbox_put(&known, HOUR).await.unwrap();
        if let Some((server, _)) = &rig.redis {
            // In few steps: a hundred thousand calls would take their time.
            for first in (2..=MOST).step_by(5000) {
                let last = MOST.min(first + 4999);
                let fill = format!(
                    "for i = {first}, {last} do \
                     redis.call('ZADD', 'scanlogin:outbox', 9999999999999, 'entry ' .. i) end"
                );
                server.command::<()>(&["EVAL", &fill, "0"]).await;
            }
        } else {
            for _ in 1..MOST {
                rig.backend.outbox_put(&revocation("bob"), HOUR).await.unwrap();
            }
        }
        assert_eq!(rig.outbox_put(&revocation("carol"), HOUR).await.unwrap(), Put::Full);
        assert_eq!(rig.outbox_put(&known, HOUR).await.unwrap(), Put::Known);
        assert_eq!(rig.outbox_take(9).await.unwrap().length, MOST as u64);
        rig.outbox_done(&known).await.unwrap();
        assert_eq!(rig.outbox_put(&revocation("carol"), HOUR).await.unwrap(), Put::New);
    })
    .await;
}

#[test]
fn the_pauses_grow_to_ten_minutes() {
    let mut one = revocation("alice");
    let mut all = Duration::ZERO;
    let mut before = Duration::ZERO;
    while one.attempts < scanlogin::store::outbox::MAX_ATTEMPTS {
        one = one.after_attempt();
        assert!(one.pause() >= before && one.pause() <= Duration::from_secs(600));
        before = one.pause();
        all += before;
    }
    assert!(all > Duration::from_secs(20 * 3600), "about a day: {all:?}");
}
