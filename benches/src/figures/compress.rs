//! Backup of uncompressed batches with zstd level 3, against fetching and compressing blocks of 1 MiB and nothing else; and
//! against the same with each block decompressed again, because ours reads back every frame before it is stored.

use crate::figures::{backup_once, common_args};
use crate::load::{Kind, PARTITIONS, load};
use crate::measure::{self, Usage};
use crate::table::{Row, Runs, ratio, row, say};
use crate::{Result, Scale};

/// The row.
///
/// # Errors
/// Whatever a program or server says.
pub(crate) fn run(scale: &Scale) -> Result<()> {
    let kind = Kind { value: 1000, codec: "none" };
    let loaded = load(kind, scale.megabytes)?;
    say(&format!("backup with zstd 3, {}, {} MB", kind.name(), loaded.bytes / 1_000_000));
    let (mut ours, mut bare, mut back) = (Runs::default(), Runs::default(), Runs::default());
    for number in 0..scale.runs {
        let settings = ["compression: zstd", "compression_level: 3"];
        ours.push("ours", backup_once(&loaded, number, &settings)?);
        for (kernel, name, runs) in
            [("fetch-zstd", "fetch + zstd", &mut bare), ("fetch-zstd-back", "and back", &mut back)]
        {
            let mut args = vec!["kernel".to_owned(), "--kernel".into(), kernel.into()];
            args.extend(common_args(&loaded));
            args.extend(["--partitions".into(), PARTITIONS.to_string(), "--segment".into(), "0".into()]);
            runs.push(name, measure::run_self(&args)?.usage);
        }
    }
    for (what, runs) in [("", &bare), (" and back", &back)] {
        let cpu = ratio(&ours, runs, Usage::cpu);
        row(&Row {
            figure: "backup, none, 1 KB records, zstd level 3, filesystem: CPU".into(),
            ours: ours.cost(loaded.bytes),
            reference: format!("fetch + zstd of 1 MiB blocks{what} {}", runs.cost(loaded.bytes)),
            result: format!("{cpu:.2}x"),
            bar: "at most 1.2x".into(),
            met: Some(cpu <= 1.2),
        });
    }
    Ok(())
}
