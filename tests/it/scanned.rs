//! What a phone has scanned, or a person has pasted: the key is found in it, whatever it went through.

use proptest::{
    collection::vec,
    prelude::{
        Just, ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest,
    },
    sample::select,
};
use scanlogin::keys::{Entropy, Key, LoginId, Seed};
use serde_json::json;

use crate::helpers::{Browser, Phone, Service, Settings};

/// In front of `/s#`.
const BASES: [&str; 4] = [
    "https://login.example.com",
    "http://127.0.0.1:8080",
    "https://login.example.com/base",
    "HTTPS://LOGIN.EXAMPLE.COM",
];
/// What stands for `#` after other programs.
const MARKS: [&str; 3] = ["#", "%23", "%2523"];
/// What they add behind the key.
const ADDED: [&str; 14] = [
    "",
    "&fbclid=IwAR0abc-_123",
    "?utm_source=newsletter&utm_medium=email",
    "%26fbclid%3DIwAR0abc",
    "%3Futm_source%3Dx",
    ".",
    "\u{3002}",
    ", please",
    "!)",
    "#",
    "#top",
    ">",
    "\u{2026}",
    "\u{70b9}\u{51fb}",
];
/// What they put around it.
const AROUND: [(&str, &str); 8] = [
    ("", ""),
    ("\"", "\""),
    ("'", "'"),
    ("\u{201c}", "\u{201d}"),
    ("\u{ab}", "\u{bb}"),
    ("<", ">"),
    ("(", ")"),
    (" \n\t", "\r\n "),
];
/// What nobody sees.
const UNSEEN: [char; 9] = [
    '\u{200b}', '\u{200c}', '\u{200d}', '\u{200e}', '\u{200f}', '\u{202c}', '\u{2060}', '\u{2069}',
    '\u{feff}',
];

fn key() -> Key {
    Key { id: LoginId::random(Entropy::Os), code: Seed::random(Entropy::Os).code(1) }
}

/// A key's address, or the key alone.
fn written(key: &str) -> impl Strategy<Value = String> + use<> {
    let alone = Just(key.to_owned());
    let key = key.to_owned();
    let address = (select(&BASES), select(&MARKS))
        .prop_map(move |(base, mark)| format!("{base}/s{mark}{key}"));
    prop_oneof![alone, address]
}

/// A text with a mark that nobody sees put in at these places.
fn with_unseen(text: &str, marks: &[(usize, char)]) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for (at, mark) in marks {
        chars.insert(at % (chars.len() + 1), *mark);
    }
    chars.into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_key_is_found_whatever_its_address_went_through(
        (key, text) in Just(()).prop_perturb(|(), _| key()).prop_flat_map(|key| {
            let text = written(&key.expose());
            (Just(key), text)
        }),
        added in select(&ADDED),
        (before, behind) in select(&AROUND),
        unseen in vec((any::<usize>(), select(&UNSEEN)), 0..6),
    ) {
        let text = with_unseen(&format!("{before}{text}{added}{behind}"), &unseen);
        prop_assert_eq!(Key::parse(&text), Ok(key), "{:?}", text);
    }

    #[test]
    fn a_key_with_anything_of_its_kind_beside_it_is_none(
        before in "[A-Za-z0-9_-]{0,3}",
        behind in "[A-Za-z0-9_=+/-]{0,3}",
        mark in select(&["", "https://login.example.com/s#"]),
    ) {
        let key = key().expose();
        let text = format!("{mark}{before}{key}{behind}");
        let is_one = before.is_empty() && behind.is_empty();
        prop_assert_eq!(Key::parse(&text).is_ok(), is_one, "{:?}", text);
    }

    #[test]
    fn what_holds_no_key_is_none(text in any::<String>()) {
        // 43 of a key's characters in a row are not to be had by chance in such a short text.
        prop_assert!(Key::parse(&text).is_err(), "{:?}", text);
    }
}

#[tokio::test]
async fn a_phone_is_told_the_same_whatever_the_key_stands_in() {
    let service = Service::start(Settings::embedded()).await;
    let phone = Phone::of(service.address, "alice");
    for dress in [
        |key: &str| key.to_owned(),
        |key: &str| format!("https://login.example.com/s#{key}"),
        |key: &str| format!("https://login.example.com/s%23{key}"),
        |key: &str| format!("https://login.example.com/s#{key}&fbclid=IwAR0"),
        |key: &str| format!("https://login.example.com/s#{key}?utm_source=x&utm_medium=y"),
        |key: &str| {
            format!("https://l.example/?u=https%3A%2F%2Flogin.example.com%2Fs%23{key}&h=AT1")
        },
        |key: &str| format!("\u{201c}https://login.example.com/s#{key}\u{201d}."),
        |key: &str| format!("\u{200e}\u{feff}{key}\u{200b}"),
        |key: &str| format!("\"{key}\"."),
    ] {
        let (mut browser, key) = Browser::plain(service.address).await;
        let text = dress(&key);
        let scanned = phone.scan(&text).await;
        assert_eq!(scanned.codes(), (200, 100), "{text:?}");
        assert!(browser.text().await.len() > 100, "{text:?}");
        let form: String = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
        assert_eq!(phone.post_form("/scan", "key", &form).await.body, scanned.body, "{text:?}");
    }
}

#[tokio::test]
async fn what_is_no_key_of_ours_is_said_to_be_none_and_what_may_be_one_is_not() {
    for confirm in ["off", "required"] {
        let service = Service::start(Settings::embedded().with("CONFIRM", confirm)).await;
        let phone = Phone::of(service.address, "alice");
        for text in [
            "",
            "x",
            "https://www.example.com/menu",
            "WIFI:T:WPA;S:guests;P:welcome;;",
            "https://login.example.com/s#",
            "https://login.example.com/s",
            &"A".repeat(42),
            &"A".repeat(44),
            &format!("{}=", "A".repeat(43)),
        ] {
            let none = phone.scan(text).await;
            assert_eq!(none.codes(), (404, -1), "{text}");
            let body = json!({ "code": -1, "msg": "Key does not exist", "is_key": false });
            assert_eq!(none.body, body, "{text}");
        }
        // One that never was, one that is over, and one whose code is wrong: nothing more is said of any.
        let (_waiting, waiting) = Browser::json(service.address).await;
        let waiting = Key::parse(waiting["key"].as_str().unwrap()).unwrap();
        let (gone, over) = Browser::plain(service.address).await;
        gone.leave(1000).await;
        let wrong = Key { id: waiting.id, code: Seed::random(Entropy::Os).code(1) };
        crate::helpers::eventually("it is over", || async {
            let cancelled = "scanlogin_logins_total{outcome=\"cancelled\"}";
            (service.metric(cancelled).await == 1.0).then_some(())
        })
        .await;
        for text in [key().expose(), over, wrong.expose()] {
            let unknown = phone.scan(&text).await;
            assert_eq!(unknown.status, 404);
            assert_eq!(unknown.body, json!({ "code": -1, "msg": "Key does not exist" }));
        }
        assert!(service.metric("scanlogin_scans_total{result=\"unknown\"}").await >= 12.0);
    }
}
