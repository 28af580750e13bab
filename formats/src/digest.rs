//! Digests of what a partition holds: one over its records, one over its batches.
//!
//! The **content digest** does not depend on offsets, batching or codec, so it survives merges, rebuilds and a restore;
//! equal digests on both sides are the proof of a restore. The **batch digest** costs next to nothing, as no record is
//! decoded, and changes with every repacking.
//!
//! Both are polynomials modulo p = 2^127 - 1 over item hashes h in order, h(1)·r^(n-1) + ... + h(n), so that the digest
//! of A followed by B follows from those of A and B ([`ContentDigest::combine`]): segments are digested apart and in
//! parallel, and what merges or splits must add up.
//!
//! - item hash: the first 16 bytes of the BLAKE3 of the item's encoding, as a little-endian number, modulo p;
//! - r: the same of the 25 ASCII bytes `replevin content digest 1`;
//! - a record's encoding: timestamp i64 LE as consumers see it · key length i32 LE (-1: null), key · value length
//!   i32 LE (-1: null), value · header count u32 LE · for each header: key length i32 LE, key, value length i32 LE
//!   (-1: null), value;
//! - a batch's encoding: base offset i64 LE · next offset i64 LE · CRC u32 LE · stored length in bytes u32 LE.
//!
//! They protect from accident: lost, doubled, reordered or altered records show with all but certainty. They do not
//! protect from an adversary who may choose records, because r is public; hashes of whole objects in the commit chain
//! are for that.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::record::{Record, Records};
use crate::record_batch::RecordBatch;
use crate::{Error, Result};

const P: u128 = (1 << 127) - 1;
const R: u128 = 0x7d93_f11e_1bb2_0d91_6fe6_b6c4_6a43_1c27;

/// x mod p.
fn reduce(x: u128) -> u128 {
    let folded = (x & P) + (x >> 127);
    if folded >= P { folded - P } else { folded }
}

/// a + b mod p, both below p.
fn add(a: u128, b: u128) -> u128 {
    reduce(a + b)
}

/// a · b mod p, both below p.
fn multiply(a: u128, b: u128) -> u128 {
    let low = |x: u128| x & u128::from(u64::MAX);
    let (a1, a0, b1, b0) = (a >> 64, low(a), b >> 64, low(b));
    // 2^127 is 1 modulo p, so 2^128 is 2 and the middle's upper part wraps to the bottom. The middle stays below 2^128
    // because a1 and b1 are below 2^63.
    let middle = a1 * b0 + a0 * b1;
    let (over, rest) = (middle >> 63, middle & ((1 << 63) - 1));
    add(add(reduce(a1 * b1 * 2), reduce(a0 * b0)), reduce((rest << 64) + over))
}

/// r^n mod p.
fn power_of_r(mut n: u64) -> u128 {
    let (mut power, mut square) = (1, R);
    while n != 0 {
        if n & 1 != 0 {
            power = multiply(power, square);
        }
        square = multiply(square, square);
        n >>= 1;
    }
    power
}

fn item(hash: &blake3::Hash) -> u128 {
    let mut first = [0; 16];
    first.copy_from_slice(&hash.as_bytes()[..16]);
    reduce(u128::from_le_bytes(first))
}

/// A number of items and their polynomial: the shape shared by [`ContentDigest`] and [`BatchDigest`].
macro_rules! digest {
    ($(#[$doc:meta])* $name:ident, $count:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name {
            $count: u64,
            value: u128,
        }

        impl $name {
            /// Of nothing.
            pub const EMPTY: Self = Self { $count: 0, value: 0 };

            #[doc = concat!("How many ", $what, " it covers.")]
            pub fn $count(&self) -> u64 {
                self.$count
            }

            #[doc = concat!("The digest of these ", $what, " followed by those of `next`.")]
            #[must_use]
            pub fn combine(self, next: Self) -> Self {
                Self {
                    $count: self.$count.saturating_add(next.$count),
                    value: add(multiply(self.value, power_of_r(next.$count)), next.value),
                }
            }

            fn push_item(&mut self, item: u128) {
                self.$count += 1;
                self.value = add(multiply(self.value, R), item);
            }
        }

        /// The number in decimal, a colon, the polynomial as 32 hexadecimal digits.
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}:{:032x}", self.$count, self.value)
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                parse(text).map(|(count, value)| Self { $count: count, value }).ok_or_else(|| {
                    Error::invalid(format!(concat!("{:?} is no digest of ", $what, ": <number>:<32 hexadecimal digits>"), text))
                })
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;

            fn try_from(text: String) -> Result<Self> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(digest: $name) -> Self {
                digest.to_string()
            }
        }
    };
}

