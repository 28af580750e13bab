//! New versions by eight clients, against bare durable commits of the same rows.

use std::time::{Duration, Instant};

use reqwest::Method;
use rusqlite::Connection;
use sandbox::postgres::{PASSWORD, Postgres, USER};
use sandbox::scratch::Scratch;
use serde_json::json;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgSslMode};

use super::avro;
use super::client::{Asked, each};
use super::server::{Server, with_postgres, with_sqlite};
use crate::Result;
use crate::measure::median;
use crate::table::{Row, row, say};

const CLIENTS: usize = 8;
/// New versions of one run.
const COUNT: usize = 2000;

pub(super) async fn run(runs: usize) -> Result<()> {
    sqlite(runs).await?;
    postgresql(runs).await
}

async fn sqlite(runs: usize) -> Result<()> {
    let folder = Scratch::new("bench-sqlite");
    let server = Server::registry(&with_sqlite(&folder), "/health/ready")?;
    let asked = Asked::new(&server.address)?;
    let mut connection = Connection::open(folder.path().join("bare.sqlite"))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.execute_batch(TABLES)?;
    let mut rates = [Vec::new(), Vec::new()];
    for run in 0..runs {
        rates[0].push(ours("SQLite", &asked, run).await?);
        let begun = Instant::now();
        for number in 0..COUNT {
            let (id, text) = (i64::try_from(run * COUNT + number)?, avro(run * COUNT + number, 0));
            let transaction = connection.transaction()?;
            transaction.execute(SCHEMA, (id, &text, &text))?;
            transaction.execute(VERSION, (format!("s{number}"), i64::try_from(run)?, id))?;
            transaction.commit()?;
        }
        rates[1].push(rate("SQLite bare", begun.elapsed()));
    }
    report("SQLite", rates);
    Ok(())
}

async fn postgresql(runs: usize) -> Result<()> {
    let postgres = Postgres::start();
    let server = Server::registry(&with_postgres(&postgres), "/health/ready")?;
    let asked = Asked::new(&server.address)?;
    let options = PgConnectOptions::new_without_pgpass()
        .host("127.0.0.1")
        .port(postgres.port())
        .username(USER)
        .password(PASSWORD)
        .database("postgres")
        .ssl_mode(PgSslMode::Disable);
    let pool = PgPoolOptions::new().max_connections(u32::try_from(CLIENTS)?).connect_with(options).await?;
    for table in TABLES.split_inclusive(';').filter(|table| table.contains("CREATE")) {
        sqlx::query(table).execute(&pool).await?;
    }
    let mut rates = [Vec::new(), Vec::new()];
    for run in 0..runs {
        rates[0].push(ours("PostgreSQL", &asked, run).await?);
        let took = each(CLIENTS, COUNT, async |number| {
            let (id, text) = (i64::try_from(run * COUNT + number)?, avro(run * COUNT + number, 0));
            let mut transaction = pool.begin().await?;
            sqlx::query(SCHEMA).bind(id).bind(&text).bind(&text).execute(&mut *transaction).await?;
            let version = sqlx::query(VERSION).bind(format!("s{number}")).bind(i64::try_from(run)?).bind(id);
            version.execute(&mut *transaction).await?;
            transaction.commit().await?;
            Ok(())
        })
        .await?;
        rates[1].push(rate("PostgreSQL bare", took));
    }
    report("PostgreSQL", rates);
    Ok(())
}

/// What a registration leaves behind: the text twice, as it came and as it is printed, and where it belongs.
const TABLES: &str = "CREATE TABLE bare_schemas (id BIGINT PRIMARY KEY, canonical TEXT NOT NULL, submitted TEXT NOT NULL);
    CREATE TABLE bare_versions (subject TEXT NOT NULL, version BIGINT NOT NULL, id BIGINT NOT NULL, PRIMARY KEY (subject, version));";
const SCHEMA: &str = "INSERT INTO bare_schemas VALUES ($1, $2, $3)";
const VERSION: &str = "INSERT INTO bare_versions VALUES ($1, $2, $3)";

async fn ours(store: &str, asked: &Asked, run: usize) -> Result<f64> {
    let took = each(CLIENTS, COUNT, async |number| {
        let body = json!({ "schema": avro(run * COUNT + number, 0) });
        asked.ask(Method::POST, &format!("/subjects/r{run}-{number}/versions"), Some(&body)).await.map(drop)
    })
    .await?;
    Ok(rate(store, took))
}

fn rate(what: &str, took: Duration) -> f64 {
    let rate = COUNT as f64 / took.as_secs_f64();
    say(&format!("  {what}: {rate:.0}/s"));
    rate
}

fn report(store: &str, rates: [Vec<f64>; 2]) {
    let ratio = median(rates[0].iter().zip(&rates[1]).map(|(ours, bare)| ours / bare));
    let [ours, bare] = rates.map(median);
    row(&Row {
        figure: format!("registry, {store}: new versions by 8 clients, durable"),
        ours: format!("{ours:.0}/s"),
        reference: format!("bare commits of the same rows {bare:.0}/s"),
        result: format!("{ratio:.2}x"),
        bar: "at least 0.5x".into(),
        met: Some(ratio >= 0.5),
    });
}
