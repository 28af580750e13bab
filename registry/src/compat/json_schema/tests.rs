use super::*;
use crate::json::{Json, Syntax, read};
use crate::parse::Strictness;
use crate::schema::{Dependency, Metadata};
use proptest::prelude::*;
use rule::Rule;
use std::collections::BTreeSet;
use std::fmt::Write;

const CASES: &str = include_str!("../../../testdata/compat/json_schema.json");

fn cases() -> Vec<Json> {
    let Json::Array(cases) = read(CASES, Syntax::Strict).expect("cases") else { panic!("no array") };
    cases
}

fn schema(text: &str) -> JsonSchema {
    JsonSchema::parse(text, &[], Strictness::New).unwrap_or_else(|problem| panic!("{text}: {problem}"))
}

fn metadata(case: &Json, member: &str) -> Option<Metadata> {
    let names = case.get(member)?.as_str()?.to_owned();
    Some(Metadata {
        properties: Some([("confluent:reserved".to_owned(), names)].into()),
        ..Metadata::default()
    })
}

fn strings<'a>(case: &'a Json, member: &str) -> Vec<&'a str> {
    case.get(member).and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str).collect()
}

#[test]
fn every_case_is_judged_as_it_says() {
    let mut wrong = String::new();
    let cases = cases();
    assert!(cases.len() >= 150, "{} cases", cases.len());
    for case in &cases {
        let text = |member| case.get(member).map(Json::to_string).expect("a schema");
        let (old, new) = (schema(&text("old")), schema(&text("new")));
        let reserved =
            reserved(&new, metadata(case, "new_reserved").as_ref(), metadata(case, "old_reserved").as_ref());

        let found = changes(&new, &old, Policy::Strict);
        let mut shown: Vec<String> =
            found.iter().map(|change| format!("{} {}", change.rule, change.path)).collect();
        shown.extend(reserved.iter().map(|difference| format!("{} {}", difference.rule, difference.path)));
        shown.sort();
        let mut expected = strings(case, "changes");
        expected.sort_unstable();
        let compatible = case.get("compatible").and_then(Json::as_bool).expect("a verdict");
        let lenient = case.get("compatible_lenient").and_then(Json::as_bool).unwrap_or(compatible);
        let judged = |policy| differences(&new, &old, policy).is_empty() && reserved.is_empty();
        if shown != expected || judged(Policy::Strict) != compatible || judged(Policy::Lenient) != lenient {
            let verdicts = (judged(Policy::Strict), judged(Policy::Lenient));
            let description = case.get("description").and_then(Json::as_str).unwrap_or("");
            let _ = writeln!(wrong, "{description}: {verdicts:?} {shown:#?}");
        }
        assert_eq!(
            found.iter().any(|change| change.breaks),
            !differences(&new, &old, Policy::Strict).is_empty()
        );
        for difference in differences(&new, &old, Policy::Strict).iter().chain(&reserved) {
            assert!(difference.message.contains("; "), "no fix: {}", difference.message);
            assert!(difference.confluent.starts_with(&format!("{{errorType:\"{}\", ", difference.rule)));
            let silent = difference.rule == "SCHEMA_ADDED";
            assert_eq!(difference.confluent.contains("description:\"'"), silent, "{}", difference.confluent);
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn every_rule_has_a_case_and_the_effect_that_the_case_says() {
    let cases = cases();
    let named: BTreeSet<&str> = cases
        .iter()
        .flat_map(|case| strings(case, "changes"))
        .filter_map(|change| change.split(' ').next())
        .collect();
    let known: BTreeSet<&str> = Rule::ALL.iter().map(|rule| rule.name()).collect();
    let without: Vec<_> = known.difference(&named).filter(|name| **name != Rule::TooComplex.name()).collect();
    assert!(without.is_empty(), "no case: {without:?}");
    assert!(named.is_subset(&known), "{:?}", named.difference(&known));
    for rule in Rule::ALL.iter().filter(|rule| rule.effect() == Effect::Compatible) {
        let harmless = cases.iter().any(|case| {
            let compatible = case.get("compatible").and_then(Json::as_bool) == Some(true);
            compatible
                && strings(case, "changes").iter().any(|change| change.split(' ').next() == Some(rule.name()))
        });
        assert!(harmless, "{} never comes with a compatible change", rule.name());
    }
}

#[test]
fn a_refusal_names_place_rule_values_and_fix() {
    let old = schema(r#"{"type":"object","properties":{"a":{"type":"string","maxLength":9}}}"#);
    let new =
        schema(r#"{"type":"object","properties":{"a":{"type":"string","maxLength":5},"b":{"type":"null"}}}"#);
    let found = differences(&new, &old, Policy::Strict);
    let messages: Vec<_> = found.iter().map(|difference| difference.message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "#/properties/a/maxLength: the upper limit is lower than what the writer may write (was 9, is 5); \
             raise it to the writer's",
            "#/properties/b: a property is new, and the writer's schema is open: its data may hold anything under that \
             name already; give the property the empty schema {}, or close the content model from the start \
             (\"additionalProperties\": false), or set compatibilityPolicy to LENIENT",
        ]
    );
    assert_eq!(
        found[1].confluent,
        "{errorType:\"OPTIONAL_PROPERTY_ADDED_TO_OPEN_CONTENT_MODEL\", description:\"The %s schema has an open content \
         model and has a property or item at path '#/properties/b' which is missing in the %s schema'}"
    );
    assert_eq!(found[0].path, "#/properties/a/maxLength");
    assert_eq!(differences(&new, &old, Policy::Lenient).len(), 1);
}

#[test]
fn dependencies_are_compared_through() {
    let parse = |inner: &str| {
        let dependencies = [Dependency { name: "inner.json", text: inner }];
        let text = r#"{"type":"object","properties":{"a":{"$ref":"inner.json"}}}"#;
        JsonSchema::parse(text, &dependencies, Strictness::New).expect("schema")
    };
    let (old, new) = (parse(r#"{"type":"integer"}"#), parse(r#"{"type":"string"}"#));
    let found = differences(&new, &old, Policy::Strict);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].rule, &*found[0].path), ("TYPE_CHANGED", "#/properties/a"));
}

/// Compares both ways and with itself. That it ends is what most callers want to know.
fn settles(old: &str, new: &str) -> Vec<Change> {
    let parse = |text| JsonSchema::parse(text, &[], Strictness::Stored).expect("schema");
    let (old, new) = (parse(old), parse(new));
    let found = changes(&new, &old, Policy::Strict);
    let _ = (differences(&old, &new, Policy::Lenient), differences(&old, &old, Policy::Strict));
    found
}

#[test]
fn nested_choices_do_not_explode() {
    // Each level has members that all resemble each other, so that every pair has to be looked at to the bottom.
    let nested = |leaf: &str, depth: usize| {
        (0..depth).fold(format!("{{\"type\":\"{leaf}\"}}"), |inner, level| {
            let members: Vec<_> = (0..3)
                .map(|n| {
                    format!(
                        "{{\"type\":\"object\",\"maxProperties\":{},\"properties\":{{\"p\":{inner}}}}}",
                        n + level
                    )
                })
                .collect();
            format!("{{\"anyOf\":[{}]}}", members.join(","))
        })
    };
    let found = settles(&nested("string", 6), &nested("integer", 6));
    assert!(found.iter().any(|change| change.breaks));
    // The same as a graph: a few hundred bytes that unfold to 2^60 paths.
    let graph = |leaf: &str| {
        let mut text = String::from("{\"$ref\":\"#/definitions/d0\",\"definitions\":{");
        for n in 0..60 {
            let next = format!("{{\"$ref\":\"#/definitions/d{}\"}}", n + 1);
            let _ = write!(
                text,
                "\"d{n}\":{{\"type\":\"object\",\"properties\":{{\"a\":{next},\"b\":{next}}}}},"
            );
        }
        format!("{text}\"d60\":{{\"type\":\"{leaf}\"}}}}}}")
    };
    let found = settles(&graph("string"), &graph("integer"));
    assert!(found.iter().any(|change| change.breaks) && found.len() <= 401);
}

#[test]
fn circles_of_choices_do_not_explode() {
    let all = |leaf: &str, count: usize| {
        let members: Vec<_> = (0..count)
            .map(|n| format!("{{\"properties\":{{\"p{n}\":{{\"$ref\":\"#\"}},\"q\":{{\"$ref\":\"#\"}}}}}}"))
            .collect();
        format!("{{\"anyOf\":[{},{{\"type\":\"{leaf}\"}}]}}", members.join(","))
    };
    assert!(settles(&all("string", 40), &all("string", 40)).iter().all(|change| !change.breaks));
    assert!(settles(&all("string", 40), &all("integer", 40)).iter().any(|change| change.breaks));
}

#[test]
fn what_is_given_up_counts_as_incompatible_and_says_so() {
    let members = |leaf: &str| {
        let members: Vec<_> = (0..800).map(|n| format!("{{\"const\":\"{leaf}{n}\"}}")).collect();
        format!("{{\"anyOf\":[{}]}}", members.join(","))
    };
    let found = settles(&members("a"), &members("b"));
    assert_eq!(
        found.first().map(|change| (change.rule, change.breaks)),
        Some(("COMPARISON_TOO_COMPLEX", true))
    );
    // A chain of references deeper than any stack.
    let chain = |leaf: &str| {
        let mut text = String::from("{\"$ref\":\"#/definitions/d0\",\"definitions\":{");
        for n in 0..20_000 {
            let _ = write!(text, "\"d{n}\":{{\"items\":{{\"$ref\":\"#/definitions/d{}\"}}}},", n + 1);
        }
        format!("{text}\"d20000\":{{\"type\":\"{leaf}\"}}}}}}")
    };
    let found = settles(&chain("string"), &chain("integer"));
    assert_eq!(found.first().map(|change| change.rule), Some("COMPARISON_TOO_COMPLEX"));
}

#[test]
fn a_schema_that_is_too_complex_is_still_the_same_as_itself() {
    let members: Vec<_> = (0..800).map(|n| format!("{{\"const\":{n}}}")).collect();
    let text = format!("{{\"anyOf\":[{}]}}", members.join(","));
    assert!(differences(&schema(&text), &schema(&text), Policy::Strict).is_empty());
}

/// Each of `n` types may hold any of them, as in a model of a language or of a trade.
#[test]
fn unions_that_hold_themselves_are_comparable() {
    let types = |extra: &str| {
        let any: Vec<_> = (0..24).map(|n| format!("{{\"$ref\":\"#/definitions/t{n}\"}}")).collect();
        let any = any.join(",");
        let one = |n: usize| {
            format!(
                "\"t{n}\":{{\"type\":\"object\",\"additionalProperties\":false,\"required\":[\"kind\"],\"properties\":\
                 {{\"kind\":{{\"const\":\"t{n}\"}},\"inside\":{{\"oneOf\":[{any}]}}{extra}}}}}"
            )
        };
        let all: Vec<_> = (0..24).map(one).collect();
        format!("{{\"oneOf\":[{any}],\"definitions\":{{{}}}}}", all.join(","))
    };
    let found = settles(&types(""), &types(",\"more\":{\"type\":\"string\"}"));
    assert!(found.iter().all(|change| !change.breaks), "{:?}", found.first());
    let found = settles(&types(",\"more\":{\"type\":\"string\"}"), &types(""));
    assert!(
        found.iter().any(|change| change.breaks && change.rule != "COMPARISON_TOO_COMPLEX"),
        "{:?}",
        found.first()
    );
}

#[test]
fn unions_of_many_objects_stay_comparable() {
    let union = |extra: &str| {
        let event = |n: usize| {
            let names: Vec<_> = (0..20).map(|p| format!("\"p{n}_{p}\":{{\"type\":\"string\"}}")).collect();
            format!("{{\"type\":\"object\",\"properties\":{{{}}}}}", names.join(","))
        };
        let members: Vec<_> = (0..120).map(event).collect();
        format!("{{\"oneOf\":[{}{extra}]}}", members.join(","))
    };
    let found = settles(&union(""), &union(",{\"type\":\"null\"}"));
    assert_eq!(found.iter().map(|change| change.rule).collect::<Vec<_>>(), ["SUM_TYPE_EXTENDED"]);
}

#[test]
fn large_schemas_stay_comparable() {
    let wide = |keyword: &str| {
        let properties: Vec<_> =
            (0..20_000).map(|n| format!("\"p{n}\":{{\"type\":\"string\",\"{keyword}\":3}}")).collect();
        format!("{{\"type\":\"object\",\"properties\":{{{}}}}}", properties.join(","))
    };
    let found = settles(&wide("title"), &wide("maxLength"));
    assert!(found.iter().all(|change| change.rule != "COMPARISON_TOO_COMPLEX"));
    assert_eq!(
        differences(&schema(&wide("maxLength")), &schema(&wide("x")), Policy::Strict).len(),
        MAX_DIFFERENCES
    );
}

#[test]
fn deep_schemas_fit_the_stack() {
    let deep = |leaf: &str| {
        (0..190).fold(format!("{{\"type\":\"{leaf}\"}}"), |inner, _| {
            format!("{{\"type\":\"array\",\"not\":{inner}}}")
        })
    };
    assert!(settles(&deep("string"), &deep("integer")).iter().any(|change| change.breaks));
}

/// Something like a schema: known keywords with any values.
fn any_schema() -> impl Strategy<Value = String> {
    let keyword = prop::sample::select(vec![
        "type",
        "$ref",
        "$id",
        "$schema",
        "anyOf",
        "oneOf",
        "allOf",
        "not",
        "properties",
        "patternProperties",
        "items",
        "prefixItems",
        "additionalProperties",
        "additionalItems",
        "required",
        "enum",
        "const",
        "multipleOf",
        "minimum",
        "exclusiveMinimum",
        "maxLength",
        "pattern",
        "dependencies",
        "contains",
        "minContains",
        "definitions",
        "$defs",
        "$anchor",
        "unevaluatedItems",
        "default",
        "if",
        "a",
    ]);
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|value| value.to_string()),
        (-20..20i32, -400..400i32).prop_map(|(n, e)| format!("{n}e{e}")),
        any::<u64>().prop_map(|n| n.to_string()),
        prop::sample::select(vec![
            "\"string\"",
            "\"object\"",
            "\"integer\"",
            "\"#\"",
            "\"#/definitions/a\"",
            "\"a\"",
            "\"#a\"",
            "\"^(a\"",
            "\"#/anyOf/0\"",
            "\"https://json-schema.org/draft/2020-12/schema\"",
            "\"http://json-schema.org/draft-04/schema#\"",
        ])
        .prop_map(str::to_owned),
    ];
    leaf.prop_recursive(6, 60, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|list| format!("[{}]", list.join(","))),
            prop::collection::vec((keyword.clone(), inner), 0..5).prop_map(|members| {
                let members: Vec<_> =
                    members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn anything_is_answered(old in any_schema(), new in any_schema()) {
        for strictness in [Strictness::New, Strictness::Stored] {
            let parse = |text: &str| JsonSchema::parse(text, &[Dependency { name: "a", text: &new }], strictness);
            if let (Ok(old), Ok(new)) = (parse(&old), parse(&new)) {
                for policy in [Policy::Strict, Policy::Lenient] {
                    let breaks = changes(&new, &old, policy).iter().any(|change| change.breaks);
                    prop_assert_eq!(breaks, !differences(&new, &old, policy).is_empty());
                }
            }
        }
    }

    #[test]
    fn a_schema_is_compatible_with_itself(text in any_schema()) {
        if let Ok(schema) = JsonSchema::parse(&text, &[], Strictness::Stored) {
            let found = changes(&schema, &schema, Policy::Strict);
            prop_assert!(found.iter().all(|change| !change.breaks), "{found:?}");
        }
    }

    #[test]
    fn what_is_strictly_compatible_is_leniently_compatible(old in any_schema(), new in any_schema()) {
        let parse = |text: &str| JsonSchema::parse(text, &[], Strictness::Stored);
        if let (Ok(old), Ok(new)) = (parse(&old), parse(&new))
            && differences(&new, &old, Policy::Strict).is_empty()
        {
            prop_assert!(differences(&new, &old, Policy::Lenient).is_empty());
        }
    }
}
