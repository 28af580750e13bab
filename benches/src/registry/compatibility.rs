//! Compatibility checks over HTTP: distinct candidates against ten versions, before and after a hundred thousand other names.

use reqwest::Method;
use serde_json::json;

use super::avro;
use super::client::{Asked, each};
use super::server::{Server, with_store};
use crate::Result;
use crate::measure::median;
use crate::table::{Row, row, say};

const CANDIDATES: usize = 1000;
const NAMES: usize = 100_000;
const VERSIONS: usize = 10;

pub(super) async fn run(runs: usize) -> Result<()> {
    let server = Server::registry(&with_store("memory"), "/health/ready")?;
    let asked = Asked::new(&server.address)?;
    let level = json!({ "compatibility": "BACKWARD_TRANSITIVE" });
    asked.ask(Method::PUT, "/config", Some(&level)).await?;
    asked.fill(1, VERSIONS).await?;
    let mut rates = [Vec::new(), Vec::new()];
    for run in 0..runs {
        rates[0].push(check(&server, &asked, run).await?);
    }
    each(16, NAMES, async |number| {
        let body = json!({ "schema": avro(1_000_000 + number, 0) });
        asked.ask(Method::POST, "/compatibility/subjects/s0/versions", Some(&body)).await.map(drop)
    })
    .await?;
    for run in 0..runs {
        rates[1].push(check(&server, &asked, runs + run).await?);
    }
    let [before, after] = rates.map(median);
    row(&Row {
        figure: "registry, compatibility checks over HTTP, distinct 1 KB candidates against 10 versions, BACKWARD_TRANSITIVE".into(),
        ours: format!("{before:.0}/s of one core"),
        reference: "none".into(),
        result: format!("{before:.0}/s"),
        bar: "at least 3,000/s".into(),
        met: Some(before >= 3000.0),
    });
    row(&Row {
        figure: "registry, the same after 100,000 distinct names".into(),
        ours: format!("{after:.0}/s of one core"),
        reference: format!("before them {before:.0}/s"),
        result: format!("{:.2}x", after / before),
        bar: "unchanged".into(),
        met: Some(after >= 0.9 * before),
    });
    Ok(())
}

/// Checks a second for each second of the server's processor time; candidates that no other run has.
async fn check(server: &Server, asked: &Asked, run: usize) -> Result<f64> {
    let before = server.cpu()?;
    let took = each(16, CANDIDATES, async |number| {
        let schema =
            avro(0, VERSIONS).replace("what field_0", &format!("candidate {run} {number}, what field_0"));
        let body = json!({ "schema": schema });
        let answer = asked.ask(Method::POST, "/compatibility/subjects/s0/versions", Some(&body)).await?;
        if answer["is_compatible"] != true {
            return Err(format!("{answer}").into());
        }
        Ok(())
    })
    .await?;
    let cpu = server.cpu()? - before;
    let rate = CANDIDATES as f64 / took.as_secs_f64();
    say(&format!("  {rate:.0}/s, {:.0}/s of processor time", CANDIDATES as f64 / cpu));
    Ok(rate)
}
