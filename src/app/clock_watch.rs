//! Tells the operator of a Redis and a machine that do not agree what time it is.

use crate::metrics::Metrics;

/// The largest distance without a warning, in microseconds (issue 15, 4). NTP keeps to milliseconds.
const MOST: u64 = 5_000_000;
/// So many looks in a row, each a second after the other, find the two together before a warning is repeated:
/// the nodes of a Cluster are compared in turn, and one of them may be the only one that is set wrong.
const WELL: u32 = 60;

/// Sets the metric, and warns once each time that the distance becomes too large.
#[derive(Debug, Default)]
pub(super) struct ClockWatch {
    is_warned: bool,
    well: u32,
}

impl ClockWatch {
    /// `offset`: Redis's clock minus our wall clock when they were last compared, in microseconds.
    pub(super) fn look(&mut self, offset: i64, metrics: &Metrics) {
        let seconds = offset as f64 / 1e6;
        metrics.store_clock_offset.set(seconds);
        if offset.unsigned_abs() <= MOST {
            self.well = self.well.saturating_add(1);
            self.is_warned &= self.well < WELL;
            return;
        }
        self.well = 0;
        if !std::mem::replace(&mut self.is_warned, true) {
            tracing::warn!(
                seconds,
                "Redis's clock and this machine's are more than 5 s apart: set both by NTP. Web tokens have \
                 Redis's time; app tokens, the webhook's signatures and this log have this machine's"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_warns_once_and_again_only_after_all_was_well() {
        let (mut watch, metrics) = (ClockWatch::default(), Metrics::new());
        let mut warned = |offset: i64| {
            let before = watch.is_warned;
            watch.look(offset, &metrics);
            assert_eq!(metrics.store_clock_offset.get(), offset as f64 / 1e6);
            watch.is_warned && !before
        };
        assert!(!warned(0) && !warned(5_000_000) && !warned(-5_000_000));
        assert!(warned(5_000_001) && !warned(3_600_000_000) && !warned(-86_400_000_000));
        // A node of a Cluster that alone is set wrong.
        for _ in 0..WELL {
            assert!(!warned(1) && !warned(5_000_001));
        }
        assert!((0..WELL).all(|_| !warned(1)));
        assert!(warned(-5_000_001));
    }
}
