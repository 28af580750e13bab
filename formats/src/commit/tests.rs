use super::*;
use crate::ErrorKind;
use crate::sample::entry;
use serde_json::json;

fn commit(ops: Vec<Op>) -> Commit {
    Commit {
        seq: 9,
        previous: Hash::of(b"before"),
        incarnation: Incarnation(0xa1),
        time_ms: 1_700_000_000_000,
        software: "test 1".into(),
        checkpoint: Some(CheckpointRef { seq: 4, blake3: Hash::of(b"root") }),
        ops,
        extra: Map::new(),
    }
}

fn every_op() -> Vec<Op> {
    let (topic, partition, lineage) = (Topic::new("orders").unwrap(), 3, LineageId(0xff));
    let mut full = entry(OffsetRange::new(5, 8), SegmentObject::Pack(Incarnation(0xa1), 1_234_567));
    full.position = 77;
    full.version_id = Some("v-1".into());
    full.content_digest = Some(ContentDigest::EMPTY);
    full.open = vec![OpenTransaction { producer_id: 1 << 60, producer_epoch: 3, first_offset: 6 }];
    full.min_timestamp = -1;
    full.min_exact = false;
    let plain = entry(OffsetRange::new(8, 9), SegmentObject::Own(Incarnation(0xa1), 7));
    let removed = vec![full.reference(), plain.reference()];
    let object = ObjectRef { key: "groups/x".into(), length: 5, blake3: Hash::of(b"snapshot") };
    let fork = Some(Fork { parent: LineageId(1), offset: 5, epoch: 2 });
    vec![
        Op::Writer,
        Op::Lineage(Lineage {
            topic: topic.clone(),
            partition,
            lineage,
            after: Some(LineageId(1)),
            cluster_id: "c".into(),
            topic_id: TopicId(uuid::Uuid::from_u128(7)),
            start: 5,
            reason: LineageReason::Truncated,
            fork,
        }),
        Op::Add { topic: topic.clone(), partition, lineage, segments: vec![full.clone(), plain.clone()] },
        Op::Gap {
            topic: topic.clone(),
            partition,
            lineage,
            gap: Gap { first: 9, end: i64::MAX, reason: GapReason::Vanished },
        },
        Op::Replace {
            topic: topic.clone(),
            partition,
            lineage,
            removed: removed.clone(),
            added: vec![plain],
        },
        Op::Drop { topic, partition, lineage, removed },
        Op::Retire { incarnation: Incarnation(u64::MAX) },
        Op::Deleted { objects: vec!["packs/x".into()] },
        Op::Schemas { object: object.clone(), after: Some("before".into()), covers: 8 },
        Op::Groups { object: object.clone() },
        Op::Cluster { object },
    ]
}

#[test]
fn every_operation_survives_encoding() {
    let commit = commit(every_op());
    assert_eq!(Commit::decode(9, &commit.encode().unwrap()).unwrap(), commit);
}

/// The words that FORMAT.md gives: they must not change with the code's names.
#[test]
fn operations_have_their_documented_form() {
    let text = serde_json::to_value(commit(every_op())).unwrap();
    let words: Vec<&str> =
        text["ops"].as_array().unwrap().iter().map(|op| op["op"].as_str().unwrap()).collect();
    let documented = [
        "writer", "lineage", "add", "gap", "replace", "drop", "retire", "deleted", "schemas", "groups",
        "cluster",
    ];
    assert_eq!(words, documented);
    let lineage = json!({
        "op": "lineage", "topic": "orders", "partition": 3, "lineage": "00000000000000ff",
        "after": "0000000000000001", "cluster_id": "c",
        "topic_id": "00000000-0000-0000-0000-000000000007", "start": 5, "reason": "truncated",
        "fork": {"parent": "0000000000000001", "offset": 5, "epoch": 2},
    });
    assert_eq!(text["ops"][1], lineage);
    let gap = json!({"first": 9, "end": i64::MAX, "reason": "vanished"});
    assert_eq!(text["ops"][3]["gap"], gap);
    let entry = &text["ops"][2]["segments"][1];
    assert_eq!(entry["object"], "00000000000000a1-000007.seg");
    let members: Vec<&str> = entry.as_object().unwrap().keys().map(String::as_str).collect();
    let without_defaults = [
        "first",
        "end",
        "object",
        "length",
        "blake3",
        "batches",
        "records",
        "bytes",
        "largest_batch",
        "min_timestamp",
        "min_exact",
        "max_timestamp",
        "batch_digest",
        "last",
    ];
    assert_eq!(members, without_defaults);
    assert_eq!(text["ops"][5]["removed"][0]["object"], "00000000000000a1-1234567.pack");
    assert_eq!(text["checkpoint"]["seq"], 4);
}

