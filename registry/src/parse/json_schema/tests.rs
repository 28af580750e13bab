use super::*;

fn parse(text: &str) -> Result<JsonSchema, Problem> {
    JsonSchema::parse(text, &[], Strictness::New)
}

fn with(text: &str, dependencies: &[(&str, &str)]) -> Result<JsonSchema, Problem> {
    let dependencies: Vec<_> = dependencies.iter().map(|(name, text)| Dependency { name, text }).collect();
    JsonSchema::parse(text, &dependencies, Strictness::New)
}

/// What the property `a` means, in a word.
fn kind_of_a(schema: &JsonSchema) -> &'static str {
    let Shape::Object(object) = &schema.node(schema.follow(schema.root())).shape else { return "no object" };
    let Some(property) = object.properties.get("a") else { return "no a" };
    match &schema.node(schema.follow(*property)).shape {
        Shape::String(_) => "string",
        Shape::Number(_) => "number",
        Shape::Null => "null",
        Shape::Any => "any",
        Shape::Elsewhere(_) => "elsewhere",
        _ => "other",
    }
}

#[test]
fn canonical_text_keeps_order_and_numbers() {
    let schema = parse(
        "{ \"type\":\"number\", \"default\": 1e2,\n\"b\": 1.50, \"a\": {\"z\":0, \"y\": [ {\"k\":1,\"j\":2} ]}}",
    );
    let schema = schema.expect("schema");
    assert_eq!(
        schema.canonical(),
        r#"{"type":"number","default":1E+2,"b":1.50,"a":{"z":0,"y":[{"k":1,"j":2}]}}"#
    );
    let sorted = r#"{"a":{"y":[{"j":2,"k":1}],"z":0},"b":1.50,"default":1E+2,"type":"number"}"#;
    assert_eq!((schema.normalized().as_str(), schema.reduced().as_str()), (sorted, sorted));
    assert_eq!(parse("true").expect("schema").canonical(), "true");
}

