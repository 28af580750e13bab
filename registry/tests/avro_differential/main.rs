//! Our Avro against Apache Avro's: the same texts are schemas, they are printed the same, and a reader fails on a writer for
//! the same reasons, at the same places.
//!
//! The judge is `registry/differential/avro/AvroJudge.java` with the library that `tests/install.sh avro-java` installs. A
//! failure prints the pair and the seed; `REPLEVIN_SEED` repeats a run or tries another one, `REPLEVIN_PAIRS` sets how many
//! pairs are made.

use generate::{Generator, Random};
use registry::compat::avro::differences;
use registry::parse::Strictness;
use registry::parse::avro::Avro;
use registry::schema::Dependency;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::PathBuf;
use std::process::Command;

mod generate;

const SEED: u64 = 20_261;
const PAIRS: usize = 14_000;

/// Refusals of ours that Apache Avro does not share: what AxonOps' registry insists on.
const STRICTER: [&str; 4] = ["has no symbols", "from 1 to 2147483639", "is no symbol of", "is no byte"];

/// A question to both: two texts, and what they may refer to.
struct Pair {
    reader: String,
    writer: String,
    dependencies: Vec<String>,
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// The folder of the installed library.
fn library() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let folder = cache.expect("XDG_CACHE_HOME or HOME").join("replevin/servers/avro-java");
    let has_java = Command::new("java").arg("-version").output().is_ok_and(|output| output.status.success());
    assert!(
        folder.is_dir() && has_java,
        "{} or java is not there: run tests/install.sh avro-java",
        folder.display()
    );
    folder
}

fn pairs(seed: u64, count: usize) -> Vec<Pair> {
    let cases = include_str!("../../testdata/compat/avro.json");
    let cases: Vec<Value> = serde_json::from_str(cases).expect("cases");
    let cases = cases.iter().map(|case| Pair {
        reader: case["new"].to_string(),
        writer: case["old"].to_string(),
        dependencies: Vec::new(),
    });
    let mut random = Random::new(seed);
    let mut pairs: Vec<_> = cases.collect();
    while pairs.len() < count {
        let mut generator = Generator::new(&mut random);
        let dependencies: Vec<_> =
            if generator.random.chance(20) { vec![generator.dependency()] } else { Vec::new() };
        let writer = generator.root();
        let mut reader = writer.clone();
        for _ in 0..1 + generator.random.below(3) {
            generator.change(&mut reader);
        }
        let (first, second) = if random.chance(15) { (&writer, &reader) } else { (&reader, &writer) };
        let damaged = random.chance(15);
        pairs.push(Pair {
            reader: if damaged {
                generate::damage(&mut random, first)
            } else {
                generate::text(&mut random, first)
            },
            writer: generate::text(&mut random, second),
            dependencies: dependencies.iter().map(|schema| generate::text(&mut random, schema)).collect(),
        });
    }
    pairs
}

/// Asks the judge; one answer a pair.
fn judge(library: &std::path::Path, pairs: &[Pair]) -> Vec<Value> {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let (questions, answers) = (folder.join("avro-questions"), folder.join("avro-answers"));
    let mut file = BufWriter::new(File::create(&questions).expect("a file for the questions"));
    for pair in pairs {
        let line = json!({"reader": pair.reader, "writer": pair.writer, "dependencies": pair.dependencies});
        writeln!(file, "{line}").expect("room for the questions");
    }
    file.into_inner().expect("room for the questions").sync_all().expect("room for the questions");
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/differential/avro/AvroJudge.java");
    let output = Command::new("java")
        .args(["-Xmx512m", "-Xss4m", "-XX:+UseSerialGC", "-cp"])
        .arg(library.join("libs/*"))
        .arg(program)
        .args([&questions, &answers])
        .output()
        .expect("java");
    assert!(output.status.success(), "the judge failed: {}", String::from_utf8_lossy(&output.stderr));
    let lines = BufReader::new(File::open(&answers).expect("answers")).lines();
    let answers: Vec<_> =
        lines.map(|line| serde_json::from_str(&line.expect("text")).expect("an answer in JSON")).collect();
    assert_eq!(answers.len(), pairs.len());
    let _ = (fs::remove_file(questions), fs::remove_file(folder.join("avro-answers")));
    answers
}

#[derive(Default, Debug)]
struct Tally {
    schemas: usize,
    refused_by_both: usize,
    refused_by_us_only: usize,
    compared: usize,
    compatible: usize,
    incompatibilities: usize,
    exceptions: usize,
}

