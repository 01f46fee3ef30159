//! Ways into Redis: TLS, passwords, the minimal ACL.

use std::time::Duration;

use super::{Waiter, all_are_logged_in, feed_connected};
use crate::helpers::{
    RedisServer, Service, Settings, cluster::Cluster, eventually, free_port, sentinel::Sentinels,
    tls::Certificates,
};

/// What an ACL user needs, as in the README: `ACL SETUSER scanlogin on >password` and these.
///
/// `config|get` and `config|set` may be left out where `notify-keyspace-events` is `K$` already; a
/// Cluster needs `cluster|nodes` and `cluster|slots` besides, Sentinel `role`.
pub(crate) const MINIMAL_ACL: &str = "~scanlogin:* &__keyspace@0__:scanlogin:* +get +mget +set +del +time \
                           +ping +evalsha +script|load +subscribe +unsubscribe +config|get \
                           +config|set";

/// Ten logins, then ten whose Redis connections were all killed.
async fn works(service: &Service, redis: &RedisServer) {
    all_are_logged_in(Waiter::some(service.address, 10).await, service.address).await;
    let waiters = Waiter::some(service.address, 10).await;
    let _: i64 = redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    all_are_logged_in(waiters, service.address).await;
}

#[tokio::test]
async fn the_minimal_acl_is_enough() {
    let user: Vec<&str> = ["--user", "scanlogin", "on", ">pass:w@rd"]
        .into_iter()
        .chain(MINIMAL_ACL.split(' '))
        .collect();
    let user: Vec<&str> = user.into_iter().filter(|word| !word.is_empty()).collect();
    let redis = RedisServer::with(&user).await;
    let url = format!("redis://scanlogin:pass%3Aw%40rd@127.0.0.1:{}", redis.port);
    let service = Service::start(Settings::embedded().with("REDIS_URL", &url)).await;
    eventually("it listens", || async {
        (feed_connected(&service, redis.port).await == 1.0).then_some(())
    })
    .await;
    works(&service, &redis).await;
    nothing_was_denied(&redis).await;
}

async fn nothing_was_denied(redis: &RedisServer) {
    let log: Vec<redis::Value> = redis.command(&["ACL", "LOG"]).await;
    // The client library says who it is; that it may not is of no consequence.
    let log = format!("{log:?}");
    let denied = log.matches("\"object\"").count();
    assert_eq!(denied, log.matches("client|setinfo").count(), "{log}");
}

/// `ACL SETUSER` as the README has it, with these rights besides.
fn set_user(more: &str) -> Vec<&str> {
    let user = ["ACL", "SETUSER", "scanlogin", "on", ">password"].into_iter();
    user.chain(MINIMAL_ACL.split_whitespace()).chain(more.split_whitespace()).collect()
}

#[tokio::test]
async fn the_minimal_acl_of_a_cluster_is_enough() {
    let cluster = Cluster::start().await;
    for server in &cluster.servers {
        let _: () = server.command(&set_user("+cluster|nodes +cluster|slots")).await;
    }
    let url = cluster.url().replace("://", "://scanlogin:password@");
    let service = Service::start(Settings::embedded().with("REDIS_URL", &url)).await;
    for server in &cluster.servers[..3] {
        works(&service, server).await;
    }
    for server in &cluster.servers {
        nothing_was_denied(server).await;
    }
}

#[tokio::test]
async fn the_minimal_acl_behind_sentinel_is_enough() {
    let sentinels = Sentinels::start().await;
    for server in &sentinels.servers {
        let _: () = server.command(&set_user("+role")).await;
    }
    let asks = ["+sentinel|get-master-addr-by-name"];
    let user = ["ACL", "SETUSER", "scanlogin", "on", ">password"];
    sentinels.command(&[&user[..], &asks].concat()).await;
    let url = sentinels.url().replace("://", "://scanlogin:password@");
    let service = Service::start(Settings::embedded().with("REDIS_URL", &url)).await;
    works(&service, &sentinels.servers[0]).await;
    let waiters = Waiter::some(service.address, 10).await;
    sentinels.fail_over().await;
    all_are_logged_in(waiters, service.address).await;
    for server in &sentinels.servers {
        nothing_was_denied(server).await;
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
