//! Tokens that are not what RFC 7515 and RFC 7519 ask for, and what who makes them is told.

use scanlogin::metrics::{Label, TokenKind, TokenRefusal};
use serde_json::{Value, json};

use super::{ACCEPTED, REFUSED, claims, scan_with};
use crate::helpers::{
    Answer, Browser, Phone, Process, Service, Settings, eventually,
    phone::{answer, logout, now, signed, verify},
    service::{APP_SECRET, TOKEN_SECRET},
};

const APP_HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;
const WEB_HEADER: &str = r#"{"alg":"HS256","typ":"scanlogin+jwt"}"#;

/// An app token with these claims, as text.
fn app(claims: &str) -> String {
    signed(APP_HEADER, claims, APP_SECRET)
}

/// The web token of a browser that alice has logged in, and its claims.
async fn web_token(address: std::net::SocketAddr) -> (String, String) {
    let (mut browser, key) = Browser::plain(address).await;
    assert_eq!(Phone::of(address, "alice").scan(&key).await.codes(), ACCEPTED);
    let token = browser.text().await;
    browser.closed().await;
    let claims = crate::helpers::service::claims(&token).1.to_string();
    (token, claims)
}

/// Every call of a phone with this token.
async fn phone_calls(service: &Service, token: &str) -> Vec<Answer> {
    let phone = Phone::with_token(service.address, token);
    let mut answers = Vec::new();
    for (method, path) in [
        ("POST", "/scan"),
        ("POST", "/scan/confirm"),
        ("POST", "/scan/deny"),
        ("GET", "/scan/outcome"),
        ("GET", "/weblogin"),
        ("DELETE", "/weblogin"),
    ] {
        answers.push(answer(phone.request(method.parse().unwrap(), path)).await);
    }
    answers
}

