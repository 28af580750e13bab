//! Backup of uncompressed batches with zstd level 3, against fetching and compressing blocks of 1 MiB and nothing else.

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
    let (mut ours, mut bare) = (Runs::default(), Runs::default());
    for number in 0..scale.runs {
        let settings = ["compression: zstd", "compression_level: 3"];
        ours.push("ours", backup_once(&loaded, number, &settings)?);
        let mut args = vec!["kernel".to_owned(), "--kernel".into(), "fetch-zstd".into()];
        args.extend(common_args(&loaded));
        args.extend(["--partitions".into(), PARTITIONS.to_string(), "--segment".into(), "0".into()]);
        bare.push("fetch + zstd", measure::run_self(&args)?.usage);
    }
    let cpu = ratio(&ours, &bare, Usage::cpu);
    row(&Row {
        figure: "backup, none, 1 KB records, zstd level 3, filesystem: CPU".into(),
        ours: ours.cost(loaded.bytes),
        reference: format!("fetch + zstd of 1 MiB blocks {}", bare.cost(loaded.bytes)),
        result: format!("{cpu:.2}x"),
        bar: "at most 1.2x".into(),
        met: Some(cpu <= 1.2),
    });
    Ok(())
}
