//! The texts that are printed, what is refused, and that no text does harm.

use super::*;
use proptest::prelude::*;
use std::time::{Duration, Instant};

fn parse(text: &str) -> Protobuf {
    with(text, &[])
}

fn with(text: &str, references: &[(&str, &str)]) -> Protobuf {
    let references: Vec<Dependency<'_>> =
        references.iter().map(|(name, text)| Dependency { name, text }).collect();
    Protobuf::parse(text, &references, Strictness::New).unwrap_or_else(|problem| panic!("{problem}: {text}"))
}

fn stored(text: &str) -> Protobuf {
    Protobuf::parse(text, &[], Strictness::Stored).unwrap_or_else(|problem| panic!("{problem}: {text}"))
}

fn problem(text: &str) -> String {
    match Protobuf::parse(text, &[], Strictness::New) {
        Ok(found) => panic!("{text} was accepted as {}", found.canonical()),
        Err(problem) => problem.to_string(),
    }
}

/// Everything that has a place of its own in the text, in an order in which it is not printed.
const DECLARED: &str = r#"// header
syntax = 'proto3'; /* proto3 */
import public "google/protobuf/timestamp.proto";
package shop.orders;
option java_package = "org.shop";
import "google/protobuf/duration.proto";
enum State { reserved 5, 9 to 12; OPEN = 0; option allow_alias = true; CLOSED = 1 [deprecated = true]; DONE = 0x1; };
service Orders {
  option deprecated = false;
  rpc Get(Order) returns (stream Order) { option idempotency_level = NO_SIDE_EFFECTS; }
  rpc Put(stream .shop.orders.Order) returns (Order);
}
message Order {
  enum Kind { A = 0; }
  oneof paid { string card = 7; bool cash = 8 [deprecated = true, json_name = "inCash"]; }
  message Line { string sku = 1; }
  int64 id = 1 [jstype = JS_STRING]; // the id
  map < string , Line > lines = 3;
  reserved 100 to 200, 300, 1000 to max; reserved 'old', "older";
  repeated Kind kinds = 2 [packed = true];
  optional google.protobuf.Timestamp at = 4;
  option deprecated = true;
  .google.protobuf.Duration took = 5;
}
message Empty {}
"#;

#[test]
fn sections_stand_in_their_order_and_comments_are_gone() {
    let expected = r#"syntax = "proto3";
package shop.orders;

import "google/protobuf/duration.proto";
import public "google/protobuf/timestamp.proto";

option java_package = "org.shop";

message Order {
  reserved 100 to 200, 300, 1000 to max;
  reserved "old", "older";

  option deprecated = true;

  int64 id = 1 [jstype = JS_STRING];
  map<string, Line> lines = 3;
  repeated Kind kinds = 2 [packed = true];
  optional google.protobuf.Timestamp at = 4;
  .google.protobuf.Duration took = 5;

  oneof paid {
    string card = 7;
    bool cash = 8 [
      deprecated = true,
      json_name = "inCash"
    ];
  }

  message Line {
    string sku = 1;
  }
  enum Kind {
    A = 0;
  }
}
message Empty {}
enum State {
  reserved 5, 9 to 12;
  option allow_alias = true;
  OPEN = 0;
  CLOSED = 1 [deprecated = true];
  DONE = 1;
}

service Orders {
  option deprecated = false;

  rpc Get (Order) returns (stream Order) {
    option idempotency_level = NO_SIDE_EFFECTS;
  };
  rpc Put (stream .shop.orders.Order) returns (Order);
}
"#;
    assert_eq!(parse(DECLARED).canonical(), expected);
}

