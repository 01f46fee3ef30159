//! Logins that belong to a browser, and their tickets.

use scanlogin::{
    keys::{BrowserSecret, Entropy, Hash, Ticket},
    login::{Because, Bringer, Ending, OwnerRefusal::Over, State, TicketRefusal},
    store::Backend,
};

use super::{COLLECT, Rig, SECOND, Subject, approve, claim, on_both};

/// The hash of a cookie.
fn browser() -> Hash {
    BrowserSecret::random(Entropy::Os).hash()
}

/// A login of this browser that alice has scanned, and its ticket.
async fn approved(rig: &Rig, browser: Hash) -> (Subject, Ticket) {
    let login = Subject::new();
    rig.create(&login.bound(browser)).await.unwrap();
    login.scan(rig, 1, "alice", approve()).await.unwrap();
    let ticket = login.ticket(1, "alice");
    (login, ticket)
}

#[tokio::test]
async fn a_ticket_is_its_browsers_who_may_bring_it_again() {
    on_both(async |rig| {
        let own = browser();
        let (login, ticket) = approved(rig, own).await;
        let record = login.record(rig).await;
        assert_eq!(record.codes.browser(), Some(own));
        let redeem = async |by, again| rig.redeem(&ticket, Bringer::Browser(by), again).await;
        let strangers = async || {
            for stranger in [None, Some(browser())] {
                let refused = redeem(stranger, COLLECT).await.unwrap();
                assert_eq!(refused, Err(TicketRefusal::OtherBrowser));
            }
        };
        strangers().await;
        assert_eq!(login.record(rig).await, record, "worth what it was worth");
        for _ in 0..2 {
            let redeemed = redeem(Some(own), COLLECT).await.unwrap().expect("its own");
            assert_eq!((&redeemed.user[..], &redeemed.sealed[..]), ("alice", &b"sealed"[..]));
            assert_eq!((redeemed.approved, redeemed.repeated), (record.changed, false));
        }
        assert_eq!(login.record(rig).await, record, "nothing is written before the web login is");
        // Its browser resumes in the middle: the acknowledgement needs no epoch.
        rig.resume(login.id, &login.seed.proof()).await.unwrap();
        for _ in 0..2 {
            assert_eq!(login.acknowledge(rig, 0, "alice").await, Ok(()));
            assert_eq!(rig.current("alice").await.unwrap(), Some(login.id));
        }
        let delivered = login.record(rig).await;
        assert_eq!(delivered.facts, None, "they are the entry's now");
        let codes = delivered.codes.hashes.len();
        assert_eq!((delivered.codes.browser(), codes), (Some(own), 2), "and no code is left");
        strangers().await;
        let again = redeem(Some(own), COLLECT).await.unwrap().expect("its own");
        assert_eq!((&again.sealed[..], again.repeated), (&b"sealed"[..], true));
        let late = redeem(Some(own), std::time::Duration::ZERO).await.unwrap();
        assert_eq!(late, Err(TicketRefusal::Unknown), "the time for it is over");
        let anyone = rig.redeem(&ticket, Bringer::Anyone, COLLECT).await.unwrap();
        assert_eq!(anyone, Err(TicketRefusal::Unknown), "who asks for no browser gives it once");
        assert_eq!(login.record(rig).await, delivered);
    })
    .await;
}

#[tokio::test]
async fn who_knows_of_no_browsers_goes_on_with_a_login_that_belongs_to_one() {
    on_both(async |rig| {
        let (login, ticket) = approved(rig, browser()).await;
        let anyone = || rig.redeem(&ticket, Bringer::Anyone, COLLECT);
        assert_eq!(anyone().await.unwrap().map(|redeemed| redeemed.user), Ok("alice".into()));
        assert_eq!(anyone().await.unwrap(), Err(TicketRefusal::Unknown), "once");
        assert_eq!(login.acknowledge(rig, 0, "alice").await, Ok(()));
        assert_eq!(login.ending(rig).await, Some(Ending::Delivered));
        // And an owner acknowledges as ever.
        let (login, ticket) = approved(rig, browser()).await;
        assert_eq!(login.acknowledge(rig, 1, "alice").await, Ok(()));
        let State::Ended { sealed, .. } = login.record(rig).await.state else { panic!() };
        assert!(sealed.is_empty());
        let by = Bringer::Browser(None);
        let over = rig.redeem(&ticket, by, COLLECT).await.unwrap();
        assert_eq!(over, Err(TicketRefusal::Unknown));
    })
    .await;
}

#[tokio::test]
async fn a_login_that_ended_undelivered_is_nobodys_web_login_whatever_comes_late() {
    on_both(async |rig| {
        let own = browser();
        let (login, ticket) = approved(rig, own).await;
        let by = Bringer::Browser(Some(own));
        rig.redeem(&ticket, by, COLLECT).await.unwrap().expect("its own");
        login.end(rig, 1, Because::Lost).await;
        assert_eq!(login.acknowledge(rig, 0, "alice").await, Err(Over));
        assert_eq!(rig.current("alice").await.unwrap(), None);
        let over = rig.redeem(&ticket, by, COLLECT).await.unwrap();
        assert_eq!(over, Err(TicketRefusal::Unknown));
    })
    .await;
}

#[tokio::test]
async fn the_browser_may_change_until_somebody_scans() {
    on_both(async |rig| {
        let (first, second, third) = (browser(), browser(), browser());
        let login = Subject::new();
        rig.create(&login.bound(first)).await.unwrap();
        let proof = login.seed.proof();
        let owner = async || login.record(rig).await.codes.browser();
        rig.rebind(login.id, &Subject::new().seed.proof(), &second).await.unwrap();
        assert_eq!(owner().await, Some(first), "a stranger's");
        rig.rebind(login.id, &proof, &second).await.unwrap();
        assert_eq!(owner().await, Some(second));
        let before = login.record(rig).await.codes.windows().count;
        assert_eq!(before, 4, "the codes are what they were");
        login.scan(rig, 2, "alice", claim()).await.unwrap_err();
        login.scan(rig, 1, "alice", claim()).await.unwrap();
        rig.rebind(login.id, &proof, &third).await.unwrap();
        assert_eq!(owner().await, Some(second), "somebody has scanned");
        // Made again after a loss, it belongs to whom it belonged.
        let held = login.held(&login.record(rig).await);
        assert_eq!(held.as_waiting(rig.now()).codes.browser(), Some(second));
        // One that belongs to nobody never will: an older instance made it.
        let unbound = Subject::aged(rig, SECOND, None).await;
        rig.rebind(unbound.id, &unbound.seed.proof(), &second).await.unwrap();
        assert_eq!(unbound.record(rig).await.codes.browser(), None);
    })
    .await;
}