/// One value has one text: no signs, no leading zeros, lower case, below p.
fn parse(text: &str) -> Option<(u64, u128)> {
    let (count, value) = text.split_once(':')?;
    let number = count.parse::<u64>().ok()?;
    let value = (value.len() == 32).then(|| u128::from_str_radix(value, 16).ok()).flatten()?;
    (value < P && format!("{number}:{value:032x}") == text).then_some((number, value))
}

digest!(
    /// The digest of records: timestamps, keys, values and headers, in offset order.
    ContentDigest,
    records,
    "records"
);
digest!(
    /// The digest of batches: offset ranges, CRCs and sizes, in offset order.
    BatchDigest,
    batches,
    "batches"
);

impl ContentDigest {
    /// Appends a record with the timestamp that a consumer sees ([`RecordBatch::effective_timestamp`]).
    pub fn push_record(&mut self, timestamp: i64, record: &Record<'_>) {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&timestamp.to_le_bytes());
        update_nullable(&mut hasher, record.key);
        update_nullable(&mut hasher, record.value);
        hasher.update(&(record.headers.len() as u32).to_le_bytes());
        for (key, value) in record.headers {
            update_nullable(&mut hasher, Some(key));
            update_nullable(&mut hasher, value);
        }
        self.push_item(item(&hasher.finalize()));
    }

    /// Appends the records of a batch, decompressed; none for a control batch, as no consumer sees its markers.
    ///
    /// # Errors
    /// A record that cannot be read; the digest is of no use then.
    pub fn push_batch(&mut self, batch: &RecordBatch<'_>, records: Records<'_>) -> Result<()> {
        if batch.attributes().control() {
            return Ok(());
        }
        for record in records {
            let record = record.map_err(|error| {
                error.at(format_args!(
                    "record batch at offsets [{},{})",
                    batch.base_offset(),
                    batch.next_offset()
                ))
            })?;
            self.push_record(batch.effective_timestamp(record.timestamp_delta), &record);
        }
        Ok(())
    }
}

impl BatchDigest {
    /// Appends a batch as it is stored.
    pub fn push(&mut self, batch: &RecordBatch<'_>) {
        let mut encoding = [0; 24];
        encoding[..8].copy_from_slice(&batch.base_offset().to_le_bytes());
        encoding[8..16].copy_from_slice(&batch.next_offset().to_le_bytes());
        encoding[16..20].copy_from_slice(&batch.crc().to_le_bytes());
        encoding[20..].copy_from_slice(&(batch.len() as u32).to_le_bytes());
        self.push_item(item(&blake3::hash(&encoding)));
    }
}

