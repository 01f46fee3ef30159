//! Ways into Redis: TLS, passwords, the minimal ACL.

use std::time::Duration;

use super::{Waiter, all_are_logged_in, feed_connected};
use crate::helpers::{
    Process, RedisServer, Service, Settings, acl, cluster::Cluster, eventually, free_port,
    sentinel::Sentinels, tls::Certificates,
};

/// Ten logins, then ten whose Redis connections were all killed.
async fn works(service: &Service, redis: &RedisServer) {
    all_are_logged_in(Waiter::some(service.address, 10).await, service.address).await;
    let waiters = Waiter::some(service.address, 10).await;
    let _: i64 = redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    all_are_logged_in(waiters, service.address).await;
}

#[tokio::test]
async fn the_minimal_acl_is_enough() {
    let redis = RedisServer::start().await;
    acl::prepare(&redis, "").await;
    acl::type_in(&redis, "ACL SETUSER scanlogin >pass:w@rd").await;
    let url = format!("redis://scanlogin:pass%3Aw%40rd@127.0.0.1:{}", redis.port);
    let service = Service::start(Settings::embedded().with("REDIS_URL", &url)).await;
    eventually("it listens", || async {
        (feed_connected(&service, redis.port).await == 1.0).then_some(())
    })
    .await;
    works(&service, &redis).await;
    assert_eq!(acl::refused(&redis).await, [""; 0]);
    hears(&service).await;
}

#[tokio::test]
async fn the_minimal_acl_for_another_database_is_enough() {
    let redis = RedisServer::start().await;
    redis.command::<()>(&["CONFIG", "SET", "notify-keyspace-events", "K$"]).await;
    acl::type_in(&redis, &acl::line().replace("@0", "@3")).await;
    acl::type_in(&redis, &acl::more("+select")).await;
    let url = format!("{}/3", acl::url(&redis));
    let service = Service::start(Settings::embedded().with("REDIS_URL", &url)).await;
    works(&service, &redis).await;
    assert_eq!(acl::refused(&redis).await, [""; 0]);
    hears(&service).await;
}

/// Nobody has set what the documentation asks for.
#[tokio::test]
async fn with_the_minimal_acl_missing_notifications_are_said_and_logins_are_found_by_reading() {
    let redis = RedisServer::start().await;
    acl::type_in(&redis, &acl::line()).await;
    let settings = Settings::embedded().with("REDIS_URL", &acl::url(&redis));
    let process = Process::start(settings).await;
    let waiters = Waiter::some(process.address, 10).await;
    all_are_logged_in(waiters, process.address).await;
    let said = process.log();
    let warnings =
        said.lines().filter(|line| line.contains("set notify-keyspace-events to K$ there"));
    assert_eq!(warnings.count(), 1, "{said}");
    assert_eq!(setting(&redis, "notify-keyspace-events").await, "");
    assert_eq!(acl::refused(&redis).await, [""; 0]);
}

#[tokio::test]
async fn the_second_line_of_the_acl_lets_the_service_repair_the_setting() {
    let redis = RedisServer::start().await;
    acl::type_in(&redis, &acl::line()).await;
    acl::type_in(&redis, &acl::more(acl::REPAIR)).await;
    let service = Service::start(Settings::embedded().with("REDIS_URL", &acl::url(&redis))).await;
    works(&service, &redis).await;
    let flags = setting(&redis, "notify-keyspace-events").await;
    assert!(flags.contains('K') && flags.contains('$'), "{flags}");
    assert_eq!(acl::refused(&redis).await, [""; 0]);
}

/// Waits until it has heard a notification: it does not find its logins by reading alone.
async fn hears(service: &Service) {
    eventually("it hears its probe", || async {
        (service.metric("scanlogin_feed_probe_seconds_count").await > 0.0).then_some(())
    })
    .await;
}

async fn setting(redis: &RedisServer, name: &str) -> String {
    let (_, value): (String, String) = redis.command(&["CONFIG", "GET", name]).await;
    value
}

