//! Scalars to values: sizes, lengths of time, moments, brokers.
//!
//! Every function takes the text and answers `None` for "not of that form"; what was expected is said by the caller.

/// Bytes of a size: a plain number, or one with `B`, `KiB`, `MiB`, `GiB`, `TiB` (powers of 1024; `Ki` and so on too) or
/// `kB`, `MB`, `GB`, `TB` (powers of 1000). A bare `M` is refused, since people mean both by it.
pub(crate) fn size(text: &str) -> Option<u64> {
    let (number, unit) = number_and_unit(text)?;
    let factor: u64 = match unit {
        "" | "B" => 1,
        "KiB" | "Ki" => 1 << 10,
        "MiB" | "Mi" => 1 << 20,
        "GiB" | "Gi" => 1 << 30,
        "TiB" | "Ti" => 1 << 40,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        _ => return None,
    };
    number.checked_mul(factor)
}

/// Milliseconds of a length of time: `500ms`, `30s`, `5m`, `1h`, `2d`, several of these as Go writes them (`1h30m`, `1.5s`), or a plain
/// number of `plain` milliseconds each. Parts of a millisecond are cut off.
pub(crate) fn duration_ms(text: &str, plain: Option<i64>) -> Option<i64> {
    if let Ok(number) = text.parse::<u64>() {
        return i64::try_from(number).ok()?.checked_mul(plain?);
    }
    let (mut total, mut rest) = (0_i64, text);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').filter(|end| *end > 0)?;
        let (number, after) = rest.split_at(end);
        let after = after.trim_start();
        let end = after.find(|c: char| !c.is_alphabetic()).unwrap_or(after.len());
        let (unit, next) = after.split_at(end);
        total = total.checked_add(nanoseconds(number, unit)?)?;
        rest = next;
    }
    (!text.is_empty()).then_some(total / NANOS_PER_MS)
}

const NANOS_PER_MS: i64 = 1_000_000;

/// Nanoseconds of a number, with or without a fraction, in a unit.
fn nanoseconds(number: &str, unit: &str) -> Option<i64> {
    let factor: i64 = match unit {
        "ns" => 1,
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => NANOS_PER_MS,
        "s" => 1_000 * NANOS_PER_MS,
        "m" | "min" => 60_000 * NANOS_PER_MS,
        "h" => 3_600_000 * NANOS_PER_MS,
        "d" => 86_400_000 * NANOS_PER_MS,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(fraction) || (number.contains('.') && fraction.is_empty()) {
        return None;
    }
    let whole = whole.parse::<i64>().ok()?.checked_mul(factor)?;
    // Nine digits are enough for every unit.
    let fraction: i64 = format!("{:0<9}", &fraction[..fraction.len().min(9)]).parse().ok()?;
    let part = i128::from(fraction) * i128::from(factor) / 1_000_000_000;
    whole.checked_add(i64::try_from(part).ok()?)
}

fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..digits].parse().ok()?, text[digits..].trim_start()))
}

/// Milliseconds since 1970 UTC of a moment: a plain number of them, or RFC 3339 (`2026-01-15T08:30:00Z`,
/// `2026-01-15T09:30:00.250+01:00`). Parts of a millisecond are cut off.
pub(crate) fn time_ms(text: &str) -> Option<i64> {
    if let Ok(number) = text.parse() {
        return Some(number);
    }
    let digits = |range: std::ops::Range<usize>| -> Option<i64> {
        let part = text.get(range)?;
        if part.bytes().all(|b| b.is_ascii_digit()) { part.parse().ok() } else { None }
    };
    let mark =
        |index: usize, allowed: &[u8]| text.as_bytes().get(index).is_some_and(|byte| allowed.contains(byte));
    if !(mark(4, b"-") && mark(7, b"-") && mark(10, b"Tt ") && mark(13, b":") && mark(16, b":")) {
        return None;
    }
    let (year, month, day) = (digits(0..4)?, digits(5..7)?, digits(8..10)?);
    let (hour, minute, second) = (digits(11..13)?, digits(14..16)?, digits(17..19)?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last_day = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return None,
    };
    // 60 is a leap second; like Kafka's own clocks, it is the first second of the next minute.
    if !(1..=last_day).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut rest = text.get(19..)?;
    let mut millis = 0;
    if let Some(fraction) = rest.strip_prefix('.') {
        let length = fraction.find(|c: char| !c.is_ascii_digit()).unwrap_or(fraction.len());
        if length == 0 {
            return None;
        }
        millis = format!("{:0<3}", &fraction[..length.min(3)]).parse().ok()?;
        rest = &fraction[length..];
    }
    let offset_minutes = match rest {
        "Z" | "z" => 0,
        _ => {
            let sign = if rest.starts_with('-') { -1 } else { 1 };
            let (hours, minutes) = rest.strip_prefix(['+', '-'])?.split_once(':')?;
            let two = |part: &str| {
                (part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit()))
                    .then(|| part.parse::<i64>().ok())
            };
            let (hours, minutes) = (two(hours)??, two(minutes)??);
            if hours > 23 || minutes > 59 {
                return None;
            }
            sign * (hours * 60 + minutes)
        }
    };
    let days = days_since_1970(year, month, day);
    Some((((days * 24 + hour) * 60 + minute - offset_minutes) * 60 + second) * 1_000 + millis)
}

