//! Restore of batches that go back as they lie, against the minimal loop and against a librdkafka producer of the same
//! records; and of batches that are rebuilt, against those. Every run has a new empty topic.

use std::fs;
use std::path::{Path, PathBuf};

use formats::commit::SegmentObject;
use formats::ids::Topic;
use pipeline::archive::Archive;
use pipeline::seam::Seam;
use pipeline::storage::{IoSettings, StorageSettings, open};
use sandbox::client;
use sandbox::scratch::Scratch;

use crate::figures::{backup_with, folder, job};
use crate::load::{self, Kind, Loaded, PARTITIONS};
use crate::measure::{self, Usage};
use crate::table::{Row, Runs, ratio, row, say};
use crate::{Result, Scale, ours};

const ID: &str = "bench";

/// All rows.
///
/// # Errors
/// Whatever a program or server says.
pub(crate) fn run(scale: &Scale) -> Result<()> {
    untouched(scale)?;
    rebuilt(scale)
}

/// Every batch carries the broker's time and is rebuilt; beside it, the same records as they are untouched.
fn rebuilt(scale: &Scale) -> Result<()> {
    let kind = Kind { value: 1000, codec: "zstd" };
    let loads = [load::load(kind, scale.megabytes / 4)?, load::load_stamped(kind, scale.megabytes / 4)?];
    let archives = [Scratch::new("bench-archive"), Scratch::new("bench-stamped")];
    let jobs = [0, 1].map(|n| job(&loads[n], ID, &folder(archives[n].path())));
    for (loaded, job) in loads.iter().zip(&jobs) {
        backup_with(loaded, job)?;
    }
    let mut all = [Runs::default(), Runs::default()];
    for number in 0..scale.runs {
        for (n, what) in ["untouched", "rebuilt"].into_iter().enumerate() {
            all[n].push(what, restore(&loads[n], &jobs[n], number)?);
        }
    }
    let [untouched, rebuilt] = &all;
    row(&Row {
        figure: format!(
            "restore, {}, filesystem, LogAppendTime, so every batch is rebuilt: CPU",
            kind.name()
        ),
        ours: rebuilt.cost(loads[1].bytes),
        reference: format!("ours, untouched {}", untouched.cost(loads[0].bytes)),
        result: format!("{:.2}x", ratio(rebuilt, untouched, Usage::cpu)),
        bar: "stated".into(),
        met: None,
    });
    Ok(())
}

fn untouched(scale: &Scale) -> Result<()> {
    let kind = Kind { value: 1000, codec: "zstd" };
    // The broker is the brake here, and librdkafka compresses: half of the data is enough.
    let loaded = load::load(kind, scale.megabytes / 2)?;
    let archive = Scratch::new("bench-archive");
    let job = job(&loaded, ID, &folder(archive.path()));
    backup_with(&loaded, &job)?;
    let list = list_segments(archive.path(), &loaded)?;
    say(&format!("restore, {}, {} MB stored", kind.name(), loaded.bytes / 1_000_000));
    let mut all = [Runs::default(), Runs::default(), Runs::default(), Runs::default()];
    for number in 0..scale.runs {
        let [ours, minimal, kernels, producer] = &mut all;
        ours.push("ours", restore(&loaded, &job, number)?);
        minimal.push("minimal", reference(&loaded, &list)?);
        kernels.push("kernels", sum_of_kernels(&loaded, &list)?);
        producer.push("librdkafka", produce(&loaded, kind)?);
    }
    let [ours, minimal, kernels, producer] = &all;
    let cpu = ratio(ours, minimal, Usage::cpu);
    row(&Row {
        figure: format!("restore, {}, filesystem: CPU", kind.name()),
        ours: ours.cost(loaded.bytes),
        reference: format!("minimal loop {}", minimal.cost(loaded.bytes)),
        result: format!("{cpu:.2}x"),
        bar: "at most 1.4x".into(),
        met: Some(cpu <= 1.4),
    });
    row(&Row {
        figure: format!("restore, {}, filesystem: wall time (the broker's)", kind.name()),
        ours: ours.times(),
        reference: format!("minimal loop {}", minimal.times()),
        result: format!("{:.2}x", ratio(ours, minimal, |usage| usage.wall)),
        bar: "stated".into(),
        met: None,
    });
    let loops = ratio(minimal, kernels, Usage::cpu);
    row(&Row {
        figure: "minimal restore loop against its kernels: CPU".into(),
        ours: minimal.cost(loaded.bytes),
        reference: format!("kernels {}", kernels.cost(loaded.bytes)),
        result: format!("{loops:.2}x"),
        bar: "at most 1.15x".into(),
        met: Some(loops <= 1.15),
    });
    let less = 1.0 / ratio(ours, producer, Usage::cpu);
    row(&Row {
        figure: format!("restore, {}, filesystem, against a producer of the same records: CPU", kind.name()),
        ours: ours.cost(loaded.payload),
        reference: format!("librdkafka producer {}", producer.cost(loaded.payload)),
        result: format!("{less:.1}x less"),
        bar: "at least 8x less".into(),
        met: Some(less >= 8.0),
    });
    Ok(())
}

