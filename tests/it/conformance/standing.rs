//! What is remembered of a user between logins.

use std::net::IpAddr;

use scanlogin::{
    keys::Hash,
    login::{HistoryKey, LOCK, MAX_PLACES, Note, PLACE_LIFE, Protocol, STRIKE_WINDOW, Standing},
    store::Backend,
};

use super::{Rig, Subject, TOLERANCE, assert_close, on_both};

fn key() -> HistoryKey {
    HistoryKey::derive(b"a secret that all instances share")
}

fn place(number: u8) -> Hash {
    key().place("alice", IpAddr::from([192, 0, 2, number]))
}

async fn standing(rig: &Rig, user: &str) -> Standing {
    let (login, standing) = rig.look(Subject::new().id, &key().user(user)).await.unwrap();
    assert_eq!(login, None, "no such login");
    standing
}

async fn note(rig: &Rig, user: &str, note: Note) {
    rig.note(&key().user(user), note).await.unwrap();
}

/// Whether what is remembered of the one user goes in this time.
async fn assert_life(rig: &Rig, life: std::time::Duration) {
    for (key, left) in rig.lives().await {
        assert!(left.abs_diff(life) < TOLERANCE, "{key} has {left:?} left instead of {life:?}");
    }
}

#[tokio::test]
async fn a_look_shows_the_login_and_who_asks_and_changes_nothing() {
    on_both(async |rig| {
        let login = Subject::created(rig, Protocol::Json).await;
        let record = login.record(rig).await;
        let looked = rig.look(login.id, &key().user("alice")).await.unwrap();
        assert_eq!(looked, (Some(record.clone()), Standing::default()));
        assert_eq!(login.record(rig).await, record);
    })
    .await;
}

#[tokio::test]
async fn addresses_are_remembered_by_user_newest_first_and_not_without_end() {
    on_both(async |rig| {
        for number in 0..20 {
            note(rig, "alice", Note::Place(place(number))).await;
        }
        note(rig, "alice", Note::Place(place(10))).await;
        let remembered = standing(rig, "alice").await;
        assert_eq!(remembered.places.len(), MAX_PLACES);
        let newest: Vec<_> = remembered.places.iter().map(|(place, _)| *place).collect();
        let wanted = [10].into_iter().chain((4..20).rev().filter(|n| *n != 10)).map(place);
        assert_eq!(newest, wanted.take(MAX_PLACES).collect::<Vec<_>>());
        assert!(remembered.knows(&place(10), rig.now()) && !remembered.knows(&place(3), rig.now()));
        assert_close(remembered.places[0].1, rig.now());
        assert_eq!(standing(rig, "bob").await, Standing::default());
        assert_life(rig, PLACE_LIFE).await;
    })
    .await;
}

#[tokio::test]
async fn the_third_login_that_ended_by_wrong_numbers_locks_its_user_and_nobody_else() {
    on_both(async |rig| {
        for _ in 0..2 {
            note(rig, "alice", Note::Strike).await;
            assert_eq!(standing(rig, "alice").await.locked(rig.now()), None);
        }
        assert_life(rig, STRIKE_WINDOW).await;
        note(rig, "alice", Note::Place(place(1))).await;
        assert_eq!(standing(rig, "alice").await.strikes, 2, "an address is no pardon");
        note(rig, "alice", Note::Strike).await;
        let locked = standing(rig, "alice").await;
        assert_close(locked.locked_until, rig.now() + LOCK);
        assert_eq!((locked.strikes, locked.places.len()), (0, 1));
        assert_close(locked.struck, rig.now());
        assert_eq!(standing(rig, "bob").await.locked(rig.now()), None);
    })
    .await;
}
