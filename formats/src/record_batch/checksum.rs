//! CRC-32C, how it changes when a prefix of the bytes changes, and what it is of two pieces together.
//!
//! A CRC is linear: replacing a prefix A by A' of the same length changes the CRC of A‖P by
//! (crc(A) xor crc(A')) · x^(8·|P|) mod the polynomial, whatever P is. So a header can be renewed without reading the
//! payload, and, which matters more, damage to the payload stays visible: a batch whose bytes no longer fit its old
//! CRC does not fit its new one either.

use crc_fast::crc32_iscsi;

/// Castagnoli's polynomial, bits reflected.
const POLYNOMIAL: u32 = 0x82F6_3B78;

/// x^(2^k) mod the polynomial. A batch has less than 2^31 bytes, so 2^34 bits.
const POWERS: [u32; 35] = {
    let mut powers = [1 << 30; 35];
    let mut k = 1;
    while k < powers.len() {
        powers[k] = multiply(powers[k - 1], powers[k - 1]);
        k += 1;
    }
    powers
};

/// The product of two polynomials modulo the CRC's, bits reflected (the top bit is x^0).
const fn multiply(a: u32, mut b: u32) -> u32 {
    let mut product = 0;
    let mut mask = 1 << 31;
    while mask != 0 {
        if a & mask != 0 {
            product ^= b;
        }
        b = if b & 1 != 0 { (b >> 1) ^ POLYNOMIAL } else { b >> 1 };
        mask >>= 1;
    }
    product
}

/// The CRC-32C of some bytes.
pub(super) fn crc32c(bytes: &[u8]) -> u32 {
    crc32_iscsi(bytes)
}

/// The CRC-32C of `new` ‖ P, given that of `old` ‖ P, where P has `following` bytes and `old` and `new` equally many.
pub(super) fn replace_prefix(crc: u32, old: &[u8], new: &[u8], following: usize) -> u32 {
    crc ^ shift(crc32c(old) ^ crc32c(new), following)
}

/// The CRC-32C of A ‖ B, given that of each and the length of B.
pub(crate) fn append(crc: u32, next: u32, length: usize) -> u32 {
    shift(crc, length) ^ next
}

/// The product with x^(8·bytes).
fn shift(mut crc: u32, mut bytes: usize) -> u32 {
    // x^8 is x^(2^3): one byte.
    for power in &POWERS[3..] {
        if bytes & 1 != 0 {
            crc = multiply(*power, crc);
        }
        bytes >>= 1;
    }
    crc
}
