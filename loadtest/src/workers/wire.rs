//! What worker processes and the one that started them say to each other: a line of JSON each, the
//! histograms in it as HdrHistogram's own V2 encoding, so that nothing is lost in the sum.

use std::{collections::BTreeMap, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use hdrhistogram::serialization::{Deserializer, Serializer, V2Serializer};
use serde::{Deserialize, Serialize};

use crate::{
    dialect::{Dialect, Endpoint},
    recorder::{Measured, Micros, Sample, Step},
    scenario::{Assembled, Plan, Played},
};

/// What a worker is told first.
#[derive(Debug, Serialize, Deserialize)]
pub struct Assignment {
    /// Its share of the load.
    pub plan: Plan,
    /// The protocol of its browsers.
    pub protocol: Dialect,
    /// Whether its phones confirm.
    pub confirm: bool,
    /// Where to.
    pub endpoints: Vec<Endpoint>,
    /// Its users: no other worker has them.
    pub tokens: Vec<String>,
    /// The number of its first browser: no other worker counts from there.
    pub first: u64,
}

/// What a worker says.
#[derive(Debug, Serialize, Deserialize)]
pub enum Said {
    /// It has come to a point where all go on together.
    Here,
    /// It begins to count.
    Counting,
    /// It has counted.
    Counted,
    /// What happened since the last one.
    Interval {
        /// Browsers with a key.
        waiting: u64,
        /// Logins.
        logins: u64,
        /// Failures.
        failures: u64,
        /// Scan to token.
        token: Encoded,
    },
    /// Every step, for goose: step, microseconds, what went wrong.
    Samples(Vec<(Step, u64, Option<String>)>),
    /// All that it measured. Nothing follows.
    Done(Done),
    /// It cannot play. Nothing follows.
    Failed(String),
}

/// What a worker came to.
#[derive(Debug, Serialize, Deserialize)]
pub struct Done {
    steps: BTreeMap<Step, Encoded>,
    logins: u64,
    failures: BTreeMap<String, u64>,
    late: Encoded,
    before_the_attack: Option<Encoded>,
    seconds: f64,
    assembled: Option<Assembled>,
}

/// A histogram in base64 of its V2 encoding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Encoded(String);

/// Not what a worker of this version says.
#[derive(Debug, thiserror::Error)]
#[error("a worker process sent a histogram that cannot be read")]
pub struct NotAHistogram;

impl Encoded {
    /// Encodes it.
    pub fn of(histogram: &Micros) -> Self {
        let mut bytes = Vec::new();
        let written = V2Serializer::new().serialize(histogram, &mut bytes);
        written.expect("writing to memory cannot fail, and the bounds are constants");
        Self(STANDARD.encode(bytes))
    }

    /// Reads it.
    ///
    /// # Errors
    /// [`NotAHistogram`].
    pub fn read(&self) -> Result<Micros, NotAHistogram> {
        let bytes = STANDARD.decode(&self.0).map_err(|_| NotAHistogram)?;
        Deserializer::new().deserialize(&mut bytes.as_slice()).map_err(|_| NotAHistogram)
    }
}

impl From<&Played> for Done {
    fn from(played: &Played) -> Self {
        let Measured { steps, logins, failures, late } = &played.measured;
        Self {
            steps: steps.iter().map(|(step, micros)| (*step, Encoded::of(micros))).collect(),
            logins: *logins,
            failures: failures.clone(),
            late: Encoded::of(late),
            before_the_attack: played.before_the_attack.as_ref().map(Encoded::of),
            seconds: played.seconds,
            assembled: played.assembled,
        }
    }
}

impl TryFrom<Done> for Played {
    type Error = NotAHistogram;

    fn try_from(done: Done) -> Result<Self, NotAHistogram> {
        let mut steps = BTreeMap::new();
        for (step, encoded) in done.steps {
            steps.insert(step, encoded.read()?);
        }
        Ok(Self {
            measured: Measured {
                steps,
                logins: done.logins,
                failures: done.failures,
                late: done.late.read()?,
            },
            before_the_attack: done.before_the_attack.map(|encoded| encoded.read()).transpose()?,
            seconds: done.seconds,
            assembled: done.assembled,
            // Only seen by whoever looks at the service.
            sockets_left: None,
        })
    }
}

/// As goose wants it.
pub fn sample((step, micros, error): (Step, u64, Option<String>)) -> Sample {
    Sample { step, took: Duration::from_micros(micros), error }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::micros;

    /// Some values, with the bounds of the recorder's histograms and beyond.
    fn some(seed: u64) -> Micros {
        let mut histogram = micros();
        let mut random = crate::pacer::Random::new(seed);
        for _ in 0..10_000 {
            histogram.saturating_record(random.number() >> (random.number() % 64));
        }
        histogram
    }

    #[test]
    fn histograms_of_several_processes_add_up_to_that_of_one() {
        let (one, other) = (some(1), some(2));
        let mut sum = Encoded::of(&one).read().expect("what was encoded");
        sum.add(Encoded::of(&other).read().expect("what was encoded")).expect("the same bounds");
        let mut all = one;
        all.add(&other).expect("the same bounds");
        assert_eq!(sum, all);
        assert_eq!(sum.len(), 20_000);
    }

    #[test]
    fn what_is_no_histogram_is_refused() {
        for wrong in ["", "AAAA", "not base64"] {
            assert!(Encoded(wrong.into()).read().is_err(), "{wrong}");
        }
    }
}
