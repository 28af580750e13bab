//! A JSON number as it was written, and as `BigDecimal` prints it.

use std::fmt;

/// Digits that printing may add: `1e-1000000000` stays as short as it was written.
const MAX_EXPONENT_DIGITS: usize = 10;

/// A number, exactly as written. Equality is that of the text: `1.0` and `1` differ, as they do for `BigDecimal`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Number(Box<str>);

impl Number {
    /// Takes text that is a number by JSON's grammar.
    pub(super) fn from_text(text: &str) -> Self {
        Self(text.into())
    }

    /// The text as it was written.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Written without fraction and exponent.
    pub fn is_integer(&self) -> bool {
        !self.0.contains(['.', 'e', 'E'])
    }

    /// The value, where it is written as an integer of 64 bits.
    pub fn as_i64(&self) -> Option<i64> {
        self.0.parse().ok()
    }

    /// The nearest double; infinite where there is none.
    pub fn as_f64(&self) -> f64 {
        self.0.parse().unwrap_or(f64::NAN)
    }

    /// Sign, digits without leading zeros (at least one), and how many of them lie behind the point.
    pub fn decimal(&self) -> Decimal {
        let (negative, rest) = match self.0.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, &*self.0),
        };
        let (mantissa, exponent) = rest.split_once(['e', 'E']).unwrap_or((rest, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let exponent: i64 = match exponent.trim_start_matches(['+', '-']).trim_start_matches('0') {
            "" => 0,
            digits if digits.len() > MAX_EXPONENT_DIGITS => i64::MAX / 4,
            digits => digits.parse().unwrap_or(i64::MAX / 4),
        } * if exponent.starts_with('-') { -1 } else { 1 };
        let digits = format!("{whole}{fraction}");
        let digits = digits.trim_start_matches('0');
        let digits = if digits.is_empty() { "0".to_owned() } else { digits.to_owned() };
        let negative = negative && digits != "0";
        Decimal { negative, scale: fraction.len() as i64 - exponent, digits }
    }
}

/// Whole numbers of the program itself, as in descriptions of differences.
impl From<i64> for Number {
    fn from(value: i64) -> Self {
        Self(value.to_string().into())
    }
}

/// A number as `BigDecimal` keeps it: `digits` with the point moved `scale` places to the left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decimal {
    /// Below zero.
    pub negative: bool,
    /// Decimal digits without leading zeros.
    pub digits: String,
    /// Digits behind the point; below zero for `1e2`.
    pub scale: i64,
}

impl Decimal {
    /// Without the zeros at the end: equal values have equal forms.
    #[must_use]
    pub fn normal(mut self) -> Self {
        if self.digits == "0" {
            return Self { negative: false, digits: self.digits, scale: 0 };
        }
        let kept = self.digits.trim_end_matches('0').len();
        self.scale -= (self.digits.len() - kept) as i64;
        self.digits.truncate(kept);
        self
    }
}

/// By value, not by form.
impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        use std::cmp::Ordering;
        let (a, b) = (self.clone().normal(), other.clone().normal());
        let sign = |d: &Decimal| if d.digits == "0" { 0 } else { 1 - 2 * i32::from(d.negative) };
        let by_sign = sign(&a).cmp(&sign(&b));
        if by_sign != Ordering::Equal || sign(&a) == 0 {
            return Some(by_sign);
        }
        // Of the same sign: first where the leading digit stands, then the digits from there on.
        let top = |d: &Decimal| d.digits.len() as i64 - d.scale;
        let size = top(&a).cmp(&top(&b)).then_with(|| a.digits.cmp(&b.digits));
        Some(if a.negative { size.reverse() } else { size })
    }
}

/// As Java's `BigDecimal.toString`: plain as long as the point stands inside or a little before the digits, else with an
/// exponent.
impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_integer() {
            return f.write_str(if &*self.0 == "-0" { "0" } else { &self.0 });
        }
        let Decimal { negative, digits, scale } = self.decimal();
        let adjusted = digits.len() as i64 - 1 - scale;
        if negative {
            f.write_str("-")?;
        }
        if scale >= 0 && adjusted >= -6 {
            let scale = usize::try_from(scale).unwrap_or(0);
            return match digits.len().checked_sub(scale) {
                _ if scale == 0 => f.write_str(&digits),
                Some(whole) if whole > 0 => write!(f, "{}.{}", &digits[..whole], &digits[whole..]),
                _ => write!(f, "0.{}{digits}", "0".repeat(scale - digits.len())),
            };
        }
        f.write_str(&digits[..1])?;
        if digits.len() > 1 {
            write!(f, ".{}", &digits[1..])?;
        }
        if adjusted != 0 { write!(f, "E{adjusted:+}") } else { Ok(()) }
    }
}
