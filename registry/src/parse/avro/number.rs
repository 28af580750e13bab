//! Doubles as Java writes and reads them.

use std::fmt::Write;

/// As `Double.toString`: plain from a thousandth to ten millions, else with an exponent; always a digit behind the point.
pub(super) fn double(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    if value == 0.0 {
        return if value.is_sign_negative() { "-0.0" } else { "0.0" }.to_owned();
    }
    let mut scientific = format!("{value:e}");
    // Java never writes fewer than two digits; of the smallest numbers a better second one than 0 may exist.
    if !scientific.contains('.') {
        let two = format!("{value:.1e}");
        if two.parse() == Ok(value) {
            scientific = two;
        }
    }
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    let digits: String = mantissa.chars().filter(|c| *c != '.').collect();
    let digits = match digits.trim_end_matches('0') {
        "" => "0",
        digits => digits,
    };
    let mut out = sign.to_owned();
    let written = match usize::try_from(exponent) {
        Ok(whole) if whole < 7 => {
            let padded = format!("{digits:0<width$}", width = whole + 1);
            let (whole, fraction) = padded.split_at(whole + 1);
            write!(out, "{whole}.{}", if fraction.is_empty() { "0" } else { fraction })
        }
        Err(_) if exponent >= -3 => {
            write!(out, "0.{}{digits}", "0".repeat(exponent.unsigned_abs() as usize - 1))
        }
        _ => {
            let (first, rest) = digits.split_at(1);
            write!(out, "{first}.{}E{exponent}", if rest.is_empty() { "0" } else { rest })
        }
    };
    debug_assert!(written.is_ok(), "text takes what is written to it");
    out
}

/// As `Float.toString`, but of the double that this text means: a float's shortest digits.
pub(super) fn float(value: f64) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "narrowing is what a float default means")]
    let narrow = value as f32;
    double(format!("{narrow:e}").parse().unwrap_or(f64::from(narrow)))
}

/// As `Double.valueOf`, hexadecimal numbers excepted.
pub(super) fn parse(text: &str) -> Option<f64> {
    let text = text.trim_matches(|c: char| c <= ' ');
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let sign = if text.starts_with('-') { -1.0 } else { 1.0 };
    match unsigned {
        "NaN" => return Some(f64::NAN),
        "Infinity" => return Some(sign * f64::INFINITY),
        _ => {}
    }
    let number = unsigned.strip_suffix(['f', 'F', 'd', 'D']).unwrap_or(unsigned);
    // What is left is plain decimal: `parse` knows more words, all of which begin with a letter.
    let is_decimal = number.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    if is_decimal { number.parse::<f64>().ok().map(|value| sign * value) } else { None }
}
