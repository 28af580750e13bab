//! Any text as a Protobuf schema: refused, or printed as a text that is read as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use registry::compat::protobuf::changes;
use registry::parse::Strictness;
use registry::parse::protobuf::Protobuf;

fuzz_target!(|text: &str| {
    for strictness in [Strictness::New, Strictness::Stored] {
        let Ok(schema) = Protobuf::parse(text, &[], strictness) else { continue };
        let again = Protobuf::parse(schema.canonical(), &[], Strictness::Stored).expect("a schema");
        assert_eq!(again.canonical(), schema.canonical());
        let normal = Protobuf::parse(&schema.normalized(), &[], Strictness::Stored).expect("a schema");
        assert_eq!(normal.normalized(), schema.normalized());
        assert!(changes(&schema, &schema).is_empty());
        if let Ok(serialized) = schema.serialized() {
            let third = Protobuf::parse(&serialized, &[], Strictness::Stored).expect("a schema");
            assert!(changes(&third, &schema).is_empty());
        }
    }
});
