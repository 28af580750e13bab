//! Any bytes as records of a `_schemas` topic: whatever they are, they are applied, and what the rows say of them can be written
//! and read again as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use registry::names::Subject;
use registry::store::Change;
use registry::store::kafka::keys::RecordKey;
use registry::store::kafka::log::Record;
use registry::store::kafka::records::SchemaValue;
use registry::store::kafka::replay::Tables;

fuzz_target!(|data: &[u8]| {
    let mut tables = Tables::default();
    for (offset, line) in (0..).zip(data.split(|byte| *byte == b'\n')) {
        let mut parts = line.split(|byte| *byte == b'\t').map(<[u8]>::to_vec);
        let key = parts.next().unwrap_or_default().into();
        let value = parts.next().map(Into::into);
        let names = ["replevin.commit", "replevin.submitted", "replevin.identity"];
        let headers = names.into_iter().zip(parts).map(|(name, value)| (name.to_owned(), value.into()));
        let record = Record { key, value, headers: headers.collect(), time_ms: Some(offset) };
        tables.apply(offset, &record);
    }
    for (context, table) in tables.contexts() {
        for change in table.since(0) {
            let Change::Version(version) = change else { continue };
            let row = table.schema(version.schema).expect("a version has its schema").clone();
            let texts = table.texts(version.schema).expect("a schema has its texts").clone();
            let schema = SchemaValue { row, texts, deleted: version.deleted };
            let subject = Subject::new(context.clone(), &version.subject);
            let (value, headers) = schema.write(&subject, version.version).expect("written");
            let record = Record { headers, ..Record::default() };
            assert_eq!(SchemaValue::read(&value, &record), Ok(schema));
            let key = RecordKey::Schema(subject, version.version);
            assert_eq!(RecordKey::read(&key.bytes().expect("ours")), Ok(key));
        }
    }
});