/// Days since 1970-01-01 of a date of the Gregorian calendar, years counted from March so that leap days come last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// A host with or without a port: `cassandra-1`, `cassandra-1:9042`, `[::1]:9042`, `::1`.
///
/// # Errors
/// Words for what is wrong with it.
pub(crate) fn host(text: &str) -> Result<(String, Option<u16>), String> {
    if text.parse::<std::net::Ipv6Addr>().is_ok() {
        return Ok((text.to_owned(), None));
    }
    if text.contains("://") {
        return Err("it is no URL".to_owned());
    }
    if text.contains(':') && !text.ends_with(']') {
        return server(text).map(|(host, port)| (host, Some(port)));
    }
    server(&format!("{text}:1")).map(|(host, _)| (host, None))
}

/// A broker's address: `host:port`, `[ipv6]:port`, either after `PLAINTEXT://`.
///
/// # Errors
/// Words for what is wrong with it.
pub(crate) fn server(text: &str) -> Result<(String, u16), String> {
    let address = match text.split_once("://") {
        Some(("PLAINTEXT", address)) => address,
        Some((scheme, _)) => return Err(format!("{scheme}:// is not yet supported, only PLAINTEXT")),
        None => text,
    };
    let Some((host, port)) = address.rsplit_once(':') else { return Err("it has no port".to_owned()) };
    let host = match host.strip_prefix('[') {
        Some(rest) => match rest.strip_suffix(']') {
            Some(inner) if inner.parse::<std::net::Ipv6Addr>().is_ok() => inner,
            _ => return Err("what stands in brackets is no IPv6 address".to_owned()),
        },
        None if host.contains(':') => return Err("an IPv6 address goes into brackets".to_owned()),
        None => host,
    };
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    if host.is_empty() || !host.chars().all(legal) {
        return Err("its host is not a name or an address".to_owned());
    }
    match port.parse::<u16>() {
        Ok(port) if port > 0 => Ok((host.to_owned(), port)),
        _ => Err("its port is not between 1 and 65535".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_take_plain_bytes_and_units() {
        assert_eq!(size("134217728"), Some(128 << 20));
        assert_eq!(size("128MiB"), Some(128 << 20));
        assert_eq!(size("128 Mi"), Some(128 << 20));
        assert_eq!(size("5MB"), Some(5_000_000));
        for bad in ["", "-1", "1.5GiB", "128M", "lots", "99999999999TiB", "MiB"] {
            assert_eq!(size(bad), None, "{bad}");
        }
    }

    #[test]
    fn lengths_of_time_take_units_or_the_keys_own() {
        assert_eq!(duration_ms("30s", None), Some(30_000));
        assert_eq!(duration_ms("500", Some(1)), Some(500));
        assert_eq!(duration_ms("5", Some(1_000)), Some(5_000));
        assert_eq!(duration_ms("2d", None), Some(172_800_000));
        assert_eq!(duration_ms("1h30m", None), Some(5_400_000));
        assert_eq!(duration_ms("1m0.5s", Some(1_000)), Some(60_500));
        assert_eq!(duration_ms("1500us", None), Some(1));
        assert_eq!(duration_ms("30 s", None), Some(30_000));
        for bad in
            ["5", "-5s", "1w", "", "9223372036854775807d", "1.5", "1..5s", ".s", "1.s", "s", "1h30", "1é"]
        {
            assert_eq!(duration_ms(bad, None), None, "{bad}");
        }
    }

    #[test]
    fn hosts_may_have_a_port() {
        assert_eq!(host("c1"), Ok(("c1".to_owned(), None)));
        assert_eq!(host("c1:9042"), Ok(("c1".to_owned(), Some(9042))));
        assert_eq!(host("::1"), Ok(("::1".to_owned(), None)));
        assert_eq!(host("[::1]"), Ok(("::1".to_owned(), None)));
        assert_eq!(host("[::1]:1"), Ok(("::1".to_owned(), Some(1))));
        for bad in ["", "a b", "c1:0", "c1:", "http://c1", ":9042", "[x]"] {
            assert!(host(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn moments_are_milliseconds_or_rfc_3339() {
        for (text, ms) in [
            ("1705276800000", 1_705_276_800_000),
            ("2024-01-15T00:00:00Z", 1_705_276_800_000),
            ("2024-01-15T01:00:00.250+01:00", 1_705_276_800_250),
            ("2024-01-14t19:00:00.25-05:00", 1_705_276_800_250),
            ("1970-01-01T00:00:00Z", 0),
            ("1969-12-31T23:59:59.999Z", -1),
            ("2024-02-29T12:00:00.0009Z", 1_709_208_000_000),
            ("2000-03-01T00:00:00Z", 951_868_800_000),
        ] {
            assert_eq!(time_ms(text), Some(ms), "{text}");
        }
        for bad in [
            "2023-02-29T00:00:00Z",
            "2024-01-15",
            "2024-01-15T00:00:00",
            "2024-13-01T00:00:00Z",
            "2024-01-15T24:00:00Z",
            "é",
            "2024-01-15T00:00:00.Z",
            "2024-01-15T00:00:00+0é:0",
        ] {
            assert_eq!(time_ms(bad), None, "{bad}");
        }
    }

    #[test]
    fn brokers_are_hosts_with_ports() {
        assert_eq!(server("kafka-1.example:9092"), Ok(("kafka-1.example".to_owned(), 9092)));
        assert_eq!(server("[::1]:9092"), Ok(("::1".to_owned(), 9092)));
        assert_eq!(server("PLAINTEXT://b:1"), Ok(("b".to_owned(), 1)));
        for bad in
            ["kafka", "kafka:", "kafka:0", "kafka:70000", ":9092", "::1:9092", "SSL://b:1", "a b:1", "[x]:1"]
        {
            assert!(server(bad).is_err(), "{bad}");
        }
    }
}