#[test]
fn normalised_text_is_sorted_and_named_in_full() {
    let expected = r#"syntax = "proto3";
package shop.orders;

import "google/protobuf/duration.proto";
import public "google/protobuf/timestamp.proto";

option java_package = "org.shop";

message Order {
  reserved 100 to 200;
  reserved 300;
  reserved 1000 to max;
  reserved "old";
  reserved "older";

  option deprecated = true;

  int64 id = 1 [jstype = JS_STRING];
  repeated .shop.orders.Order.Kind kinds = 2 [packed = true];
  map<string, .shop.orders.Order.Line> lines = 3;
  optional .google.protobuf.Timestamp at = 4;
  .google.protobuf.Duration took = 5;

  oneof paid {
    string card = 7;
    bool cash = 8 [
      deprecated = true,
      json_name = "inCash"
    ];
  }

  message Line {
    string sku = 1;
  }
  enum Kind {
    A = 0;
  }
}
message Empty {}
enum State {
  reserved 5;
  reserved 9 to 12;
  option allow_alias = true;
  OPEN = 0;
  CLOSED = 1 [deprecated = true];
  DONE = 1;
}

service Orders {
  option deprecated = false;

  rpc Get (.shop.orders.Order) returns (stream .shop.orders.Order) {
    option idempotency_level = NO_SIDE_EFFECTS;
  };
  rpc Put (stream .shop.orders.Order) returns (.shop.orders.Order);
}
"#;
    assert_eq!(parse(DECLARED).normalized(), expected);
    assert_eq!(parse(DECLARED).reduced(), expected);
}

#[test]
fn what_only_proto2_has_is_printed() {
    let text = r#"syntax = "proto2";
package two;
message A {
  extensions 100, 200 to 299; extensions 1000 to max;
  required string name = 1 [default = "it's \"new\"\n\tand \\ \x41\101"];
  optional bytes raw = 2 [default = "\377\x00z"];
  optional double ratio = 3 [default = -inf];
  optional int32 count = 4 [default = 0x10, deprecated = true];
  optional E state = 5 [default = ON];
  repeated group Item = 6 { required int32 x = 1; optional string y = 2; }
  oneof o { int32 p = 7; group Q = 8 { optional int32 z = 1; } }
  extend A { optional int32 inner = 100; }
}
enum E { OFF = -1; ON = 1; }
extend A { optional int32 extra = 200; repeated string more = 201; }
"#;
    let expected = r#"syntax = "proto2";
package two;

message A {
  required string name = 1 [default = "it\'s \"new\"\n\tand \\ AA"];
  optional bytes raw = 2 [default = "\377ZEROz"];
  optional double ratio = 3 [default = -inf];
  optional int32 count = 4 [
    deprecated = true,
    default = 0x10
  ];
  optional E state = 5 [default = ON];

  oneof o {
    int32 p = 7;
  
    group Q = 8 {
      optional int32 z = 1;
    }
  }

  repeated group Item = 6 {
    required int32 x = 1;
    optional string y = 2;
  }

  extensions 100, 200 to 299;
  extensions 1000 to max;

  extend A {
    optional int32 inner = 100;
  }
}
enum E {
  OFF = -1;
  ON = 1;
}

extend A {
  optional int32 extra = 200;
  repeated string more = 201;
}
"#
    .replace("ZERO", "\0");
    let schema = parse(text);
    assert_eq!(schema.canonical(), expected);
    let normal = schema.normalized();
    for part in [
        "count = 4 [\n    default = 16,\n    deprecated = true\n  ]",
        "extensions 100;\n  extensions 200 to 299;",
    ] {
        assert!(normal.contains(part), "{normal}");
    }
    assert!(!normal.contains("syntax"), "proto2 is what no syntax means: {normal}");
    assert!(normal.contains("extend .two.A {"), "{normal}");
    let without = schema.without_extensions();
    assert!(!without.contains("extend") && !without.contains("extensions"), "{without}");
}

