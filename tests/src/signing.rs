//! What the signatures of S3 and Azure requests are made of.

use std::process::Command;

/// SHA-256.
pub(crate) fn sha256(data: &[u8]) -> Vec<u8> {
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, data).as_ref().to_vec()
}

/// HMAC with SHA-256.
pub(crate) fn hmac_sha256(key: &[u8], data: &[u8]) -> Vec<u8> {
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, key);
    aws_lc_rs::hmac::sign(&key, data).as_ref().to_vec()
}

/// Lower-case hexadecimal.
pub(crate) fn hex(data: &[u8]) -> String {
    data.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The present time as `date -u` formats it: signatures are good for minutes only.
pub(crate) fn utc(format: &str) -> String {
    let output = Command::new("date").env("LC_ALL", "C").args(["-u", &format!("+{format}")]).output();
    let output = output.unwrap_or_else(|error| panic!("date: {error}"));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
