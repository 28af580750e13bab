//! Any two texts, the second after a zero byte, as Avro schemas that are printed and compared both ways.
#![no_main]

use libfuzzer_sys::fuzz_target;
use registry::compat::avro::differences;
use registry::parse::Strictness;
use registry::parse::avro::Avro;

fuzz_target!(|data: &str| {
    let (first, second) = data.split_once('\0').unwrap_or((data, data));
    let parse = |text: &str| {
        let avro = Avro::parse(text, &[], Strictness::Stored).ok()?;
        let _ = Avro::parse(avro.canonical(), &[], Strictness::Stored);
        let _ = (
            avro.normalized(),
            avro.resolved(),
            avro.reduced(),
            Avro::parse(text, &[], Strictness::New).is_ok(),
        );
        Some(avro)
    };
    let (Some(first), Some(second)) = (parse(first), parse(second)) else { return };
    let _ = (differences(&first, &second), differences(&second, &first));
    // A schema reads what it wrote, where it can be compared at all.
    assert!(
        differences(&first, &first).iter().all(|found| matches!(found.rule, "AMBIGUOUS_ALIAS" | "TOO_LARGE"))
    );
});