#[test]
fn custom_options_stay_as_they_are_written() {
    let text = r#"syntax = "proto3";
import "confluent/meta.proto";
import "own.proto";
package o;
option (own.file) = { a: 1 b { c: "x" "y"; } list: [1, 2], list: 3 [own.nested]: { a: -2 } };
message M {
  option (.confluent.message_meta).doc = 'a message';
  string f = 1 [(confluent.field_meta).tags = "PII", (own.field).deep.a = 7, (confluent.field_meta).tags = "GDPR"];
  string g = 2 [(confluent.field_meta) = { tags: ["PII"], params: { key: "k", value: "v" } }];
}
"#;
    let own = r#"syntax = "proto2"; package own; import "google/protobuf/descriptor.proto";
        message Part { optional int32 a = 1; optional Inner b = 2; repeated int32 list = 3; optional Part deep = 4;
            extensions 10; }
        message Inner { optional string c = 1; }
        extend Part { optional Part nested = 10; }
        extend google.protobuf.FileOptions { optional Part file = 50001; }
        extend google.protobuf.FieldOptions { optional Part field = 50001; }"#;
    let schema = with(text, &[("own.proto", own)]);
    let expected = r#"syntax = "proto3";
package o;

import "confluent/meta.proto";
import "own.proto";

option (own.file) = {
  a: 1,
  b: {
    c: "xy"
  },
  list: [
    1,
    2,
    3
  ],
  [own.nested]: {
    a: -2
  }
};

message M {
  option (.confluent.message_meta).doc = "a message";

  string f = 1 [
    (confluent.field_meta).tags = "PII",
    (own.field).deep.a = 7,
    (confluent.field_meta).tags = "GDPR"
  ];
  string g = 2 [(confluent.field_meta) = {
    tags: [
      "PII"
    ],
    params: {
      key: "k",
      value: "v"
    }
  }];
}
"#;
    assert_eq!(schema.canonical(), expected);
    let normal = r#"message M {
  option (confluent.message_meta) = {
    doc: "a message"
  };

  string f = 1 [
    (confluent.field_meta) = {
      tags: [
        "PII",
        "GDPR"
      ]
    },
    (own.field) = {
      deep: {
        a: 7
      }
    }
  ];
  string g = 2 [(confluent.field_meta) = {
    params: {
      key: "k",
      value: "v"
    },
    tags: "PII"
  }];
}
"#;
    assert!(schema.normalized().ends_with(normal), "{}", schema.normalized());
    let without = schema.without_extensions();
    assert!(!without.contains("(own."), "{without}");
    assert!(without.contains("(confluent.field_meta)"), "{without}");
    // Custom options are in the descriptor, under their numbers.
    let bytes = STANDARD.decode(schema.serialized().expect("it was compiled")).expect("base64");
    assert!(
        bytes.windows(3).any(|window| window == b"PII") && bytes.windows(4).any(|window| window == b"GDPR")
    );
}

#[test]
fn numbers_are_written_one_way_in_normalised_text() {
    let cases = [
        ("10", "10"),
        ("-0x1F", "-31"),
        ("010", "8"),
        ("-0", "0"),
        ("1.50", "1.5"),
        ("1.0f", "1"),
        ("2f", "2"),
    ];
    let more = [
        ("1e3", "1000"),
        ("1.2e-2", "0.012"),
        ("-2.0", "-2"),
        ("nan", "nan"),
        ("-inf", "-inf"),
        ("0.123456", "0.123456"),
    ];
    for (text, expected) in cases.into_iter().chain(more) {
        assert_eq!(normal::number(text), expected, "{text}");
    }
}

#[test]
fn a_descriptor_is_read_as_the_text_that_confluent_prints() {
    // As a client for Python sends it: made by protoc, without json names.
    let text = r#"syntax = "proto3"; package p; import "google/protobuf/timestamp.proto"; option go_package = "x/y";
        message A { map<string, B> by_name = 1; optional int32 maybe = 2; oneof o { string s = 3; B b = 4; }
            google.protobuf.Timestamp t = 5; repeated E es = 6; reserved 9, 20 to 29; reserved "gone"; }
        message B { int64 n = 1 [deprecated = true]; } enum E { option allow_alias = true; X = 0; Y = 0; }
        service S { rpc Call (A) returns (stream B); }"#;
    let expected = r#"syntax = "proto3";
package p;

import "google/protobuf/timestamp.proto";

option go_package = "x/y";

message A {
  reserved 9;
  reserved 20 to 29;
  reserved "gone";

  repeated .p.A.ByNameEntry by_name = 1;
  optional int32 maybe = 2;
  .google.protobuf.Timestamp t = 5;
  repeated .p.E es = 6;

  oneof o {
    string s = 3;
    .p.B b = 4;
  }

  message ByNameEntry {
    option map_entry = true;
  
    string key = 1;
    .p.B value = 2;
  }
}
message B {
  int64 n = 1 [deprecated = true];
}
enum E {
  option allow_alias = true;
  X = 0;
  Y = 0;
}

service S {
  rpc Call (.p.A) returns (stream .p.B);
}
"#;
    let first = parse(text);
    let bytes = first.serialized().expect("it was compiled");
    let second = parse(&bytes);
    assert_eq!(second.canonical(), expected);
    assert!(second.normalized().contains("  map<string, .p.B> by_name = 1;\n"));
    assert!(!second.normalized().contains("Entry"));
    // The text that was printed is itself a schema, and means the same.
    let third = parse(second.canonical());
    assert_eq!(third.canonical(), second.canonical());
    assert_eq!(third.serialized().expect("it was compiled"), bytes);
    assert!(crate::compat::protobuf::changes(&third, &first).is_empty());
}

