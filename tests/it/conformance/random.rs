//! Any operations in any order: both stores answer the same, and keep the same.

use std::time::Duration;

use proptest::{
    prelude::{Just, Strategy, any},
    prop_oneof,
    sample::select,
    test_runner::{Config, TestCaseError, TestRunner},
};
use scanlogin::{
    clock::{Clock, Timestamp},
    keys::{BrowserSecret, Entropy, Hash, Seed, Ticket},
    login::{Answer, Because, Bringer, Codes, Login, Protocol, State},
    store::{Backend, EndDone, ResumeDone},
};

use super::{COLLECT, Rig, SECOND, Subject, approve, assert_close, claim_with};

const USERS: [&str; 2] = ["alice", "bob"];
const ROTATE: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug)]
enum Start {
    Created(Protocol),
    /// It belongs to a browser.
    Bound,
    /// Waiting for so many seconds.
    Waiting(u64),
    /// Scanned by alice, with a deadline so many seconds from now.
    Scanned(i64),
    /// Approved for alice, to be collected within so many seconds from now.
    Approved(i64),
}

#[derive(Clone, Copy, Debug)]
enum Operation {
    Scan { number: u32, user: &'static str, confirm: bool, digits: Option<u64> },
    Confirm { number: u32, of: &'static str, by: &'static str, digits: Option<u64> },
    Reserve { number: u32, user: &'static str, lease: u32 },
    Release { number: u32, user: &'static str },
    Deny { number: u32, of: &'static str, by: &'static str },
    Acknowledge { epoch: u32, user: &'static str },
    End { epoch: u32, because: Because },
    Resume { right: bool },
    Reclaim { epoch: u32 },
    Revoke { user: &'static str },
    Redeem { number: u32, user: &'static str, right: bool, by: By },
    Rebind { right: bool, browser: u8 },
    EndSession { user: &'static str },
}

/// Who brings a ticket: anybody, or a browser with this cookie or none.
#[derive(Clone, Copy, Debug)]
enum By {
    Anyone,
    Browser(Option<u8>),
}

/// The hash of a cookie. The browser that a login belongs to at first has number 1.
fn browser(number: u8) -> Hash {
    BrowserSecret::random(Entropy::Fixed(number)).hash()
}

/// Moments that are some seconds away from every border: a code's window ends 15 s after a multiple
/// of 30 s, a login's life after 120 s, a pending login's 30 s after its collecting.
fn start() -> impl Strategy<Value = Start> {
    prop_oneof![
        3 => select(&[Protocol::Plain, Protocol::Json][..]).prop_map(Start::Created),
        3 => Just(Start::Bound),
        3 => select(&[8, 22, 38, 52, 68, 82, 110, 128][..]).prop_map(Start::Waiting),
        1 => select(&[-12, 40][..]).prop_map(Start::Scanned),
        1 => select(&[-40, -12, 40][..]).prop_map(Start::Approved),
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    use Operation::{
        Acknowledge, Confirm, Deny, End, EndSession, Rebind, Reclaim, Redeem, Release, Reserve,
        Resume, Revoke, Scan,
    };
    let user = || select(&USERS[..]);
    let number = || 1..5_u32;
    let epoch = || prop_oneof![3 => 1..3_u32, 1 => 0..5_u32];
    let because = select(&[Because::Deadline, Because::Left, Because::Lost, Because::Crowded][..]);
    // Few, so that a confirmation brings the right ones now and then.
    let digits = || select(&[None, Some(7), Some(42)][..]);
    let by = || {
        let browsers = [None, Some(1), Some(1), Some(2)].map(By::Browser);
        select([&browsers[..], &[By::Anyone]].concat())
    };
    let mostly = || prop_oneof![3 => Just(true), 1 => Just(false)];
    prop_oneof![
        4 => (number(), user(), any::<bool>(), digits())
            .prop_map(|(number, user, confirm, digits)| Scan { number, user, confirm, digits }),
        2 => (number(), user(), select(&[0, 60][..]))
            .prop_map(|(number, user, lease)| Reserve { number, user, lease }),
        1 => (number(), user()).prop_map(|(number, user)| Release { number, user }),
        3 => (number(), user(), user(), digits())
            .prop_map(|(number, of, by, digits)| Confirm { number, of, by, digits }),
        1 => (number(), user(), user()).prop_map(|(number, of, by)| Deny { number, of, by }),
        2 => (epoch(), user()).prop_map(|(epoch, user)| Acknowledge { epoch, user }),
        2 => (epoch(), because).prop_map(|(epoch, because)| End { epoch, because }),
        2 => mostly().prop_map(|right| Resume { right }),
        1 => epoch().prop_map(|epoch| Reclaim { epoch }),
        1 => user().prop_map(|user| Revoke { user }),
        3 => (number(), user(), mostly(), by())
            .prop_map(|(number, user, right, by)| Redeem { number, user, right, by }),
        1 => (mostly(), 1..3_u8).prop_map(|(right, browser)| Rebind { right, browser }),
        1 => user().prop_map(|user| EndSession { user }),
    ]
}

/// Makes the login on a store.
async fn begin(rig: &Rig, login: &Subject, start: Start) {
    let before = |seconds: i64| {
        let now = rig.now();
        if seconds < 0 {
            now - SECOND * seconds.unsigned_abs() as u32
        } else {
            now + SECOND * seconds as u32
        }
    };
    let scan = |answer| login.scan_of(1, "alice", answer);
    let created = before(-100);
    let waiting = login.waiting(created, Some(ROTATE));
    let record = match start {
        Start::Created(protocol) => {
            let rotate = (protocol == Protocol::Json).then_some(ROTATE);
            rig.create(&login.new_login(protocol, rotate)).await.unwrap();
            return;
        }
        Start::Bound => {
            rig.create(&login.bound(browser(1))).await.unwrap();
            return;
        }
        Start::Waiting(age) => login.waiting(before(-(age as i64)), Some(ROTATE)),
        Start::Scanned(left) => {
            let (deadline, scan) = (before(left), scan(Answer::Claimed));
            login.later(waiting, State::Scanned { deadline, scan }, created)
        }
        Start::Approved(left) => {
            let (collect_until, scan) = (before(left), scan(Answer::Approved));
            let sealed = b"sealed".to_vec();
            login.later(waiting, State::Approved { collect_until, scan, sealed }, created)
        }
    };
    rig.reclaim(login.id, &record).await.unwrap();
}

/// Runs one operation: what it answered, without times, and the login in its answer.
async fn run(rig: &Rig, login: &Subject, operation: Operation) -> (String, Option<Login>) {
    let text = |result: &dyn std::fmt::Debug| (format!("{result:?}"), None);
    match operation {
        Operation::Scan { number, user, confirm, digits } => {
            let hidden = digits.map(|digits| login.hidden(number, user, digits));
            let then = if confirm { claim_with(hidden) } else { approve() };
            let done = login.scan(rig, number, user, then).await;
            let done = done.map(|done| {
                let facts = done.facts.map(|(facts, _)| facts);
                (done.answer, done.repeated, facts, done.asks_number)
            });
            text(&done)
        }
        Operation::Reserve { number, user, lease } => {
            let code = login.seed.code(number).hash();
            text(&rig.reserve(login.id, &code, user, SECOND * lease).await.unwrap())
        }
        Operation::Release { number, user } => {
            let code = login.seed.code(number).hash();
            text(&rig.release(login.id, &code, user).await.unwrap())
        }
        Operation::Confirm { number, of, by, digits } => {
            let (claim, digits) =
                (login.claim(number, of), digits.map(|digits| login.hidden(number, of, digits)));
            let sealed = b"sealed".to_vec();
            text(&rig.confirm(&claim, by, digits, sealed, COLLECT).await.unwrap())
        }
        Operation::Deny { number, of, by } => {
            text(&rig.deny(&login.claim(number, of), by).await.unwrap())
        }
        Operation::Acknowledge { epoch, user } => text(&login.acknowledge(rig, epoch, user).await),
        Operation::End { epoch, because } => match login.end(rig, epoch, because).await {
            EndDone::Refused(why, login) => (format!("{why:?}"), Some(*login)),
            done => text(&done),
        },
        Operation::Resume { right } => {
            let seed = if right { login.seed.clone() } else { Seed::random(Entropy::Fixed(1)) };
            match rig.resume(login.id, &seed.proof()).await.unwrap() {
                ResumeDone::Resumed(login) => ("resumed".into(), Some(*login)),
                ResumeDone::Over(login) => ("over".into(), Some(*login)),
                done => text(&done),
            }
        }
        Operation::Reclaim { epoch } => {
            let record = Login { epoch, ..login.waiting(rig.now(), Some(ROTATE)) };
            ("reclaimed".into(), Some(rig.reclaim(login.id, &record).await.unwrap()))
        }
        Operation::Redeem { number, user, right, by } => {
            let seed = if right { login.seed.clone() } else { Seed::random(Entropy::Fixed(1)) };
            let ticket = Ticket::new(&seed, login.claim(number, user));
            let by = match by {
                By::Anyone => Bringer::Anyone,
                By::Browser(number) => Bringer::Browser(number.map(browser)),
            };
            let redeemed = rig.redeem(&ticket, by, COLLECT).await.unwrap();
            text(&redeemed.map(|redeemed| {
                (redeemed.user, redeemed.sealed, redeemed.facts, redeemed.repeated)
            }))
        }
        Operation::Rebind { right, browser: number } => {
            let seed = if right { login.seed.clone() } else { Seed::random(Entropy::Fixed(1)) };
            text(&rig.rebind(login.id, &seed.proof(), &browser(number)).await.unwrap())
        }
        Operation::EndSession { user } => text(&rig.end_session(user).await.unwrap()),
        Operation::Revoke { user } => text(&rig.revoke(user, login.id).await.unwrap()),
    }
}

/// A login without its times, and the times.
fn taken_apart(mut login: Login) -> (Login, [Timestamp; 5]) {
    let zero = Timestamp::default();
    let mut end = zero;
    let mut without = |time: Timestamp| {
        end = time;
        zero
    };
    let state = match login.state {
        State::Waiting { deadline } => State::Waiting { deadline: without(deadline) },
        State::Scanned { deadline, scan } => State::Scanned { deadline: without(deadline), scan },
        State::Approved { collect_until, scan, sealed } => {
            State::Approved { collect_until: without(collect_until), scan, sealed }
        }
        State::Ended { ending, until, scan, sealed } => {
            State::Ended { ending, until: without(until), scan, sealed }
        }
    };
    let kept = login.reserved.as_mut().map(|one| std::mem::replace(&mut one.until, zero));
    let times = [login.created, login.changed, login.codes.start, end, kept.unwrap_or_default()];
    let codes = Codes { start: zero, ..login.codes };
    (Login { created: zero, changed: zero, codes, state, ..login }, times)
}

fn assert_same(left: Option<Login>, right: Option<Login>) {
    match (left.map(taken_apart), right.map(taken_apart)) {
        (Some((left, left_times)), Some((right, right_times))) => {
            assert_eq!(left, right);
            for (left, right) in left_times.into_iter().zip(right_times) {
                assert_close(left, right);
            }
        }
        (left, right) => assert_eq!(left, right),
    }
}

/// The moments of [`start`] stay away from every border for as long.
const CASE: Duration = Duration::from_secs(3);

/// Compares one history. `Err`: it took so long, by the clock on the wall, that the stores may rightly
/// differ: a window closes between the two (a machine that stood still, a clock that was set).
async fn compare(redis: &Rig, start: Start, operations: &[Operation]) -> Result<(), TestCaseError> {
    let began = Clock::system().now();
    let in_time = || {
        let now = Clock::system().now();
        if now.since(began).max(began.since(now)) < CASE {
            return Ok(());
        }
        Err(TestCaseError::reject("it took too long"))
    };
    if let Some((server, _)) = &redis.redis {
        server.command::<()>(&["FLUSHALL"]).await;
    }
    let embedded = &Rig::embedded();
    let login = Subject::new();
    begin(embedded, &login, start).await;
    begin(redis, &login, start).await;
    assert_same(embedded.record(login.id).await, redis.record(login.id).await);
    for operation in operations {
        let (left, left_login) = run(embedded, &login, *operation).await;
        let (right, right_login) = run(redis, &login, *operation).await;
        in_time()?;
        assert_eq!(left, right, "{operation:?}");
        assert_same(left_login, right_login);
        assert_same(embedded.record(login.id).await, redis.record(login.id).await);
        for user in USERS {
            let (left, right) = (embedded.entry(user).await, redis.entry(user).await);
            let (left, right) = (left.unwrap(), right.unwrap());
            let same = std::mem::discriminant(&left) == std::mem::discriminant(&right);
            assert!(
                same && left.id() == right.id(),
                "{user} after {operation:?}: {left:?} {right:?}"
            );
        }
    }
    Ok(())
}

#[test]
fn any_operations_in_any_order_have_the_same_results_on_both_stores() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let redis = runtime.block_on(Rig::redis());
    let config = Config { cases: 200, failure_persistence: None, ..Config::default() };
    let cases = (start(), proptest::collection::vec(operation(), 1..12));
    TestRunner::new(config)
        .run(&cases, |(start, operations)| runtime.block_on(compare(&redis, start, &operations)))
        .unwrap();
}
