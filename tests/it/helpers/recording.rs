//! MONITOR: what Redis was really asked.

use std::{
    sync::{Arc, Mutex},
    time::Instant,
};

use futures_util::StreamExt;
use tokio::task::JoinHandle;

use super::{RedisServer, eventually};

/// Everything that Redis executes, as MONITOR tells it.
pub(crate) struct Recording {
    task: JoinHandle<()>,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Recording {
    pub(crate) async fn start(redis: &RedisServer) -> Self {
        let client = redis::Client::open(redis.url()).expect("a URL");
        let monitor = client.get_async_monitor().await.expect("MONITOR works");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = lines.clone();
        let task = tokio::spawn(async move {
            let mut stream = monitor.into_on_message::<String>();
            while let Some(line) = stream.next().await {
                kept.lock().expect("never poisoned").push(line);
            }
        });
        Self { task, lines }
    }

    /// What was recorded up to now; everything that was executed before this call is in it.
    pub(crate) async fn lines(&self, redis: &RedisServer) -> Vec<String> {
        let mark = format!("mark-{:?}", Instant::now());
        redis.command::<String>(&["ECHO", &mark]).await;
        eventually("the recording has come so far", || async {
            let lines = self.lines.lock().expect("never poisoned");
            lines.iter().any(|line| line.contains(&mark)).then(|| lines.clone())
        })
        .await
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.task.abort();
    }
}
