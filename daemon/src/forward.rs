//! Passes requests on to another registry over HTTP: one connection a request, for there are few of them.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ACCEPT, CONTENT_TYPE};
use registry::api::{self, FORWARD_HEADER, Forward};
use registry::error::{Error, Result};
use tokio::time::timeout;

use crate::http::client;

/// The largest answer that is passed back.
const ANSWER: usize = 32 << 20;

/// Forwards over plain HTTP.
#[derive(Debug)]
pub(crate) struct HttpForward {
    /// How long an answer may take.
    pub(crate) limit: Duration,
}

#[async_trait]
impl Forward for HttpForward {
    async fn forward(&self, url: &str, request: &api::Request<'_>) -> Result<(u16, Bytes)> {
        let failed = |why: String| {
            let text = format!(
                "The request was passed on to the registry at {url}, which writes, and {why}. Look before trying again; \
                 registering the same schema again is safe"
            );
            Error::new(50003, text)
        };
        let Some(address) = url.strip_prefix("http://") else {
            return Err(failed("this instance speaks only plain HTTP to it".to_owned()));
        };
        let exchanged = timeout(self.limit, exchange(address, request)).await;
        match exchanged {
            Ok(answer) => answer.map_err(|error| failed(error.to_string())),
            Err(_) => Err(failed(format!("has not answered within {} s", self.limit.as_secs()))),
        }
    }
}

async fn exchange(address: &str, request: &api::Request<'_>) -> client::Answer {
    let target = match request.query {
        "" => request.path.to_owned(),
        query => format!("{}?{query}", request.path),
    };
    let mut outgoing =
        hyper::Request::builder().method(request.method).uri(target).header(FORWARD_HEADER, "true");
    for (name, value) in [(ACCEPT, request.accept), (CONTENT_TYPE, request.content_type)] {
        if let Some(value) = value {
            outgoing = outgoing.header(name, value);
        }
    }
    client::exchange(address, outgoing.body(Full::new(request.body.clone()))?, ANSWER).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    fn request() -> api::Request<'static> {
        api::Request {
            method: "POST",
            path: "/subjects/a%2Fb/versions",
            query: "normalize=true",
            accept: Some("application/json"),
            content_type: Some("application/json"),
            body: Bytes::from_static(b"{}"),
            is_forwarded: false,
        }
    }

    #[tokio::test]
    async fn a_request_arrives_as_it_came_and_marked() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a client");
            let mut heard = String::new();
            while !heard.ends_with("{}") {
                let mut byte = [0];
                stream.read_exact(&mut byte).await.expect("a byte");
                heard.push(char::from(byte[0]));
            }
            let answer = "HTTP/1.1 409 Conflict\r\nContent-Length: 4\r\n\r\nbody";
            stream.write_all(answer.as_bytes()).await.expect("written");
            heard
        });
        let forward = HttpForward { limit: Duration::from_secs(10) };
        let answer = forward.forward(&format!("http://{address}"), &request()).await.expect("an answer");
        assert_eq!(answer, (409, Bytes::from_static(b"body")));
        let heard = server.await.expect("no panic").to_lowercase();
        assert!(heard.starts_with("post /subjects/a%2fb/versions?normalize=true http/1.1\r\n"), "{heard}");
        for header in ["x-forward: true", "content-type: application/json", "accept: application/json"] {
            assert!(heard.contains(&format!("\r\n{header}\r\n")), "{heard}");
        }
    }

    #[tokio::test]
    async fn what_cannot_be_passed_on_is_said() {
        let forward = HttpForward { limit: Duration::from_secs(10) };
        for (url, words) in [("https://h:1", "plain HTTP"), ("http://127.0.0.1:9", "refused")] {
            let error = forward.forward(url, &request()).await.expect_err("nobody there");
            assert!(error.code() == 50003 && error.message().contains(words), "{error}");
        }
    }
}