#[tokio::test]
async fn an_extension_that_must_be_understood_is_refused_in_every_token() {
    let service = Service::start(Settings::embedded()).await;
    let body = claims("alice").to_string();
    assert_eq!(scan_with(service.address, &app(&body)).await, ACCEPTED);
    let (token, web_claims) = web_token(service.address).await;
    let same = signed(WEB_HEADER, &web_claims, TOKEN_SECRET);
    assert_eq!(verify(service.address, &same).await.status, 200, "it is as ours");
    let all = [r#"["exp"]"#, r#"["b64"]"#, r#"["x-bound"]"#, "[]", "null", r#""exp""#, "{}", "[7]"];
    for crit in all {
        let with =
            |header: &str| header.replacen('{', &format!(r#"{{"crit":{crit},"b64":true,"#), 1);
        for answer in phone_calls(&service, &signed(&with(APP_HEADER), &body, APP_SECRET)).await {
            assert_eq!(answer.codes(), REFUSED, "crit {crit}");
        }
        let web = signed(&with(WEB_HEADER), &web_claims, TOKEN_SECRET);
        assert_eq!(verify(service.address, &web).await.codes(), REFUSED, "crit {crit}");
        assert_eq!(logout(service.address, &web).await.codes(), REFUSED, "crit {crit}");
    }
    assert_eq!(verify(service.address, &token).await.status, 200, "nobody was logged out");
    let counted = "scanlogin_tokens_refused_total{kind=\"app\",reason=\"critical\"}";
    assert_eq!(service.metric(counted).await, 6.0 * all.len() as f64);
}

#[tokio::test]
async fn a_date_may_have_a_fraction_and_nothing_else_is_a_date() {
    let service = Service::start(Settings::embedded()).await;
    let now = now();
    let later = now + 600;
    let earlier = now - 600;
    for (claims, accepted) in [
        (format!(r#""exp":{later}.25"#), true),
        (format!(r#""exp":{later}.25,"nbf":{earlier}.75,"iat":{earlier}.123456789"#), true),
        (format!(r#""exp":{later}e0,"iat":0,"nbf":0.0"#), true),
        (format!(r#""exp":253402300799,"iat":{later}"#), true),
        // Half a second ago, and within what clocks may differ by.
        (format!(r#""exp":{}.5"#, now - 1), true),
        (format!(r#""exp":{earlier}.99"#), false),
        (format!(r#""exp":{later},"nbf":{later}.5"#), false),
        (r#""exp":-1"#.into(), false),
        (r#""exp":-0.5"#.into(), false),
        // Milliseconds: good for fifty thousand years.
        (format!(r#""exp":{later}000"#), false),
        (r#""exp":253402300800"#.into(), false),
        (r#""exp":1e300"#.into(), false),
        (r#""exp":1e999"#.into(), false),
        (r#""exp":18446744073709551615"#.into(), false),
        (r#""exp":99999999999999999999999999"#.into(), false),
        (format!(r#""exp":"{later}""#), false),
        (r#""exp":"NaN""#.into(), false),
        (r#""exp":NaN"#.into(), false),
        (r#""exp":Infinity"#.into(), false),
        (r#""exp":null"#.into(), false),
        (r#""exp":true"#.into(), false),
        (format!(r#""exp":[{later}]"#), false),
        (format!(r#""exp":{{"t":{later}}}"#), false),
        (format!(r#""exp":{later},"exp":{later}"#), false),
    ]
    .into_iter()
    .chain(["nbf", "iat"].into_iter().flat_map(|claim| {
        ["-1", r#""0""#, "null", "[]", "1e300", "false"]
            .map(|value| (format!(r#""exp":{later},"{claim}":{value}"#), false))
    })) {
        let token = app(&format!(r#"{{"sub":"alice",{claims}}}"#));
        let wanted = if accepted { ACCEPTED } else { REFUSED };
        assert_eq!(scan_with(service.address, &token).await, wanted, "{claims}");
    }
    // The same rule for ours, although we make none like that.
    let (_, web) = web_token(service.address).await;
    let web: Value = serde_json::from_str(&web).unwrap();
    let exp = web["exp"].as_u64().unwrap();
    for (date, status) in [
        (format!("{exp}.5"), 200),
        (format!(r#""{exp}""#), 401),
        ("-1".into(), 401),
        ("1e300".into(), 401),
        (format!("{}.5", now - 1), 401),
    ] {
        let claims =
            web.to_string().replace(&format!(r#""exp":{exp}"#), &format!(r#""exp":{date}"#));
        let token = signed(WEB_HEADER, &claims, TOKEN_SECRET);
        assert_eq!(verify(service.address, &token).await.status, status, "{date}");
    }
}

/// What must not be in a user's name: C0, C1, separators, direction marks.
const STEERING: [char; 17] = [
    '\0', '\n', '\r', '\t', '\u{1b}', '\u{7f}', '\u{85}', '\u{9b}', '\u{2028}', '\u{2029}',
    '\u{61c}', '\u{200e}', '\u{200f}', '\u{202a}', '\u{202e}', '\u{2066}', '\u{2069}',
];

#[tokio::test]
async fn a_user_that_steers_the_text_around_it_is_refused() {
    let service = Service::start(Settings::embedded()).await;
    for c in STEERING {
        for user in [format!("a{c}b"), format!("{c}ab"), format!("ab{c}")] {
            let token = app(&claims(&user).to_string());
            assert_eq!(scan_with(service.address, &token).await, REFUSED, "{user:?}");
        }
    }
    // What people and systems are called, in all scripts, with the joiners that some are written with.
    for user in [
        "alice@example.com",
        "auth0|5f7c8ec7c33c6c004bbafe82",
        "CN=Alice Example,OU=Sales",
        "علی‌رضا",
        "李雷",
        "Ünal\u{a0}Öz",
        "👩‍💻",
        &"x".repeat(255),
    ] {
        let token = app(&claims(user).to_string());
        assert_eq!(scan_with(service.address, &token).await, ACCEPTED, "{user:?}");
    }
}

#[tokio::test]
async fn a_name_is_shown_without_what_steers_text_and_a_picture_with_it_is_not_shown() {
    let service = Service::start(Settings::embedded().with("CONFIRM", "required")).await;
    let steering: String = STEERING.iter().collect();
    for (name, picture, shown) in [
        ("Ali\u{202e}ce\nExample", "https://x.example/a.png", (json!("Alice Example"), true)),
        (&format!("Alice{steering}"), "https://x.example/\u{202e}a", (json!("Alice"), false)),
        (&steering, "https://x.example/a\nb", (Value::Null, false)),
        ("علی‌رضا", "data:image/png;base64,AA", (json!("علی‌رضا"), true)),
    ] {
        let (mut browser, key) = Browser::json(service.address).await;
        let mut body = claims("alice");
        (body["name"], body["picture"]) = (name.into(), picture.into());
        let phone = Phone::with_token(service.address, &app(&body.to_string()));
        assert_eq!(phone.scan(key["key"].as_str().unwrap()).await.codes(), (200, 101));
        let scanned = browser.message_of("scanned").await;
        let has_picture = scanned.get("picture").is_some();
        assert_eq!((scanned["name"].clone(), has_picture), shown, "{name:?} {picture:?}");
    }
}

#[tokio::test]
async fn claims_and_headers_must_be_objects() {
    let service = Service::start(Settings::embedded()).await;
    let later = now() + 600;
    // The fields in the order in which the service has them.
    for claims in [
        format!(r#"["alice",{later}]"#),
        format!(r#"["alice",{later},0,0,null]"#),
        format!(r#"["alice",{later},0,0,null,null,null]"#),
        format!(r#"[{{"sub":"alice","exp":{later}}}]"#),
        format!(r#"[{later},0,"alice",null,null]"#),
        "[]".into(),
        "null".into(),
        r#""alice""#.into(),
    ] {
        assert_eq!(scan_with(service.address, &app(&claims)).await, REFUSED, "{claims}");
    }
    for header in [r#"["HS256","JWT"]"#, r#"["JWT","HS256"]"#, r#"["HS256"]"#, r#""HS256""#] {
        let token = signed(header, &claims("alice").to_string(), APP_SECRET);
        assert_eq!(scan_with(service.address, &token).await, REFUSED, "{header}");
    }
    let (_, web) = web_token(service.address).await;
    let web: Value = serde_json::from_str(&web).unwrap();
    let fields = ["sub", "platform", "jti", "iss", "aud", "iat", "exp", "amr"];
    let list = Value::Array(fields.iter().map(|field| web[field].clone()).collect());
    let token = signed(WEB_HEADER, &list.to_string(), TOKEN_SECRET);
    assert_eq!(verify(service.address, &token).await.codes(), REFUSED);
}

async fn counted(process: &Process, kind: &str, reason: &str) -> f64 {
    let series = format!("scanlogin_tokens_refused_total{{kind=\"{kind}\",reason=\"{reason}\"}}");
    crate::helpers::service::metric(process.admin_address, &series).await
}

#[tokio::test]
async fn the_reason_of_a_401_is_told_counted_and_logged() {
    let settings = Settings::embedded()
        .with("LOG", "info,scanlogin=debug")
        .with("APP_JWT_ISSUER", "the-app")
        .with("APP_JWT_AUDIENCE", "the-service");
    let process = Process::start(settings).await;
    for kind in TokenKind::ALL {
        for why in TokenRefusal::ALL {
            assert_eq!(counted(&process, kind.text(), why.text()).await, 0.0, "from the start");
        }
    }
    let good =
        json!({ "sub": "alice", "exp": now() + 600, "iss": "the-app", "aud": "the-service" });
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        app(&claims.to_string())
    };
    let good_text = good.to_string();
    let (mut browser, key) = Browser::plain(process.address).await;
    let phone = Phone::with_token(process.address, &app(&good_text));
    assert_eq!(phone.scan(&key).await.codes(), ACCEPTED);
    let web = browser.text().await;
    let mut web_claims = crate::helpers::service::claims(&web).1;
    web_claims["exp"] = (now() - 1).into();
    let over = signed(WEB_HEADER, &web_claims.to_string(), TOKEN_SECRET);
    let app_tokens = [
        ("malformed", "no-jwt".to_owned()),
        ("malformed", app("[]")),
        ("critical", signed(r#"{"alg":"HS256","crit":["exp"]}"#, &good_text, APP_SECRET)),
        ("type", web.clone()),
        ("algorithm", signed(r#"{"alg":"none"}"#, &good_text, APP_SECRET)),
        ("algorithm", signed(r#"{"alg":"ES256"}"#, &good_text, APP_SECRET)),
        ("signature", signed(APP_HEADER, &good_text, TOKEN_SECRET)),
        ("dates", with("exp", json!("tomorrow"))),
        ("expired", with("exp", json!(now() - 60))),
        ("not_yet", with("nbf", json!(now() + 600))),
        ("issuer", with("iss", json!("another"))),
        ("audience", with("aud", json!(["another"]))),
        ("subject", with("sub", json!("a\u{202e}b"))),
    ];
    let web_tokens = [
        ("type", phone.token.clone()),
        ("signature", format!("{}A{}", &web[..60], &web[61..])),
        ("signature", signed(WEB_HEADER, &web_claims.to_string(), APP_SECRET)),
        ("expired", over),
        ("revoked", web.clone()),
    ];
    assert_eq!(logout(process.address, &web).await.status, 200);
    let mut told = Vec::new();
    for (kind, reason, token) in app_tokens
        .iter()
        .map(|(reason, token)| ("app", *reason, token))
        .chain(web_tokens.iter().map(|(reason, token)| ("web", *reason, token)))
    {
        let before = counted(&process, kind, reason).await;
        let refused = match kind {
            "app" => Phone::with_token(process.address, token).scan("x").await,
            _ => verify(process.address, token).await,
        };
        assert_eq!(refused.codes(), REFUSED, "{kind} {reason}: {refused:?}");
        assert_eq!(counted(&process, kind, reason).await, before + 1.0, "{kind} {reason}");
        let why = TokenRefusal::ALL.iter().find(|why| why.text() == reason).expect("a reason");
        assert_eq!(refused.text("error_description"), why.description(), "{kind} {reason}");
        assert_eq!(
            refused.header("www-authenticate"),
            format!("Bearer error=\"invalid_token\", error_description=\"{}\"", why.description())
        );
        told.push((kind, reason));
    }
    // Nothing is said about a token that was not there (RFC 6750, 3.1).
    let none =
        answer(reqwest::Client::new().get(format!("http://{}/verify", process.address))).await;
    assert_eq!((none.codes(), none.header("www-authenticate")), (REFUSED, "Bearer"));
    assert_eq!(none.body.get("error_description"), None);
    assert_eq!(counted(&process, "web", "missing").await, 1.0);
    told.push(("web", "missing"));
    eventually("each is in the log, in order", || async {
        let lines = process.logged("a token was refused");
        let lines = lines.iter().map(|line| {
            assert_eq!(line["level"], "DEBUG");
            let field = |name: &str| line["fields"][name].as_str().unwrap_or_default().to_owned();
            (field("kind"), field("reason"))
        });
        let told = told.iter().map(|(kind, reason)| (kind.to_string(), reason.to_string()));
        lines.eq(told).then_some(())
    })
    .await;
    let log = process.log();
    for (_, token) in app_tokens.iter().chain(&web_tokens) {
        let signature = token.rsplit('.').next().expect("a part");
        assert!(signature.len() < 20 || !log.contains(signature), "a token is in the log");
    }
    assert!(!log.contains("alice"), "the user is in the log");
}

#[test]
fn what_a_401_says_fits_into_its_header() {
    for why in TokenRefusal::ALL {
        let text = why.description();
        // RFC 6750, 3: no quotes, no backslash.
        let fits = |byte: u8| matches!(byte, 0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7e);
        assert!(!text.is_empty() && text.bytes().all(fits), "{text}");
    }
}
