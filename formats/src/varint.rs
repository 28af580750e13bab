//! Kafka's variable-length integers: zig-zag, then 7 bits a byte, least significant first (as Protobuf's `sint`).
//!
//! At most 5 bytes for 32 bits and 10 for 64. What does not fit is refused; a longer form than needed is read, as
//! Kafka does, because rebuilt batches carry producers' bytes verbatim.

use crate::{Error, Result};

/// Reads a 32-bit integer from the front of `bytes` and steps over it.
///
/// # Errors
/// Bytes that end inside it, or more than 32 bits.
#[inline]
pub fn read_varint(bytes: &mut &[u8]) -> Result<i32> {
    let raw = read_unsigned(bytes, 5, u64::from(u32::MAX))? as u32;
    Ok(((raw >> 1) as i32) ^ -((raw & 1) as i32))
}

/// Reads a 64-bit integer from the front of `bytes` and steps over it.
///
/// # Errors
/// Bytes that end inside it, or more than 64 bits.
#[inline]
pub fn read_varlong(bytes: &mut &[u8]) -> Result<i64> {
    let raw = read_unsigned(bytes, 10, u64::MAX)?;
    Ok(((raw >> 1) as i64) ^ -((raw & 1) as i64))
}

/// Appends a 32-bit integer, in its shortest form.
pub fn write_varint(value: i32, out: &mut Vec<u8>) {
    write_varlong(i64::from(value), out);
}

/// Appends a 64-bit integer, in its shortest form.
pub fn write_varlong(value: i64, out: &mut Vec<u8>) {
    let mut raw = zigzag(value);
    while raw >= 0x80 {
        out.push(raw as u8 | 0x80);
        raw >>= 7;
    }
    out.push(raw as u8);
}

/// How many bytes [`write_varint`] appends.
pub fn varint_len(value: i32) -> usize {
    varlong_len(i64::from(value))
}

/// How many bytes [`write_varlong`] appends.
pub fn varlong_len(value: i64) -> usize {
    let bits = 64 - (zigzag(value) | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

// Zig-zag of a 32-bit value is the same number in 64 bits, so one writer serves both.
fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

#[inline(always)]
fn read_unsigned(bytes: &mut &[u8], longest: usize, greatest: u64) -> Result<u64> {
    // One byte or two are nearly all that there are in records: lengths and deltas below 8192. They are read where the
    // call stands, and the rest elsewhere by value, so that `bytes` can stay in registers.
    let (value, rest) = match *bytes {
        [byte @ 0..=0x7f, rest @ ..] => (u64::from(*byte), rest),
        [low, high @ 0..=0x7f, rest @ ..] => (u64::from(*low & 0x7f) | u64::from(*high) << 7, rest),
        _ => read_long(bytes, longest, greatest)?,
    };
    *bytes = rest;
    Ok(value)
}

#[cold]
fn read_long(bytes: &[u8], longest: usize, greatest: u64) -> Result<(u64, &[u8])> {
    let mut value = 0u64;
    for (index, byte) in bytes.iter().take(longest).enumerate() {
        let bits = u64::from(byte & 0x7f);
        let shifted = bits << (7 * index);
        if shifted >> (7 * index) != bits || shifted > greatest {
            return Err(Error::corrupt(format!("varint has more than {} bits", greatest.count_ones())));
        }
        value |= shifted;
        if byte & 0x80 == 0 {
            return Ok((value, &bytes[index + 1..]));
        }
    }
    if bytes.len() < longest {
        return Err(Error::corrupt("varint is cut off"));
    }
    Err(Error::corrupt(format!("varint has more than {longest} bytes")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn writes_kafkas_own_vectors() {
        // From Kafka's ByteUtilsTest.
        for (value, expected) in [
            (0i64, &[0x00u8][..]),
            (-1, &[0x01]),
            (1, &[0x02]),
            (63, &[0x7E]),
            (-64, &[0x7F]),
            (64, &[0x80, 0x01]),
            (-65, &[0x81, 0x01]),
            (8191, &[0xFE, 0x7F]),
            (-8192, &[0xFF, 0x7F]),
            (i64::from(i32::MAX), &[0xFE, 0xFF, 0xFF, 0xFF, 0x0F]),
            (i64::from(i32::MIN), &[0xFF, 0xFF, 0xFF, 0xFF, 0x0F]),
            (i64::MAX, &[0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01]),
            (i64::MIN, &[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01]),
        ] {
            let mut out = Vec::new();
            write_varlong(value, &mut out);
            assert_eq!(out, expected, "{value}");
            assert_eq!(varlong_len(value), expected.len());
            assert_eq!(read_varlong(&mut &out[..]).unwrap(), value);
        }
    }

    #[test]
    fn refuses_what_is_cut_off_or_too_long() {
        assert!(read_varint(&mut &[][..]).is_err());
        assert!(read_varint(&mut &[0x80, 0x80][..]).is_err());
        assert!(read_varint(&mut &[0xFF, 0xFF, 0xFF, 0xFF, 0x1F][..]).is_err(), "33 bits");
        assert!(read_varint(&mut &[0x80, 0x80, 0x80, 0x80, 0x80, 0x00][..]).is_err(), "6 bytes");
        let eleven = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00];
        assert!(read_varlong(&mut &eleven[..]).is_err());
        let wide = [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x02];
        assert!(read_varlong(&mut &wide[..]).is_err(), "65 bits");
        assert_eq!(read_varint(&mut &[0x82, 0x00][..]).unwrap(), 1, "a longer form than needed");
    }

    proptest! {
        #[test]
        fn reads_what_it_wrote(value: i64, narrow: i32, tail: Vec<u8>) {
            let mut out = Vec::new();
            write_varlong(value, &mut out);
            prop_assert_eq!(out.len(), varlong_len(value));
            write_varint(narrow, &mut out);
            prop_assert_eq!(out.len(), varlong_len(value) + varint_len(narrow));
            out.extend_from_slice(&tail);
            let mut rest = &out[..];
            prop_assert_eq!(read_varlong(&mut rest).unwrap(), value);
            prop_assert_eq!(read_varint(&mut rest).unwrap(), narrow);
            prop_assert_eq!(rest, &tail[..]);
        }

        #[test]
        fn never_panics(bytes: Vec<u8>) {
            let _ = read_varint(&mut &bytes[..]);
            let _ = read_varlong(&mut &bytes[..]);
        }
    }
}
