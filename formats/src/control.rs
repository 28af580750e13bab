//! Control batches: the markers that end transactions, never delivered to consumers.
//!
//! ```text
//! key     version i16 BE   type i16 BE      0 abort, 1 commit; others are KRaft's own
//! value   version i16 BE   coordinator epoch i32 BE   perhaps more in later versions
//! ```
//!
//! A control batch holds one such record, written uncompressed; its producer id and epoch are in the batch's header.
//! Source: Kafka's `ControlRecordType` and `EndTransactionMarker`, KIP-98.

use crate::codec::Codec;
use crate::record_batch::RecordBatch;
use crate::{Error, Result};

/// What a control record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ControlKind {
    /// The producer's transaction in this partition is aborted.
    Abort,
    /// The producer's transaction in this partition is committed.
    Commit,
    /// KRaft: a leader was elected.
    LeaderChange,
    /// KRaft: the first record of a snapshot.
    SnapshotHeader,
    /// KRaft: the last record of a snapshot.
    SnapshotFooter,
    /// KRaft: its version (KIP-853).
    KRaftVersion,
    /// KRaft: its voters (KIP-853).
    KRaftVoters,
    /// A type that this build does not know.
    Unknown(i16),
}

impl ControlKind {
    fn from_number(number: i16) -> Self {
        match number {
            0 => Self::Abort,
            1 => Self::Commit,
            2 => Self::LeaderChange,
            3 => Self::SnapshotHeader,
            4 => Self::SnapshotFooter,
            5 => Self::KRaftVersion,
            6 => Self::KRaftVoters,
            number => Self::Unknown(number),
        }
    }

    /// Whether it ends a transaction.
    pub fn ends_transaction(self) -> bool {
        matches!(self, Self::Abort | Self::Commit)
    }
}

/// The first record of a control batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ControlRecord {
    /// What it says.
    pub kind: ControlKind,
    /// The version of its key.
    pub version: i16,
    /// For markers: the epoch of the transaction coordinator that wrote it.
    pub coordinator_epoch: Option<i32>,
    /// Its offset.
    pub offset: i64,
    /// Its timestamp as a consumer would see it, in milliseconds.
    pub timestamp: i64,
}

impl ControlRecord {
    /// Reads the control record of a batch; `None` where compaction emptied the batch. A type that is not known is
    /// no error: it is [`ControlKind::Unknown`].
    ///
    /// # Errors
    /// A batch that is not a control batch, a compressed one, or a record too short to be one.
    pub fn parse(batch: &RecordBatch<'_>) -> Result<Option<Self>> {
        let at = |error: Error| error.at(format_args!("control batch at offset {}", batch.base_offset()));
        if !batch.attributes().control() {
            return Err(at(Error::invalid("is not a control batch")));
        }
        if batch.record_count() == 0 {
            return Ok(None);
        }
        if batch.attributes().codec().map_err(at)? != Codec::None {
            return Err(at(Error::unsupported("is compressed, which no version of Kafka does")));
        }
        let Some(record) = batch.records(batch.records_payload()).next() else { return Ok(None) };
        let record = record.map_err(at)?;
        let Some([v0, v1, k0, k1, ..]) = record.key else {
            return Err(at(Error::corrupt("has a key that is no control record's")));
        };
        let kind = ControlKind::from_number(i16::from_be_bytes([*k0, *k1]));
        let coordinator_epoch = match record.value {
            Some([_, _, a, b, c, d, ..]) if kind.ends_transaction() => {
                Some(i32::from_be_bytes([*a, *b, *c, *d]))
            }
            _ if kind.ends_transaction() => {
                return Err(at(Error::corrupt("has a value too short for a transaction marker")));
            }
            _ => None,
        };
        Ok(Some(Self {
            kind,
            version: i16::from_be_bytes([*v0, *v1]),
            coordinator_epoch,
            offset: batch.base_offset() + i64::from(record.offset_delta),
            timestamp: batch.effective_timestamp(record.timestamp_delta),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;
    use crate::record_batch::{Attributes, BatchHeader, HEADER_LEN, Producer};
    use proptest::prelude::*;

    fn batch(attributes: u16, record_count: i32, payload: &[u8]) -> Vec<u8> {
        let mut batch = vec![0; HEADER_LEN];
        batch.extend_from_slice(payload);
        let header = BatchHeader {
            base_offset: 500,
            leader_epoch: 1,
            attributes: Attributes(attributes),
            last_offset_delta: 0,
            base_timestamp: 1000,
            max_timestamp: 1000,
            producer: Producer { id: 9, epoch: 2, base_sequence: -1 },
            record_count,
        };
        header.write_to(&mut batch).unwrap();
        batch
    }

    /// A marker's record as brokers write it: 17 bytes, so that the batch has 78.
    fn marker(kind: u8) -> Vec<u8> {
        vec![32, 0, 0, 0, 8, 0, 0, 0, kind, 12, 0, 0, 0, 0, 0, 33, 0]
    }

    #[test]
    fn reads_markers_as_brokers_write_them() {
        for (number, kind) in [(0, ControlKind::Abort), (1, ControlKind::Commit)] {
            let bytes = batch(0x30, 1, &marker(number));
            assert_eq!(bytes.len(), 78);
            let record = ControlRecord::parse(&RecordBatch::parse(&bytes).unwrap()).unwrap().unwrap();
            let expected =
                ControlRecord { kind, version: 0, coordinator_epoch: Some(33), offset: 500, timestamp: 1000 };
            assert_eq!(record, expected);
        }
    }

    #[test]
    fn names_kraft_and_unknown_types_without_failing() {
        for (number, kind) in
            [(2, ControlKind::LeaderChange), (6, ControlKind::KRaftVoters), (9, ControlKind::Unknown(9))]
        {
            let bytes = batch(0x20, 1, &marker(number));
            let record = ControlRecord::parse(&RecordBatch::parse(&bytes).unwrap()).unwrap().unwrap();
            assert_eq!((record.kind, record.coordinator_epoch), (kind, None));
            assert!(!record.kind.ends_transaction());
        }
    }

    #[test]
    fn an_emptied_batch_says_nothing_and_a_short_or_plain_one_is_refused() {
        let parse = |bytes: &[u8]| ControlRecord::parse(&RecordBatch::parse(bytes).unwrap());
        assert_eq!(parse(&batch(0x30, 0, &[])).unwrap(), None);
        assert_eq!(parse(&batch(0x10, 1, &marker(1))).unwrap_err().kind(), ErrorKind::Invalid);
        assert_eq!(parse(&batch(0x33, 1, &marker(1))).unwrap_err().kind(), ErrorKind::Unsupported);
        let short_value = [30, 0, 0, 0, 8, 0, 0, 0, 1, 10, 0, 0, 0, 0, 0, 0];
        assert!(parse(&batch(0x30, 1, &short_value)).unwrap_err().to_string().contains("marker"));
        assert_eq!(parse(&batch(0x30, 1, &[12, 0, 0, 0, 1, 1, 0])).unwrap_err().kind(), ErrorKind::Corrupt);
    }

    proptest! {
        #[test]
        fn never_panics(payload: Vec<u8>, attributes: u16, count in 0i32..2) {
            let bytes = batch(attributes | 0x20, count, &payload);
            let _ = ControlRecord::parse(&RecordBatch::parse(&bytes).unwrap());
        }
    }
}