/// Reads one text as the judge did; the schema, where both take it for one.
fn read(
    text: &str,
    dependencies: &[Dependency<'_>],
    theirs: &Value,
    tally: &mut Tally,
) -> Result<Option<Avro>, String> {
    let new = Avro::parse(text, dependencies, Strictness::New);
    let stored = Avro::parse(text, dependencies, Strictness::Stored);
    tally.schemas += 1;
    match (&new, theirs["valid"] == true) {
        (Ok(_), false) => return Err("it is a new schema for us, not for the judge".to_owned()),
        (Err(why), true) if STRICTER.iter().any(|phrase| why.to_string().contains(phrase)) => {
            tally.refused_by_us_only += 1;
        }
        (Err(why), true) => return Err(format!("only we refuse it: {why}")),
        (Err(_), false) => tally.refused_by_both += 1,
        (Ok(_), true) => {}
    }
    let readable = theirs["readable"] == true;
    match stored {
        Err(why) if readable => Err(format!("only we cannot read it: {why}")),
        Ok(avro) if readable => {
            for (what, ours) in [
                ("canonical", avro.canonical().to_owned()),
                ("resolved", avro.resolved()),
                ("parsing", avro.reduced()),
            ] {
                if theirs[what] != json!(ours) {
                    return Err(format!(
                        "{what} text\n  ours   {ours}\n  theirs {}",
                        theirs[what].as_str().unwrap_or("")
                    ));
                }
            }
            Ok(Some(avro))
        }
        _ => Ok(None),
    }
}

fn check(pair: &Pair, answer: &Value, tally: &mut Tally) -> Result<(), String> {
    let texts = pair.dependencies.iter();
    let dependencies: Vec<_> = texts.map(|text| Dependency { name: "dependency", text }).collect();
    let reader = read(&pair.reader, &dependencies, &answer["reader"], tally);
    let reader = reader.map_err(|why| format!("reader: {why}"))?;
    let writer = read(&pair.writer, &dependencies, &answer["writer"], tally);
    let writer = writer.map_err(|why| format!("writer: {why}"))?;
    let (Some(reader), Some(writer)) = (reader, writer) else { return Ok(()) };
    let ours = differences(&reader, &writer);
    tally.compared += 1;
    if let Some(exception) = answer["exception"].as_str() {
        tally.exceptions += 1;
        let same =
            ours.len() == 1 && ours[0].rule == "AMBIGUOUS_ALIAS" && exception.contains("multiple fields");
        return if same { Ok(()) } else { Err(format!("the judge throws {exception}, we say {ours:?}")) };
    }
    if answer["compatible"] != json!(ours.is_empty()) {
        return Err(format!("compatible: {}, but ours: {ours:?}", answer["compatible"]));
    }
    tally.compatible += usize::from(ours.is_empty());
    let theirs = answer["incompatibilities"].as_array().map_or(&[][..], Vec::as_slice);
    tally.incompatibilities += theirs.len();
    let same = ours.len() == theirs.len().min(registry::compat::avro::MAX_DIFFERENCES)
        && ours.iter().zip(theirs).all(|(ours, theirs)| {
            let info = format!("additionalInfo:'{}'}}", theirs["message"].as_str().unwrap_or(""));
            theirs["type"] == ours.rule
                && theirs["location"] == json!(ours.path)
                && ours.confluent.ends_with(&info)
        });
    if same { Ok(()) } else { Err(format!("differences\n  ours   {ours:?}\n  theirs {theirs:?}")) }
}

#[test]
fn apache_avro_agrees() {
    let library = library();
    let seed = setting("REPLEVIN_SEED", SEED);
    let pairs = pairs(seed, setting("REPLEVIN_PAIRS", PAIRS as u64) as usize);
    println!("REPLEVIN_SEED={seed} REPLEVIN_PAIRS={}", pairs.len());
    let answers = judge(&library, &pairs);
    let mut tally = Tally::default();
    let mut wrong = Vec::new();
    for (n, (pair, answer)) in pairs.iter().zip(&answers).enumerate() {
        if let Err(why) = check(pair, answer, &mut tally) {
            let Pair { reader, writer, dependencies } = pair;
            wrong.push(format!(
                "pair {n}: {why}\n  reader {reader}\n  writer {writer}\n  dependencies {dependencies:?}"
            ));
        }
    }
    println!("{tally:?}");
    let shown: Vec<_> = wrong.iter().take(10).map(String::as_str).collect();
    assert!(
        wrong.is_empty(),
        "seed {seed}: {} of {} pairs differ\n{}",
        wrong.len(),
        pairs.len(),
        shown.join("\n")
    );
    if pairs.len() >= PAIRS {
        assert!(tally.compared >= 10_000, "{tally:?}");
        let share = tally.compatible * 100 / tally.compared;
        assert!((30..=70).contains(&share), "{share} % are compatible: {tally:?}");
    }
}
