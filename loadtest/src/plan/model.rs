//! The model: what a load needs, from constants.

use clap::{Args, FromArgMatches};
use serde::Serialize;

/// What `plan --measure` measures; the defaults are those of docs/capacity-report.md, with their date
/// and machine. Measure on machines like those that are planned for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, clap::Args)]
#[command(next_help_heading = "Constants")]
pub struct Constants {
    /// Bytes of the service per waiting browser
    #[arg(long, default_value_t = 3_359.0)]
    pub socket_bytes: f64,
    /// Bytes of the kernel per waiting browser
    #[arg(long, default_value_t = 4_528.0)]
    pub kernel_bytes: f64,
    /// Bytes of an instance without browsers
    #[arg(long, default_value_t = 14_213_120.0)]
    pub instance_bytes: f64,
    /// Bytes of Redis per waiting browser, subscriptions included
    #[arg(long, default_value_t = 1_027.0)]
    pub redis_socket_bytes: f64,
    /// Bytes of Redis per login that ended, for as long as its receipt stays
    #[arg(long, default_value_t = 295.0)]
    pub redis_receipt_bytes: f64,
    /// Seconds that a receipt stays
    #[arg(long, default_value_t = 330.0)]
    pub receipt_seconds: f64,
    /// Bytes of Redis per user with a web login
    #[arg(long, default_value_t = 120.0)]
    pub redis_user_bytes: f64,
    /// Processor seconds of the service per 1,000 logins, when nothing can be batched
    #[arg(long, default_value_t = 4.08)]
    pub single_login_cpu: f64,
    /// The same at full batches
    #[arg(long, default_value_t = 0.261)]
    pub batched_login_cpu: f64,
    /// Logins a second of one instance at which half of that difference is saved
    #[arg(long, default_value_t = 10.0)]
    pub batching_at: f64,
    /// Processor seconds of Redis per 1,000 logins, when nothing can be batched
    #[arg(long, default_value_t = 0.442)]
    pub redis_single_login_cpu: f64,
    /// The same at full batches
    #[arg(long, default_value_t = 0.115)]
    pub redis_batched_login_cpu: f64,
    /// Logins a second at which half of that difference is saved
    #[arg(long, default_value_t = 123.0)]
    pub redis_batching_at: f64,
    /// Percent of a core of the service per 10,000 idle browsers
    #[arg(long, default_value_t = 0.5)]
    pub idle_cpu: f64,
    /// Processor seconds of the service per 1,000 browsers that come back after a lost connection
    #[arg(long, default_value_t = 0.177)]
    pub resume_cpu: f64,
    /// The same of Redis
    #[arg(long, default_value_t = 0.072)]
    pub redis_resume_cpu: f64,
}

/// A cost per 1,000 logins that falls with the rate, as more of them share a pipeline:
/// `batched + (single - batched) / (1 + rate / half)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Curve {
    /// At no rate at all.
    pub single: f64,
    /// At any rate.
    pub batched: f64,
    /// The rate at which half of the difference is saved.
    pub half: f64,
}

impl Curve {
    /// The cost at this rate.
    pub fn at(self, rate: f64) -> f64 {
        self.batched + (self.single - self.batched) / (1.0 + rate / self.half)
    }

    /// The curve next to these points, each a rate and a cost: least squares, for each of many rates
    /// at which half could be saved.
    pub fn through(points: &[(f64, f64)]) -> Self {
        let halves = (0..=120).map(|step| 10.0 * 1.06_f64.powi(step));
        let curves = halves.map(|half| Self::line(points, half));
        let error = |curve: &Self| {
            points.iter().map(|(rate, cost)| (curve.at(*rate) - cost).powi(2)).sum::<f64>()
        };
        curves.min_by(|one, other| error(one).total_cmp(&error(other))).unwrap_or(Self {
            single: 0.0,
            batched: 0.0,
            half: 1.0,
        })
    }

    /// In `1 / (1 + rate / half)` it is a straight line, whose ends are not negative.
    fn line(points: &[(f64, f64)], half: f64) -> Self {
        let n = points.len().max(1) as f64;
        let xs: Vec<f64> = points.iter().map(|(rate, _)| 1.0 / (1.0 + rate / half)).collect();
        let (mean_x, mean_y) =
            (xs.iter().sum::<f64>() / n, points.iter().map(|(_, cost)| cost).sum::<f64>() / n);
        let (mut over, mut under) = (0.0, 0.0);
        for (x, (_, cost)) in xs.iter().zip(points) {
            over += (x - mean_x) * (cost - mean_y);
            under += (x - mean_x).powi(2);
        }
        let rise = if under > 0.0 { (over / under).max(0.0) } else { 0.0 };
        let batched = (mean_y - rise * mean_x).max(0.0);
        Self { single: batched + rise, batched, half }
    }
}

/// What a load needs, all instances together.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Need {
    /// Browsers that wait.
    pub waiting: f64,
    /// Cores of the service.
    pub service_cores: f64,
    /// Cores of Redis.
    pub redis_cores: f64,
    /// Bytes of the service.
    pub service_bytes: f64,
    /// Bytes of the kernel, at the service's end.
    pub kernel_bytes: f64,
    /// Bytes of Redis.
    pub redis_bytes: f64,
}

impl Default for Constants {
    fn default() -> Self {
        let command = Self::augment_args(clap::Command::new("plan"));
        Self::from_arg_matches(&command.get_matches_from(["plan"]))
            .expect("every constant has a default")
    }
}