/// Somebody has the user's password and nothing else.
#[tokio::test]
async fn who_has_the_users_password_reads_and_changes_nothing_of_the_server() {
    let redis = RedisServer::start().await;
    redis.command::<()>(&["SET", "another", "secret"]).await;
    acl::prepare(&redis, "").await;
    let attempts = [
        &["CONFIG", "GET", "requirepass"][..],
        &["CONFIG", "GET", "masterauth"],
        &["CONFIG", "SET", "maxclients", "1"],
        &["CONFIG", "SET", "notify-keyspace-events", ""],
        &["ACL", "LIST"],
        &["ACL", "SETUSER", "scanlogin", "allkeys"],
        &["KEYS", "*"],
        &["SCAN", "0"],
        &["GET", "another"],
        &["SET", "another", "mine"],
        &["FLUSHALL"],
        &["MONITOR"],
        &["SUBSCRIBE", "other"],
        &["PSUBSCRIBE", "*"],
        &["REPLICAOF", "NO", "ONE"],
        &["CLIENT", "LIST"],
        &["EVAL", "return redis.call('get', 'another')", "0"],
        &["SHUTDOWN"],
    ];
    let client = redis::Client::open(acl::url(&redis)).expect("a URL");
    let mut stranger = client.get_multiplexed_async_connection().await.expect("a way in");
    for words in attempts {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        let answer = command.query_async::<redis::Value>(&mut stranger).await;
        let error = answer.expect_err("it is refused");
        assert_eq!(error.code(), Some("NOPERM"), "{words:?}: {error}");
    }
    // What the second line gives away, it gives away: the documentation says so.
    acl::type_in(&redis, &acl::more(acl::REPAIR)).await;
    for words in &attempts[..3] {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query_async::<redis::Value>(&mut stranger).await.expect("it is allowed");
    }
}

#[tokio::test]
async fn the_minimal_acl_of_a_cluster_is_enough() {
    let cluster = Cluster::start().await;
    for server in &cluster.servers {
        acl::prepare(server, acl::CLUSTER).await;
    }
    let url = cluster.url().replace("://", "://scanlogin:password@");
    let service = Service::start(Settings::embedded().with("REDIS_URL", &url)).await;
    for server in &cluster.servers[..3] {
        works(&service, server).await;
    }
    for server in &cluster.servers {
        assert_eq!(acl::refused(server).await, [""; 0]);
    }
}

#[tokio::test]
async fn the_minimal_acl_behind_sentinel_is_enough() {
    let sentinels = Sentinels::start().await;
    for server in &sentinels.servers {
        acl::prepare(server, acl::SENTINEL).await;
    }
    let user = ["ACL", "SETUSER", "scanlogin", "reset", "on", ">password", acl::SENTINELS];
    sentinels.command(&user).await;
    let url = sentinels.url().replace("://", "://scanlogin:password@");
    let service = Service::start(Settings::embedded().with("REDIS_URL", &url)).await;
    works(&service, &sentinels.servers[0]).await;
    let waiters = Waiter::some(service.address, 10).await;
    sentinels.fail_over().await;
    all_are_logged_in(waiters, service.address).await;
    for server in &sentinels.servers {
        assert_eq!(acl::refused(server).await, [""; 0]);
    }
}

#[tokio::test]
async fn a_password_is_enough_where_there_are_no_users() {
    let redis = RedisServer::with(&["--requirepass", "sesame open"]).await;
    let url = format!("redis://:sesame%20open@127.0.0.1:{}", redis.port);
    let service = Service::start(Settings::embedded().with("REDIS_URL", &url)).await;
    all_are_logged_in(Waiter::some(service.address, 10).await, service.address).await;
}

#[tokio::test]
async fn tls_with_an_own_ca_and_a_client_certificate() {
    let certificates = Certificates::make();
    let port = free_port().to_string();
    let (ca, cert, key) = (
        certificates.path("ca.crt"),
        certificates.path("server.crt"),
        certificates.path("server.key"),
    );
    let options = ["--tls-port", &port, "--tls-ca-cert-file", &ca, "--tls-cert-file", &cert];
    let options = [&options[..], &["--tls-key-file", &key, "--tls-auth-clients", "yes"]].concat();
    let redis = RedisServer::with(&options).await;
    let settings = Settings::embedded()
        .with("REDIS_URL", &format!("rediss://127.0.0.1:{port}"))
        .with("REDIS_CA_FILE", &ca)
        .with("REDIS_CERT_FILE", &certificates.path("client.crt"))
        .with("REDIS_KEY_FILE", &certificates.path("client.key"));
    let service = Service::start(settings.clone()).await;
    works(&service, &redis).await;

    // Without the client's certificate, or without the CA, there is no way in: the start says so.
    let no_client = settings.clone().without("REDIS_CERT_FILE").without("REDIS_KEY_FILE");
    for settings in [no_client, settings.without("REDIS_CA_FILE")] {
        let mut command = crate::helpers::service::command(&settings);
        let output = tokio::task::spawn_blocking(move || command.output());
        let output = tokio::time::timeout(Duration::from_secs(20), output).await;
        let output = output.expect("it gives up").unwrap().unwrap();
        assert_eq!(output.status.code(), Some(2));
        let errors = String::from_utf8_lossy(&output.stderr);
        let last = errors.lines().last().unwrap_or_default();
        assert!(last.starts_with("SCANLOGIN_REDIS_URL: Redis cannot be used"), "{errors}");
    }
}
