//! Any two texts as JSON Schemas, the first as a dependency of the second: reading and comparing them ends, and a schema
//! that is read can be read again from its own texts.
#![no_main]

use libfuzzer_sys::fuzz_target;
use registry::compat::json_schema::{Policy, changes, differences};
use registry::parse::Strictness;
use registry::parse::json_schema::JsonSchema;
use registry::schema::Dependency;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (old, new) = text.split_once('\n').unwrap_or((text, text));
    for strictness in [Strictness::New, Strictness::Stored] {
        let old_schema = JsonSchema::parse(old, &[], strictness);
        let new_schema = JsonSchema::parse(new, &[Dependency { name: "a", text: old }], strictness);
        let (Ok(old_schema), Ok(new_schema)) = (old_schema, new_schema) else { continue };
        for policy in [Policy::Strict, Policy::Lenient] {
            let breaks = changes(&new_schema, &old_schema, policy).iter().any(|change| change.breaks);
            assert_eq!(breaks, !differences(&new_schema, &old_schema, policy).is_empty());
            let _ = differences(&old_schema, &new_schema, policy);
        }
        let own = differences(&old_schema, &old_schema, Policy::Strict);
        assert!(own.iter().all(|difference| difference.rule == "COMPARISON_TOO_COMPLEX"), "{own:?}");
        for text in [old_schema.canonical().to_owned(), old_schema.normalized(), old_schema.reduced()] {
            let again = JsonSchema::parse(&text, &[], strictness).expect("its own text");
            assert_eq!(again.reduced(), old_schema.reduced());
        }
    }
});
