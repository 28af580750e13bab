//! Backup of zstd batches against a librdkafka consumer that counts the records and does nothing else with them.

use crate::figures::{backup_once, common_args};
use crate::load::{Kind, PARTITIONS, load};
use crate::measure::{self, Usage};
use crate::table::{Row, Runs, ratio, row, say};
use crate::{Result, Scale};

/// All rows.
///
/// # Errors
/// Whatever a program or server says.
pub(crate) fn run(scale: &Scale) -> Result<()> {
    for (value, bar) in [(1000, 4.0), (100, 10.0)] {
        let kind = Kind { value, codec: "zstd" };
        let loaded = load(kind, scale.megabytes)?;
        say(&format!("librdkafka consumer, {}, {} records", kind.name(), loaded.records));
        let (mut ours, mut consumer) = (Runs::default(), Runs::default());
        for number in 0..scale.runs {
            ours.push("ours", backup_once(&loaded, number, &[])?);
            let mut args = vec!["librdkafka-count".to_owned()];
            args.extend(common_args(&loaded));
            args.extend(["--partitions".into(), PARTITIONS.to_string()]);
            args.extend(["--records".into(), loaded.records.to_string()]);
            consumer.push("librdkafka", measure::run_self(&args)?.usage);
        }
        let less = 1.0 / ratio(&ours, &consumer, Usage::cpu);
        row(&Row {
            figure: format!("backup, {}, filesystem, against a consumer that counts: CPU", kind.name()),
            ours: ours.cost(loaded.payload),
            reference: format!("librdkafka consumer {}", consumer.cost(loaded.payload)),
            result: format!("{less:.1}x less"),
            bar: format!("at least {bar:.0}x less"),
            met: Some(less >= bar),
        });
    }
    Ok(())
}
