//! An injected clock: its wall clock is stepped, its steady one is not.

use std::time::Duration;

use reqwest::Client;
use serde_json::{Value, json};

use super::{
    DAY, HOUR, STEPS, TOLERANCE, TTL, assert_minted_at, log_in, logged_in, phone_at, shifted,
    stepping, stepping_on_both, text, weblogin,
};
use crate::helpers::{
    Browser, Closed, Phone, RedisServer, Settings,
    phone::{answer, app_token, now, verify},
    service::APP_SECRET,
};

#[tokio::test]
async fn tokens_take_the_wall_clock_of_their_moment_and_rediss_where_there_is_one() {
    for (service, clock, redis) in stepping_on_both(|settings| settings).await {
        let began = clock.wall().as_secs();
        for step in STEPS {
            let (browser, key) = Browser::json(service.address).await;
            clock.step(step);
            let wall = clock.wall().as_secs();
            assert_eq!(wall, shifted(began, step));
            let tokens_time = match &redis {
                Some(redis) => redis.command::<(u64, u64)>(&["TIME"]).await.0,
                None => wall,
            };
            let phone = phone_at(service.address, wall);
            let frame = logged_in(&phone, browser, &key).await;
            assert_minted_at(&frame, tokens_time);
            let seen = verify(service.address, text(&frame, "token")).await;
            assert_eq!(seen.codes(), (200, 100), "{step} s");
            assert_eq!(
                seen.body["expires_at"].as_u64().unwrap().abs_diff(tokens_time + TTL) / 20,
                0
            );
            // What the app is told of it later does not change with the clock.
            let since = weblogin(&phone).await.body["since"].as_u64().unwrap();
            assert!(since.abs_diff(tokens_time) <= TOLERANCE, "{since} at {tokens_time}");
            clock.step(-step);
            let seen = weblogin(&phone_at(service.address, began)).await;
            assert_eq!(seen.body["since"].as_u64().unwrap(), since);
        }
        let asked = "scanlogin_store_seconds_count{operation=\"time\"}";
        assert_eq!(service.metric(asked).await > 0.0, redis.is_some(), "only where it is needed");
    }
}

#[tokio::test]
async fn a_web_token_is_judged_by_the_clock_that_minted_it() {
    for (service, clock, redis) in stepping_on_both(|settings| settings).await {
        let frame = log_in(&phone_at(service.address, clock.wall().as_secs())).await;
        for (step, is_over) in
            [(HOUR, false), (3 * HOUR, true), (-HOUR, false), (DAY, true), (-DAY, false)]
        {
            clock.step(step);
            let is_over = is_over && redis.is_none();
            let wanted = if is_over { (401, -2) } else { (200, 100) };
            let seen = verify(service.address, text(&frame, "token")).await;
            assert_eq!(seen.codes(), wanted, "{step} s");
            clock.step(-step);
        }
    }
}

#[tokio::test]
async fn an_app_token_is_judged_by_the_wall_clock_of_the_moment() {
    for (service, clock, _redis) in stepping_on_both(|settings| settings).await {
        let began = clock.wall().as_secs();
        let codes = async |claims: Value| {
            let phone = Phone::with_token(service.address, &app_token(&claims, APP_SECRET));
            weblogin(&phone).await.codes()
        };
        const GOOD: (u16, i64) = (404, -1);
        const REFUSED: (u16, i64) = (401, -2);
        for step in STEPS {
            clock.step(step);
            let wall = shifted(began, step);
            for (exp, nbf, wanted) in [
                (wall + 600, None, GOOD),
                (wall + 600, Some(json!(wall)), GOOD),
                (wall + 600, Some(json!(wall as f64 + 0.5)), GOOD),
                // The other's clock may be 30 s fast or slow.
                (wall - 30, Some(json!(wall + 30)), GOOD),
                (wall - 31, None, REFUSED),
                (wall + 600, Some(json!(wall + 31)), REFUSED),
                (wall + 600, Some(json!("now")), REFUSED),
                (wall + 600, Some(json!(null)), REFUSED),
            ] {
                let mut claims = json!({ "sub": "alice", "exp": exp });
                if let Some(nbf) = nbf {
                    claims["nbf"] = nbf;
                }
                assert_eq!(codes(claims.clone()).await, wanted, "{claims} at {wall}");
            }
            let before = if step > 0 { REFUSED } else { GOOD };
            assert_eq!(
                codes(json!({ "sub": "alice", "exp": began + 600 })).await,
                before,
                "{step}"
            );
            clock.step(-step);
        }
    }
}

