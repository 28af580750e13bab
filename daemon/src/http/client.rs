//! One request to a server nearby, over plain HTTP: one connection a request, for there are few of them.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use hyper::header::{HOST, HeaderValue};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

const CONNECTING: Duration = Duration::from_secs(5);

/// Whatever stood in the way of an answer.
pub(crate) type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// The status and the body.
pub(crate) type Answer = Result<(u16, Bytes), AnyError>;

/// Sends a request, whose URI is a path, to `HOST:PORT`, and takes an answer of at most `most` bytes. How long that may take is the
/// caller's to say.
pub(crate) async fn exchange(address: &str, mut request: Request<Full<Bytes>>, most: usize) -> Answer {
    let stream = timeout(CONNECTING, TcpStream::connect(address)).await??;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    request.headers_mut().insert(HOST, HeaderValue::from_str(address)?);
    let answer = sender.send_request(request).await?;
    let status = answer.status().as_u16();
    let body = Limited::new(answer.into_body(), most).collect().await?.to_bytes();
    connection.abort();
    Ok((status, body))
}
