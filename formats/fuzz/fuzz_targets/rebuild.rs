//! Batches of any bytes through the shallow lane: what comes out can be produced.
#![no_main]

use formats::rebuild::{Holes, RebuildSettings, Rebuilder};
use formats::record_batch::{Batches, Producer, patch_for_produce};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let settings = RebuildSettings {
        codec: None,
        level: None,
        batch_bytes: 4096,
        max_batch_bytes: 1 << 20,
        decompressed_cap: 1 << 20,
        holes: Holes::Split,
    };
    let mut rebuilder = Rebuilder::new(settings).expect("the settings are right");
    let mut out = Vec::new();
    for batch in Batches::new(data).flatten() {
        if rebuilder.push(&batch, |offset, _, _| offset % 3 != 0, &mut out).is_err() {
            return;
        }
    }
    out.extend(rebuilder.finish().ok().flatten());
    for rebuilt in &mut out {
        patch_for_produce(&mut rebuilt.bytes, Producer::NONE).expect("a rebuilt batch can be produced");
    }
});
