//! How late a thread's event loop is: a task that wants to wake up, and sees when it did.
//!
//! Whatever holds a thread up (a long loop of ours, a core that others use) holds all of its sockets
//! up; from outside that looks like a slow Redis.

use std::time::Duration;

use crate::{clock::Clock, metrics::Thread};

/// Between two looks.
const PERIOD: Duration = Duration::from_millis(250);
/// The same while a thread has next to nothing to do. Each look wakes it twice (tokio's timers beyond 64 ms do), and
/// these were a third of the times that a thread was woken while nobody waited.
const IDLE_PERIOD: Duration = Duration::from_secs(1);
/// Who is busy for less than this part of its time.
const IDLE_SHARE: u32 = 50;

/// Measures the calling thread for as long as it lives, and has `each` look at something by the way.
pub async fn watch(thread: Thread, clock: Clock, each: impl Fn()) {
    let runtime = tokio::runtime::Handle::current().metrics();
    let mut period = PERIOD;
    loop {
        let asleep = clock.now();
        tokio::time::sleep(period).await;
        let lag = clock.now().since(asleep).saturating_sub(period);
        period = after(period, thread.observe(lag, &runtime));
        each();
    }
}

/// The period after one in which the thread was busy for that long.
fn after(period: Duration, busy: Duration) -> Duration {
    if busy * IDLE_SHARE < period { IDLE_PERIOD } else { PERIOD }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    #[tokio::test]
    async fn a_thread_that_is_held_up_shows_it() {
        let metrics = Metrics::new();
        let watching = tokio::spawn(watch(metrics.threads.of(0), Clock::system(), || {}));
        tokio::task::yield_now().await;
        std::thread::sleep(4 * PERIOD);
        let value = |series: &str| -> f64 {
            let text = metrics.render();
            let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
            line.unwrap_or_else(|| panic!("no {series}")).parse().expect("a number")
        };
        let count = "scanlogin_event_loop_lag_seconds_count{thread=\"0\"}";
        while value(count) == 0.0 {
            tokio::task::yield_now().await;
        }
        let lag = value("scanlogin_event_loop_lag_seconds_sum{thread=\"0\"}");
        assert!(lag >= (3 * PERIOD).as_secs_f64(), "{lag}");
        assert!(value("scanlogin_runtime_tasks{thread=\"0\"}") >= 1.0);
        watching.abort();
    }

    #[test]
    fn who_has_something_to_do_is_looked_at_more_often() {
        for period in [PERIOD, IDLE_PERIOD] {
            assert_eq!(after(period, Duration::ZERO), IDLE_PERIOD);
            assert_eq!(after(period, period / (IDLE_SHARE + 1)), IDLE_PERIOD);
            assert_eq!(after(period, period / IDLE_SHARE), PERIOD);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_thread_that_sleeps_is_looked_at_once_a_second() {
        let metrics = Metrics::new();
        let watching = tokio::spawn(watch(metrics.threads.of(0), Clock::system(), || {}));
        tokio::time::sleep(Duration::from_secs(60)).await;
        let text = metrics.render();
        let series = "scanlogin_event_loop_lag_seconds_count{thread=\"0\"} ";
        let count = text.lines().find_map(|line| line.strip_prefix(series)).expect("a count");
        // A few more where this thread had to wait for a core: that looks busy. Always four times a second were 240.
        assert!((59..120).contains(&count.parse::<u32>().unwrap()), "{count}");
        watching.abort();
    }
}
