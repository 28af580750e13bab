use super::*;
use proptest::prelude::*;

fn strict(text: &str) -> Result<Json, Error> {
    read(text, Syntax::Strict)
}

fn printed(text: &str) -> String {
    strict(text).expect("JSON").to_string()
}

#[test]
fn numbers_are_printed_as_big_decimals() {
    for (text, expected) in [
        ("1", "1"),
        ("-0", "0"),
        ("-0.0", "0.0"),
        ("1.0", "1.0"),
        ("1.50", "1.50"),
        ("1e2", "1E+2"),
        ("1E2", "1E+2"),
        ("1.0e2", "1.0E+2"),
        ("1.00e2", "100"),
        ("12.5e1", "125"),
        ("1e-5", "0.00001"),
        ("1e-6", "0.000001"),
        ("1e-7", "1E-7"),
        ("123e-10", "1.23E-8"),
        ("0.00", "0.00"),
        ("0e3", "0E+3"),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
        ("-12.5", "-12.5"),
    ] {
        assert_eq!(printed(text), expected, "{text}");
    }
}

#[test]
fn numbers_compare_by_value() {
    let decimal = |text: &str| Number::from_text(text).decimal();
    let rising = ["-1e3", "-10.5", "-10", "-0.001", "0", "1e-9", "0.5", "1", "1.5", "10", "1e2", "1e400"];
    for pair in rising.windows(2) {
        assert!(decimal(pair[0]) < decimal(pair[1]), "{pair:?}");
    }
    assert_eq!(decimal("100").normal(), decimal("1.00e2").normal());
    assert_eq!(decimal("-0").normal(), decimal("0.00").normal());
}

#[test]
fn order_and_text_are_kept() {
    let text = r#"{"z":1,"a":{"é":"\u00e9\n\u001f\/"},"list":[true,false,null,[],{}]}"#;
    assert_eq!(printed(text), r#"{"z":1,"a":{"é":"é\n\u001F/"},"list":[true,false,null,[],{}]}"#);
    assert_eq!(printed(r#"{"a":1,"b":2,"a":3}"#), r#"{"a":3,"b":2}"#);
    assert_eq!(printed(r#""\ud83d\ude00""#), "\"😀\"");
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    for (text, expected) in [
        ("", "the document ends where a value should be"),
        ("{\n  'a': 1}", "the name of a member, in double quotes, should be here"),
        ("{\"a\" 1}", "a colon should follow \"a\""),
        ("[1 2]", "a comma or the end of the array should be here"),
        ("{} x", "something follows the end of the document"),
        ("01", "a number must not begin with 0"),
        ("nul", "\"nul\" is no value: a string needs double quotes"),
        ("nullx", "\"nullx\" is no value: a string needs double quotes"),
        ("\"\\ud800\"", "half of a surrogate pair is no character"),
        ("\"\\u+123\"", "four hexadecimal digits should follow \\u"),
        ("\"abc", "a string without an end"),
        ("// x\n1", "\"// x\\n1\" is no value: a string needs double quotes"),
    ] {
        let error = strict(text).expect_err(text).to_string();
        assert_eq!(error.split(" at line").next(), Some(expected), "{text}");
    }
    assert_eq!(
        strict("{\n  'a': 1}").expect_err("quotes").to_string(),
        "the name of a member, in double quotes, should be here at line 2, column 3"
    );
}

#[test]
fn comments_only_where_they_are_asked_for() {
    let text = "/* a */ {\"a\": // b\n 1 /**/}";
    assert_eq!(read(text, Syntax::Comments).expect("comments").to_string(), "{\"a\":1}");
    assert!(strict(text).is_err());
    assert!(read("/* a", Syntax::Comments).is_err());
}

#[test]
fn nesting_has_a_limit() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(strict(&nested(MAX_DEPTH)).is_ok());
    assert!(strict(&nested(MAX_DEPTH + 2)).is_err());
    assert!(strict(&"[".repeat(1_000_000)).is_err());
}

fn any_json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::Bool),
        any::<i64>().prop_map(|n| Json::Number(n.into())),
        (any::<i32>(), 0..40u32, -40..40i32)
            .prop_map(|(n, fraction, e)| Json::Number(Number::from_text(&format!("{n}.{fraction}e{e}")))),
        ".{0,12}".prop_map(|text| Json::String(text.into())),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Json::Array),
            prop::collection::vec((".{0,6}".prop_map(|name| name.into_boxed_str()), inner), 0..6)
                .prop_map(|members| Json::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_printed_is_read_back(value in any_json()) {
        let text = value.to_string();
        let again = strict(&text).expect("own output");
        prop_assert_eq!(again.to_string(), text.clone());
        // An independent reader sees the same, as far as its numbers go.
        let theirs: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let ours: serde_json::Value = serde_json::from_str(&again.to_string()).expect("JSON");
        prop_assert_eq!(theirs, ours);
    }

    #[test]
    fn it_accepts_what_serde_json_accepts(text in "[\\[\\]{}:,\"a-f0-9.eE+\\-tru\\\\ \n]{0,40}") {
        let theirs = serde_json::from_str::<serde_json::Value>(&text);
        // Only a number that fits no double divides the two.
        let is_json = theirs.is_ok() || theirs.is_err_and(|e| e.to_string().starts_with("number out of range"));
        prop_assert_eq!(strict(&text).is_ok(), is_json, "{}", text);
    }

    #[test]
    fn any_text_is_answered(text in ".*") {
        let _ = strict(&text);
        let _ = read(&text, Syntax::Comments);
    }
}
