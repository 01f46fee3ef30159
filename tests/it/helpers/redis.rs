//! A real redis-server of the test's own.

use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

use redis::aio::MultiplexedConnection;
use tempfile::TempDir;

use super::{eventually, free_port};

pub(crate) struct RedisServer {
    pub(crate) port: u16,
    directory: TempDir,
    options: Vec<String>,
    environment: Vec<(String, String)>,
    child: Child,
}

impl RedisServer {
    /// Starts one without persistence.
    pub(crate) async fn start() -> Self {
        Self::with(&[]).await
    }

    /// Starts one with more options, as on its command line.
    pub(crate) async fn with(options: &[&str]) -> Self {
        Self::within(options, Vec::new()).await
    }

    /// The same with further variables in its environment.
    pub(crate) async fn within(options: &[&str], environment: Vec<(String, String)>) -> Self {
        let (port, directory) = (free_port(), tempfile::tempdir().expect("a directory"));
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        let child = spawn(port, &directory, &options, &environment);
        let server = Self { port, directory, options, environment, child };
        server.answers().await;
        server
    }

    async fn answers(&self) {
        eventually("redis-server answers", || async {
            let client = redis::Client::open(self.url()).expect("a URL");
            match client.get_multiplexed_async_connection().await {
                Ok(_) => Some(()),
                // It answers, and wants a password.
                Err(error) if error.code() == Some("NOAUTH") => Some(()),
                Err(_) => None,
            }
        })
        .await;
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) async fn connection(&self) -> MultiplexedConnection {
        let client = redis::Client::open(self.url()).expect("a URL");
        // The client's own patience is a second, which a machine full of tests may take.
        let config = redis::AsyncConnectionConfig::new()
            .set_connection_timeout(Some(super::PATIENCE))
            .set_response_timeout(Some(super::PATIENCE));
        let connection = client.get_multiplexed_async_connection_with_config(&config).await;
        connection.expect("redis-server answers")
    }

    /// Runs one command.
    pub(crate) async fn command<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query_async(&mut self.connection().await).await.expect("the command works")
    }

    /// The file that it saves.
    pub(crate) async fn dump(&self) -> Vec<u8> {
        self.command::<()>(&["SAVE"]).await;
        std::fs::read(self.directory.path().join("dump.rdb")).expect("a dump")
    }

    /// All keys of ours but the canaries, which live for seconds.
    pub(crate) async fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = self.command(&["KEYS", "scanlogin:*"]).await;
        keys.retain(|key| !key.starts_with("scanlogin:probe:"));
        keys
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it was running");
        self.child.wait().expect("it has ended");
    }

    /// Starts it again on the same port; empty, since it persists nothing.
    pub(crate) async fn start_again(&mut self) {
        self.child = spawn(self.port, &self.directory, &self.options, &self.environment);
        self.answers().await;
    }

    /// Kills it, waits, starts it again.
    pub(crate) async fn restart_empty(&mut self, away: Duration) {
        self.kill();
        tokio::time::sleep(away).await;
        self.start_again().await;
    }
}

fn spawn(
    port: u16,
    directory: &TempDir,
    options: &[String],
    environment: &[(String, String)],
) -> Child {
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
        .args(["--appendonly", "no", "--daemonize", "no"])
        .args(options)
        .envs(environment.iter().cloned())
        .current_dir(directory.path())
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is installed: tests/run does it")
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