impl Constants {
    /// The service's cost of a login.
    pub fn service(&self) -> Curve {
        let Self { single_login_cpu, batched_login_cpu, batching_at, .. } = *self;
        Curve { single: single_login_cpu, batched: batched_login_cpu, half: batching_at }
    }

    /// Redis's cost of a login.
    pub fn redis(&self) -> Curve {
        Curve {
            single: self.redis_single_login_cpu,
            batched: self.redis_batched_login_cpu,
            half: self.redis_batching_at,
        }
    }

    /// For so many logins a second, `waiting` browsers, and `users` with a web login.
    pub fn need(&self, rate: f64, waiting: f64, users: f64, instances: f64) -> Need {
        Need {
            waiting,
            service_cores: rate * self.service().at(rate / instances) / 1000.0
                + waiting / 10_000.0 * self.idle_cpu / 100.0,
            redis_cores: rate * self.redis().at(rate) / 1000.0,
            service_bytes: instances * self.instance_bytes + waiting * self.socket_bytes,
            kernel_bytes: waiting * self.kernel_bytes,
            redis_bytes: waiting * self.redis_socket_bytes
                + rate * self.receipt_seconds * self.redis_receipt_bytes
                + users * self.redis_user_bytes,
        }
    }
}

/// What machines may do, at the peak.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Cores of an instance.
    pub cores: f64,
    /// Share of them that may be busy when one instance is gone.
    pub share: f64,
    /// The same while the browsers of one come back during a restart.
    pub share_in_restart: f64,
    /// Sockets that an instance may hold.
    pub sockets: f64,
    /// Seconds over which an instance drains.
    pub drain: f64,
}

/// Instances, with one to lose or to restart.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Fleet {
    /// Without the one that may be gone.
    pub needed: f64,
    /// With it.
    pub instances: f64,
    /// What the load needs while one is gone.
    pub need: Need,
    /// Share of its cores that each of the others is busy then.
    pub busy: f64,
    /// Browsers of one instance.
    pub of_one: f64,
    /// Browsers a second that come back during a restart.
    pub back_per_second: f64,
    /// How busy the others are meanwhile.
    pub busy_in_restart: f64,
    /// Seconds until all browsers of an instance that was lost are back, if all of the processors
    /// that are left do that.
    pub back_after_loss: f64,
    /// Primaries of Redis, of a core each.
    pub redis_primaries: f64,
}

impl Fleet {
    /// The smallest that stays within its bounds when one instance is gone. More instances batch
    /// less, and so cost more: one by one, until it fits.
    pub fn smallest(c: &Constants, bounds: &Bounds, rate: f64, waiting: f64, users: f64) -> Self {
        let mut needed: f64 = 1.0;
        loop {
            let need = c.need(rate, waiting, users, needed);
            let cores = needed * bounds.cores;
            let instances = needed + 1.0;
            let of_one = waiting / instances;
            let back_per_second = of_one / bounds.drain.max(1.0);
            let back = back_per_second * c.resume_cpu / 1000.0;
            let fleet = Self {
                needed,
                instances,
                need,
                busy: need.service_cores / cores,
                of_one,
                back_per_second,
                busy_in_restart: (need.service_cores + back) / cores,
                back_after_loss: of_one * c.resume_cpu
                    / 1000.0
                    / (cores - need.service_cores).max(f64::EPSILON),
                redis_primaries: ((need.redis_cores
                    + back_per_second * c.redis_resume_cpu / 1000.0)
                    / bounds.share)
                    .ceil()
                    .max(1.0),
            };
            if fleet.busy <= bounds.share
                && fleet.busy_in_restart <= bounds.share_in_restart
                && waiting / needed <= bounds.sockets
            {
                return fleet;
            }
            needed += 1.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_goes_through_the_points_that_it_was_made_from() {
        let curve = Curve { single: 0.9, batched: 0.2, half: 400.0 };
        let points = [100.0, 400.0, 1_600.0].map(|rate| (rate, curve.at(rate)));
        let found = Curve::through(&points);
        for rate in [200.0, 500.0, 1_000.0, 4_000.0] {
            let error = (found.at(rate) - curve.at(rate)).abs() / curve.at(rate);
            assert!(error < 0.02, "{found:?} at {rate}");
        }
    }

    #[test]
    fn a_cost_that_does_not_fall_is_a_flat_curve() {
        let found = Curve::through(&[(100.0, 0.3), (400.0, 0.4), (1_600.0, 0.5)]);
        assert!((found.at(100.0) - 0.4).abs() < 1e-9 && (found.at(5_000.0) - 0.4).abs() < 1e-9);
    }

    #[test]
    fn one_instance_can_go_and_the_others_stay_within_their_bounds() {
        let bounds = Bounds {
            cores: 2.0,
            share: 0.6,
            share_in_restart: 0.85,
            sockets: 50_000.0,
            drain: 20.0,
        };
        let fleet = Fleet::smallest(&Constants::default(), &bounds, 10_000.0, 300_000.0, 1e6);
        assert!(fleet.busy <= 0.6 && fleet.busy_in_restart <= 0.85, "{fleet:?}");
        assert!(300_000.0 / fleet.needed <= 50_000.0, "{fleet:?}");
        assert!((fleet.instances - fleet.needed - 1.0).abs() < f64::EPSILON);
        // A short drain brings them back faster than the others could take them.
        let short = Bounds { drain: 1.0, ..bounds };
        let larger = Fleet::smallest(&Constants::default(), &short, 10_000.0, 300_000.0, 1e6);
        assert!(larger.instances > fleet.instances, "{larger:?}");
    }
}
