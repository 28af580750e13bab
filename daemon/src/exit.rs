//! Exit codes: one number for each thing that a script must tell apart.

use pipeline::ErrorKind;

/// Done.
pub(crate) const DONE: u8 = 0;
/// Failed.
pub(crate) const FAILED: u8 = 1;
/// Usage or configuration.
pub(crate) const USAGE: u8 = 2;
/// Partial: named partitions or gaps.
pub(crate) const PARTIAL: u8 = 3;
/// Verification found a mismatch.
pub(crate) const MISMATCH: u8 = 4;
/// No such backup.
pub(crate) const NO_BACKUP: u8 = 10;
/// Fenced or locked.
pub(crate) const FENCED: u8 = 11;
/// Credentials or key.
pub(crate) const CREDENTIALS: u8 = 12;
/// Interrupted.
pub(crate) const INTERRUPTED: u8 = 130;

/// The table for help and man page.
pub(crate) const TABLE: &str = "Exit codes:
  0    done
  1    failed
  2    usage or configuration
  3    partial: some partitions or schemas failed or are missing, or offsets are gone (they are named)
  4    verification found damage or a difference
  10   no such backup
  11   fenced: another writer took over
  12   credentials or key refused
  130  interrupted";

/// The code for an error.
pub(crate) fn code(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::Retry | ErrorKind::Permanent => FAILED,
        ErrorKind::Fenced => FENCED,
        ErrorKind::Input => USAGE,
        ErrorKind::Credentials => CREDENTIALS,
        ErrorKind::Damaged => MISMATCH,
        ErrorKind::NotFound => NO_BACKUP,
        ErrorKind::Interrupted => INTERRUPTED,
    }
}