#[test]
fn names_are_sorted_as_java_sorts_them() {
    // U+1F600 is written with surrogates in UTF-16, which come before U+FF5E.
    let schema = parse(r#"{"～":1,"😀":2}"#).expect("schema");
    assert_eq!(schema.normalized(), r#"{"😀":2,"～":1}"#);
    assert_eq!(schema.reduced(), r#"{"～":1,"😀":2}"#);
}

#[test]
fn what_is_no_schema_is_refused() {
    for (text, expected) in [
        ("", "this is not JSON: the document ends where a value should be at line 1, column 1"),
        ("null", "a JSON Schema must be an object or a boolean, not null"),
        ("[]", "a JSON Schema must be an object or a boolean, not an array"),
        ("1", "a JSON Schema must be an object or a boolean, not a number"),
        (r#"{"type":"strin"}"#, "#/type: \"strin\" is no type"),
        (r#"{"type":[]}"#, "#/type: must be the name of a type"),
        (r#"{"type":["null","null"]}"#, "#/type: \"null\" is there twice"),
        (
            r#"{"properties":{"a":{"maxLength":"5"}}}"#,
            "#/properties/a/maxLength: must be a whole number, not a string",
        ),
        (r#"{"maxLength":-1}"#, "#/maxLength: must be a whole number from 0 on"),
        (r#"{"maxLength":1.5}"#, "#/maxLength: must be a whole number from 0 on"),
        (r#"{"multipleOf":0}"#, "#/multipleOf: must be above 0"),
        (r#"{"required":"a"}"#, "#/required: must be an array of names"),
        (r#"{"required":["a","a"]}"#, "#/required: \"a\" is there twice"),
        (r#"{"properties":[]}"#, "#/properties: must be an object of schemas"),
        (r#"{"properties":{"a":1}}"#, "#/properties/a: a schema must be an object or a boolean"),
        (r#"{"anyOf":[]}"#, "#/anyOf: must have at least one schema"),
        (r#"{"items":[{"enum":1}]}"#, "#/items/0/enum: must be an array of values"),
        (r#"{"pattern":"(a"}"#, "#/pattern: a group that does not end"),
        (r#"{"patternProperties":{"[a":{}}}"#, "#/patternProperties/[a: a character class"),
        (r#"{"$ref":1}"#, "#/$ref: must be a string"),
        (r#"{"$schema":1}"#, "#/$schema: must be a string"),
        (r#"{"definitions":{"x":{"not":3}}}"#, "#/definitions/x/not: a schema must be"),
        (r#"{"exclusiveMinimum":true}"#, "#/exclusiveMinimum: must be a number, not a boolean"),
        (
            r#"{"$schema":"http://json-schema.org/draft-04/schema#","exclusiveMinimum":3}"#,
            "#/exclusiveMinimum: must be true or false, not a number",
        ),
        (
            r#"{"$schema":"https://json-schema.org/draft/2020-12/schema","items":[{}]}"#,
            "#/items: a schema must be an object or a boolean, not an array",
        ),
        (r#"{"dependencies":{"a":1}}"#, "#/dependencies/a: a schema must be"),
        (r#"{"properties":{"$$x":{}}}"#, "#/properties/$$x: names of fields cannot start with $$"),
    ] {
        let problem = parse(text).expect_err(text).to_string();
        assert!(problem.starts_with(expected), "{text}: {problem}");
    }
}

#[test]
fn what_some_registry_has_accepted_is_read() {
    for text in [
        r#"{"type":"strin","maxLength":"5","items":{"$ref":"http://example.com/never"},"anyOf":[]}"#,
        r##"{"$ref":"#/nowhere"}"##,
        r##"{"$ref":"#"}"##,
        r#"{"properties":{"$$x":{"required":3}},"type":[1,"null"]}"#,
    ] {
        assert!(JsonSchema::parse(text, &[], Strictness::Stored).is_ok(), "{text}");
    }
    assert!(JsonSchema::parse("3", &[], Strictness::Stored).is_err());
}

#[test]
fn what_is_unusual_is_accepted() {
    for text in [
        "{}",
        "false",
        r#"{"type":"string","pattern":"^(?=a)\\1[^]]"}"#,
        r#"{"x-own":{"type":7},"unknown":[1]}"#,
        r#"{"$schema":"http://example.com/own#","const":1}"#,
        r#"{"enum":[]}"#,
        r#"{"default":{"$ref":"nowhere"},"enum":[{"$ref":1}],"properties":{"$ref":{"type":"string"}}}"#,
        r#"{"$ref":"http://json-schema.org/draft-07/schema#"}"#,
        r#"{"maxLength":3.0}"#,
    ] {
        assert!(parse(text).is_ok(), "{text}: {:?}", parse(text).err());
    }
}

#[test]
fn references_are_found_inside_the_document() {
    for text in [
        r##"{"properties":{"a":{"$ref":"#/definitions/t"}},"definitions":{"t":{"type":"null"}}}"##,
        r##"{"properties":{"a":{"$ref":"#/components/s~1x/0"}},"components":{"s/x":[{"type":"null"}]}}"##,
        r##"{"properties":{"a":{"$ref":"#/definitions/t%20u"}},"definitions":{"t u":{"type":"null"}}}"##,
        r##"{"properties":{"a":{"$ref":"#t"}},"definitions":{"x":{"$id":"#t","type":"null"}}}"##,
        r##"{"properties":{"a":{"$ref":"t.json"}},"definitions":{"x":{"$id":"t.json","type":"null"}}}"##,
        r##"{"$id":"http://e.com/r.json","properties":{"a":{"$ref":"http://e.com/t.json"}},"definitions":{"x":{"$id":"t.json","type":"null"}}}"##,
        r##"{"$id":"http://e.com/r.json","properties":{"a":{"$ref":"r.json#/definitions/x"}},"definitions":{"x":{"type":"null"}}}"##,
        r##"{"$schema":"https://json-schema.org/draft/2020-12/schema","properties":{"a":{"$ref":"#t"}},"$defs":{"x":{"$anchor":"t","type":"null"}}}"##,
        r##"{"$schema":"https://json-schema.org/draft/2019-09/schema","properties":{"a":{"$ref":"t#u"}},"$defs":{"x":{"$id":"t","$defs":{"y":{"$anchor":"u","type":"null"}}}}}"##,
        r##"{"$schema":"http://json-schema.org/draft-04/schema#","id":"http://e.com/r","properties":{"a":{"$ref":"t"}},"definitions":{"x":{"id":"t","type":"null"}}}"##,
        r##"{"properties":{"a":{"$ref":"#/properties/b"},"b":{"$ref":"#/properties/c"},"c":{"type":"null"}}}"##,
        // An `$id` on everything, as generators write it.
        r##"{"$id":"http://e.com/r.json","properties":{"a":{"$id":"/properties/a","allOf":[{"$ref":"#/definitions/t"}]}},"definitions":{"t":{"type":"null"}}}"##,
    ] {
        let schema = parse(text).unwrap_or_else(|problem| panic!("{text}: {problem}"));
        let found = kind_of_a(&schema);
        assert!(found == "null" || (found == "other" && text.contains("allOf")), "{text}: {found}");
    }
}

#[test]
fn references_are_found_in_dependencies() {
    let text = |reference: &str| format!("{{\"properties\":{{\"a\":{{\"$ref\":\"{reference}\"}}}}}}");
    let null = r#"{"type":"null"}"#;
    for (reference, name, dependency) in [
        ("t.json", "t.json", null),
        ("./t.json", "t.json", null),
        ("t.json", "./t.json", null),
        ("t.json#", "t.json", null),
        ("http://e.com/t.json", "http://e.com/t.json", null),
        ("t.json#/definitions/x", "t.json", r#"{"definitions":{"x":{"type":"null"}}}"#),
        ("http://e.com/own.json", "t.json", r#"{"$id":"http://e.com/own.json","type":"null"}"#),
        (
            "http://e.com/x",
            "t.json",
            r#"{"$id":"http://e.com/own.json","definitions":{"x":{"$id":"x","type":"null"}}}"#,
        ),
        ("t.json", "t.json", r##"{"$ref":"#/definitions/x","definitions":{"x":{"type":"null"}}}"##),
    ] {
        let schema = with(&text(reference), &[(name, dependency)])
            .unwrap_or_else(|p| panic!("{reference} {name}: {p}"));
        assert_eq!(kind_of_a(&schema), "null", "{reference} {name}");
    }
    // A dependency's own references, under the base of each document.
    let root = r#"{"$id":"http://e.com/a/root.json","properties":{"a":{"$ref":"one.json"}}}"#;
    let one = r#"{"$ref":"../b/two.json"}"#;
    let two = r#"{"$id":"http://e.com/b/two.json","type":"null"}"#;
    assert_eq!(kind_of_a(&with(root, &[("two", two), ("one.json", one)]).expect("schema")), "null");
}

#[test]
fn nothing_is_fetched() {
    let problem =
        parse(r##"{"items":{"$ref":"http://example.com/x.json#/a"}}"##).expect_err("not there").to_string();
    assert_eq!(
        problem,
        "$ref \"http://example.com/x.json#/a\" cannot be resolved, and nothing is ever fetched: register what it means \
         under a subject and add that to the references under the name \"http://example.com/x.json\", or correct the \
         part behind the #"
    );
    for (text, expected) in [
        (r##"{"$ref":"#/definitions/x"}"##, "$ref \"#/definitions/x\" leads nowhere in its document"),
        (r##"{"$ref":"#/x","x":[1]}"##, "$ref \"#/x\" leads to an array, not to a schema"),
        (r##"{"$ref":"#"}"##, "a $ref leads back to itself"),
        (
            r##"{"$ref":"#/definitions/a","definitions":{"a":{"$ref":"#/definitions/b"},"b":{"$ref":"#/definitions/a"}}}"##,
            "a $ref leads back to itself",
        ),
    ] {
        let problem = parse(text).expect_err(text).to_string();
        assert!(problem.starts_with(expected), "{text}: {problem}");
    }
    for text in [
        r##"{"allOf":[{"$ref":"#"}]}"##,
        r##"{"anyOf":[{"type":"null"},{"not":{"$ref":"#"}}]}"##,
        r##"{"dependencies":{"a":{"$ref":"#"}}}"##,
        r##"{"items":{"$ref":"#/definitions/a"},"definitions":{"a":{"if":{"oneOf":[{"$ref":"#/definitions/a"}]}}}}"##,
    ] {
        let problem = parse(text).expect_err(text).to_string();
        assert!(problem.starts_with("a schema applies itself to the same value again"), "{text}: {problem}");
        assert!(JsonSchema::parse(text, &[], Strictness::Stored).is_ok());
    }
    assert!(with("{}", &[("x", "{")]).expect_err("no JSON").to_string().contains("reference \"x\""));
}

#[test]
fn a_schema_may_contain_itself() {
    for text in [
        r##"{"properties":{"a":{"$ref":"#"}}}"##,
        r##"{"anyOf":[{"type":"null"},{"items":{"$ref":"#"}}]}"##,
        r##"{"$schema":"https://json-schema.org/draft/2020-12/schema","$dynamicAnchor":"n","items":{"$dynamicRef":"#n"}}"##,
        r##"{"$schema":"https://json-schema.org/draft/2019-09/schema","$recursiveAnchor":true,"items":{"$recursiveRef":"#"}}"##,
    ] {
        assert!(parse(text).is_ok(), "{text}");
    }
}

#[test]
fn work_is_linear_in_the_text() {
    let many = |count: usize| {
        let members: Vec<_> =
            (0..count).map(|n| format!("\"p{n}\":{{\"$ref\":\"#/properties/p{}\"}}", n + 1)).collect();
        format!("{{\"properties\":{{{},\"p{count}\":{{}}}}}}", members.join(","))
    };
    let schema = parse(&many(30_000)).expect("a long chain of references");
    assert!(schema.nodes.len() < 70_000);
    let ids = format!("{{\"$id\":\"{}\",\"items\":{{\"$ref\":\"x\"}}}}", "a/".repeat(200_000));
    assert!(parse(&ids).is_err());
    assert!(parse(&format!("{}{}", "{\"items\":".repeat(150), "{}".to_owned() + &"}".repeat(150))).is_ok());
}
