//! The report for people: Markdown that also reads well on a terminal.

use std::fmt::Write as _;

use crate::report::{Report, SideReport};
use crate::stats::Spread;

const HEADINGS: [&str; 9] = [
    "scenario",
    "side",
    "CPU µs a chunk",
    "× nginx",
    "database CPU",
    "p50 µs",
    "p99 µs",
    "KiB a stream",
    "others' CPU",
];

/// Above this share of a core, other work disturbs what is measured.
const QUIET_SHARE: f64 = 0.2;

/// Tables of figures, bars and faults.
pub fn render(report: &Report) -> String {
    let mut text = String::new();
    let setup = &report.setup;
    let _ = write!(text, "{} cores, Linux {}", setup.cores, setup.kernel);
    if let Some(version) = &setup.nginx {
        let _ = write!(text, ", {version}");
    }
    if let Some(gateway) = &setup.thinkwire {
        let _ = write!(text, ", thinkwire with {} worker(s) storing to {}", gateway.workers, gateway.store);
    }
    if let Some(version) = &setup.postgres {
        let _ = write!(text, ", {version}");
    }
    let _ = writeln!(text, "; medians of {} round(s), least and most in brackets\n", setup.rounds);
    text.push_str(&markdown(&HEADINGS, &figures(report)));
    let sides = report.scenarios.iter().flat_map(|scenario| &scenario.sides);
    if sides.map(most_foreign).fold(0.0, f64::max) > QUIET_SHARE {
        text.push_str(
            "\nThe machine was not quiet: other work shared its caches and cores, so the figures are rough.\n",
        );
    }

    let bars = report.scenarios.iter().flat_map(|scenario| {
        scenario.verdicts.iter().map(|verdict| {
            let held = if verdict.held { "pass" } else { "MISS" };
            let (measured, limit) = (format!("{:.2}", verdict.measured), format!("{:.2}", verdict.limit));
            vec![scenario.scenario.name.to_owned(), verdict.bar.clone(), measured, limit, held.to_owned()]
        })
    });
    let bars: Vec<_> = bars.collect();
    if !bars.is_empty() {
        text.push('\n');
        text.push_str(&markdown(&["scenario", "bar", "measured", "at most", ""], &bars));
    }
    text.push('\n');
    text.push_str(&faults(report));
    text
}

fn figures(report: &Report) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for scenario in &report.scenarios {
        let nginx = scenario.sides.iter().find(|side| side.side == "nginx").and_then(|side| side.cpu_us_per_chunk);
        for side in &scenario.sides {
            let ratio = side.cpu_us_per_chunk.zip(nginx).map(|(cpu, nginx)| cpu.median / nginx.median);
            rows.push(vec![
                scenario.scenario.name.to_owned(),
                side.side.to_owned(),
                spread(side.cpu_us_per_chunk, 1.0, 2),
                ratio.map_or("–".into(), |ratio| format!("{ratio:.2}")),
                spread(side.database_cpu_us_per_chunk, 1.0, 2),
                spread(side.p50_us, 1.0, 0),
                spread(side.p99_us, 1.0, 0),
                spread(side.memory_bytes_per_stream, 1024.0, 1),
                others(side),
            ]);
        }
    }
    rows
}

fn spread(spread: Option<Spread>, unit: f64, digits: usize) -> String {
    match spread {
        None => "–".into(),
        Some(Spread { median, min, max }) if min == max => format!("{:.digits$}", median / unit),
        Some(Spread { median, min, max }) => {
            format!("{:.digits$} ({:.digits$}–{:.digits$})", median / unit, min / unit, max / unit)
        }
    }
}

/// The largest share of a core that others took in any round.
fn most_foreign(side: &SideReport) -> f64 {
    side.rounds.iter().map(|round| round.foreign_cpu_share).fold(0.0, f64::max)
}

fn others(side: &SideReport) -> String {
    format!("≤ {:.0} %", most_foreign(side) * 100.0)
}

fn faults(report: &Report) -> String {
    let mut text = String::new();
    let rounds = report.scenarios.iter().flat_map(|scenario| {
        let name = scenario.scenario.name;
        scenario.sides.iter().flat_map(move |side| side.rounds.iter().map(move |round| (name, side.side, round)))
    });
    let (mut chunks, mut answers) = (0, 0);
    for (scenario, side, round) in rounds {
        // An idle scenario has no chunks: what it receives are answers to pings.
        *if round.window_chunks > 0 { &mut chunks } else { &mut answers } += round.received;
        if round.faults() > 0 {
            let _ = writeln!(
                text,
                "FAULT {scenario} {side}: {} lost, {} doubled, {} out of order, {} streams without a proper end; {}",
                round.lost,
                round.doubled,
                round.disordered,
                round.unfinished,
                round.failures.join("; ")
            );
        }
    }
    if text.is_empty() && chunks > 0 {
        let _ =
            writeln!(text, "{chunks} chunks: none lost, none doubled, none out of order; every stream ended properly.");
    }
    if answers > 0 {
        let _ = writeln!(text, "{answers} idle WebSockets answered a ping.");
    }
    text
}

/// A table whose columns are as wide as their widest cell.
pub fn markdown(headings: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([headings[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let cells: Vec<String> = cells.zip(&widths).map(|(cell, &width)| format!(" {cell:<width$} ")).collect();
        format!("|{}|\n", cells.join("|"))
    };
    let mut text = line(&mut headings.iter().copied());
    let rules: Vec<String> = widths.iter().map(|&width| "-".repeat(width)).collect();
    text.push_str(&line(&mut rules.iter().map(String::as_str)));
    for row in rows {
        text.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = vec![vec!["µs".to_owned(), "1".to_owned()]];
        assert_eq!(markdown(&["a", "bcd"], &rows), "| a  | bcd |\n| -- | --- |\n| µs | 1   |\n");
    }
}