#[test]
fn the_entries_of_maps_come_after_the_other_nested_messages_in_a_descriptor() {
    let schema = parse("syntax = \"proto3\"; message A { map<string, B> m = 1; message B {} message C {} }");
    let bytes = STANDARD.decode(schema.serialized().expect("compiled")).expect("base64");
    let found = prost_types::FileDescriptorProto::decode(bytes.as_slice()).expect("a descriptor");
    let names: Vec<&str> = found.message_type[0].nested_type.iter().map(|nested| nested.name()).collect();
    assert_eq!(names, ["B", "C", "MEntry"]);
    assert_eq!(found.name(), "default");
    assert!(found.source_code_info.is_none());
}

#[test]
fn a_descriptor_has_the_json_names_that_the_text_has() {
    let text = r#"syntax = "proto2"; package p; import "google/protobuf/descriptor.proto";
        extend google.protobuf.FieldOptions { optional string word = 50001 [json_name = "wort"]; optional int32 n_n = 50002; }
        message A { optional int32 a_a = 1 [json_name = "aA", (word) = "kept"]; optional int32 b_b = 2; map<string, int32> m_m = 3;
            optional group G_g = 4 [json_name = "other"] { optional int32 c_c = 5 [json_name = "c_c"]; optional int32 d_d = 6; }
            message B { oneof o { int32 e_e = 1; int32 f_f = 2 [json_name = "F"]; } extend A { optional int32 g_h = 9; } } extensions 9; }"#;
    let schema = parse(text);
    let bytes = STANDARD.decode(schema.serialized().expect("compiled")).expect("base64");
    let found = prost_types::FileDescriptorProto::decode(bytes.as_slice()).expect("a descriptor");
    let message = &found.message_type[0];
    let nested =
        |name: &str| message.nested_type.iter().find(|nested| nested.name() == name).expect("nested");
    let all = [
        &found.extension,
        &message.field,
        &nested("G_g").field,
        &nested("B").field,
        &nested("B").extension,
        &nested("MMEntry").field,
    ];
    let names: Vec<&str> =
        all.into_iter().flatten().map(|field| field.json_name.as_deref().unwrap_or("-")).collect();
    assert_eq!(names, ["wort", "-", "aA", "-", "-", "other", "c_c", "-", "-", "F", "-", "-", "-"]);
    assert!(bytes.windows(4).any(|part| part == b"kept"), "custom options stay");
    // Without custom options, which no text made of a descriptor has, it is the same schema when it is registered again.
    let plain = parse(
        "syntax = \"proto3\"; message A { int32 a_a = 1 [json_name = \"aA\"]; int32 b_b = 2; map<string, A> c = 3; }",
    );
    let again = parse(&plain.serialized().expect("compiled"));
    assert_eq!(again.serialized(), plain.serialized());
    assert_eq!(again.normalized(), plain.normalized().replace(" A>", " .A>"));
}

#[test]
fn a_group_in_a_descriptor_stays_a_group() {
    let text = "syntax = \"proto2\"; message A { repeated group Item = 6 { required int32 x = 1; } }";
    let first = parse(text);
    let second = parse(&first.serialized().expect("compiled"));
    assert!(
        second.canonical().contains("  repeated group Item = 6 {\n    required int32 x = 1"),
        "{}",
        second.canonical()
    );
    assert_eq!(second.serialized(), first.serialized());
}

#[test]
fn a_default_without_quotes_that_confluent_has_stored_stays_as_it_is() {
    let text = "message A {\n  optional bytes raw = 1 [default = abc];\n}\n";
    let schema = stored(&format!("syntax = \"proto2\";\n\n{text}"));
    assert!(schema.canonical().ends_with(text));
    assert!(schema.serialized().is_ok());
}

