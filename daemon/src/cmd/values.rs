//! Values on the command line: sizes, durations, moments, anchors.

use std::time::Duration;

use formats::hash::Hash;

use crate::output::day_of;

/// Bytes: `268435456`, `256MiB`, `1GB`.
pub(super) fn size(text: &str) -> Result<usize, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kib" | "k" => 1 << 10,
        "mib" | "m" => 1 << 20,
        "gib" | "g" => 1 << 30,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        _ => return Err(format!("{unit:?} is no unit of bytes: use KiB, MiB, GiB, KB, MB or GB")),
    };
    let number: usize = number.parse().map_err(|_| format!("{text:?} is no number of bytes"))?;
    let bytes = number.checked_mul(factor).ok_or_else(|| format!("{text:?} is too large"))?;
    if bytes < 1 << 20 { Err("at least 1MiB is needed".to_owned()) } else { Ok(bytes) }
}

/// Elapsed time: `90s`, `15m`, `24h`, `7d`; no unit means seconds.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let seconds: u64 = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(format!("{unit:?} is no unit of time: use s, m, h or d")),
    };
    let number: u64 = number.parse().map_err(|_| format!("{text:?} is no duration"))?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(|| format!("{text:?} is too long"))
}

/// A moment in milliseconds since 1970 UTC: that number, or `2026-01-02`, `2026-01-02T03:04:05Z`, with a fraction of up
/// to three digits.
pub(super) fn moment(text: &str) -> Result<i64, String> {
    if let Ok(ms) = text.parse() {
        return Ok(ms);
    }
    let parse = || {
        let (date, time) = text.split_once(['T', ' ']).unwrap_or((text, "00:00:00Z"));
        let mut date = date.splitn(3, '-').map(digits);
        let day = day_of(date.next()??, date.next()??, date.next()??)?;
        let time = time.strip_suffix('Z')?;
        let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
        let mut time = time.splitn(3, ':').map(digits);
        let (hour, minute, second) = (time.next()??, time.next()??, time.next().unwrap_or(Some(0))?);
        if hour > 23 || minute > 59 || second > 59 || fraction.len() > 3 {
            return None;
        }
        let fraction = digits(fraction)? * 10_i64.pow(3 - fraction.len() as u32);
        Some((((day * 24 + hour) * 60 + minute) * 60 + second) * 1000 + fraction)
    };
    parse().ok_or_else(|| {
        format!(
            "{text:?} is no moment: write milliseconds since 1970, 2026-01-02 or 2026-01-02T03:04:05Z (UTC)"
        )
    })
}

fn digits(text: &str) -> Option<i64> {
    let plain = !text.is_empty() && text.len() < 10 && text.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

/// A commit as runs print it: `<number>:<64 hexadecimal digits>`.
pub(super) fn anchor(text: &str) -> Result<(u64, Hash), String> {
    let wrong = || format!("{text:?} is no anchor: write SEQ:HASH as a run prints it");
    let (seq, hash) = text.split_once(':').ok_or_else(wrong)?;
    Ok((seq.parse().map_err(|_| wrong())?, hash.parse().map_err(|e: formats::Error| e.to_string())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_and_mistakes_are_named() {
        assert_eq!(size("256MiB").unwrap(), 256 << 20);
        assert_eq!(size("1000000000").unwrap(), 1_000_000_000);
        assert_eq!(duration("7d").unwrap(), Duration::from_secs(7 * 86_400));
        assert_eq!(duration("0s").unwrap(), Duration::ZERO);
        assert_eq!(moment("-1").unwrap(), -1);
        assert_eq!(moment("1970-01-02").unwrap(), 86_400_000);
        assert_eq!(moment("2000-02-29T12:34:56.7Z").unwrap(), 951_827_696_700);
        assert_eq!(moment("2000-02-29 12:34Z").unwrap(), 951_827_640_000);
        let hash = "0".repeat(64);
        assert_eq!(anchor(&format!("7:{hash}")).unwrap(), (7, Hash::ZERO));
        for wrong in ["", "x", "5 parsecs", "1e9", "99999999999999999999"] {
            assert!(size(wrong).is_err() && duration(wrong).is_err(), "{wrong}");
        }
        for wrong in [
            "",
            "2026-02-30",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:00:00",
            "2026-01-01T00:00:00.1234Z",
            "+1-2-3",
        ] {
            assert!(moment(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "7", "7:", "x:00", &format!("-1:{hash}")] {
            assert!(anchor(wrong).is_err(), "{wrong}");
        }
    }
}
