//! A picture of a run: latency over time, waiting browsers and logins over time, percentiles.
//!
//! Latencies are drawn on logarithmic scales: what matters of them spans from tenths of a millisecond
//! to seconds. The colours are told apart by people who see few of them.

use std::fmt::Write as _;

use crate::{
    live::Second,
    outcome::Outcome,
    recorder::{Percentiles, Step},
};

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 170.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 40.0;
const HEAD: f64 = 84.0;
const GAP: f64 = 64.0;
const BLUE: &str = "#0072b2";
const RED: &str = "#d55e00";
const GREEN: &str = "#009e73";
const PINK: &str = "#cc79a7";

/// One line of a chart; nothing where there was nothing to measure.
struct Line<'a> {
    name: &'a str,
    colour: &'a str,
    values: Vec<Option<f64>>,
}

/// How values become heights.
#[derive(Clone, Copy)]
enum Scale {
    /// From 0 to this, in steps of this.
    Linear(f64, f64),
    /// From this power of ten to that.
    Logarithmic(i32, i32),
}

impl Scale {
    /// Round numbers, four or five of them.
    fn linear(most: f64) -> Self {
        let most = most.max(1.0);
        let power = 10_f64.powf((most / 4.0).log10().floor());
        let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
        let step = steps.into_iter().find(|step| step * 5.0 >= most).unwrap_or(10.0 * power);
        // Of few, whole ones.
        let step = step.max(1.0);
        Self::Linear((most / step).ceil() * step, step)
    }

    fn logarithmic(values: impl Iterator<Item = f64>) -> Self {
        let (least, most) = values
            .filter(|value| *value > 0.0)
            .fold((1.0_f64, 10.0_f64), |(least, most), value| (least.min(value), most.max(value)));
        let power = |value: f64| value.log10();
        Self::Logarithmic(power(least).floor() as i32, power(most).ceil() as i32)
    }

    /// 0 at the bottom, 1 at the top.
    fn share(self, value: f64) -> f64 {
        match self {
            Self::Linear(most, _) => value / most,
            Self::Logarithmic(from, to) => {
                let power = value.max(f64::MIN_POSITIVE).log10();
                ((power - f64::from(from)) / f64::from(to - from)).clamp(0.0, 1.0)
            }
        }
    }

    fn marks(self) -> Vec<f64> {
        match self {
            Self::Linear(most, step) => {
                (0..=(most / step).round() as u32).map(|n| f64::from(n) * step).collect()
            }
            Self::Logarithmic(from, to) => (from..=to).map(|power| 10_f64.powi(power)).collect(),
        }
    }
}

/// Draws it; `max_p99` is the threshold, in milliseconds.
pub fn draw(outcome: &Outcome, max_p99: f64) -> String {
    let total = HEAD + 4.0 * (HEIGHT + GAP);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {total}\" width=\"{}\" height=\"{total}\" \
         font-family=\"sans-serif\" font-size=\"12\" fill=\"#333\">\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n",
        WIDTH + LEFT + RIGHT,
        WIDTH + LEFT + RIGHT,
    );
    head(&mut svg, outcome);
    let of = |field: fn(&Second) -> Option<f64>| outcome.series.iter().map(field).collect();
    let measured = |ms: f64| (ms > 0.0).then_some(ms);
    let p50: Vec<_> = outcome.series.iter().map(|second| measured(second.p50)).collect();
    let p99: Vec<_> = outcome.series.iter().map(|second| measured(second.p99)).collect();
    let all = p50.iter().chain(&p99).flatten().copied();
    let scale = Scale::logarithmic(all.chain([max_p99]));
    axes(&mut svg, 0, "scan to token, ms, second by second", scale);
    threshold(&mut svg, 0, max_p99, scale);
    lines(
        &mut svg,
        0,
        scale,
        &[
            Line { name: "p50", colour: BLUE, values: p50 },
            Line { name: "p99", colour: RED, values: p99 },
        ],
    );
    let waiting =
        Line { name: "waiting", colour: GREEN, values: of(|second| Some(second.waiting as f64)) };
    over_time(&mut svg, 1, "browsers that wait", &[waiting]);
    let logins =
        Line { name: "logins", colour: BLUE, values: of(|second| Some(second.logins as f64)) };
    let failures =
        Line { name: "failures", colour: RED, values: of(|second| Some(second.failures as f64)) };
    over_time(&mut svg, 2, "logins and failures a second", &[logins, failures]);
    percentiles(&mut svg, outcome, max_p99);
    svg.push_str("</svg>\n");
    svg
}