#[test]
fn built_in_files_can_all_be_imported() {
    let paths = [
        ("confluent/meta.proto", "confluent.Meta"),
        ("confluent/type/decimal.proto", "confluent.type.Decimal"),
        ("google/protobuf/any.proto", "google.protobuf.Any"),
        ("google/protobuf/api.proto", "google.protobuf.Api"),
        ("google/protobuf/descriptor.proto", "google.protobuf.FileOptions"),
        ("google/protobuf/duration.proto", "google.protobuf.Duration"),
        ("google/protobuf/empty.proto", "google.protobuf.Empty"),
        ("google/protobuf/field_mask.proto", "google.protobuf.FieldMask"),
        ("google/protobuf/source_context.proto", "google.protobuf.SourceContext"),
        ("google/protobuf/struct.proto", "google.protobuf.Struct"),
        ("google/protobuf/timestamp.proto", "google.protobuf.Timestamp"),
        ("google/protobuf/type.proto", "google.protobuf.Type"),
        ("google/protobuf/wrappers.proto", "google.protobuf.Int32Value"),
        ("google/type/calendar_period.proto", "google.type.CalendarPeriod"),
        ("google/type/color.proto", "google.type.Color"),
        ("google/type/date.proto", "google.type.Date"),
        ("google/type/datetime.proto", "google.type.DateTime"),
        ("google/type/dayofweek.proto", "google.type.DayOfWeek"),
        ("google/type/decimal.proto", "google.type.Decimal"),
        ("google/type/expr.proto", "google.type.Expr"),
        ("google/type/fraction.proto", "google.type.Fraction"),
        ("google/type/interval.proto", "google.type.Interval"),
        ("google/type/latlng.proto", "google.type.LatLng"),
        ("google/type/money.proto", "google.type.Money"),
        ("google/type/month.proto", "google.type.Month"),
        ("google/type/phone_number.proto", "google.type.PhoneNumber"),
        ("google/type/postal_address.proto", "google.type.PostalAddress"),
        ("google/type/quaternion.proto", "google.type.Quaternion"),
        ("google/type/timeofday.proto", "google.type.TimeOfDay"),
    ];
    for (path, kind) in paths {
        let schema = parse(&format!("syntax = \"proto3\"; import \"{path}\"; message A {{ {kind} f = 1; }}"));
        assert!(
            schema.normalized().contains(&format!("  .{kind} f = 1;")),
            "{path}: {}",
            schema.normalized()
        );
    }
}

#[test]
fn refusals_say_what_where_and_what_to_do() {
    let cases = [
        ("", "empty"),
        ("{\"type\": \"string\"}", "expected a name or a number but found '{', at line 1, column 1"),
        ("syntax = \"proto3\";\nmessage A { int32 a = }", "at line 2, column 23"),
        ("syntax = \"proto3\"; message A { Missing m = 1; }", "Missing"),
        ("syntax = \"proto3\"; message A { int32 a = 1; int32 b = 1; }", "number '1'"),
        ("syntax = \"proto3\"; message A { int32 a = 1; int64 a = 2; }", "'a'"),
        ("syntax = \"proto3\"; message A { reserved 1; int32 a = 1; }", "reserved"),
        ("syntax = \"proto3\"; message A { int32 a = 0; }", "number"),
        ("syntax = \"proto3\"; message A { int32 a = 536870912; }", "number"),
        ("syntax = \"proto3\"; message A { int32 a = 99999999999; }", "99999999999"),
        ("syntax = \"proto3\"; message A { int32 a = 19000; }", "19000"),
        ("syntax = \"proto3\"; message A { required int32 a = 1; }", "required is not allowed in proto3"),
        ("syntax = \"proto3\"; enum E { A = 1; }", "must be 0"),
        ("message A { int32 a = 1; }", "a field starts with optional, required or repeated"),
        ("syntax = \"proto4\";", "use proto2 or proto3"),
        ("edition = \"2023\"; message A {}", "editions are not supported"),
        ("message A {} syntax = \"proto3\";", "first declaration"),
        (
            "syntax = \"proto3\"; import \"far.proto\"; message A {}",
            "add a reference with name \"far.proto\"",
        ),
        ("syntax = \"proto3\"; message A { string s = 1 [(none).x = 1]; }", "none"),
        ("syntax = \"proto3\"; message A { /* ", "never closed"),
        ("syntax = \"proto3\"; option go_package = \"x", "never closed"),
        ("syntax = \"proto3\"; message A { map<A, int32> m = 1; }", "map"),
    ];
    for (text, part) in cases {
        let found = problem(text);
        assert!(found.contains(part), "{text}: {found}");
        assert!(!found.contains('\n') && !found.ends_with('.'), "{found}");
    }
}

