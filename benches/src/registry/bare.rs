//! The reference of answers by id: an axum handler that looks an answer up and returns its bytes, and nothing else.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use clap::Args;
use tokio::net::TcpListener;

use crate::Result;

/// Arguments of the bare server.
#[derive(Debug, Args)]
pub(crate) struct BareArgs {
    /// A folder with an answer in each file, named by its id.
    folder: PathBuf,
    port: u16,
}

/// Serves until it is killed.
///
/// # Errors
/// The folder cannot be read, or the port is taken.
pub(crate) fn serve(args: &BareArgs) -> Result<()> {
    let mut answers = HashMap::new();
    for entry in std::fs::read_dir(&args.folder)? {
        let entry = entry?;
        let id: u32 = entry.file_name().to_string_lossy().parse()?;
        answers.insert(id, Bytes::from(std::fs::read(entry.path())?));
    }
    let app = Router::new().route("/schemas/ids/{id}", get(answer)).with_state(Arc::new(answers));
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?.block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", args.port)).await?;
        axum::serve(listener, app).await?;
        Ok(())
    })
}

async fn answer(State(answers): State<Arc<HashMap<u32, Bytes>>>, Path(id): Path<u32>) -> Response {
    match answers.get(&id) {
        Some(body) => {
            ([(header::CONTENT_TYPE, "application/vnd.schemaregistry.v1+json")], body.clone()).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
