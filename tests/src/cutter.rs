//! A proxy that cuts a connection at a chosen word: before the server has read it, or after, but before its answer is through.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// How long a server gets to do what it was told before its connection is cut.
const HEARD: Duration = Duration::from_millis(300);

/// When to cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The server never sees the word.
    Before,
    /// The server has seen it and may have acted, and its answer is lost.
    After,
}

type Armed = Arc<Mutex<Option<(Vec<u8>, Cut)>>>;

/// A proxy in front of one server. Its threads end with the connections, and the last with the program.
#[derive(Debug)]
pub struct Cutter {
    address: String,
    armed: Armed,
    cuts: Arc<AtomicU32>,
}

impl Cutter {
    /// A proxy in front of `upstream` (`host:port`) that cuts nothing yet.
    ///
    /// # Panics
    /// When it cannot listen.
    pub fn start(upstream: &str) -> Self {
        Self::start_at("127.0.0.1:0", upstream)
    }

    /// The same at an address of one's choice.
    ///
    /// # Panics
    /// When it cannot listen there.
    pub fn start_at(address: &str, upstream: &str) -> Self {
        let listener = TcpListener::bind(address).unwrap_or_else(|error| panic!("{address}: {error}"));
        let address = listener.local_addr().expect("an address").to_string();
        let (armed, cuts) = (Armed::default(), Arc::new(AtomicU32::new(0)));
        let (upstream, armed_too, cuts_too) = (upstream.to_owned(), Arc::clone(&armed), Arc::clone(&cuts));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(&upstream) else { continue };
                serve(&client, &server, &armed_too, &cuts_too);
            }
        });
        Self { address, armed, cuts }
    }

    /// Where it listens, `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its port.
    ///
    /// # Panics
    /// Never: it listens.
    pub fn port(&self) -> u16 {
        self.address.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).expect("a port")
    }

    /// Cuts the next connection over which a client sends this, and only that one.
    pub fn cut_at(&self, word: &[u8], cut: Cut) {
        *self.armed.lock().unwrap_or_else(PoisonError::into_inner) = Some((word.to_vec(), cut));
    }

    /// How many connections were cut.
    pub fn cuts(&self) -> u32 {
        self.cuts.load(Ordering::SeqCst)
    }
}

fn serve(client: &TcpStream, server: &TcpStream, armed: &Armed, cuts: &Arc<AtomicU32>) {
    let both = || Some((client.try_clone().ok()?, server.try_clone().ok()?));
    let (Some((mut from, mut to)), Some((mut back, mut answers))) = (both(), both()) else { return };
    let (armed, cuts) = (Arc::clone(armed), Arc::clone(cuts));
    // Small questions must not wait for larger ones.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    thread::spawn(move || {
        let _ = std::io::copy(&mut answers, &mut back);
        let _ = back.shutdown(Shutdown::Both);
    });
    thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        #[expect(clippy::disallowed_methods, reason = "a proxy passes on what has come")]
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            let sent = &buffer[..length];
            let mut armed = armed.lock().unwrap_or_else(PoisonError::into_inner);
            let hit = armed.take_if(|(word, _)| sent.windows(word.len()).any(|part| part == &word[..]));
            drop(armed);
            if let Some((_, cut)) = hit {
                cuts.fetch_add(1, Ordering::SeqCst);
                if cut == Cut::After {
                    // No more answers from now on; the server still hears.
                    let _ = from.shutdown(Shutdown::Both);
                    let _ = to.write_all(sent);
                    thread::sleep(HEARD);
                }
                break;
            }
            if to.write_all(sent).is_err() {
                break;
            }
        }
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    });
}
