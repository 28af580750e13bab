//! From the start of the process to the first right answer: with 10,000 schemas in PostgreSQL, and with 100,000 in a topic, all of
//! which is read. And what it takes to read these 100,000 from that registry and write them into a file.

use sandbox::client::{self, NewRecord, Producer};
use sandbox::kafka::{KafkaCluster, KafkaVersion};
use sandbox::postgres::Postgres;
use sandbox::scratch::Scratch;
use serde_json::json;
use std::ffi::OsString;

use super::avro;
use super::client::Asked;
use super::server::{Server, with_kafka, with_postgres};
use crate::measure::{self, median};
use crate::table::{Row, row, say};
use crate::{Result, ours};

const SUBJECTS: usize = 10_000;
const VERSIONS: usize = 10;

pub(super) async fn run(runs: usize) -> Result<()> {
    postgresql(runs).await?;
    kafka(runs)
}

async fn postgresql(runs: usize) -> Result<()> {
    let postgres = Postgres::start();
    let variables = with_postgres(&postgres);
    let server = Server::registry(&variables, "/health/ready")?;
    Asked::new(&server.address)?.fill(1000, 10).await?;
    drop(server);
    let mut times = Vec::new();
    for _ in 0..runs {
        let server = Server::registry(&variables, "/subjects/s999/versions/latest")?;
        say(&format!("  {:.3} s, {} MiB", server.started.as_secs_f64(), server.resident()? >> 20));
        times.push(server.started.as_secs_f64());
    }
    let time = median(times);
    row(&Row {
        figure: "registry, PostgreSQL with 10,000 schemas: start to the first right answer".into(),
        ours: format!("{time:.2} s"),
        reference: "none".into(),
        result: format!("{time:.2} s"),
        bar: "under 1 s".into(),
        met: Some(time < 1.0),
    });
    Ok(())
}

fn kafka(runs: usize) -> Result<()> {
    let cluster = KafkaCluster::start(KafkaVersion::V4, 1, &[]);
    client::create_topic(&cluster.bootstrap(), "_schemas", 1, 1, &[("cleanup.policy", "compact")]);
    let producer = Producer::new(&cluster.bootstrap(), &[]);
    let record = |at: &usize| {
        let (name, version) = (format!("s{}", at / VERSIONS), at % VERSIONS + 1);
        let schema = avro(at / VERSIONS, version - 1);
        let key = json!({ "keytype": "SCHEMA", "subject": name, "version": version, "magic": 1 });
        let value =
            json!({ "subject": name, "version": version, "id": at + 1, "schema": schema, "deleted": false });
        NewRecord::new(key.to_string(), value.to_string())
    };
    for chunk in (0..SUBJECTS * VERSIONS).collect::<Vec<_>>().chunks(10_000) {
        producer.send("_schemas", &chunk.iter().map(record).collect::<Vec<_>>());
    }
    let variables = with_kafka(&cluster);
    let (mut times, mut sizes, mut peaks) = (Vec::new(), Vec::new(), Vec::new());
    let folder = Scratch::new("bench-export");
    for _ in 0..runs {
        let server = Server::registry(&variables, &format!("/subjects/s{}/versions/latest", SUBJECTS - 1))?;
        let (time, size) = (server.started.as_secs_f64(), server.resident()? as f64 / 1e6);
        let file = folder.path().join("export.jsonl");
        let url = format!("http://{}", server.address);
        let mut args: Vec<OsString> = ["registry", "export", "--from", &url].map(Into::into).to_vec();
        args.push(file.clone().into());
        let export = measure::run(&ours::binary()?, &args, &[0])?.usage;
        let (lines, peak) = (std::fs::read_to_string(&file)?.lines().count(), export.peak as f64 / 1e6);
        if lines < SUBJECTS * VERSIONS {
            return Err(format!("the export has {lines} lines").into());
        }
        say(&format!("  {time:.3} s, {size:.0} MB; exported in {:.1} s, {peak:.0} MB", export.wall));
        times.push(time);
        sizes.push(size);
        peaks.push(peak);
    }
    let peak = format!("{:.0} MB", median(peaks));
    row(&Row {
        figure: "registry, export of 100,000 versions of 1 to 2 KB over HTTP: peak memory of the client"
            .into(),
        ours: peak.clone(),
        reference: "none".into(),
        result: peak,
        bar: "stated".into(),
        met: None,
    });
    let both = format!("{:.1} s, {:.0} MB", median(times), median(sizes));
    row(&Row {
        figure: "registry, `_schemas` with 100,000 schemas of 1 to 2 KB: start to the first right answer, resident memory then".into(),
        ours: both.clone(),
        reference: "none".into(),
        result: both,
        bar: "stated".into(),
        met: None,
    });
    Ok(())
}
