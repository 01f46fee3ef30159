//! What one browser comes for: to log in, to leave, to wait in vain, to be scanned by many.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{task::JoinSet, time::timeout};

use crate::{
    browser::Event,
    crew::{Crew, PATIENCE, Visitor, Wrong, ended},
    dialect::Message,
    recorder::Step,
};

/// What a server may take beyond a deadline until it says so.
const GRACE: Duration = Duration::from_secs(5);

/// A browser's story.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visit {
    /// A phone scans when it is due; at once, where nothing is said.
    LogIn(Option<Instant>),
    /// Gone then, without a word.
    Drop(Instant),
    /// Leaves then, and says so; a phone that scans afterwards is told that there is nothing.
    Cancel(Instant),
    /// Nobody scans: the deadline comes.
    Expire,
    /// So many phones of different users scan at once then; one of them wins.
    Race(Instant, u64),
}

impl Visit {
    /// When it has its result, as far as that is planned.
    pub fn due(&self) -> Option<Instant> {
        match self {
            Self::LogIn(due) => *due,
            Self::Drop(at) | Self::Cancel(at) | Self::Race(at, _) => Some(*at),
            Self::Expire => None,
        }
    }
}

impl Crew {
    /// Lives it, and records it. Whether all went as it should.
    pub async fn visit(self: Arc<Self>, visit: Visit) -> bool {
        let started = Instant::now();
        let result = match self.open().await {
            Ok(visitor) => self.story(visitor, visit).await,
            Err(wrong) => Err(wrong),
        };
        match result {
            Ok(()) => true,
            Err(Wrong(step, why)) => {
                self.recorder.failure(step, started.elapsed(), &why);
                false
            }
        }
    }

    async fn story(&self, mut visitor: Visitor, visit: Visit) -> Result<(), Wrong> {
        if let Some(due) = visit.due() {
            // Where the key came after the scan was due, that is the service's lateness, not ours.
            let ready = Instant::now().max(due);
            let shown = self.show_until(&mut visitor, due).await;
            shown.map_err(|why| Wrong(Step::Key, why))?;
            self.recorder.late(ready.elapsed());
        }
        match visit {
            Visit::LogIn(due) => self.log_in(visitor, due.unwrap_or_else(Instant::now)).await,
            Visit::Drop(_) => Ok(()),
            Visit::Cancel(_) => self.cancel(visitor).await.map_err(|why| Wrong(Step::End, why)),
            Visit::Expire => self.expire(visitor).await.map_err(|why| Wrong(Step::End, why)),
            Visit::Race(due, phones) => self.race(visitor, due, phones).await,
        }
    }

    /// Leaves, and says so.
    ///
    /// # Errors
    /// How it ended otherwise.
    pub async fn cancel(&self, mut visitor: Visitor) -> Result<(), String> {
        let started = Instant::now();
        let said = match self.dialect().cancel() {
            Some(cancel) => visitor.browser.say(cancel).await,
            None => visitor.browser.close(1000).await,
        };
        said.map_err(|error| format!("{:?}", error.kind()))?;
        match timeout(PATIENCE, visitor.browser.next()).await {
            Ok(Event::Close(1000)) => {}
            // The answer to a Close of our own may be the end of the stream.
            Ok(Event::Lost) if self.dialect().cancel().is_none() => {}
            Ok(event) => return Err(ended(&event)),
            Err(_) => return Err("timeout".into()),
        }
        self.recorder.step(Step::End, started.elapsed());
        Ok(())
    }

    async fn expire(&self, mut visitor: Visitor) -> Result<(), String> {
        let opened = Instant::now();
        // A plain browser is not told how long it may wait: then until the socket ends.
        let lifetime = visitor.shown.lifetime;
        let mut said = false;
        let wait = lifetime.map_or(Duration::from_secs(3600), |lifetime| lifetime + GRACE);
        loop {
            let Ok(event) = timeout(wait, visitor.browser.next()).await else {
                return Err("no end at the deadline".into());
            };
            match event {
                Event::Text(text) => match self.dialect().read(&text, true) {
                    Message::Over(why) if why == "expired" || why == "again" => said = true,
                    Message::Key(_) | Message::Other => {}
                    _ => return Err("an unexpected text".into()),
                },
                Event::Close(code) if said && code == self.dialect().close_when_expired() => break,
                event => return Err(ended(&event)),
            }
        }
        if let Some(lifetime) = lifetime {
            self.recorder.step(Step::End, opened.elapsed().saturating_sub(lifetime));
        }
        Ok(())
    }

    async fn race(&self, mut visitor: Visitor, due: Instant, phones: u64) -> Result<(), Wrong> {
        // Each race has users of its own.
        let first = visitor.number * phones;
        let scans = (first..first + phones).map(|user| {
            let (number, key) = (visitor.number, visitor.shown.key.clone());
            async move { self.scan(number, user, &key).await }
        });
        let scans = futures_util::future::join_all(scans);
        let token = async {
            let token = timeout(PATIENCE, self.token_of(&mut visitor.browser)).await;
            let token = token.unwrap_or(Err("timeout".into()));
            if token.is_ok() {
                self.recorder.step(Step::Token, due.elapsed());
            }
            token
        };
        let (results, token) = tokio::join!(scans, token);
        let won = results.iter().filter(|result| result.is_ok()).count();
        for result in results {
            match result {
                Err(Wrong(_, why)) if why == "409 code -3" || why == "404 code -1" => {
                    self.recorder.step(Step::Refusal, due.elapsed());
                }
                Err(wrong) => return Err(wrong),
                Ok(()) => {}
            }
        }
        token.map_err(|why| Wrong(Step::Token, why))?;
        if won != 1 {
            return Err(Wrong(Step::Scan, format!("{won} phones won a race")));
        }
        self.acknowledge(&mut visitor).await.map_err(|why| Wrong(Step::Received, why))?;
        self.recorder.login();
        Ok(())
    }
}

/// Visits under way. Dropped, they are gone without a word.
#[derive(Default)]
pub struct Visits {
    counted: JoinSet<()>,
    others: JoinSet<()>,
}

impl Visits {
    /// Begins one; `counted` ones are waited for in the end.
    pub fn begin(&mut self, crew: &Arc<Crew>, visit: Visit, counted: bool) {
        let tasks = if counted { &mut self.counted } else { &mut self.others };
        let visit = crew.clone().visit(visit);
        tasks.spawn(async move {
            let _ = visit.await;
        });
        while self.counted.try_join_next().is_some() {}
        while self.others.try_join_next().is_some() {}
    }

    /// Waits for the counted ones, at most so long.
    pub async fn finish(mut self, most: Duration) {
        let all = async { while self.counted.join_next().await.is_some() {} };
        let _ = timeout(most, all).await;
    }
}
