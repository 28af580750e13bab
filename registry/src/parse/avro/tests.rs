use super::*;
use proptest::prelude::*;

fn new(text: &str) -> Result<Avro, Problem> {
    Avro::parse(text, &[], Strictness::New)
}

fn stored(text: &str) -> Result<Avro, Problem> {
    Avro::parse(text, &[], Strictness::Stored)
}

fn canonical(text: &str) -> String {
    stored(text).unwrap_or_else(|error| panic!("{text}: {error}")).canonical().to_owned()
}

fn with_field(field: &str) -> String {
    format!(r#"{{"type":"record","name":"R","fields":[{field}]}}"#)
}

#[test]
fn canonical_text_is_that_of_apache_avro() {
    for (text, expected) in [
        (r#""string""#, r#""string""#),
        (r#"{"type":"string"}"#, r#""string""#),
        (r#"{"type":"string","doc":"x","name":"y"}"#, r#""string""#),
        (r#"{"b":1,"type":"string","a":[1.50,null]}"#, r#"{"type":"string","b":1,"a":[1.5,null]}"#),
        (r#" [ "null" , {"type":"int"} ] // end"#, r#"["null","int"]"#),
        (r#"{"items":"int","default":[],"type":"array"}"#, r#"{"type":"array","items":"int","default":[]}"#),
        (
            r#"{"values":{"type":"map","values":"int"},"type":"map"}"#,
            r#"{"type":"map","values":{"type":"map","values":"int"}}"#,
        ),
        (
            r#"{"fields":[],"doc":"d","name":"a.b.R","type":"record","x":1,"aliases":["Q","c.P"]}"#,
            r#"{"type":"record","name":"R","namespace":"a.b","doc":"d","fields":[],"x":1,"aliases":["Q","c.P"]}"#,
        ),
        (
            r#"{"type":"enum","name":"E","symbols":["A","B"],"default":"A","aliases":["F"],"y":{}}"#,
            r#"{"type":"enum","name":"E","symbols":["A","B"],"default":"A","y":{},"aliases":["F"]}"#,
        ),
        (
            r#"{"type":"fixed","size":4,"name":"F","namespace":"n","doc":"","logicalType":"x"}"#,
            r#"{"type":"fixed","name":"F","namespace":"n","doc":"","size":4,"logicalType":"x"}"#,
        ),
        // The namespace is inherited, left for none, and told again.
        (
            r#"{"type":"record","name":"R","namespace":"a","fields":[
                {"name":"x","type":{"type":"fixed","name":"a.F","size":1}},
                {"name":"y","type":{"type":"fixed","name":"G","namespace":"","size":1}},
                {"name":"z","type":{"type":"record","name":"b.S","fields":[{"name":"f","type":"a.F"},{"name":"g","type":"G"}]}},
                {"name":"r","type":["null","R",{"type":"a.F"}]}]}"#,
            r#"{"type":"record","name":"R","namespace":"a","fields":[{"name":"x","type":{"type":"fixed","name":"F","size":1}},{"name":"y","type":{"type":"fixed","name":"G","namespace":"","size":1}},{"name":"z","type":{"type":"record","name":"S","namespace":"b","fields":[{"name":"f","type":"a.F"},{"name":"g","type":"G"}]}},{"name":"r","type":["null","R","F"]}]}"#,
        ),
        // A name that is also a kind of type cannot do without its namespace.
        (
            r#"["null",{"type":"record","name":"n.int","fields":[{"name":"f","type":["null","n.int"]}]}]"#,
            r#"["null",{"type":"record","name":"int","namespace":"n","fields":[{"name":"f","type":["null","n.int"]}]}]"#,
        ),
        (
            r#"{"type":"error","name":"E","fields":[{"order":"Ascending","p":1,"aliases":["b","a","b"],"default":1,"doc":"d","type":"int","name":"x"},{"name":"y","type":"int","order":"IGNORE"}]}"#,
            r#"{"type":"error","name":"E","fields":[{"name":"x","type":"int","doc":"d","default":1,"aliases":["b","a"],"p":1},{"name":"y","type":"int","order":"ignore"}]}"#,
        ),
    ] {
        assert_eq!(canonical(text), expected);
    }
}

#[test]
fn defaults_are_printed_as_java_prints_numbers() {
    for (ty, default, expected) in [
        ("double", "1e2", "100.0"),
        ("double", "1", "1"),
        ("double", "1.0", "1.0"),
        ("double", "-0.0", "-0.0"),
        ("double", "-0", "0"),
        ("double", "0.001", "0.001"),
        ("double", "0.0001", "1.0E-4"),
        ("double", "9999999.5", "9999999.5"),
        ("double", "1e7", "1.0E7"),
        ("double", "12345678.5", "1.23456785E7"),
        ("double", "4.9e-324", "4.9E-324"),
        ("double", "1.7976931348623157e308", "1.7976931348623157E308"),
        ("double", "1e999", "\"Infinity\""),
        ("double", "123456789012345678901234567890", "123456789012345678901234567890"),
        ("float", "0.1", "0.1"),
        ("double", "\"1e2\"", "100.0"),
        ("double", "\" -.5f \"", "-0.5"),
        ("float", "\"NaN\"", "\"NaN\""),
        ("double", "\"-Infinity\"", "\"-Infinity\""),
        ("string", "\"\\u00e9\\u0001\"", "\"é\\u0001\""),
        ("long", "9223372036854775807", "9223372036854775807"),
    ] {
        let text = with_field(&format!(r#"{{"name":"f","type":"{ty}","default":{default}}}"#));
        let expected = with_field(&format!(r#"{{"name":"f","type":"{ty}","default":{expected}}}"#));
        assert_eq!(new(&text).map(|avro| avro.canonical().to_owned()), Ok(expected));
    }
}

#[test]
fn references_are_printed_by_name_and_resolved_on_demand() {
    let address = r#"{"type":"record","name":"Address","namespace":"a","fields":[{"name":"zip","type":{"type":"enum","name":"Zip","symbols":["X"]}}]}"#;
    let city =
        r#"{"type":"record","name":"City","namespace":"b","fields":[{"name":"at","type":"a.Address"}]}"#;
    let dependencies =
        [Dependency { name: "a.Address", text: address }, Dependency { name: "b.City", text: city }];
    let text = r#"{"type":"record","name":"User","namespace":"b","fields":[{"name":"city","type":"City"},{"name":"home","type":"a.Address"},{"name":"zip","type":"a.Zip"}]}"#;
    let user = Avro::parse(text, &dependencies, Strictness::New).expect("a schema");
    assert_eq!(user.canonical(), text);
    assert_eq!(user.name().as_deref(), Some("b.User"));
    let resolved = r#"{"type":"record","name":"User","namespace":"b","fields":[{"name":"city","type":{"type":"record","name":"City","fields":[{"name":"at","type":{"type":"record","name":"Address","namespace":"a","fields":[{"name":"zip","type":{"type":"enum","name":"Zip","symbols":["X"]}}]}}]}},{"name":"home","type":"a.Address"},{"name":"zip","type":"a.Zip"}]}"#;
    assert_eq!(user.resolved(), resolved);
    assert_eq!(canonical(resolved), resolved);
    assert_eq!(
        user.reduced(),
        r#"{"name":"b.User","type":"record","fields":[{"name":"city","type":{"name":"b.City","type":"record","fields":[{"name":"at","type":{"name":"a.Address","type":"record","fields":[{"name":"zip","type":{"name":"a.Zip","type":"enum","symbols":["X"]}}]}}]}},{"name":"home","type":"a.Address"},{"name":"zip","type":"a.Zip"}]}"#
    );
    // Each sees only what comes before it, and the same text twice is one.
    let reversed = [dependencies[1], dependencies[0]];
    let error =
        Avro::parse(text, &reversed, Strictness::New).expect_err("b.City comes too early").to_string();
    assert!(
        error.starts_with("reference \"b.City\": avro schema at /fields/0/type: type \"a.Address\""),
        "{error}"
    );
    let doubled = [dependencies[0], Dependency { name: "other", text: address }, dependencies[1]];
    assert_eq!(Avro::parse(text, &doubled, Strictness::New).expect("a schema").canonical(), text);
    assert!(new(text).is_err());
    // Confluent prints in full what only stands inside the type of a reference; defined differently it is refused.
    let zip = r#""type":{"type":"enum","name":"a.Zip","symbols":["X"]}"#;
    let repeated = text.replace("\"type\":\"a.Zip\"", zip);
    for strictness in [Strictness::New, Strictness::Stored] {
        let user = Avro::parse(&repeated, &dependencies, strictness).expect("the same enum");
        assert_eq!(user.canonical(), text);
        let other = repeated.replace("[\"X\"]", "[\"Y\"]");
        let error = Avro::parse(&other, &dependencies, strictness).expect_err("another enum").to_string();
        assert!(
            error.contains("at /fields/2/type: type \"a.Zip\" is defined twice, and differently"),
            "{error}"
        );
    }
}

#[test]
fn normal_form_sorts_and_converts() {
    for (text, expected) in [
        (r#"{"type":"string","b":1,"a":{"d":1,"c":2}}"#, r#"{"type":"string","a":{"c":2,"d":1},"b":1}"#),
        (r#"{"type":"int","a":1,"logicalType":"date"}"#, r#"{"type":"int","logicalType":"date","a":1}"#),
        (
            r#"{"type":"string","z":1,"a":1,"logicalType":"date"}"#,
            r#"{"type":"string","a":1,"logicalType":"date","z":1}"#,
        ),
        (
            r#"{"type":"bytes","scale":2,"precision":4,"logicalType":"decimal","a":1}"#,
            r#"{"type":"bytes","logicalType":"decimal","precision":4,"scale":2,"a":1}"#,
        ),
        (
            r#"{"type":"bytes","scale":0,"precision":4,"logicalType":"decimal","a":1}"#,
            r#"{"type":"bytes","logicalType":"decimal","precision":4,"a":1,"scale":0}"#,
        ),
        (
            r#"{"type":"record","name":"n.R","doc":"","aliases":["Z","A"],"fields":[{"name":"d","type":"double","default":0,"doc":"","aliases":["z","y"],"q":1,"p":2},{"name":"f","type":["float","null"],"default":0.1},{"name":"m","type":{"type":"map","values":"double"},"default":{"b":1,"a":2}}]}"#,
            r#"{"type":"record","name":"R","namespace":"n","fields":[{"name":"d","type":"double","doc":"","default":0.0,"aliases":["y","z"],"p":2,"q":1},{"name":"f","type":["float","null"],"default":0.1},{"name":"m","type":{"type":"map","values":"double"},"default":{"a":2.0,"b":1.0}}],"aliases":["A","Z"]}"#,
        ),
    ] {
        let normalized = new(text).expect(text).normalized();
        assert_eq!(normalized, expected);
        assert_eq!(new(&normalized).expect("own output").normalized(), normalized);
    }
}

#[test]
fn what_is_refused_names_place_value_and_fix() {
    for (text, expected) in [
        (
            "string",
            "avro schema is not json: \"string\" is no value: a string needs double quotes at line 1, column 1",
        ),
        (
            "7",
            "avro schema at /: 7 is no schema: a schema is the name of a type, an object with a type, or an array of schemas",
        ),
        (
            "\"Foo\"",
            "avro schema at /: type \"Foo\" is not defined: define it before it is used, or register it and add a reference to it",
        ),
        ("{}", "avro schema at /: an object without \"type\" is no schema: add one"),
        (
            r#"{"type":{"type":"int"}}"#,
            "avro schema at /: \"type\" is an object: inside {...} it must be the name of a type; put the inner schema in its place",
        ),
        (r#"{"type":"array"}"#, "avro schema at /: the array has no \"items\": add the schema of its items"),
        (
            r#"{"type":"map","values":"Bar"}"#,
            "avro schema at /values: type \"Bar\" is not defined: define it before it is used, or register it and add a reference to it",
        ),
        (
            r#"["int",["null"]]"#,
            "avro schema at /1: a union stands directly in a union: list its branches in the outer one",
        ),
        (
            r#"["int","null",{"type":"int"}]"#,
            "avro schema at /2: the union has \"int\" twice: remove one of them",
        ),
        (
            r#"{"type":"record","fields":[]}"#,
            "avro schema at /: a record, enum or fixed has no \"name\": give it one",
        ),
        (
            r#"{"type":"record","name":"9","fields":[]}"#,
            "avro schema at /: has the name \"9\": a name is letters, digits and _, and begins with no digit",
        ),
        (
            r#"{"type":"record","name":"R"}"#,
            "avro schema at /: record \"R\" has no array \"fields\": add one",
        ),
        (
            r#"{"type":"fixed","name":"int","size":1}"#,
            "avro schema at /: \"int\" is a type of Avro itself: choose another name",
        ),
        (
            r#"{"type":"fixed","name":"F","size":0}"#,
            "avro schema at /: fixed \"F\" has the size 0: \"size\" is a number of bytes from 1 to 2147483639",
        ),
        (
            r#"{"type":"fixed","name":"F"}"#,
            "avro schema at /: fixed \"F\" has no size: \"size\" is a number of bytes from 1 to 2147483639",
        ),
        (
            r#"{"type":"enum","name":"E","symbols":[]}"#,
            "avro schema at /: enum \"E\" has no symbols, so that it has no values: add one",
        ),
        (
            r#"{"type":"enum","name":"E","symbols":["A","B","A"]}"#,
            "avro schema at /symbols/2: enum \"E\" has symbol \"A\" twice: remove one of them",
        ),
        (
            r#"{"type":"enum","name":"E","symbols":["A-B"]}"#,
            "avro schema at /symbols/0: the symbol has the name \"A-B\": a name is letters, digits and _, and begins with no digit",
        ),
        (
            r#"{"type":"enum","name":"E","symbols":["A"],"default":"B"}"#,
            "avro schema at /: the default \"B\" of enum \"E\" is not among its symbols: add it, or choose one of them",
        ),
        (
            r#"{"type":"enum","name":"E","symbols":["A"],"aliases":"F"}"#,
            "avro schema at /: \"aliases\" is an array of strings: make it one, or remove it",
        ),
        (
            &with_field("1"),
            "avro schema at /fields/0: a field is an object with \"name\" and \"type\", not a number",
        ),
        (
            &with_field(r#"{"type":"int"}"#),
            "avro schema at /fields/0: the field has no \"name\": give it one",
        ),
        (
            &with_field(r#"{"name":"x"}"#),
            "avro schema at /fields/0: field \"x\" has no \"type\": give it one",
        ),
        (
            &with_field(r#"{"name":"x","type":"int","order":"up"}"#),
            "avro schema at /fields/0: field \"x\" has the order \"up\": it is ascending, descending or ignore",
        ),
        (
            &with_field(r#"{"name":"x","type":"int"},{"name":"x","type":"int"}"#),
            "avro schema at /fields/1: record \"R\" has field \"x\" twice: rename one of them",
        ),
        (
            &with_field(r#"{"name":"x","type":"int","default":"a"}"#),
            "avro schema at /fields/0: the default of field \"x\" is no valid int: \"a\" is a string, not int; change the default, or the type",
        ),
        (
            &with_field(r#"{"name":"x","type":"double","default":"a"}"#),
            "avro schema at /fields/0: field \"x\" has the default \"a\", which is no number: write a number",
        ),
        (
            &with_field(r#"{"name":"x","type":["null","int"],"default":1}"#),
            "avro schema at /fields/0: the default of field \"x\" is no valid union: 1 is a number, not null: the default of a union must be one of its first branch; change the default, or the type",
        ),
        (
            &with_field(r#"{"name":"x","type":{"type":"fixed","name":"R","size":1}}"#),
            "avro schema at /fields/0/type: type \"R\" is defined twice: define it once and use its name afterwards",
        ),
        (
            &with_field(r#"{"name":"x","type":["R","null"],"default":{}}"#),
            "avro schema at /fields/0: the default of field \"x\" is no valid union: record R would contain itself: the default of a union must be one of its first branch; change the default, or the type",
        ),
    ] {
        assert_eq!(new(text).map(|_| ()).expect_err(text).to_string(), expected);
    }
}

#[test]
fn defaults_fit_their_types() {
    let record = r#"{"type":"record","name":"S","fields":[{"name":"a","type":"int"},{"name":"b","type":"int","default":1}]}"#;
    for (ty, default, is_valid) in [
        ("\"null\"", "null", true),
        ("\"null\"", "0", false),
        ("\"boolean\"", "true", true),
        ("\"boolean\"", "\"true\"", false),
        ("\"int\"", "2147483647", true),
        ("\"int\"", "2147483648", false),
        ("\"int\"", "1.0", false),
        ("\"int\"", "1e2", false),
        ("\"long\"", "2147483648", true),
        ("\"long\"", "9223372036854775808", false),
        ("\"float\"", "1", true),
        ("\"double\"", "1.5", true),
        ("\"double\"", "null", false),
        ("\"string\"", "\"\"", true),
        ("\"string\"", "null", false),
        ("\"bytes\"", "\"\\u00ff\"", true),
        ("\"bytes\"", "\"\\u0100\"", false),
        ("[\"null\",\"int\"]", "null", true),
        ("[\"int\",\"null\"]", "null", false),
        ("[\"int\",\"null\"]", "1", true),
        ("[]", "1", false),
        (r#"{"type":"array","items":"int"}"#, "[1,2]", true),
        (r#"{"type":"array","items":"int"}"#, "[1,null]", false),
        (r#"{"type":"array","items":"int"}"#, "{}", false),
        (r#"{"type":"array","items":"double"}"#, "[\"1\"]", false),
        (r#"{"type":"map","values":["string"]}"#, "{\"a\":\"b\"}", true),
        (r#"{"type":"map","values":["string"]}"#, "{\"a\":1}", false),
        (r#"{"type":"map","values":["string"]}"#, "[]", false),
        (r#"{"type":"enum","name":"E","symbols":["A"]}"#, "\"A\"", true),
        (r#"{"type":"enum","name":"E","symbols":["A"]}"#, "\"B\"", false),
        (r#"{"type":"enum","name":"E","symbols":["A"]}"#, "0", false),
        (r#"{"type":"fixed","name":"F","size":2}"#, "\"ab\"", true),
        (r#"{"type":"fixed","name":"F","size":2}"#, "[1,2]", false),
        (record, r#"{"a":1}"#, true),
        (record, r#"{"a":1,"b":2,"c":"ignored"}"#, true),
        (record, r#"{"b":1}"#, false),
        (record, r#"{"a":1,"b":"x"}"#, false),
        (record, "[]", false),
    ] {
        let text = with_field(&format!(r#"{{"name":"x","type":{ty},"default":{default}}}"#));
        assert_eq!(new(&text).is_ok(), is_valid, "{text}");
        // What has been accepted elsewhere is kept as it is.
        assert_eq!(stored(&text).map(|avro| avro.canonical().contains("\"default\"")), Ok(true), "{text}");
    }
}

#[test]
fn stored_schemas_are_read_as_far_as_they_mean_something() {
    for text in [
        r#"{"type":"enum","name":"E","symbols":[]}"#,
        r#"{"type":"fixed","name":"F","size":0}"#,
        r#"{"type":"record","name":"my-record","fields":[{"name":"a b","type":"int"}]}"#,
    ] {
        assert!(new(text).is_err(), "{text}");
        assert_eq!(canonical(text), text);
    }
    for text in [
        r#"{"type":"fixed","name":"F","size":-1}"#,
        r#"{"type":"fixed","name":"","size":1}"#,
        r#"["int","int"]"#,
        r#""Foo""#,
        r#"{"type":"record","name":"R","fields":[{"name":"f","type":{"type":"record","name":"R","fields":[]}}]}"#,
    ] {
        assert!(stored(text).is_err(), "{text}");
    }
}

/// As Avro 1.12 has it; 1.11 and a new schema have each name once.
#[test]
fn a_stored_type_may_be_defined_again_as_it_was() {
    let inner = r#"{"type":"record","name":"S","fields":[{"name":"r","type":["null","S"]},{"name":"e","type":{"type":"enum","name":"E","symbols":["A"]}}]}"#;
    let twice = with_field(&format!(r#"{{"name":"a","type":{inner}}},{{"name":"b","type":{inner}}}"#));
    assert!(new(&twice).is_err());
    assert_eq!(
        canonical(&twice),
        with_field(&format!(r#"{{"name":"a","type":{inner}}},{{"name":"b","type":"S"}}"#))
    );
    for (old, changed) in
        [("\"null\",\"S\"", "\"int\",\"S\""), ("[\"A\"]", "[\"A\",\"B\"]"), ("\"e\"", "\"x\"")]
    {
        let second = twice.rfind(old).expect("it is there");
        let other = format!("{}{changed}{}", &twice[..second], &twice[second + old.len()..]);
        assert!(stored(&other).is_err(), "{other}");
    }
}

#[test]
fn names_are_bounded() {
    let fixed = |name: &str| format!(r#"{{"type":"fixed","name":"{name}","size":1}}"#);
    assert!(new(&fixed(&"n".repeat(MAX_NAME))).is_ok());
    let error = new(&fixed(&format!("{}.n", "n".repeat(MAX_NAME)))).expect_err("too long").to_string();
    assert!(error.contains("more than 1000 bytes") && error.len() < 300, "{error}");
    let field = with_field(&format!(r#"{{"name":"{}","type":"Foo"}}"#, "f".repeat(MAX_NAME + 1)));
    assert!(new(&field).expect_err("too long").to_string().len() < 300);
    // What is wrong with a long value is told in short.
    let long = with_field(&format!(r#"{{"name":"x","type":"int","default":"{}"}}"#, "é".repeat(100_000)));
    assert!(new(&long).expect_err("no int").to_string().len() < 400);
}

/// Records that are defined side by side, and referred to by the next: they only nest once references are resolved.
fn chain(length: usize) -> String {
    let mut branches = vec![r#"{"type":"record","name":"R0","fields":[]}"#.to_owned()];
    for n in 1..length {
        branches.push(format!(
            r#"{{"type":"record","name":"R{n}","fields":[{{"name":"f","type":"R{}"}}]}}"#,
            n - 1
        ));
    }
    format!("[{}]", branches.join(","))
}

#[test]
fn depth_is_bounded_through_names_and_references() {
    let resolve = |length: usize| {
        let text = chain(length);
        let last = format!("\"R{}\"", length - 1);
        Avro::parse(&last, &[Dependency { name: "chain", text: &text }], Strictness::New)
    };
    // Side by side they are flat, however many there are.
    assert!(new(&chain(3000)).is_ok());
    let error = resolve(3000).expect_err("too deep").to_string();
    assert!(error.contains("more than 400 types inside each other"), "{error}");
    let run = std::thread::Builder::new()
        .stack_size(1 << 20)
        .spawn(move || resolve(MAX_DEPTH).map(|avro| avro.reduced()));
    assert!(run.expect("a thread").join().expect("no overflow").is_ok());
}

/// A default that leaves out fields which have defaults with such defaults: looked at field by field it would never end.
#[test]
fn defaults_are_checked_in_linear_time() {
    let mut branches =
        vec![r#"{"type":"record","name":"R0","fields":[{"name":"x","type":"int","default":0}]}"#.to_owned()];
    for n in 1..200 {
        let field = |name: &str| format!(r#"{{"name":"{name}","type":"R{}","default":{{}}}}"#, n - 1);
        branches.push(format!(
            r#"{{"type":"record","name":"R{n}","fields":[{},{}]}}"#,
            field("a"),
            field("b")
        ));
    }
    assert!(new(&format!("[{}]", branches.join(","))).is_ok());
}

/// Schemas to be damaged: everything that the language has.
const WHOLE: &str = r#"{"type":"record","name":"a.b.R","doc":"d","aliases":["Q"],"fields":[{"name":"x","type":["null","int",{"type":"enum","name":"E","symbols":["A","B"],"default":"A"}],"default":null},{"name":"y","type":{"type":"array","items":{"type":"map","values":{"type":"fixed","name":"c.F","size":4,"logicalType":"decimal","precision":3}}},"order":"ignore","aliases":["z"]},{"name":"d","type":"double","default":1.5e3,"p":[1,{"q":-0.0}]},{"name":"r","type":["null","R","c.F"]}]}"#;

proptest! {
    #[test]
    fn damaged_text_is_answered_and_canonical_text_is_a_fixpoint(
        at in 0..WHOLE.len(),
        length in 0..30_usize,
        with in prop::sample::select(vec!["", "\"", "{", "]", "null", "\"R\"", "\"int\"", "[]", "1e9", "a.", "\\u0000", ",", "\"default\":1,"]),
        times in 1..3_usize,
    ) {
        let mut text = WHOLE.to_owned();
        for n in 0..times {
            let start = (at * (n + 1)) % WHOLE.len();
            let end = (start + length).min(text.len());
            if text.is_char_boundary(start.min(end)) && text.is_char_boundary(end) {
                text.replace_range(start.min(end)..end, with);
            }
        }
        for strictness in [Strictness::New, Strictness::Stored] {
            if let Ok(avro) = Avro::parse(&text, &[], strictness) {
                let again = Avro::parse(avro.canonical(), &[], strictness);
                prop_assert_eq!(again.map(|avro| avro.canonical().to_owned()), Ok(avro.canonical().to_owned()));
                prop_assert_eq!(avro.resolved(), avro.canonical());
                let reduced = Avro::parse(&avro.reduced(), &[], strictness).map(|avro| avro.reduced());
                prop_assert_eq!(reduced, Ok(avro.reduced()));
                let normal = Avro::parse(&avro.normalized(), &[], strictness).map(|avro| avro.normalized());
                prop_assert_eq!(normal, Ok(avro.normalized()));
                let whole = new(WHOLE).expect("a schema");
                prop_assert!(crate::compat::avro::differences(&whole, &whole).is_empty());
                for found in [
                    crate::compat::avro::differences(&avro, &whole),
                    crate::compat::avro::differences(&whole, &avro),
                ] {
                    prop_assert!(found.len() <= crate::compat::avro::MAX_DIFFERENCES);
                }
            }
        }
    }

    #[test]
    fn any_text_is_answered(text in "[\\[\\]{}:,\"a-z\\\\ .0-9]{0,60}") {
        let _ = new(&text);
        let _ = stored(&text);
    }

    #[test]
    fn doubles_are_printed_so_that_they_are_read_back(bits in any::<u64>()) {
        let value = f64::from_bits(bits);
        let text = super::number::double(value);
        let read = super::number::parse(&text).expect("own output");
        prop_assert!(read == value || (read.is_nan() && value.is_nan()), "{}", text);
    }
}
