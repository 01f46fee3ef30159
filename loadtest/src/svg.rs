//! A picture of a run: latency over time, waiting browsers over time, percentiles.

use std::fmt::Write as _;

use crate::{live::Second, outcome::Outcome};

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 190.0;
const LEFT: f64 = 70.0;
const TOP: f64 = 34.0;
const GAP: f64 = 60.0;

/// One line of a chart.
struct Line<'a> {
    name: &'a str,
    colour: &'a str,
    values: Vec<f64>,
}

/// Draws it. The colours are told apart by people who see few of them, on light and on dark.
pub fn draw(outcome: &Outcome) -> String {
    let total = 3.0 * (HEIGHT + GAP) + TOP;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {total}\" \
         font-family=\"sans-serif\" font-size=\"12\" fill=\"#333\">\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\
         <text x=\"{LEFT}\" y=\"20\" font-size=\"15\">{}: {:.1} logins/s, {} failures, at most {} \
         waiting, {} s</text>\n",
        WIDTH + LEFT + 30.0,
        outcome.scenario,
        outcome.logins_per_second,
        outcome.failures,
        outcome.waiting,
        outcome.seconds.round(),
    );
    let of = |field: fn(&Second) -> f64| outcome.series.iter().map(field).collect::<Vec<f64>>();
    let latency = [
        Line { name: "p50", colour: "#0072b2", values: of(|second| second.p50) },
        Line { name: "p99", colour: "#d55e00", values: of(|second| second.p99) },
    ];
    chart(&mut svg, 0, "scan to token, ms, over seconds", &latency);
    let waiting = [
        Line { name: "waiting", colour: "#009e73", values: of(|second| second.waiting as f64) },
        Line { name: "logins/s", colour: "#cc79a7", values: of(|second| second.logins as f64) },
    ];
    chart(&mut svg, 1, "browsers, over seconds", &waiting);
    percentiles(&mut svg, outcome);
    svg.push_str("</svg>\n");
    svg
}

fn origin(row: usize) -> f64 {
    TOP + row as f64 * (HEIGHT + GAP) + 24.0
}

fn axes(svg: &mut String, row: usize, title: &str, most: f64) {
    let top = origin(row);
    let _ =
        writeln!(svg, "<text x=\"{LEFT}\" y=\"{}\" font-weight=\"bold\">{title}</text>", top - 8.0);
    for share in [0.0, 0.5, 1.0] {
        let y = top + HEIGHT * (1.0 - share);
        let _ = writeln!(
            svg,
            "<line x1=\"{LEFT}\" y1=\"{y}\" x2=\"{}\" y2=\"{y}\" stroke=\"#ddd\"/>\
             <text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
            LEFT + WIDTH,
            LEFT - 6.0,
            y + 4.0,
            short(most * share),
        );
    }
}

fn short(value: f64) -> String {
    if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

fn chart(svg: &mut String, row: usize, title: &str, lines: &[Line<'_>]) {
    let all = lines.iter().flat_map(|line| line.values.iter().copied());
    let most = all.fold(0.0, f64::max).max(0.01) * 1.05;
    axes(svg, row, title, most);
    for (number, Line { name, colour, values }) in lines.iter().enumerate() {
        let step = WIDTH / (values.len().max(2) - 1) as f64;
        let mut points = String::new();
        for (x, value) in values.iter().enumerate() {
            let y = origin(row) + HEIGHT * (1.0 - value / most);
            let _ = write!(points, "{:.1},{y:.1} ", LEFT + x as f64 * step);
        }
        let _ = writeln!(
            svg,
            "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\
             <text x=\"{}\" y=\"{}\" text-anchor=\"end\" fill=\"{colour}\">{name}</text>",
            LEFT + WIDTH - 80.0 * number as f64,
            origin(row) - 8.0,
        );
    }
    let seconds = lines.first().map_or(0, |line| line.values.len());
    let _ = writeln!(
        svg,
        "<text x=\"{LEFT}\" y=\"{y}\">1</text><text x=\"{}\" y=\"{y}\" text-anchor=\"end\">{seconds}</text>",
        LEFT + WIDTH,
        y = origin(row) + HEIGHT + 16.0,
    );
}

fn percentiles(svg: &mut String, outcome: &Outcome) {
    let token = outcome.scan_to_token_ms;
    let bars = [
        ("p50", token.p50),
        ("p90", token.p90),
        ("p99", token.p99),
        ("p99.9", token.p999),
        ("max", token.max),
    ];
    let most = token.max.max(0.01) * 1.05;
    axes(svg, 2, "scan to token, ms, percentiles of the whole run", most);
    for (number, (name, value)) in bars.iter().enumerate() {
        let x = LEFT + 40.0 + number as f64 * WIDTH / 5.0;
        let height = HEIGHT * value / most;
        let y = origin(2) + HEIGHT - height;
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"{y:.1}\" width=\"80\" height=\"{height:.1}\" fill=\"#0072b2\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\
             <text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{name}</text>",
            x + 40.0,
            y - 4.0,
            short(*value),
            x + 40.0,
            origin(2) + HEIGHT + 16.0,
        );
    }
}