fn head(svg: &mut String, outcome: &Outcome) {
    let mode = if outcome.confirm { ", confirmed" } else { "" };
    let mut lines = vec![format!(
        "{}: {:.1} logins/s, {} failures ({:.3} %), at most {} waiting, {:.0} s",
        outcome.scenario,
        outcome.logins_per_second,
        outcome.failures,
        outcome.failures_percent,
        outcome.waiting,
        outcome.seconds,
    )];
    lines.push(format!("{}, {} protocol{mode}", outcome.target, outcome.protocol));
    if let Some(servers) = &outcome.servers {
        lines.push(servers.to_string());
    }
    for (number, line) in lines.iter().enumerate() {
        let (size, y) = if number == 0 { (15, 22.0) } else { (12, 24.0 + 18.0 * number as f64) };
        let line = line.replace('&', "&amp;").replace('<', "&lt;");
        let _ = writeln!(svg, "<text x=\"{LEFT}\" y=\"{y}\" font-size=\"{size}\">{line}</text>");
    }
    if outcome.client_limited {
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"22\" text-anchor=\"end\" font-weight=\"bold\" fill=\"{RED}\">THE CLIENT WAS THE \
             BOTTLENECK: THIS IS NOT THE SERVICE</text>",
            LEFT + WIDTH
        );
    }
}

fn top(row: usize) -> f64 {
    HEAD + row as f64 * (HEIGHT + GAP) + 24.0
}

fn height(row: usize, scale: Scale, value: f64) -> f64 {
    top(row) + HEIGHT * (1.0 - scale.share(value))
}

fn axes(svg: &mut String, row: usize, title: &str, scale: Scale) {
    let above = top(row) - 10.0;
    let _ = writeln!(svg, "<text x=\"{LEFT}\" y=\"{above}\" font-weight=\"bold\">{title}</text>");
    for mark in scale.marks() {
        let y = height(row, scale, mark);
        let _ = writeln!(
            svg,
            "<line x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{}\" y2=\"{y:.1}\" stroke=\"#ddd\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT + WIDTH,
            LEFT - 6.0,
            y + 4.0,
            number(mark),
        );
    }
}