fn decode(text: &serde_json::Value) -> Result<Commit> {
    Commit::decode(9, &document::seal(DocumentKind::Commit, text).unwrap())
}

#[test]
fn unknown_optional_members_survive() {
    let mut text = serde_json::to_value(commit(every_op())).unwrap();
    text["signature"] = json!({"by": [1, 2.5, null], "big": u64::MAX});
    text["ops"][2]["segments"][0]["colours"] = json!([1, 2]);
    let decoded = decode(&text).unwrap();
    assert_eq!(decoded.extra["signature"]["big"], u64::MAX);
    let again = Commit::decode(9, &decoded.encode().unwrap()).unwrap();
    assert_eq!(serde_json::to_value(&again).unwrap(), text);
}

#[test]
fn what_nobody_could_act_upon_is_unsupported() {
    let whole = serde_json::to_value(commit(every_op())).unwrap();
    let change = |change: fn(&mut serde_json::Value)| {
        let mut text = whole.clone();
        change(&mut text);
        assert_ne!(text, whole);
        assert_eq!(decode(&text).unwrap_err().kind(), ErrorKind::Unsupported, "{text}");
    };
    change(|text| text["ops"][0] = json!({"op": "compress_history"}));
    change(|text| text["ops"][0] = json!({"words": 3}));
    change(|text| text["ops"][3]["gap"]["reason"] = "eaten".into());
    change(|text| text["ops"][1]["reason"] = "merged".into());
    change(|text| text["ops"][2]["segments"][0]["object"] = "0-1.tape".into());
    change(|text| text["ops"][2]["segments"][0]["batch_digest"] = "5".into());
    change(|text| text["ops"][2]["segments"][0]["schema_ids"] = json!([1, 2]));
    change(|text| {
        text["ops"][2]["segments"][0]["schema_ids"] = json!({"key": {"prefix": {"ids": [[0, 1]]}}});
    });
    change(|text| text["previous"] = "00".into());
    change(|text| text["ops"][2]["topic"] = "../etc".into());
}

#[test]
fn a_commit_under_another_number_is_damage() {
    let stored = commit(vec![]).encode().unwrap();
    let error = Commit::decode(8, &stored).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.message().contains("commits/00000000000000000008"), "{error}");
}

#[test]
fn an_object_has_one_spelling() {
    for text in ["00000000000000a1-000007.seg", "00000000000000a1-1234567.pack"] {
        assert_eq!(text.parse::<SegmentObject>().unwrap().to_string(), text);
    }
    for text in [
        "00000000000000a1-7.seg",
        "00000000000000a1-+00007.seg",
        "00000000000000a1-0000007.seg",
        "a1-000007.seg",
        "00000000000000A1-000007.seg",
        "00000000000000a1-000007",
        "00000000000000a1.seg",
        "",
    ] {
        assert!(text.parse::<SegmentObject>().is_err(), "{text}");
    }
}

#[test]
fn an_entry_names_its_objects_key() {
    let place = TopicPartition::new(Topic::new("orders").unwrap(), 3);
    let own = entry(OffsetRange::new(5, 8), SegmentObject::Own(Incarnation(0xa1), 7));
    let key = "kafka/orders/3/00000000000000ff/00000000000000000005-00000000000000a1-000007.seg";
    assert_eq!(own.key(&place, LineageId(0xff)), key);
    let packed = entry(OffsetRange::new(5, 8), SegmentObject::Pack(Incarnation(0xa1), 7));
    assert_eq!(packed.key(&place, LineageId(0xff)), "packs/00000000000000a1-000007.pack");
}