#[test]
fn what_an_older_registry_accepted_is_kept() {
    let schema = stored("syntax = \"proto3\"; import \"far.proto\"; message A { far.B b = 1; int32 c = 1; }");
    assert!(schema.canonical().contains("far.B b = 1;"));
    assert!(schema.normalized().contains("far.B b = 1;"));
    let problem = schema.serialized().expect_err("nothing resolves far.B").to_string();
    assert!(problem.contains("format=serialized"), "{problem}");
}

#[test]
fn imports_in_a_circle_are_refused() {
    let references = [
        Dependency { name: "a.proto", text: "syntax = \"proto3\"; import \"b.proto\"; message A {}" },
        Dependency { name: "b.proto", text: "syntax = \"proto3\"; import \"a.proto\"; message B {}" },
    ];
    let text = "syntax = \"proto3\"; import \"a.proto\"; message M { A a = 1; }";
    let found = Protobuf::parse(text, &references, Strictness::New).expect_err("a circle").to_string();
    assert!(found.contains("cycle"), "{found}");
}

#[test]
fn a_chain_of_a_thousand_imports_is_followed() {
    let texts: Vec<(String, String)> = (0..999)
        .map(|at| {
            let import = if at == 0 { String::new() } else { format!("import \"f{}.proto\";", at - 1) };
            (format!("f{at}.proto"), format!("syntax = \"proto3\"; {import} message M{at} {{}}"))
        })
        .collect();
    let references: Vec<Dependency<'_>> =
        texts.iter().map(|(name, text)| Dependency { name, text }).collect();
    let text = "syntax = \"proto3\"; import \"f998.proto\"; message A { M998 m = 1; }";
    assert!(Protobuf::parse(text, &references, Strictness::New).is_ok());
    let more = vec![references[0]; 1001];
    assert!(Protobuf::parse(text, &more, Strictness::New).is_err());
}

#[test]
fn depth_is_bounded() {
    for depth in [31, 33, 100_000] {
        let messages = format!("syntax = \"proto3\"; {}{}", "message A {".repeat(depth), "}".repeat(depth));
        let found = Protobuf::parse(&messages, &[], Strictness::Stored);
        assert_eq!(found.is_ok(), depth <= 32, "{depth}: {:?}", found.err());
        let value = format!(
            "syntax = \"proto3\"; option (x) = {}{};",
            "{ a ".repeat(depth - 1) + "{",
            "}".repeat(depth)
        );
        assert_eq!(Protobuf::parse(&value, &[], Strictness::Stored).is_ok(), depth <= 32, "{depth}");
        let groups =
            format!("{}{}", "message A { optional group B = 1 {".repeat(depth / 2), "}}".repeat(depth / 2));
        assert_eq!(Protobuf::parse(&groups, &[], Strictness::Stored).is_ok(), depth <= 33, "{depth}");
    }
    let long = format!("syntax = \"proto3\"; package {}a;", "a.".repeat(300));
    assert!(problem(&long).contains("512"));
}

#[test]
fn time_grows_with_the_size_of_the_text() {
    let fields: String = (1..=3000).map(|tag| format!("map<string, A> f{tag} = {tag};")).collect();
    let tags: String = (0..3000).map(|_| "option (confluent.message_meta).tags = \"x\";").collect();
    let text =
        format!("syntax = \"proto3\"; import \"confluent/meta.proto\"; message A {{ {tags} {fields} }}");
    let start = Instant::now();
    let schema = parse(&text);
    let again = parse(&schema.serialized().expect("compiled"));
    assert!(schema.normalized().len() > 3000 && again.normalized().len() > 3000);
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
}

