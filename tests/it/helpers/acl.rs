//! The Redis user of the service: the one source of what the documentation says about it, and of what
//! tests give to it.

use super::RedisServer;

/// Rights that are enough for everything but what follows.
const MINIMAL: &str = "~scanlogin:* &__keyspace@0__:scanlogin:* +get +mget +set +del +time +ping \
                       +evalsha +script|load +subscribe +unsubscribe";
/// In a Cluster besides.
pub(crate) const CLUSTER: &str = "+cluster|nodes +cluster|slots";
/// Behind Sentinel besides.
pub(crate) const SENTINEL: &str = "+role";
/// At the Sentinels themselves, and nothing else.
pub(crate) const SENTINELS: &str = "+sentinel|get-master-addr-by-name";
/// With a token webhook besides.
pub(crate) const WEBHOOK: &str = "+zadd +zrem +zcard +zscore +zrangebyscore +pexpire";
/// The right to see and repair `notify-keyspace-events`.
pub(crate) const REPAIR: &str = "+config|get +config|set";

/// The line that makes the user.
pub(crate) fn line() -> String {
    format!("ACL SETUSER scanlogin reset on >PASSWORD resetchannels {MINIMAL}")
}

/// The line that gives it further rights.
pub(crate) fn more(rights: &str) -> String {
    format!("ACL SETUSER scanlogin {rights}")
}

/// What the documentation says.
pub(crate) fn section() -> String {
    let code = |line: &str| format!("<!-- run: tests/it/readme.rs -->\n```\n{line}\n```\n");
    format!(
        "An ACL user needs no more than this, and `notify-keyspace-events K$` in the configuration of \
         every node (`reset` takes away what an earlier line gave):\n\n{minimal}\n\
         Besides: in a Cluster `{CLUSTER}`, behind Sentinel `{SENTINEL}` (at the Sentinels the user \
         needs `{SENTINELS}` alone), with a token webhook `{WEBHOOK}`, with a database other than 0 \
         `+select`.\n\n\
         A second line lets the service set `notify-keyspace-events` itself, and warn of a wrong \
         `maxmemory-policy`. It gives away the server: whoever has this password can then read every \
         setting, `requirepass` and `masterauth` among them, and change them, such as `maxclients` to 1:\
         \n\n{repair}",
        minimal = code(&line()),
        repair = code(&more(REPAIR)),
    )
}

/// Types a line, as an operator does, with `password` for the password.
pub(crate) async fn type_in(redis: &RedisServer, line: &str) {
    let line = line.replace("PASSWORD", "password");
    redis.command::<()>(&line.split_whitespace().collect::<Vec<_>>()).await;
}

/// Makes the user at a server, with these rights besides. Notifications are on, as the documentation wants them.
pub(crate) async fn prepare(redis: &RedisServer, rights: &str) {
    redis.command::<()>(&["CONFIG", "SET", "notify-keyspace-events", "K$"]).await;
    type_in(redis, &line()).await;
    if !rights.is_empty() {
        type_in(redis, &more(rights)).await;
    }
}

/// The address of a server as that user.
pub(crate) fn url(redis: &RedisServer) -> String {
    redis.url().replace("://", "://scanlogin:password@")
}

/// What Redis has refused so far, beside what is asked and need not be answered: who the client's
/// library is, and how Redis is set.
pub(crate) async fn refused(redis: &RedisServer) -> Vec<String> {
    let log: Vec<std::collections::HashMap<String, redis::Value>> =
        redis.command(&["ACL", "LOG"]).await;
    let object = |entry: std::collections::HashMap<String, redis::Value>| {
        redis::from_redis_value::<String>(entry["object"].clone()).expect("a text")
    };
    let may_be_refused =
        |object: &String| ["client|setinfo", "config|get"].contains(&object.as_str());
    log.into_iter().map(object).filter(|object| !may_be_refused(object)).collect()
}
