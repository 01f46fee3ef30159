//! goose drives a run: one goose user is the generator of all browsers, and every step of every
//! browser becomes one of goose's requests.
//!
//! A goose user per browser would cost 9 to 120 KiB each; a generator costs that once.

use std::{path::Path, pin::Pin, sync::Mutex};

use goose::{GooseAttack, GooseError, config::GooseConfiguration, goose::*};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::recorder::Sample;

/// What goose runs: the whole scenario.
pub type Run = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Samples that are passed on at a time.
const BATCH: usize = 1024;

/// Runs it as a transaction of this name, and passes its samples to goose until it ends. `html`:
/// where goose's own report goes.
///
/// # Errors
/// Those of goose: a report that cannot be written.
pub async fn drive(
    name: &str,
    host: &str,
    html: Option<&Path>,
    run: Run,
    samples: UnboundedReceiver<Sample>,
) -> Result<(), GooseError> {
    let mut arguments: Vec<String> = ["--users", "1", "--iterations", "1"]
        .iter()
        .chain(&["--no-telnet", "--no-print-metrics", "--quiet", "--quiet", "--host"])
        .map(|&word| word.to_owned())
        .collect();
    arguments.push(format!("http://{host}"));
    if let Some(html) = html {
        arguments.extend(["--report-file".into(), html.display().to_string()]);
    }
    let configuration = GooseConfiguration::parse_args_default(&arguments)?;
    // goose may call a transaction often; this one happens once.
    let once = Mutex::new(Some((run, samples)));
    let transaction: TransactionFunction = std::sync::Arc::new(move |user| {
        let once = once.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        Box::pin(async move {
            match once {
                Some((run, samples)) => record(user, run, samples).await,
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

async fn record(
    user: &mut GooseUser,
    run: Run,
    mut samples: UnboundedReceiver<Sample>,
) -> TransactionResult {
    // On a task of its own: goose's bookkeeping does not hold up who is to be measured.
    let run = tokio::spawn(run);
    let mut batch = Vec::with_capacity(BATCH);
    // Ends when the run has dropped its recorder.
    while samples.recv_many(&mut batch, BATCH).await > 0 {
        for sample in batch.drain(..) {
            let (method, name) = sample.step.goose_name();
            let (good, error) = (sample.error.is_none(), sample.error.as_deref());
            user.record_custom_request_duration(method, name, sample.took, good, None, error)
                .await?;
        }
    }
    let _ = run.await;
    Ok(())
}
