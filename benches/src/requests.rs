//! Counts the HTTP requests that a program makes: a forwarder in front of a server that looks for request lines.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crate::Result;

/// What stands in the first line of every request and in nothing else that is sent here.
const MARK: &[u8] = b" HTTP/1.1\r\n";

/// A forwarder on loopback; its threads end with the program.
pub(crate) struct Counter {
    /// `http://host:port`.
    pub(crate) endpoint: String,
    seen: Arc<AtomicU64>,
}

impl Counter {
    /// Forwards to a server.
    ///
    /// # Errors
    /// No port.
    pub(crate) fn start(server: &str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let (endpoint, seen) = (format!("http://{}", listener.local_addr()?), Arc::<AtomicU64>::default());
        let (server, counter) = (server.to_owned(), Arc::clone(&seen));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if let Ok(server) = TcpStream::connect(&server) {
                    join(client, server, &counter);
                }
            }
        });
        Ok(Self { endpoint, seen })
    }

    /// Requests since the last call.
    pub(crate) fn take(&self) -> u64 {
        self.seen.swap(0, Ordering::Relaxed)
    }
}

fn join(client: TcpStream, server: TcpStream, seen: &Arc<AtomicU64>) {
    let (Ok(from_client), Ok(to_server)) = (client.try_clone(), server.try_clone()) else { return };
    let seen = Arc::clone(seen);
    thread::spawn(move || {
        forward(from_client, to_server, |bytes| {
            let found = bytes.windows(MARK.len()).filter(|window| *window == MARK).count();
            seen.fetch_add(found as u64, Ordering::Relaxed);
        })
    });
    thread::spawn(move || forward(server, client, |_| ()));
}

/// Moves bytes until one side ends. A request line lies in one piece: clients write a request's head at once.
#[allow(clippy::disallowed_methods, reason = "whatever has come is passed on")]
fn forward(mut from: TcpStream, mut to: TcpStream, look: impl Fn(&[u8])) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        look(&buffer[..count]);
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
