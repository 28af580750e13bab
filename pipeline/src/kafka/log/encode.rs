//! Records as batches: one, wherever the topic takes them in one, compressed if need be.

use bytes::Bytes;
use formats::codec::{Codec, Compressor};
use formats::record_batch::{Attributes, BatchHeader, HEADER_LEN, Producer};
use formats::varint::{write_varint, write_varlong};

use super::{LogRecord, PLAIN};
use crate::kafka::produce::ProducerId;
use crate::{Error, Result};

/// What every client of a registry can decompress.
const CODEC: Codec = Codec::Gzip;

/// A batch that lacks only its producer.
#[derive(Debug)]
pub(super) struct Encoded {
    /// Room for the header, then the records.
    bytes: Vec<u8>,
    codec: Codec,
    pub(super) records: i32,
    base_timestamp: i64,
    max_timestamp: i64,
}

impl Encoded {
    /// The batch as a producer sends it.
    pub(super) fn by(&self, producer: ProducerId, sequence: i32) -> Result<Bytes> {
        let mut bytes = self.bytes.clone();
        let header = BatchHeader {
            base_offset: 0,
            leader_epoch: -1,
            attributes: Attributes(self.codec as u16),
            last_offset_delta: self.records - 1,
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp,
            producer: Producer { id: producer.id, epoch: producer.epoch, base_sequence: sequence },
            record_count: self.records,
        };
        header.write_to(&mut bytes)?;
        Ok(bytes.into())
    }
}

/// The batches of some records, each at most so many bytes.
pub(super) fn batches(
    records: &[LogRecord],
    max: usize,
    compressor: &mut Compressor,
) -> Result<Vec<Encoded>> {
    if records.is_empty() {
        return Ok(Vec::new());
    }
    if let Some(one) = fitting(batch(records)?, max, compressor)? {
        return Ok(vec![one]);
    }
    let mut batches = Vec::new();
    let mut rest = records;
    while !rest.is_empty() {
        let mut size = HEADER_LEN;
        let fits = |record: &&LogRecord| {
            size += size_of(record);
            size <= max
        };
        let count = rest.iter().take_while(fits).count().max(1);
        let (now, later) = rest.split_at(count);
        let encoded = batch(now)?;
        let size = encoded.bytes.len();
        batches.push(fitting(encoded, max, compressor)?.ok_or_else(|| {
            Error::input(format!(
                "a record of {size} bytes is larger than the {max} bytes that the topic takes"
            ))
            .hint("raise the topic's max.message.bytes")
        })?);
        rest = later;
    }
    Ok(batches)
}

/// The batch as it is, or compressed, if it is small enough in one of these forms.
fn fitting(plain: Encoded, max: usize, compressor: &mut Compressor) -> Result<Option<Encoded>> {
    if plain.bytes.len() <= max {
        return Ok(Some(plain));
    }
    if plain.bytes.len() > super::DECOMPRESSED_CAP {
        return Ok(None);
    }
    let mut bytes = vec![0; HEADER_LEN];
    compressor.compress(CODEC, None, &plain.bytes[HEADER_LEN..], &mut bytes)?;
    Ok((bytes.len() <= max).then_some(Encoded { bytes, codec: CODEC, ..plain }))
}

fn batch(records: &[LogRecord]) -> Result<Encoded> {
    let base_timestamp = records.first().map_or(0, |record| record.timestamp);
    let max_timestamp = records.iter().map(|record| record.timestamp).max().unwrap_or(base_timestamp);
    let mut bytes = vec![0; HEADER_LEN];
    let mut count = 0;
    for record in records {
        let mut body = vec![0];
        write_varlong(record.timestamp.wrapping_sub(base_timestamp), &mut body);
        write_varint(count, &mut body);
        for part in [&record.key, &record.value] {
            put(part.as_deref(), &mut body)?;
        }
        write_varint(length(record.headers.len())?, &mut body);
        for (name, value) in &record.headers {
            put(Some(name.as_bytes()), &mut body)?;
            put(Some(value), &mut body)?;
        }
        write_varint(length(body.len())?, &mut bytes);
        bytes.extend_from_slice(&body);
        count += 1;
    }
    Ok(Encoded { bytes, codec: PLAIN, records: count, base_timestamp, max_timestamp })
}

fn put(part: Option<&[u8]>, body: &mut Vec<u8>) -> Result<()> {
    match part {
        Some(part) => {
            write_varint(length(part.len())?, body);
            body.extend_from_slice(part);
        }
        None => write_varint(-1, body),
    }
    Ok(())
}

/// The most that a record takes in a batch.
fn size_of(record: &LogRecord) -> usize {
    const LENGTHS: usize = 5;
    let part = |part: &Option<Bytes>| LENGTHS + part.as_ref().map_or(0, Bytes::len);
    let headers = record.headers.iter().map(|(name, value)| 2 * LENGTHS + name.len() + value.len());
    4 * LENGTHS + 10 + part(&record.key) + part(&record.value) + headers.sum::<usize>()
}

fn length(bytes: usize) -> Result<i32> {
    i32::try_from(bytes)
        .map_err(|_| Error::input(format!("a record of {bytes} bytes is too large for Kafka")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use formats::codec::Decompressor;

    const PRODUCER: ProducerId = ProducerId { id: 7, epoch: 1 };

    fn record(size: usize, timestamp: i64) -> LogRecord {
        LogRecord {
            key: Some(Bytes::from(size.to_string())),
            // Does not compress well.
            value: (size > 0).then(|| {
                let mut state = size as u64 + 1;
                (0..size)
                    .map(|_| {
                        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        (state >> 56) as u8
                    })
                    .collect()
            }),
            headers: vec![("h".into(), Bytes::from_static(b"\xff")), (String::new(), Bytes::new())],
            timestamp,
        }
    }

    fn read(batches: &[Encoded]) -> Vec<LogRecord> {
        let mut records = Vec::new();
        for batch in batches {
            let bytes = batch.by(PRODUCER, 3).expect("a batch");
            let (read, next) = super::super::decode(&bytes, 0, &mut Decompressor::new()).expect("readable");
            assert_eq!(next, i64::from(batch.records));
            records.extend(read.into_iter().map(|(_, record)| record));
        }
        records
    }

    #[test]
    fn records_are_read_as_they_were_written() {
        let records = [record(0, 5), record(10, -3), record(300, 9), LogRecord::default()];
        let batches = batches(&records, 1 << 20, &mut Compressor::new()).expect("batches");
        assert_eq!(batches.len(), 1);
        assert_eq!(read(&batches), records);
        assert!(super::batches(&[], 100, &mut Compressor::new()).expect("none").is_empty());
    }

    #[test]
    fn what_does_not_fit_is_compressed_and_only_then_split() {
        let soft = LogRecord { value: Some(Bytes::from(vec![b'a'; 5_000])), ..record(1, 1) };
        let packed = batches(&[soft.clone(), soft], 1_000, &mut Compressor::new()).expect("batches");
        assert_eq!((packed.len(), packed[0].codec), (1, CODEC));
        assert_eq!(read(&packed).len(), 2);

        let records: Vec<LogRecord> = (0..20).map(|n| record(300 + n, 1)).collect();
        let split = batches(&records, 1_000, &mut Compressor::new()).expect("batches");
        assert!(split.len() > 5 && split.iter().all(|batch| batch.bytes.len() <= 1_000));
        assert_eq!(read(&split), records);

        let error = batches(&[record(2_000, 1)], 1_000, &mut Compressor::new()).expect_err("too large");
        assert!(error.message().contains("larger than the 1000 bytes"), "{error}");
    }
}
