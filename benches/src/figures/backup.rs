//! Backup of batches that the producer compressed, against the minimal loop: processor time and wall time, into a folder
//! and into S3. Also the minimal loop against the sum of its kernels.

use std::fs;

use sandbox::job::bucket;
use sandbox::s3::S3;
use sandbox::scratch::Scratch;

use crate::figures::{SEGMENT, backup_once, backup_with, common_args, job};
use crate::load::{Kind, Loaded, PARTITIONS, load};
use crate::measure::{self, Usage};
use crate::table::{Row, Runs, ratio, row, say};
use crate::{Result, Scale};

const BUCKET: &str = "bench";

/// Where to.
enum Target {
    Folder,
    S3(S3),
}

/// All rows of one store.
///
/// # Errors
/// Whatever a program or server says.
pub(crate) fn run(scale: &Scale, s3: bool) -> Result<()> {
    for codec in ["zstd", "lz4"] {
        let kind = Kind { value: 1000, codec };
        let loaded = load(kind, scale.megabytes)?;
        let target = if s3 { Target::S3(S3::start()) } else { Target::Folder };
        if let Target::S3(s3) = &target {
            s3.create_bucket(BUCKET);
        }
        one(scale, kind, &loaded, &target)?;
    }
    Ok(())
}

fn one(scale: &Scale, kind: Kind, loaded: &Loaded, target: &Target) -> Result<()> {
    let place = match target {
        Target::Folder => "filesystem",
        Target::S3(_) => "S3",
    };
    say(&format!("backup, {}, {place}, {} MB stored", kind.name(), loaded.bytes / 1_000_000));
    let (mut ours, mut minimal, mut kernels) = (Runs::default(), Runs::default(), Runs::default());
    for number in 0..scale.runs {
        ours.push("ours", backup(loaded, target, number)?);
        minimal.push("minimal", reference(loaded, target, number)?);
        kernels.push("kernels", sum_of_kernels(loaded, target, number)?);
    }
    let loop_ratio = ratio(&minimal, &kernels, Usage::cpu);
    let cpu = ratio(&ours, &minimal, Usage::cpu);
    row(&Row {
        figure: format!("backup, {}, {place}: CPU", kind.name()),
        ours: ours.cost(loaded.bytes),
        reference: format!("minimal loop {}", minimal.cost(loaded.bytes)),
        result: format!("{cpu:.2}x"),
        bar: "at most 1.4x".into(),
        met: Some(cpu <= 1.4),
    });
    let wall = ratio(&ours, &minimal, |usage| usage.wall);
    row(&Row {
        figure: format!("backup, {}, {place}: wall time", kind.name()),
        ours: ours.times(),
        reference: format!("minimal loop {}", minimal.times()),
        result: format!("{wall:.2}x"),
        bar: "at most 1.2x".into(),
        met: Some(wall <= 1.2),
    });
    row(&Row {
        figure: format!("minimal backup loop, {}, {place}, against its kernels: CPU", kind.name()),
        ours: minimal.cost(loaded.bytes),
        reference: format!("kernels {}", kernels.cost(loaded.bytes)),
        result: format!("{loop_ratio:.2}x"),
        bar: "at most 1.15x".into(),
        met: Some(loop_ratio <= 1.15),
    });
    Ok(())
}

/// Runs ours once into an empty backup and removes it again.
fn backup(loaded: &Loaded, target: &Target, number: usize) -> Result<Usage> {
    let Target::S3(s3) = target else { return backup_once(loaded, number, &[]) };
    let id = format!("bench-{number}");
    let usage = backup_with(loaded, &job(loaded, &id, &bucket(s3, BUCKET)))?;
    fs::remove_dir_all(s3.folder().join(BUCKET).join(&id))?;
    Ok(usage)
}

/// Runs the minimal loop once and removes what it made.
fn reference(loaded: &Loaded, target: &Target, number: usize) -> Result<Usage> {
    let mut args = vec!["minimal-backup".to_owned(), "--partitions".into(), PARTITIONS.to_string()];
    args.extend(common_args(loaded));
    into(target, number, args)
}

/// Runs a command of this program that takes the arguments of a sink.
fn into(target: &Target, number: usize, mut args: Vec<String>) -> Result<Usage> {
    let scratch = Scratch::new("bench-minimal");
    args.extend(["--segment".into(), SEGMENT.to_string()]);
    match target {
        Target::Folder => args.extend(["--folder".into(), scratch.path().display().to_string()]),
        Target::S3(s3) => args.extend(["--s3".into(), s3.address(), "--bucket".into(), BUCKET.into()]),
    }
    let usage = measure::run_self(&args)?.usage;
    if let Target::S3(s3) = target {
        let made = s3.folder().join(BUCKET).join("bench");
        fs::remove_dir_all(&made).map_err(|error| format!("run {number}: {}: {error}", made.display()))?;
    }
    Ok(usage)
}

fn sum_of_kernels(loaded: &Loaded, target: &Target, number: usize) -> Result<Usage> {
    let mut sum = Usage::default();
    for kernel in ["receive", "crc", "blake3", "store"] {
        let mut args = vec!["kernel".to_owned(), "--kernel".into(), kernel.into()];
        args.extend(common_args(loaded));
        args.extend(["--batches".into(), loaded.batches().display().to_string()]);
        args.extend(["--total".into(), loaded.bytes.to_string()]);
        let usage = if kernel == "store" {
            into(target, number, args)?
        } else {
            measure::run_self(&[&args[..], &["--segment".into(), SEGMENT.to_string()]].concat())?.usage
        };
        say(&format!("    kernel {kernel:<8} cpu {:.3} s", usage.cpu()));
        sum.user += usage.user;
        sum.system += usage.system;
        sum.wall += usage.wall;
    }
    Ok(sum)
}