const SEEDS: [&str; 4] = [
    DECLARED,
    r#"syntax = "proto2"; message A { optional group B = 1 { required int32 x = 1 [default = -3]; } extensions 5 to max;
        optional string s = 2 [default = "a\x00\n", (confluent.field_meta).tags = "b"]; } extend A { optional A c = 7; }"#,
    r#"syntax = "proto3"; option (a.b) = { c: [1, "x", { d: -inf }] e < f: true > [g.h]: 'i' }; message M {}"#,
    "CgFhIigKAUESCwoBYRgBIAEoBVIBYUoECAIQA0oECAMQBBoICgFCEgMKAXgoAWIGcHJvdG8z",
];

/// Nothing about these texts is known but that they are read or refused, and that the text that is printed is stable.
#[test]
fn a_text_of_comments_only_is_no_schema() {
    for text in ["// syntax = \"proto3\";", "/* nothing */", ";", ";;\n"] {
        for strictness in [Strictness::New, Strictness::Stored] {
            let problem = Protobuf::parse(text, &[], strictness).expect_err(text);
            assert!(problem.to_string().contains("empty"), "{text}: {problem}");
        }
    }
}

/// What is printed from it would not be read as the same.
#[test]
fn a_name_that_is_none_is_refused_in_stored_text_too() {
    for text in [
        "package .a.b; message A {}",
        "message A { optional 9b.C c = 1; }",
        "message A { optional int32 c = 1 [.deprecated = true]; }",
        "message A { optional int32 c = 1 [a..(b.c).d = true]; }",
        "message A { optional int32 c = 1 [a. = true]; }",
    ] {
        let refused = Protobuf::parse(text, &[], Strictness::Stored);
        assert!(refused.is_err(), "{text}");
    }
    survives("message A { optional int32 c = 1 [features.(pb.cpp).string_type = VIEW]; }");
}

fn survives(text: &str) {
    for strictness in [Strictness::New, Strictness::Stored] {
        let Ok(schema) = Protobuf::parse(text, &[], strictness) else { continue };
        let again = Protobuf::parse(schema.canonical(), &[], Strictness::Stored)
            .expect("the canonical text is a schema");
        assert_eq!(again.canonical(), schema.canonical());
        let normal =
            Protobuf::parse(&schema.normalized(), &[], Strictness::Stored).expect("the normalised text too");
        assert_eq!(normal.normalized(), schema.normalized());
        let _ = schema.without_extensions();
        assert!(crate::compat::protobuf::changes(&schema, &schema).is_empty());
        if let Ok(serialized) = schema.serialized() {
            let third =
                Protobuf::parse(&serialized, &[], Strictness::Stored).expect("the descriptor is a schema");
            assert!(crate::compat::protobuf::changes(&third, &schema).is_empty(), "{text}");
        }
    }
}

fn mutated() -> impl Strategy<Value = String> {
    let tokens = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        "<",
        ">",
        "(",
        ")",
        ";",
        ",",
        "=",
        ".",
        ":",
        "\"",
        "'",
        "\\",
        "/",
        "/*",
        "//",
        "\n",
        "0",
        "-1",
        "max",
        "to",
        "group",
        "oneof",
        "map",
        "message",
        "enum",
        "extend",
        "reserved",
        "option",
        "repeated",
        "optional",
        "é",
        "\u{feff}",
        "A",
        "1e+5",
        "536870911",
        "2147483647",
        "-2147483648",
        "B.C",
        ".A",
        "syntax",
        "import",
        "rpc",
    ]);
    let edit = (any::<prop::sample::Index>(), 0usize..12, tokens);
    (prop::sample::select(SEEDS.to_vec()), prop::collection::vec(edit, 0..6)).prop_map(|(seed, edits)| {
        let mut text: Vec<char> = seed.chars().collect();
        for (at, cut, token) in edits {
            let at = at.index(text.len() + 1);
            let end = (at + cut).min(text.len());
            text.splice(at..end, token.chars());
        }
        text.into_iter().collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn no_mutated_text_does_harm(text in mutated()) {
        survives(&text);
    }

    #[test]
    fn no_bytes_as_a_descriptor_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        survives(&STANDARD.encode(bytes));
    }

    #[test]
    fn no_mutated_descriptor_does_harm(edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5)) {
        let mut bytes = STANDARD.decode(parse(DECLARED).serialized().expect("compiled")).expect("base64");
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        survives(&STANDARD.encode(bytes));
    }
}
