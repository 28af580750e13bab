use super::reader;
use crate::schema::SchemaType;
use proptest::prelude::*;
use serde_json::Value;

fn reads(payload: &[u8]) -> bool {
    // What the schema says of the payload does not count.
    let reader = reader(SchemaType::Json, r#"{"type":"integer"}"#, &[]).expect("a reader");
    assert_eq!(reader.reads(payload, true), reader.reads(payload, false));
    reader.reads(payload, true)
}

#[test]
fn one_json_text_is_a_message() {
    for text in ["null", "1", " {\"a\": [1e999, -0.5, \"\\ud800\"]}\r\n", "\"ü\"", "[]"] {
        assert!(reads(text.as_bytes()), "{text}");
    }
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    assert!(reads(deep.as_bytes()));
}

#[test]
fn what_is_not_one_json_text_is_no_message() {
    let wrong: [&[u8]; 12] = [
        b"",
        b" ",
        b"{} {}",
        b"{}\0",
        b"NaN",
        b"01",
        b"{\"a\":1,}",
        b"'a'",
        b"\"a\nb\"",
        b"\"\xff\"",
        b"\"\xed\xa0\x80\"",
        b"\xef\xbb\xbf{}",
    ];
    for payload in wrong {
        assert!(!reads(payload), "{payload:?}");
    }
    assert!(!reads("[".repeat(100_000).as_bytes()));
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 20, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((any::<String>(), inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_is_a_message_and_its_parts_are_none(value in value(), behind in "[^ \t\r\n]") {
        // In an array: the text of a number may begin with that of another one.
        let text = serde_json::to_vec(&vec![value]).expect("text");
        prop_assert!(reads(&text));
        for end in 0..text.len() {
            prop_assert!(!reads(&text[..end]));
        }
        prop_assert!(!reads(&[&text, behind.as_bytes()].concat()));
    }

    #[test]
    fn what_looks_like_json_is_judged_as_when_it_is_read(text in r#"[\[\]{}:,"a0-9.\- \\]{0,20}"#) {
        prop_assert_eq!(reads(text.as_bytes()), serde_json::from_str::<Value>(&text).is_ok());
    }

    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        reads(&bytes);
    }
}
