//! From the start of the process to the first right answer, with 10,000 schemas in PostgreSQL.

use sandbox::postgres::Postgres;

use super::client::Asked;
use super::server::{Server, with_postgres};
use crate::Result;
use crate::measure::median;
use crate::table::{Row, row, say};

pub(super) async fn run(runs: usize) -> Result<()> {
    let postgres = Postgres::start();
    let variables = with_postgres(&postgres);
    let server = Server::registry(&variables, "/")?;
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
