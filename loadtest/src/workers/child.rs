//! The side of a worker process: plays its share, and says what came of it.

use std::{
    io::{self, BufRead, BufWriter, Write},
    sync::{Arc, mpsc},
    time::Duration,
};

use tokio::sync::{
    Mutex,
    mpsc::{UnboundedReceiver, unbounded_channel},
};

use super::wire::{Assignment, Done, Encoded, Said};
use crate::{
    crew::Crew,
    cues::Cues,
    proc,
    recorder::{Interval, Recorder, Sample},
    scenario,
};

/// Between two reports of what happens.
const INTERVAL: Duration = Duration::from_millis(250);
/// Samples that are passed on at a time, and how long they are gathered.
const BATCH: usize = 8192;
const GATHER: Duration = Duration::from_millis(50);

/// The line to the process that started this one.
pub struct Link {
    to_parent: mpsc::Sender<Said>,
    go: Mutex<UnboundedReceiver<()>>,
}

impl Link {
    fn say(&self, said: Said) {
        // Closed only where the parent is gone, which ends this process elsewhere.
        let _ = self.to_parent.send(said);
    }

    /// Waits until all workers have come this far.
    pub async fn together(&self) {
        self.say(Said::Here);
        let _ = self.go.lock().await.recv().await;
    }

    /// It begins to count.
    pub fn counting(&self) {
        self.say(Said::Counting);
    }

    /// It has counted.
    pub fn counted(&self) {
        self.say(Said::Counted);
    }
}

/// Plays what standard input says, and writes to standard output what came of it.
///
/// # Errors
/// Where this is not what a worker is told.
pub async fn run() -> io::Result<()> {
    let mut first = String::new();
    io::stdin().lock().read_line(&mut first)?;
    let assignment: Assignment = serde_json::from_str(&first)?;
    proc::most_browsers();
    let (to_parent, said) = mpsc::channel();
    let (sender, go) = unbounded_channel();
    // Threads, since the runtime would wait for a blocking read when it ends.
    std::thread::spawn(move || {
        for _ in io::stdin().lock().lines().map_while(Result::ok) {
            let _ = sender.send(());
        }
        // Nobody is there any more who would hear of it.
        std::process::exit(1);
    });
    let writer = std::thread::spawn(move || write(&said));
    let link = Arc::new(Link { to_parent: to_parent.clone(), go: Mutex::new(go) });
    let said = match play(assignment, link, &to_parent).await {
        Ok(done) => Said::Done(done),
        Err(error) => Said::Failed(error.to_string()),
    };
    let _ = to_parent.send(said);
    drop(to_parent);
    let _ = writer.join();
    Ok(())
}

async fn play(
    assignment: Assignment,
    link: Arc<Link>,
    to_parent: &mpsc::Sender<Said>,
) -> io::Result<Done> {
    let Assignment { plan, protocol, confirm, endpoints, tokens, first } = assignment;
    let (sender, samples) = unbounded_channel();
    let recorder = Recorder::with_goose(sender);
    let crew = Crew::new(&endpoints, protocol, confirm, tokens, recorder)?.counting_from(first);
    let passing = tokio::spawn(pass_on(samples, to_parent.clone()));
    let telling = tokio::spawn(tell(crew.clone(), to_parent.clone()));
    let played = scenario::play(&plan, &crew, &Cues::Worker(link)).await;
    telling.abort();
    let _ = telling.await;
    drop(crew);
    // Ends when the last browser has dropped its recorder.
    let _ = tokio::time::timeout(Duration::from_secs(1), passing).await;
    Ok(Done::from(&played))
}

async fn tell(crew: Arc<Crew>, to_parent: mpsc::Sender<Said>) {
    let mut ticks = tokio::time::interval(INTERVAL);
    loop {
        ticks.tick().await;
        let Interval { token, logins, failures } = crew.recorder.take_interval();
        let waiting = crew.waiting();
        let token = Encoded::of(&token);
        let _ = to_parent.send(Said::Interval { waiting, logins, failures, token });
    }
}

async fn pass_on(mut samples: UnboundedReceiver<Sample>, to_parent: mpsc::Sender<Said>) {
    let mut batch = Vec::with_capacity(BATCH);
    while samples.recv_many(&mut batch, BATCH).await > 0 {
        let all = batch.drain(..).map(|Sample { step, took, error }| {
            (step, u64::try_from(took.as_micros()).unwrap_or(u64::MAX), error)
        });
        let _ = to_parent.send(Said::Samples(all.collect()));
        tokio::time::sleep(GATHER).await;
    }
}

fn write(said: &mpsc::Receiver<Said>) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    while let Ok(said) = said.recv() {
        serde_json::to_writer(&mut out, &said)?;
        out.write_all(b"\n")?;
        out.flush()?;
    }
    Ok(())
}
