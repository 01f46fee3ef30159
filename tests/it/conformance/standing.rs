//! What is remembered of a user between logins.

use std::net::IpAddr;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use scanlogin::{
    keys::Hash,
    login::{
        FAILED_MATCH_WINDOW, HistoryKey, LOCK, MAX_FAILED_MATCHES, MAX_PLACES, Note, PLACE_LIFE,
        Protocol, Standing,
    },
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
async fn the_ninth_wrong_number_locks_its_user_and_nobody_else() {
    on_both(async |rig| {
        for number in 1..MAX_FAILED_MATCHES {
            note(rig, "alice", Note::FailedMatch).await;
            let standing = standing(rig, "alice").await;
            assert_eq!((standing.failed_matches, standing.locked(rig.now())), (number, None));
        }
        assert_life(rig, FAILED_MATCH_WINDOW).await;
        let since = standing(rig, "alice").await.failing_since;
        assert_close(since, rig.now());
        note(rig, "alice", Note::Place(place(1))).await;
        let standing_now = standing(rig, "alice").await;
        assert_eq!(standing_now.failed_matches, 8, "an address is no pardon");
        assert_eq!(standing_now.failing_since, since, "of the first");
        note(rig, "alice", Note::FailedMatch).await;
        let locked = standing(rig, "alice").await;
        assert_close(locked.locked_until, rig.now() + LOCK);
        assert_eq!((locked.failed_matches, locked.places.len()), (0, 1));
        assert_eq!(standing(rig, "bob").await.locked(rig.now()), None);
    })
    .await;
}

/// What the version before this one, which counted logins that ended by wrong numbers, does at the
/// third wrong number of a login.
const FORMER_NOTE: &str = r"
    local time = redis.call('TIME')
    local now = time[1] * 1000000 + time[2]
    local raw = redis.call('GET', KEYS[1])
    local s = raw and cmsgpack.unpack(raw) or { {}, 0, 0, 0 }
    if now - s[3] >= 86400000000 then s[2] = 0 end
    s[2], s[3] = s[2] + 1, now
    if s[2] >= 3 then s[2], s[4] = 0, now + 900000000 end
    redis.call('SET', KEYS[1], cmsgpack.pack(s), 'PX', #s[1] > 0 and 7776000000 or 86400000)";

#[tokio::test]
async fn old_and_new_instances_count_in_one_entry_and_keep_to_each_others_locks() {
    let rig = Rig::redis().await;
    let (_server, connection) = rig.redis.as_ref().expect("a Redis");
    let mut connection = connection.clone();
    let mut former = async |user: &str| {
        let name = URL_SAFE_NO_PAD.encode(key().user(user).as_bytes());
        let script = redis::Script::new(FORMER_NOTE);
        let call = script.key(format!("scanlogin:h:{name}"));
        call.invoke_async::<()>(&mut connection).await.expect("the script works");
    };
    // A former instance has ended a login; a new one reads it, and goes on.
    former("alice").await;
    assert_eq!(standing(&rig, "alice").await.failed_matches, 1);
    note(&rig, "alice", Note::FailedMatch).await;
    assert_eq!(standing(&rig, "alice").await.failed_matches, 2);
    former("alice").await;
    let locked = standing(&rig, "alice").await;
    assert_close(locked.locked_until, rig.now() + LOCK);
    // Whoever is locked by a new one has an entry that a former one reads and adds to.
    note(&rig, "bob", Note::Place(place(1))).await;
    for _ in 0..MAX_FAILED_MATCHES {
        note(&rig, "bob", Note::FailedMatch).await;
    }
    former("bob").await;
    let after = standing(&rig, "bob").await;
    assert_eq!((after.failed_matches, after.places.len()), (1, 1));
    assert_close(after.locked_until, rig.now() + LOCK);
}
