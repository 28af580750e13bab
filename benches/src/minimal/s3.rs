//! A create-only put to an S3 server over plain HTTP, signed with the hash of its body (AWS Signature Version 4), which
//! is what ours does over plain HTTP.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;

use aws_lc_rs::{digest, hmac};
use clap::Args;
use pipeline::seam::Seam;
use sandbox::s3::{ACCESS_KEY, REGION, SECRET_KEY};

use crate::Result;

/// A bucket of a server.
#[derive(Debug, Args)]
pub(crate) struct BucketArgs {
    /// `host:port` of the server.
    #[arg(long, default_value = "")]
    pub(crate) s3: String,
    /// The bucket.
    #[arg(long, default_value = "")]
    pub(crate) bucket: String,
}

/// See [`BucketArgs`].
pub(crate) struct Bucket {
    address: String,
    name: String,
    seam: Seam,
}

impl Bucket {
    /// A bucket.
    pub(crate) fn new(args: &BucketArgs) -> Result<Self> {
        if args.s3.is_empty() || args.bucket.is_empty() {
            return Err("neither a folder nor a bucket was given".into());
        }
        Ok(Self { address: args.s3.clone(), name: args.bucket.clone(), seam: Seam::system() })
    }

    /// Puts an object where none is.
    pub(crate) fn put(&self, key: &str, body: &[u8]) -> Result<()> {
        let path = format!("/{}/{key}", self.name);
        let hash = hex(digest::digest(&digest::SHA256, body).as_ref());
        let time = amazon_time(self.seam.clock.now_ms() / 1000);
        let day = &time[..8];
        let names = "host;if-none-match;x-amz-content-sha256;x-amz-date";
        let headers = format!(
            "host:{}\nif-none-match:*\nx-amz-content-sha256:{hash}\nx-amz-date:{time}\n",
            self.address
        );
        let canonical = format!("PUT\n{path}\n\n{headers}\n{names}\n{hash}");
        let scope = format!("{day}/{REGION}/s3/aws4_request");
        let canonical = hex(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref());
        let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{canonical}");
        let mut key = format!("AWS4{SECRET_KEY}").into_bytes();
        for part in [day, REGION, "s3", "aws4_request"] {
            key = sign(&key, part);
        }
        let signature = hex(&sign(&key, &text));
        let head = format!(
            "PUT {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\nIf-None-Match: *\r\nx-amz-content-sha256: {hash}\r\n\
             x-amz-date: {time}\r\nAuthorization: AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/{scope}, \
             SignedHeaders={names}, Signature={signature}\r\nConnection: close\r\n\r\n",
            self.address,
            body.len()
        );
        let mut stream = TcpStream::connect(&self.address)?;
        stream.set_nodelay(true)?;
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        let mut status = String::new();
        BufReader::new(stream).read_line(&mut status)?;
        match status.split(' ').nth(1) {
            Some("200") => Ok(()),
            _ => Err(format!("put of {path}: {status}").into()),
        }
    }
}

fn sign(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// `20260131T235959Z` of seconds since 1970 (civil date by the method of Howard Hinnant's `civil_from_days`).
fn amazon_time(seconds: i64) -> String {
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    format!("{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::amazon_time;

    #[test]
    fn dates_are_the_calendars() {
        assert_eq!(amazon_time(0), "19700101T000000Z");
        assert_eq!(amazon_time(951_868_799), "20000229T235959Z");
        assert_eq!(amazon_time(1_798_761_600), "20270101T000000Z");
    }
}
