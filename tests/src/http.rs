//! The few plain HTTP requests that the servers' own administration needs: one a connection, small bodies.
//!
//! Not an HTTP client: it speaks HTTP/1.0, so that no answer is chunked and the end of the answer is the end of the connection.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(20);

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status code.
    pub status: u16,
    /// Its header lines, as sent.
    pub headers: Vec<String>,
    /// Its body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Sends one request to `address` (`host:port`). `Host` and `Content-Length` are added to `headers`.
///
/// # Errors
/// When nothing that looks like HTTP is answered within 20 seconds.
pub fn request(
    address: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Answer, String> {
    let mut answer = Vec::new();
    let exchanged = TcpStream::connect(address).and_then(|mut stream| {
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_write_timeout(Some(LIMIT))?;
        let mut request =
            format!("{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Length: {}\r\n", body.len());
        headers.iter().for_each(|(name, value)| request.push_str(&format!("{name}: {value}\r\n")));
        request.push_str("\r\n");
        stream.write_all(request.as_bytes())?;
        stream.write_all(body)?;
        stream.read_to_end(&mut answer)
    });
    let fail = |what: String| format!("{method} http://{address}{path}: {what}");
    exchanged.map_err(|error| fail(error.to_string()))?;
    let end = answer
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .ok_or_else(|| fail("the answer has no end of headers".to_owned()))?;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| fail("the answer is not HTTP".to_owned()))?;
    Ok(Answer { status, headers: lines.map(str::to_owned).collect(), body: answer.split_off(end + 4) })
}