/// Runs ours once into a new topic.
fn restore(loaded: &Loaded, job: &sandbox::job::Job, number: usize) -> Result<Usage> {
    let topic = format!("ours-{number}");
    let restore = job.restore(&loaded.broker()).set(&format!("topic_mapping: {{{}: {topic}}}", loaded.topic));
    let usage = ours::run(&["restore", "--output", "json"], &restore.file())?.usage;
    finish(loaded, &topic)?;
    Ok(usage)
}

/// Runs a program of this bench that fills a new topic.
fn fill(loaded: &Loaded, topic: &str, args: &[String]) -> Result<Usage> {
    load::create_topic(&loaded.broker(), topic, PARTITIONS);
    let mut all = args.to_vec();
    all.extend(["--broker".into(), loaded.broker(), "--topic".into(), topic.into()]);
    all.extend(["--partitions".into(), PARTITIONS.to_string()]);
    let usage = measure::run_self(&all)?.usage;
    finish(loaded, topic)?;
    Ok(usage)
}

fn reference(loaded: &Loaded, list: &Path) -> Result<Usage> {
    fill(loaded, "minimal", &["minimal-restore".into(), "--list".into(), list.display().to_string()])
}

fn produce(loaded: &Loaded, kind: Kind) -> Result<Usage> {
    let args = ["librdkafka-produce", "--codec", kind.codec, "--values"].map(str::to_owned);
    let more = [loaded.values().display().to_string(), "--records".into(), loaded.records.to_string()];
    fill(loaded, "librdkafka", &[&args[..], &more[..]].concat())
}

/// Looks whether every record is there, and removes the topic.
fn finish(loaded: &Loaded, topic: &str) -> Result<()> {
    let broker = loaded.broker();
    let marks = client::watermarks(&broker, topic, client::Isolation::ReadUncommitted);
    let records: i64 = marks.values().map(|(start, end)| end - start).sum();
    client::delete_topics(&broker, &[topic]);
    match u64::try_from(records) == Ok(loaded.records) {
        true => Ok(()),
        false => Err(format!("{topic} holds {records} records, not {}", loaded.records).into()),
    }
}

fn sum_of_kernels(loaded: &Loaded, list: &Path) -> Result<Usage> {
    let mut sum = Usage::default();
    for kernel in ["read", "crc", "blake3", "produce"] {
        let mut args: Vec<String> =
            ["kernel", "--kernel", kernel, "--segment", "0"].map(str::to_owned).into();
        args.extend(["--list".into(), list.display().to_string()]);
        args.extend(["--batches".into(), loaded.batches().display().to_string()]);
        args.extend(["--total".into(), loaded.bytes.to_string()]);
        let usage = if kernel == "produce" {
            load::create_topic(&loaded.broker(), "kernel", PARTITIONS);
            args.extend(["--broker".into(), loaded.broker(), "--topic".into(), "kernel".into()]);
            let usage = measure::run_self(&args)?.usage;
            client::delete_topics(&loaded.broker(), &["kernel"]);
            usage
        } else {
            measure::run_self(&args)?.usage
        };
        say(&format!("    kernel {kernel:<8} cpu {:.3} s", usage.cpu()));
        sum.user += usage.user;
        sum.system += usage.system;
        sum.wall += usage.wall;
    }
    Ok(sum)
}

/// Writes the list that the minimal loop reads. Segments that share an object get files of their own for it.
fn list_segments(folder: &Path, loaded: &Loaded) -> Result<PathBuf> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let settings = StorageSettings::Filesystem { path: folder.to_owned(), prefix: Some(ID.into()) };
    let topic = Topic::new(loaded.topic.as_str())?;
    let lists = runtime.block_on(async {
        let archive = Archive::open(open(&settings, &IoSettings::default())?, Seam::system()).await?;
        archive.lists(&topic).await
    })?;
    let mut lines = String::new();
    for ((partition, lineage), entries) in &lists {
        for entry in entries {
            let name = formats::ids::TopicPartition::new(topic.clone(), *partition);
            let mut path = folder.join(ID).join(entry.key(&name, *lineage));
            if let SegmentObject::Pack(..) = entry.object {
                let own = folder.join(format!("{partition}-{}", entry.first));
                let (from, length) = (usize::try_from(entry.position)?, usize::try_from(entry.length)?);
                fs::write(&own, &fs::read(&path)?[from..from + length])?;
                path = own;
            }
            lines.push_str(&format!("{partition} {}\n", path.display()));
        }
    }
    let list = folder.join("segments");
    fs::write(&list, lines)?;
    Ok(list)
}
