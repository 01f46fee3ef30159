//! How late a thread's event loop is: a task that wants to wake up, and sees when it did.
//!
//! Whatever holds a thread up (a long loop of ours, a core that others use) holds all of its sockets
//! up; from outside that looks like a slow Redis.

use std::time::Duration;

use crate::{clock::Clock, metrics::Thread};

/// Between two looks.
const PERIOD: Duration = Duration::from_millis(250);
/// The same while a thread has next to nothing to do. Each look wakes it twice (tokio's timers beyond 64 ms do), and
/// that was a twentieth of what an instance costs while ten thousand browsers wait.
const IDLE_PERIOD: Duration = Duration::from_secs(1);
/// Who is busy for less than this part of its time.
const IDLE_SHARE: u32 = 50;

/// Measures the calling thread for as long as it lives.
pub async fn watch(thread: Thread, clock: Clock) {
    let runtime = tokio::runtime::Handle::current().metrics();
    let mut period = PERIOD;
    loop {
        let asleep = clock.now();
        tokio::time::sleep(period).await;
        let lag = clock.now().since(asleep).saturating_sub(period);
        let busy = thread.observe(lag, &runtime);
        period = if busy * IDLE_SHARE < period { IDLE_PERIOD } else { PERIOD };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    #[tokio::test]
    async fn a_thread_that_is_held_up_shows_it() {
        let metrics = Metrics::new();
        let watching = tokio::spawn(watch(metrics.threads.of(0), Clock::system()));
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
}
