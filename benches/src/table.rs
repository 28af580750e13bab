//! What is printed: a line of a Markdown table a figure on standard output, everything that led to it on standard error.

use std::io::Write as _;

use crate::measure::{Usage, median};

/// One figure.
pub(crate) struct Row {
    pub(crate) figure: String,
    pub(crate) ours: String,
    pub(crate) reference: String,
    pub(crate) result: String,
    pub(crate) bar: String,
    pub(crate) met: Option<bool>,
}

/// Says something about a run.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Prints the head of the table.
pub(crate) fn head() {
    line("| figure | ours | reference | result | bar | met |\n|---|---|---|---|---|---|");
}

/// Prints a figure.
pub(crate) fn row(row: &Row) {
    let Row { figure, ours, reference, result, bar, met } = row;
    let met = met.map_or("stated", |met| if met { "yes" } else { "**no**" });
    line(&format!("| {figure} | {ours} | {reference} | {result} | {bar} | {met} |"));
}

fn line(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Some runs of one program.
#[derive(Debug, Default)]
pub(crate) struct Runs(pub(crate) Vec<Usage>);

impl Runs {
    /// Adds a run and tells it.
    pub(crate) fn push(&mut self, name: &str, usage: Usage) {
        let Usage { user, system, wall, peak } = usage;
        let cpu = usage.cpu();
        say(&format!(
            "  {name:<12} cpu {cpu:6.3} s (user {user:.3}, system {system:.3})  wall {wall:6.3} s  peak {} MiB",
            peak >> 20
        ));
        self.0.push(usage);
    }

    /// The middle processor time.
    pub(crate) fn cpu(&self) -> f64 {
        self.middle(Usage::cpu)
    }

    /// The middle wall time.
    pub(crate) fn wall(&self) -> f64 {
        self.middle(|usage| usage.wall)
    }

    /// The largest peak of memory.
    pub(crate) fn peak(&self) -> u64 {
        self.0.iter().map(|usage| usage.peak).max().unwrap_or(0)
    }

    /// Processor time a gigabyte, with the least and the most: `0.93 (0.90-1.01) cpu-s/GB`.
    pub(crate) fn cost(&self, bytes: u64) -> String {
        let gigabytes = bytes as f64 / 1e9;
        let all = || self.0.iter().map(Usage::cpu);
        let (least, most) = (all().fold(f64::MAX, f64::min), all().fold(0.0, f64::max));
        format!("{:.2} ({:.2}-{:.2}) cpu-s/GB", self.cpu() / gigabytes, least / gigabytes, most / gigabytes)
    }

    /// Wall time: the middle, the least and the most.
    pub(crate) fn times(&self) -> String {
        self.seconds(|usage| usage.wall)
    }

    /// How far the runs are apart in any time.
    pub(crate) fn spread(&self, of: impl Fn(&Usage) -> f64) -> f64 {
        let all = || self.0.iter().map(&of);
        all().fold(0.0, f64::max) - all().fold(f64::MAX, f64::min)
    }

    /// The middle of any time.
    pub(crate) fn middle(&self, of: impl Fn(&Usage) -> f64) -> f64 {
        median(self.0.iter().map(of))
    }

    /// Any time: the middle, the least and the most.
    pub(crate) fn seconds(&self, of: impl Fn(&Usage) -> f64) -> String {
        let all = || self.0.iter().map(&of);
        let (least, most) = (all().fold(f64::MAX, f64::min), all().fold(0.0, f64::max));
        format!("{:.2} ({least:.2}-{most:.2}) s", self.middle(&of))
    }
}

/// The middle of the ratios of neighbouring runs: noise that lasts longer than a run hits both.
pub(crate) fn ratio(ours: &Runs, theirs: &Runs, of: impl Fn(&Usage) -> f64) -> f64 {
    median(ours.0.iter().zip(&theirs.0).map(|(ours, theirs)| of(ours) / of(theirs)))
}
