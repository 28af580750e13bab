//! The variable-length integers of Avro and Protobuf: seven bits a byte, the lowest first, the high bit set while more follow.

/// A number of at most 64 bits from the front of `rest`; `None` where it does not end, or has more bits.
pub(super) fn unsigned(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let (byte, behind) = rest.split_first()?;
        *rest = behind;
        let bits = u64::from(byte & 0x7f);
        // Of the tenth byte only one bit fits.
        if bits << shift >> shift != bits {
            return None;
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// A signed number of at most 64 bits, zig-zag: 0, -1, 1, -2, ...
pub(super) fn long(rest: &mut &[u8]) -> Option<i64> {
    unsigned(rest).map(|number| (number >> 1).cast_signed() ^ -(number & 1).cast_signed())
}

/// A signed number of at most 32 bits and five bytes, zig-zag.
pub(super) fn int(rest: &mut &[u8]) -> Option<i32> {
    let before = rest.len();
    let number = long(rest)?;
    if before - rest.len() > 5 { None } else { i32::try_from(number).ok() }
}

/// The next `length` bytes, off the front of `rest`.
pub(super) fn take<'a>(rest: &mut &'a [u8], length: u64) -> Option<&'a [u8]> {
    let (taken, behind) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    *rest = behind;
    Some(taken)
}
