//! goose drives a run: a goose user is a generator of many browsers, in this process or in one of its
//! own, and every step of every browser becomes one of goose's requests.
//!
//! A goose user per browser would cost 9 to 120 KiB each; a generator costs that once.

use std::{
    path::Path,
    pin::Pin,
    sync::{Arc, Mutex, OnceLock},
};

use goose::{GooseAttack, GooseError, config::GooseConfiguration, goose::*};
use tokio::sync::{Notify, mpsc::UnboundedReceiver};

use crate::recorder::Sample;

/// What a goose user runs: its share of the scenario.
pub type Run = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Samples that are passed on at a time.
const BATCH: usize = 1024;

/// What one goose user does, and what comes of it.
pub struct Generator {
    /// Its share of the scenario.
    pub run: Run,
    /// Ends when the run has dropped its recorder.
    pub samples: UnboundedReceiver<Sample>,
}

/// Ends a run early, where a sample shows that it is in vain.
pub struct Stop {
    judge: fn(&Sample) -> Option<&'static str>,
    why: OnceLock<&'static str>,
    now: Notify,
}

impl Stop {
    /// As soon as this has something to say.
    pub fn new(judge: fn(&Sample) -> Option<&'static str>) -> Arc<Self> {
        Arc::new(Self { judge, why: OnceLock::new(), now: Notify::new() })
    }

    /// What it had to say.
    pub fn why(&self) -> Option<&'static str> {
        self.why.get().copied()
    }

    fn look_at(&self, sample: &Sample) {
        if let Some(why) = (self.judge)(sample)
            && self.why.set(why).is_ok()
        {
            self.now.notify_waiters();
        }
    }
}

/// Runs all generators as transactions of this name, each on a goose user, and passes their samples
/// to goose until they end. `html`: where goose's own report goes.
///
/// # Errors
/// Those of goose: a report that cannot be written.
pub async fn drive(
    name: &str,
    host: &str,
    html: Option<&Path>,
    generators: Vec<Generator>,
    stop: &Arc<Stop>,
) -> Result<(), GooseError> {
    let users = generators.len().to_string();
    // All users at once: goose counts from the first step of the first, as this crate does.
    let mut arguments: Vec<String> =
        ["--users", &users, "--increase-rate", "1000", "--iterations", "1"]
            .iter()
            .chain(&["--no-telnet", "--no-print-metrics", "--quiet", "--quiet", "--host"])
            .map(|&word| word.to_owned())
            .collect();
    arguments.push(format!("http://{host}"));
    if let Some(html) = html {
        arguments.extend(["--report-file".into(), html.display().to_string()]);
    }
    let configuration = GooseConfiguration::parse_args_default(&arguments)?;
    // goose may call a transaction often; each generator runs once.
    let all = Mutex::new(generators);
    let stop = stop.clone();
    let transaction: TransactionFunction = Arc::new(move |user| {
        let one = all.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).pop();
        let stop = stop.clone();
        Box::pin(async move {
            match one {
                Some(generator) => record(user, generator, &stop).await,
                None => Ok(()),
            }
        })
    });
    let transaction = Transaction::new(transaction).set_name(name);
    GooseAttack::initialize_with_config(configuration)?
        .register_scenario(Scenario::new(name).register_transaction(transaction))
        .execute()
        .await
        .map(drop)
}

async fn record(user: &mut GooseUser, generator: Generator, stop: &Stop) -> TransactionResult {
    let Generator { run, mut samples } = generator;
    // On a task of its own: goose's bookkeeping does not hold up who is to be measured.
    let run = tokio::spawn(run);
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        let stopped = stop.now.notified();
        if stop.why().is_some() {
            break;
        }
        tokio::select! {
            received = samples.recv_many(&mut batch, BATCH) => if received == 0 { break },
            () = stopped => break,
        }
        for sample in batch.drain(..) {
            stop.look_at(&sample);
            let (method, name) = sample.step.goose_name();
            let (good, error) = (sample.error.is_none(), sample.error.as_deref());
            user.record_custom_request_duration(method, name, sample.took, good, None, error)
                .await?;
        }
    }
    if stop.why().is_some() {
        run.abort();
    }
    let _ = run.await;
    Ok(())
}
