//! A registry behind a URL. One connection a request, HTTP/1.0, so that no answer is chunked.

use super::runner::{Target, Told};
use registry::api::Request;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A registry by its address, `host:port`.
pub(crate) struct Http {
    pub(crate) address: String,
    /// The context in which the scenario happens, with its dot; none is the default one.
    pub(crate) context: Option<String>,
}

impl Http {
    /// `/subjects` -> `/contexts/.x/subjects`, for the paths that there are in every context.
    fn path(&self, path: &str) -> String {
        let first = path.split('/').find(|word| !word.is_empty()).unwrap_or("");
        let is_contextual =
            ["schemas", "subjects", "compatibility", "config", "mode", "statistics", "import"]
                .contains(&first);
        match &self.context {
            Some(context) if is_contextual => format!("/contexts/{context}{path}"),
            _ => path.to_owned(),
        }
    }
}

impl Target for Http {
    async fn ask(&self, request: Request<'_>) -> Result<Told, String> {
        let query = if request.query.is_empty() { String::new() } else { format!("?{}", request.query) };
        let mut head = format!("{} {}{query} HTTP/1.0\r\n", request.method, self.path(request.path));
        head += &format!("Host: {}\r\nContent-Length: {}\r\n", self.address, request.body.len());
        for (name, value) in [("Accept", request.accept), ("Content-Type", request.content_type)] {
            if let Some(value) = value {
                head += &format!("{name}: {value}\r\n");
            }
        }
        let mut answer = Vec::new();
        let exchanged = TcpStream::connect(&self.address).and_then(|mut stream| {
            stream.set_read_timeout(Some(Duration::from_secs(60)))?;
            stream.write_all(format!("{head}\r\n").as_bytes())?;
            stream.write_all(&request.body)?;
            stream.read_to_end(&mut answer)
        });
        exchanged.map_err(|error| error.to_string())?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n").ok_or("the answer has no end of headers")?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        // Inside a context the scenario knows its subjects by their own names.
        let text = match &self.context {
            Some(context) => body.replace(&format!(":{context}:"), ""),
            None => body.to_owned(),
        };
        Ok(Told { status: status.ok_or("the answer has no status")?, text })
    }
}