#[tokio::test]
async fn a_demo_users_token_is_good_after_three_hours_of_sleep() {
    let settings = Settings::embedded().without("APP_JWT_SECRET").without("TOKEN_SECRET");
    let (service, clock) = stepping(settings).await;
    for step in [3 * HOUR, -HOUR, DAY] {
        clock.step(step);
        let url = format!("http://{}/demo/app-token", service.address);
        let made = answer(Client::new().post(url).json(&json!({ "user": "alice" }))).await;
        let frame = log_in(&Phone::with_token(service.address, made.text("token"))).await;
        assert_minted_at(&frame, clock.wall().as_secs());
    }
}

#[tokio::test]
async fn a_cookie_lasts_as_long_as_its_token() {
    const PAGE: &str = "https://www.example.com";
    let by_ticket = |settings: Settings| {
        let settings = settings.with("DELIVER", "ticket").with("TICKET_BINDING", "off");
        settings.with("ALLOWED_ORIGINS", PAGE)
    };
    for (service, clock, _redis) in stepping_on_both(by_ticket).await {
        for step in STEPS {
            clock.step(step);
            let (mut browser, key) = Browser::json(service.address).await;
            let phone = phone_at(service.address, clock.wall().as_secs());
            assert_eq!(phone.scan(text(&key, "key")).await.codes(), (200, 100));
            let ticket = browser.message_of("ticket").await;
            let url = format!("http://{}/redeem", service.address);
            let body = json!({ "ticket": text(&ticket, "ticket") });
            let redeemed = answer(Client::new().post(url).header("Origin", PAGE).json(&body)).await;
            assert_eq!(redeemed.codes(), (200, 100), "{step} s");
            let mut parts = redeemed.header("set-cookie").split("; ");
            let age = parts.find_map(|part| part.strip_prefix("Max-Age=")).expect("an age");
            assert!(age.parse::<u64>().unwrap().abs_diff(TTL) <= TOLERANCE, "{age} after {step} s");
            clock.step(-step);
        }
    }
}

#[tokio::test]
async fn a_step_ends_and_prolongs_no_waiting() {
    const SECOND: Duration = Duration::from_secs(1);
    // With Redis deadlines are on its clock: see stepped.rs.
    let (service, clock) = stepping(Settings::embedded()).await;
    let (mut waiting, _) = Browser::json(service.address).await;
    let (gone, key) = Browser::json(service.address).await;
    drop(gone);
    for step in STEPS {
        clock.step(step);
        let mut back = Browser::resume(service.address, text(&key, "resume")).await;
        let again = back.message().await;
        assert_eq!((&again["type"], &again["seq"]), (&json!("key"), &json!(1)), "{step} s");
        let left = again["lifetime_ms"].as_u64().unwrap();
        assert_eq!(left, 120_000, "{step} s");
        clock.step(-step);
    }
    // The codes rotate, and the deadline comes, by the steady clock alone; with the wall clock a day back.
    clock.step(-DAY);
    clock.advance(119 * SECOND);
    assert_eq!(waiting.message().await["seq"], 4);
    clock.advance(SECOND);
    assert_eq!(waiting.message().await["type"], "expired");
    assert_eq!(waiting.closed().await, Closed::Code(4000));
}

#[tokio::test]
async fn a_redis_that_disagrees_with_the_machine_shows_in_the_metric_from_the_first_second_on() {
    let redis = RedisServer::start().await;
    for step in STEPS {
        let (service, clock) = stepping(Settings::redis(&redis)).await;
        clock.step(step);
        let apart = crate::helpers::eventually("Redis is asked", || async {
            let apart = service.metric("scanlogin_store_clock_offset_seconds").await;
            (apart.abs() > TOLERANCE as f64).then_some(apart)
        })
        .await;
        assert!((apart + step as f64).abs() < TOLERANCE as f64, "{apart} after a step of {step}");
    }
    let (embedded, clock) = stepping(Settings::embedded()).await;
    clock.step(HOUR);
    log_in(&phone_at(embedded.address, shifted(now(), HOUR))).await;
    assert_eq!(embedded.metric("scanlogin_store_clock_offset_seconds").await, 0.0);
}
