//! A web server of a few lines for tests: what it answers is a function of what it is asked.

use crate::api::{About, Api, Request};
use crate::service::{Registry, Settings};
use crate::store::memory::MemoryStore;
use futures::future::BoxFuture;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

/// What was asked.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
}

/// What is answered.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// A status, further header lines, a body.
    Full(u16, &'static str, Vec<u8>),
    /// The connection is closed.
    Gone,
    /// What was asked is done, and nobody hears of it. Only of a registry.
    Lost,
}

pub(crate) fn json(status: u16, body: &str) -> Reply {
    Reply::Full(status, "Content-Type: application/json\r\n", body.as_bytes().to_vec())
}

type Script = dyn Fn(usize, Asked) -> BoxFuture<'static, Reply> + Send + Sync;

/// A server, with what it was asked.
pub(crate) struct Server {
    pub(crate) url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    /// Answers by a script that also gets the number of the request.
    pub(crate) async fn start(
        script: impl Fn(usize, Asked) -> BoxFuture<'static, Reply> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let (log, script): (_, Arc<Script>) = (Arc::clone(&asked), Arc::new(script));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&log), Arc::clone(&script)));
            }
        });
        Self { url, asked }
    }

    /// Answers by a function.
    pub(crate) async fn replying(script: impl Fn(usize, &Asked) -> Reply + Send + Sync + 'static) -> Self {
        Self::start(move |n, asked| {
            let reply = script(n, &asked);
            Box::pin(std::future::ready(reply))
        })
        .await
    }

    /// Our own registry, empty, behind a look at each request that may answer in its place.
    pub(crate) async fn registry(
        first: impl Fn(usize, &Asked) -> Option<Reply> + Send + Sync + 'static,
    ) -> Self {
        let store = Arc::new(MemoryStore::new(uuid::Uuid::new_v4()));
        let registry =
            Registry::open(store, Settings::default(), || 1_700_000_000_000).await.expect("a registry");
        let api = Arc::new(Api::new(Arc::new(registry), About::default()));
        Self::start(move |n, asked| {
            let (api, reply) = (Arc::clone(&api), first(n, &asked));
            Box::pin(async move {
                let is_lost = matches!(reply, Some(Reply::Lost));
                if let Some(reply) = reply.filter(|_| !is_lost) {
                    return reply;
                }
                let request = Request {
                    is_forwarded: false,
                    method: &asked.method,
                    path: &asked.path,
                    query: &asked.query,
                    accept: asked.headers.get("accept").map(String::as_str),
                    content_type: asked.headers.get("content-type").map(String::as_str),
                    body: asked.body.into(),
                };
                let answer = api.answer(&request).await;
                if is_lost {
                    return Reply::Gone;
                }
                Reply::Full(answer.status, "Content-Type: application/json\r\n", answer.body.to_vec())
            })
        })
        .await
    }

    /// What was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("unpoisoned").clone()
    }
}

async fn serve(stream: tokio::net::TcpStream, log: Arc<Mutex<Vec<Asked>>>, script: Arc<Script>) {
    let mut stream = BufReader::new(stream);
    while let Some(asked) = read(&mut stream).await {
        let number = {
            let mut log = log.lock().expect("unpoisoned");
            log.push(asked.clone());
            log.len() - 1
        };
        let Reply::Full(status, headers, body) = script(number, asked).await else { return };
        let head = format!("HTTP/1.1 {status} X\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
        let mut bytes = head.into_bytes();
        bytes.extend(body);
        if stream.get_mut().write_all(&bytes).await.is_err() {
            return;
        }
    }
}

async fn read(stream: &mut BufReader<tokio::net::TcpStream>) -> Option<Asked> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok().filter(|read| *read > 0)?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok().filter(|read| *read > 0)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    Some(Asked { method, path: path.to_owned(), query: query.to_owned(), headers, body })
}