fn update_nullable(hasher: &mut blake3::Hasher, bytes: Option<&[u8]>) {
    hasher.update(&bytes.map_or(-1, |bytes| bytes.len() as i32).to_le_bytes());
    hasher.update(bytes.unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// a · b mod p bit by bit.
    fn slow_multiply(a: u128, b: u128) -> u128 {
        (0..127).rev().fold(0, |sum, bit| {
            let doubled = add(sum, sum);
            if b >> bit & 1 == 1 { add(doubled, a) } else { doubled }
        })
    }

    fn payload(values: &[Vec<u8>]) -> Vec<u8> {
        let mut payload = Vec::new();
        for (delta, value) in values.iter().enumerate() {
            // attributes, timestamp delta, offset delta, null key, value, no headers; all short enough for one byte.
            assert!(value.len() < 50 && delta < 60);
            payload.push((6 + value.len() as u8) * 2);
            payload.extend_from_slice(&[0, 0, delta as u8 * 2, 1, value.len() as u8 * 2]);
            payload.extend_from_slice(value);
            payload.push(0);
        }
        payload
    }

    fn digest(values: &[Vec<u8>]) -> ContentDigest {
        let (mut digest, payload) = (ContentDigest::EMPTY, payload(values));
        for record in Records::new(&payload, values.len() as i32, 100) {
            digest.push_record(7, &record.unwrap());
        }
        digest
    }

    #[test]
    fn r_is_the_documented_hash() {
        assert_eq!(R, item(&blake3::hash(b"replevin content digest 1")));
    }

    #[test]
    fn hashes_the_documented_encoding() {
        let payload = [30, 0, 0, 0, 2, b'k', 1, 4, 2, b'h', 4, b'a', b'b', 2, b'h', 1];
        let record = Records::new(&payload, 1, 0).next().unwrap().unwrap();
        let mut digest = ContentDigest::EMPTY;
        digest.push_record(-2, &record);
        let encoding = [
            &(-2i64).to_le_bytes()[..],
            b"\x01\0\0\0k",
            b"\xff\xff\xff\xff",
            b"\x02\0\0\0",
            b"\x01\0\0\0h\x02\0\0\0ab",
            b"\x01\0\0\0h\xff\xff\xff\xff",
        ]
        .concat();
        assert_eq!(digest, ContentDigest { records: 1, value: item(&blake3::hash(&encoding)) });
    }

    #[test]
    fn tells_null_from_empty_and_order_from_order() {
        let (a, b) = (vec![1], vec![2]);
        assert_ne!(digest(&[a.clone(), b.clone()]), digest(&[b.clone(), a.clone()]));
        let twice = [a.clone(), a];
        assert_ne!(digest(&twice[..1]), digest(&twice));
        assert_ne!(digest(&[vec![]]), ContentDigest::EMPTY);
        let null = [12, 0, 0, 0, 1, 1, 0];
        let mut nothing = ContentDigest::EMPTY;
        nothing.push_record(7, &Records::new(&null, 1, 0).next().unwrap().unwrap());
        assert_ne!(nothing, digest(&[vec![]]));
    }

    #[test]
    fn has_one_text_for_one_value() {
        let digest = digest(&[vec![1], vec![2]]);
        let text = digest.to_string();
        assert!(text.starts_with("2:") && text.len() == 34);
        assert_eq!(text.parse::<ContentDigest>().unwrap(), digest);
        assert_eq!(serde_json::from_str::<ContentDigest>(&format!("\"{text}\"")).unwrap(), digest);
        assert_eq!(serde_json::to_string(&digest).unwrap(), format!("\"{text}\""));
        let p = format!("1:{P:032x}");
        for wrong in
            ["", ":", "2", "+2:0", "2:00", "02:00000000000000000000000000000001", &text.to_uppercase(), &p]
        {
            // An all-digit text has no upper case of its own.
            assert!(wrong == text || wrong.parse::<ContentDigest>().is_err(), "{wrong}");
        }
        assert_eq!(ContentDigest::EMPTY.to_string(), format!("0:{}", "0".repeat(32)));
    }

    proptest! {
        #[test]
        fn multiplies_right(a: u128, b: u128) {
            let (a, b) = (reduce(a), reduce(b));
            prop_assert_eq!(multiply(a, b), slow_multiply(a, b));
            prop_assert!(multiply(P - 1, P - 1) == 1 && multiply(a, b) < P);
        }

        #[test]
        fn combines_like_one_stream(
            values in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 0..30),
            cuts in (any::<prop::sample::Index>(), any::<prop::sample::Index>()),
        ) {
            let (a, b) = (cuts.0.index(values.len() + 1), cuts.1.index(values.len() + 1));
            let (a, b) = (a.min(b), a.max(b));
            let (x, y, z) = (digest(&values[..a]), digest(&values[a..b]), digest(&values[b..]));
            prop_assert_eq!(x.combine(y).combine(z), digest(&values));
            prop_assert_eq!(x.combine(y.combine(z)), digest(&values));
            prop_assert_eq!(x.combine(ContentDigest::EMPTY), x);
            prop_assert_eq!(ContentDigest::EMPTY.combine(x), x);
        }
    }
}
