//! The cases of `testdata/compat/protobuf.json`, and what cannot be said as a case.

use super::rules::{Change, Rule};
use super::{changes, differences};
use crate::parse::Strictness;
use crate::parse::protobuf::Protobuf;
use crate::schema::Dependency;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    description: String,
    old: String,
    new: String,
    #[serde(default)]
    references_old: Vec<Reference>,
    #[serde(default)]
    references_new: Vec<Reference>,
    compatible: bool,
    changes: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reference {
    name: String,
    text: String,
}

fn cases() -> Vec<Case> {
    serde_json::from_str(include_str!("../../../testdata/compat/protobuf.json")).expect("the cases are JSON")
}

fn parse(text: &str, references: &[Reference], case: &str) -> Protobuf {
    let references: Vec<Dependency<'_>> = references
        .iter()
        .map(|reference| Dependency { name: &reference.name, text: &reference.text })
        .collect();
    Protobuf::parse(text, &references, Strictness::New).unwrap_or_else(|problem| panic!("{case}: {problem}"))
}

#[test]
fn every_case_has_its_changes_and_its_verdict() {
    let mut wrong = Vec::new();
    for case in cases() {
        let old = parse(&case.old, &case.references_old, &case.description);
        let new = parse(&case.new, &case.references_new, &case.description);
        let found: BTreeSet<String> = changes(&new, &old)
            .into_iter()
            .map(|change| format!("{} {}", change.rule, change.path))
            .collect();
        let expected: BTreeSet<String> = case.changes.iter().cloned().collect();
        let compatible = differences(&new, &old).is_empty();
        if found != expected || compatible != case.compatible {
            wrong.push(format!(
                "{}: compatible {compatible}, {found:#?}, expected {expected:#?}",
                case.description
            ));
        }
        assert!(changes(&old, &old).is_empty(), "{}: a schema differs from itself", case.description);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is incompatible has a sentence with a place for both words; what is compatible has none.
#[test]
fn confluents_sentences_have_room_for_two_words() {
    for rule in Rule::ALL {
        let change = Change { rule: *rule, path: "#/A".into(), old: "a".into(), new: "b".into() };
        let words = change.difference().confluent.matches("%s").count();
        assert_eq!(words, if rule.compatible() { 0 } else { 2 }, "{}", rule.name());
    }
}

#[test]
fn every_rule_has_a_case() {
    let cases = cases();
    assert!(cases.len() >= 80, "{} cases", cases.len());
    for rule in Rule::ALL {
        let told =
            |case: &&Case| case.changes.iter().any(|change| change.starts_with(&format!("{} ", rule.name())));
        assert!(cases.iter().any(|case| told(&case)), "no case for {}", rule.name());
    }
}

#[test]
fn descriptions_are_unique() {
    let cases = cases();
    let distinct: BTreeSet<&str> = cases.iter().map(|case| case.description.as_str()).collect();
    assert_eq!(distinct.len(), cases.len());
}

#[test]
fn a_difference_names_path_both_values_and_a_fix() {
    let old = parse("syntax = \"proto3\"; message A { int32 age = 3; }", &[], "old");
    let new = parse("syntax = \"proto3\"; message A { string age = 3; }", &[], "new");
    let found = differences(&new, &old);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].rule, "FIELD_SCALAR_KIND_CHANGED");
    assert_eq!(found[0].path, "#/A/3");
    for part in ["int32", "string", "never used"] {
        assert!(found[0].message.contains(part), "{}", found[0].message);
    }
    assert_eq!(
        found[0].confluent,
        "{errorType:\"FIELD_SCALAR_KIND_CHANGED\", description:\"The kind of a SCALAR field at path '#/A/3' in the \
         %s schema does not match its kind in the %s schema\"}"
    );
}

/// Each level uses the next one twice: there are two to the power of 300 paths through them.
#[test]
fn shared_imported_types_are_compared_once() {
    let levels = 300;
    let text = |last: &str| {
        let mut text = String::from("syntax = \"proto3\"; package far;\n");
        for level in 0..levels {
            text += &format!("message M{level} {{ M{0} a = 1; M{0} b = 2; M0 c = 3; }}\n", level + 1);
        }
        text + &format!("message M{levels} {{ {last} a = 1; }}\n")
    };
    let main = "syntax = \"proto3\"; import \"far.proto\"; message Main { far.M0 first = 1; }";
    let schema = |last| parse(main, &[Reference { name: "far.proto".into(), text: text(last) }], "levels");
    let start = Instant::now();
    let found = differences(&schema("string"), &schema("int32"));
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    assert_eq!(found.len(), 100);
    assert!(found.iter().any(|found| found.path == format!("#/M{levels}/1")));
}

/// A chain of types, each of which is reached only through the one before: no recursion may follow it.
#[test]
fn a_long_chain_of_imported_types_is_followed() {
    let levels = 5000;
    let text = |last: &str| {
        let mut text = String::from("syntax = \"proto3\"; package far;\n");
        for level in 0..levels {
            text += &format!("message M{level} {{ M{} a = 1; }}\n", level + 1);
        }
        text + &format!("message M{levels} {{ {last} a = 1; }}\n")
    };
    let main = "syntax = \"proto3\"; import \"far.proto\"; message Main { far.M0 first = 1; }";
    let schema = |last| parse(main, &[Reference { name: "far.proto".into(), text: text(last) }], "chain");
    let found = differences(&schema("string"), &schema("int32"));
    assert!(found.iter().any(|found| found.rule == "FIELD_SCALAR_KIND_CHANGED"));
}

#[test]
fn the_number_of_differences_is_bounded() {
    let text = |kind: &str| {
        let fields: String = (1..=2000).map(|tag| format!("{kind} f{tag} = {tag};")).collect();
        format!("syntax = \"proto3\"; message A {{ {fields} }}")
    };
    let (old, new) = (parse(&text("int32"), &[], "old"), parse(&text("string"), &[], "new"));
    assert_eq!(differences(&new, &old).len(), 100);
    assert_eq!(changes(&new, &old).len(), 100);
}
