//! All types: references as each of them names them.

use super::*;

fn of_type(kind: &str, subject: &str, number: i32, id: u32, text: &str, to: &[(&str, &str, i32)]) -> Item {
    let Item::Version(schema) = referring(subject, number, id, text, to) else { unreachable!() };
    Item::Version(Schema { schema_type: kind.to_owned(), ..schema })
}

#[tokio::test]
async fn imports_of_protobuf_and_refs_of_json_schema_come_along() {
    let base = "syntax = \"proto3\";\npackage p;\n\nmessage Base {\n  int32 a = 1;\n}\n";
    let top = "syntax = \"proto3\";\npackage p;\n\nimport \"base.proto\";\n\nmessage Top {\n  .p.Base base = 1;\n}\n";
    let other = "syntax = \"proto3\";\npackage p;\n\nimport public \"base.proto\";\n\nmessage Other {\n  Base base = 1;\n}\n";
    let from = kept(vec![
        of_type("PROTOBUF", "base-proto", 2, 1, base, &[]),
        of_type("PROTOBUF", "top-proto", 1, 2, top, &[("base.proto", "base-proto", 2)]),
        of_type("PROTOBUF", "other-proto", 1, 3, other, &[("base.proto", "base-proto", 2)]),
        of_type("JSON", "base-json", 5, 4, r#"{"type":"object","properties":{"a":{"type":"integer"}}}"#, &[]),
        of_type(
            "JSON",
            "top-json",
            1,
            5,
            r#"{"type":"object","properties":{"b":{"$ref":"base.json"}}}"#,
            &[("base.json", "base-json", 5)],
        ),
        referring("top-avro", 1, 6, &record("Top", &[("b", "Base")]), &[("Base", "base-avro", 3)]),
        version("base-avro", 3, 7, &fixed("Base")),
    ]);
    let mapping = ["proto", "json", "avro"].map(|kind| (format!("base-{kind}"), format!("common-{kind}")));
    for ids in [Ids::Mapped, Ids::Forced] {
        let bed = Bed::new().await;
        bed.has("other", &fixed("Other")).await;
        let (mapping, ids) = (mapping.clone().into(), ids.clone());
        let settings = Settings { subject_mapping: mapping, ids: ids.clone(), ..Settings::default() };
        // Id 1 is another schema's there.
        if ids == Ids::Forced {
            refused(bed.restore(&from, &settings).await);
            continue;
        }
        let (_, outcome) = bed.restored(&from, &settings).await;
        assert_eq!(outcome.registered, 7);
        for (subject, base) in
            [("top-proto", "common-proto"), ("top-json", "common-json"), ("top-avro", "common-avro")]
        {
            let top = bed.to.version(&Subject::parse(subject), 1).await.expect("there");
            assert_eq!((top.references[0].subject.as_str(), top.references[0].version), (base, 1));
        }
    }
}

#[tokio::test]
async fn a_text_that_cannot_be_read_here_is_compared_as_it_is() {
    // Written differently, and of a type that nobody knows: only the same bytes are the same.
    let bed = Bed::new().await;
    bed.has("orders", &fixed("A")).await;
    let from = kept(vec![of_type("XML", "orders", 1, 1, "<a/>", &[])]);
    let plan = bed.plan(&from, &Settings::default()).await;
    assert_eq!(action(&plan, "orders", 1), Action::Create);
}
