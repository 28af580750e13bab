//! Any bytes as a batch's records, whose ids are changed by rules that undo themselves: a batch rewritten twice has the
//! records that it had, and in between every record has its length. Looking for ids finds those that the rewriter is asked about. And
//! any bytes as a list of message indexes.
#![no_main]

use formats::codec::{Codec, Decompressor};
use formats::ids::SchemaId;
use formats::record_batch::{Attributes, BatchHeader, HEADER_LEN, Producer, RecordBatch};
use formats::rewrite::{Becomes, Carrier, Fates, IdRules, RewriteSettings, Rewriter};
use formats::schema_ids::{IdScanner, SchemaIds};
use formats::wire::{MessageIndexes, Prefix, Side, applied};
use libfuzzer_sys::fuzz_target;

const CAP: usize = 1 << 20;

/// Neighbours change places; the first id has none.
struct Neighbours;

impl Neighbours {
    fn id(id: SchemaId) -> Becomes<SchemaId> {
        SchemaId::new(id.number() ^ 1).map_or(Becomes::Unknown, Becomes::Other)
    }
}

impl IdRules for Neighbours {
    fn prefix(&mut self, id: SchemaId, carrier: &Carrier<'_>) -> Becomes<SchemaId> {
        let payload = carrier.payload.expect("a prefix is of something");
        assert_eq!(Prefix::of(payload), Prefix::Id(id));
        assert!(payload.ends_with(carrier.after));
        Self::id(id)
    }

    fn header_id(&mut self, id: SchemaId, _: &Carrier<'_>) -> Becomes<SchemaId> {
        Self::id(id)
    }

    fn header_guid(&mut self, guid: uuid::Uuid, _: &Carrier<'_>) -> Becomes<uuid::Uuid> {
        Becomes::Other(uuid::Uuid::from_bytes(guid.into_bytes().map(|byte| !byte)))
    }
}

fn records(batch: &RecordBatch<'_>) -> Vec<u8> {
    let (codec, mut out) = (batch.attributes().codec().expect("a known codec"), Vec::new());
    Decompressor::new()
        .decompress(codec, batch.records_payload(), usize::MAX, &mut out)
        .expect("what was rewritten can be decompressed");
    out
}

fuzz_target!(|input: (u16, i32, i32, &[u8])| {
    let (attributes, last_offset_delta, record_count, payload) = input;
    let mut list = payload;
    if let Ok(indexes) = MessageIndexes::read(&mut list) {
        assert_eq!(indexes.len(), indexes.count());
        assert!(payload.ends_with(list));
    }
    let mut bytes = vec![0; HEADER_LEN];
    bytes.extend_from_slice(payload);
    let header = BatchHeader {
        base_offset: 7,
        leader_epoch: 3,
        attributes: Attributes(attributes),
        last_offset_delta,
        base_timestamp: 1,
        max_timestamp: 2,
        producer: Producer::NONE,
        record_count,
    };
    header.write_to(&mut bytes).expect("there is room");
    let Ok(batch) = RecordBatch::parse(&bytes) else { return };
    let settings = RewriteSettings { decompressed_cap: CAP, gzip_level: Some(1), zstd_level: Some(1) };
    let mut rewriter = Rewriter::new(settings).expect("the settings are right");
    let (mut once, mut twice) = (Vec::new(), Vec::new());
    let mut scanner = IdScanner::new(CAP);
    scanner.batch(&batch);
    let found = scanner.finish();
    let Ok(first) = rewriter.rewrite(&batch, &mut Neighbours, &mut once) else { return };
    assert_eq!(found.unread, 0);
    let count = |fates: Fates| fates.same + fates.changed + fates.unknown;
    for side in Side::ALL {
        let (listed, counted) = (found.side(side), first.counts.of(side));
        assert_eq!(listed.header.total(), count(counted.header_id));
        assert_eq!(listed.guid.total(), count(counted.header_guid));
        // What a header overrules is not looked at.
        assert!(listed.prefix.total() <= count(counted.prefix));
    }
    let json = serde_json::to_vec(&found).expect("lists can be written");
    assert_eq!(serde_json::from_slice::<SchemaIds>(&json).expect("and read again"), found);
    if !first.changed {
        assert!(once.is_empty());
        return;
    }
    let changed = RecordBatch::parse(&once).expect("a batch comes out");
    changed.verify_crc().expect("with the right CRC");
    assert_eq!(once[21..HEADER_LEN], bytes[21..HEADER_LEN]);
    let (before, between) = (records(&batch), records(&changed));
    assert_eq!(before.len(), between.len());
    if batch.attributes().codec().is_ok_and(|codec| codec == Codec::None) {
        assert_eq!(bytes.len(), once.len());
    }
    for record in changed.records(&between) {
        let record = record.expect("records that were read are read again");
        let _ = applied(Side::Value, record.value.unwrap_or_default(), record.headers);
    }
    let second = rewriter.rewrite(&changed, &mut Neighbours, &mut twice).expect("as the first time");
    assert_eq!((second.changed, second.counts, second.unknown), (true, first.counts, first.unknown));
    assert_eq!(records(&RecordBatch::parse(&twice).expect("a batch comes out")), before);
});
