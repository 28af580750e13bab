//! What a command prints: data on stdout, as text for people or as JSON for programs; errors on stderr.

use std::io::{self, BufWriter, Write};
use std::time::Duration;

use pipeline::Error;
use serde::Serialize;
use serde_json::json;

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For programs: one JSON document.
    Json,
}

/// Prints results.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    format: Format,
}

impl Output {
    /// An output of a format.
    pub(crate) fn new(format: Format) -> Self {
        Self { format }
    }

    /// Whether results are JSON.
    pub(crate) fn is_json(self) -> bool {
        self.format == Format::Json
    }

    /// Prints a result. A reader that has gone away (`| head`) is no error.
    pub(crate) fn print(self, value: &impl Serialize, text: impl FnOnce() -> String) {
        let mut to = BufWriter::new(io::stdout().lock());
        // As it comes: what a restore tells of a hundred thousand schemas is tens of megabytes.
        let printed = match self.is_json() {
            true => serde_json::to_writer_pretty(&mut to, value).map_err(io::Error::from),
            false => to.write_all(text().as_bytes()),
        };
        let _ = printed.and_then(|()| writeln!(to)).and_then(|()| to.flush());
    }

    /// Prints an error with its next step.
    pub(crate) fn error(self, error: &Error) {
        let mut stderr = std::io::stderr().lock();
        if self.is_json() {
            let code = crate::exit::code(error.kind());
            let value =
                json!({ "error": error.to_string(), "next_step": error.next_step(), "exit_code": code });
            let _ = writeln!(stderr, "{value}");
            return;
        }
        let _ = writeln!(stderr, "replevin: {error}");
        if let Some(next) = error.next_step() {
            let _ = writeln!(stderr, "  -> {next}");
        }
    }
}

/// A number of things for people: 1 segment, 2 segments.
pub(crate) fn count(number: impl TryInto<u64>, thing: &str) -> String {
    let number = number.try_into().unwrap_or(u64::MAX);
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

/// Bytes for people: 1.5 GiB.
pub(crate) fn human_bytes(bytes: u64) -> String {
    indicatif::HumanBytes(bytes).to_string()
}

/// A length of time for people: 0.3 s, 45 s, 12 min 5 s, 3 h 12 min, 5 d 3 h.
pub(crate) fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        ..10 => format!("{:.1} s", time.as_secs_f64()),
        10..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// A moment for people, in UTC: 2026-01-02 03:04:05Z. Kafka's "no timestamp" (-1) is a dash; what no calendar holds is
/// the number.
pub(crate) fn utc(ms: i64) -> String {
    if ms == -1 {
        return "-".to_owned();
    }
    let seconds = ms.div_euclid(1000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    if !(0..=9999).contains(&year) {
        return format!("{ms} ms");
    }
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}Z")
}

/// Year, month and day of a day counted from 1970-01-01. Eras of 400 years, years that begin in March, so that the leap
/// day is the last of its year.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

/// The day, counted from 1970-01-01, of a date; `None` for one that no calendar has.
pub(crate) fn day_of(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(0..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let years = year - i64::from(month <= 2);
    let (era, year_of_era) = (years.div_euclid(400), years.rem_euclid(400));
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let days =
        era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468;
    (civil(days) == (year, month, day)).then_some(days)
}

/// How a column of a [`Table`] is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// Rows of text in aligned columns.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<Align>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    pub(crate) fn new(headings: &[(&str, Align)]) -> Self {
        let columns = headings.iter().map(|(_, align)| *align).collect();
        Self { columns, rows: vec![headings.iter().map(|(heading, _)| (*heading).to_owned()).collect()] }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Whether there is nothing under the headings.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.len() < 2
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let width = |n: usize| self.rows.iter().filter_map(|row| row.get(n)).map(|c| c.chars().count()).max();
        let widths: Vec<_> = (0..self.columns.len()).map(|n| width(n).unwrap_or(0)).collect();
        for (number, row) in self.rows.iter().enumerate() {
            if number > 0 {
                writeln!(f)?;
            }
            let mut line = String::new();
            for ((cell, width), align) in row.iter().zip(&widths).zip(&self.columns) {
                match align {
                    Align::Left => line.push_str(&format!("{cell:<width$}  ")),
                    Align::Right => line.push_str(&format!("{cell:>width$}  ")),
                }
            }
            f.write_str(line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_utc_and_dates_go_both_ways() {
        assert_eq!(utc(0), "1970-01-01 00:00:00Z");
        assert_eq!(utc(951_827_696_789), "2000-02-29 12:34:56Z");
        assert_eq!(utc(-1000), "1969-12-31 23:59:59Z");
        assert_eq!(utc(-1), "-");
        assert_eq!(utc(i64::MAX), format!("{} ms", i64::MAX));
        assert_eq!(utc(i64::MIN), format!("{} ms", i64::MIN));
        for days in (-700_000..2_900_000).step_by(97) {
            let (year, month, day) = civil(days);
            assert_eq!(day_of(year, month, day), Some(days).filter(|_| (0..=9999).contains(&year)));
        }
        assert_eq!(
            (day_of(2023, 2, 29), day_of(2024, 2, 29), day_of(2024, 13, 1)),
            (None, Some(19_782), None)
        );
    }

    #[test]
    fn columns_line_up_and_lines_end_where_text_ends() {
        let mut table =
            Table::new(&[("TOPIC", Align::Left), ("RECORDS", Align::Right), ("NOTE", Align::Left)]);
        assert!(table.is_empty());
        table.row(["a".to_owned(), "12".to_owned(), String::new()]);
        table.row(["größer".to_owned(), "3".to_owned(), "x".to_owned()]);
        assert_eq!(table.to_string(), "TOPIC   RECORDS  NOTE\na            12\ngrößer        3  x");
    }
}