/// With no more digits than it has.
fn number(value: f64) -> String {
    let digits = match value {
        value if value >= 100.0 || value.fract() == 0.0 => 0,
        value if value >= 10.0 => 1,
        value if value >= 0.1 => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').into() } else { text }
}

fn threshold(svg: &mut String, row: usize, max_p99: f64, scale: Scale) {
    let y = height(row, scale, max_p99);
    let _ = writeln!(
        svg,
        "<line x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{}\" y2=\"{y:.1}\" stroke=\"{RED}\" stroke-dasharray=\"6 4\"/>\
         <text x=\"{}\" y=\"{:.1}\" fill=\"{RED}\">threshold of p99: {} ms</text>",
        LEFT + WIDTH,
        LEFT + 4.0,
        y + 14.0,
        number(max_p99),
    );
}

fn over_time(svg: &mut String, row: usize, title: &str, all: &[Line<'_>]) {
    let values = all.iter().flat_map(|line| line.values.iter().flatten().copied());
    let scale = Scale::linear(values.fold(0.0, f64::max));
    axes(svg, row, title, scale);
    lines(svg, row, scale, all);
}

fn lines(svg: &mut String, row: usize, scale: Scale, all: &[Line<'_>]) {
    let seconds = all.iter().map(|line| line.values.len()).max().unwrap_or_default();
    let x = |second: usize| LEFT + WIDTH * (second + 1) as f64 / seconds.max(1) as f64;
    for (number, Line { name, colour, values }) in all.iter().enumerate() {
        for run in values.iter().enumerate().collect::<Vec<_>>().split(|(_, v)| v.is_none()) {
            let points = run.iter().filter_map(|(second, value)| {
                Some(format!("{:.1},{:.1}", x(*second), height(row, scale, (**value)?)))
            });
            line(svg, &points.collect::<Vec<_>>(), colour);
        }
        legend(svg, row, number, name, colour);
    }
    let step = match Scale::linear(seconds as f64) {
        Scale::Linear(_, step) => step as usize,
        Scale::Logarithmic(..) => 1,
    };
    for second in (0..=seconds).step_by(step.max(1)) {
        let at = LEFT + WIDTH * second as f64 / seconds.max(1) as f64;
        let unit = if second == 0 { " s" } else { "" };
        below(svg, row, at, &format!("{second}{unit}"));
    }
}

fn line(svg: &mut String, points: &[String], colour: &str) {
    if points.len() == 1 {
        let (x, y) = points[0].split_once(',').unwrap_or_default();
        let _ = writeln!(svg, "<circle cx=\"{x}\" cy=\"{y}\" r=\"2.5\" fill=\"{colour}\"/>");
    } else if !points.is_empty() {
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            points.join(" ")
        );
    }
}

fn legend(svg: &mut String, row: usize, number: usize, name: &str, colour: &str) {
    let x = LEFT + WIDTH - 110.0 * number as f64;
    let _ = writeln!(
        svg,
        "<text x=\"{x}\" y=\"{}\" text-anchor=\"end\" fill=\"{colour}\" font-weight=\"bold\">{name}</text>",
        top(row) - 10.0,
    );
}

fn below(svg: &mut String, row: usize, x: f64, text: &str) {
    let y = top(row) + HEIGHT + 18.0;
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{text}</text>");
}

/// A line for each of the steps that people notice.
fn percentiles(svg: &mut String, outcome: &Outcome, max_p99: f64) {
    const ROW: usize = 3;
    const STEPS: [(Step, &str, &str); 4] = [
        (Step::Token, "scan to token", RED),
        (Step::Scan, "phone's call", BLUE),
        (Step::Key, "open to key", GREEN),
        (Step::Resume, "resume", PINK),
    ];
    let five = |ms: Percentiles| [ms.p50, ms.p90, ms.p99, ms.p999, ms.max];
    let steps: Vec<_> = STEPS
        .into_iter()
        .filter_map(|(step, name, colour)| {
            Some((name, colour, five(outcome.steps.get(step.name())?.ms)))
        })
        .collect();
    let all = steps.iter().flat_map(|(_, _, values)| values.iter().copied());
    let scale = Scale::logarithmic(all.chain([max_p99]));
    axes(svg, ROW, "percentiles of the whole run, ms", scale);
    let x = |place: usize| LEFT + WIDTH * (place as f64 + 0.5) / 5.0;
    for (number, (name, colour, values)) in steps.iter().enumerate() {
        let points = values
            .iter()
            .enumerate()
            .map(|(place, value)| format!("{:.1},{:.1}", x(place), height(ROW, scale, *value)));
        line(svg, &points.collect::<Vec<_>>(), colour);
        legend(svg, ROW, number, name, colour);
        if number == 0 {
            for (place, value) in values.iter().enumerate() {
                let _ = writeln!(
                    svg,
                    "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"{colour}\">{}</text>",
                    x(place),
                    height(ROW, scale, *value) - 7.0,
                    self::number(*value),
                );
            }
        }
    }
    for (place, name) in ["p50", "p90", "p99", "p99.9", "max"].iter().enumerate() {
        below(svg, ROW, x(place), name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_round_and_reach_the_highest_value() {
        for most in [0.0, 1.0, 7.0, 99.0, 250.0, 2_327.0, 160_000.0] {
            let scale = Scale::linear(most);
            let marks = scale.marks();
            assert!((2..=7).contains(&marks.len()), "{most}: {marks:?}");
            assert!(scale.share(most) <= 1.0, "{most}");
        }
        let scale = Scale::logarithmic([0.3, 180.0].into_iter());
        assert_eq!(scale.marks().len(), 5);
        assert!((scale.share(1000.0) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn numbers_have_the_digits_that_they_need() {
        let texts = [0.001, 0.72, 1.0, 21.25, 176.4, 10_000.0].map(number);
        assert_eq!(texts, ["0.001", "0.72", "1", "21.2", "176", "10000"]);
    }
}
