//! What may stand before a registry and answer in its place: proxies and balancers on a bad day.

use crate::http;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What it does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// It gives it to the registry.
    Well,
    /// It closes the connection without a word.
    Down,
    /// Two requests of three get a 503 and come through when asked again.
    Flapping,
    /// Two requests of three get a 429 with `Retry-After: 1`.
    TooMany,
    /// It answers after so many milliseconds.
    Slow(u64),
    /// It asks whoever comes to log in, with status 200 and in HTML.
    LoginPage,
    /// It has a page for what it does not find, in HTML, and finds nothing.
    NotFoundPage,
    /// It speaks JSON, but of something else.
    OtherJson,
}

/// A front; it lives as long as the test.
#[derive(Debug)]
pub struct Front {
    address: String,
    mood: Arc<Mutex<Mood>>,
    asked: Arc<AtomicU64>,
}

impl Front {
    /// Before a registry with this URL.
    ///
    /// # Panics
    /// When there is no port for it.
    pub fn of(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let behind = url.trim_start_matches("http://").to_owned();
        let front = Self { address, mood: Arc::new(Mutex::new(Mood::Well)), asked: Arc::default() };
        let (mood, asked) = (Arc::clone(&front.mood), Arc::clone(&front.asked));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (behind, mood, asked) = (behind.clone(), Arc::clone(&mood), Arc::clone(&asked));
                std::thread::spawn(move || {
                    let number = asked.fetch_add(1, Ordering::Relaxed);
                    let mood = *mood.lock().unwrap_or_else(PoisonError::into_inner);
                    // Whoever has gone away needs no answer.
                    let _ = answer(stream, &behind, mood, number);
                });
            }
        });
        front
    }

    /// What it does from now on.
    pub fn set(&self, mood: Mood) {
        *self.mood.lock().unwrap_or_else(PoisonError::into_inner) = mood;
    }

    /// How many requests have come.
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// Answers the one request of a connection.
fn answer(mut stream: TcpStream, behind: &str, mood: Mood, number: u64) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let (mut request, mut head) = (BufReader::new(stream.try_clone()?), String::new());
    while !head.ends_with("\r\n\r\n") {
        if request.read_line(&mut head)? == 0 {
            return Ok(());
        }
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let mut body = vec![0; length.unwrap_or(0)];
    request.read_exact(&mut body)?;
    let is_off = number % 3 != 2;
    let page = |status: &str, kind: &str, more: &str, body: &str| {
        format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n{more}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
    };
    let html = "<!DOCTYPE html><html><body>Who are you?</body></html>";
    let canned = match mood {
        Mood::Down => return Ok(()),
        Mood::Flapping if is_off => page("503 Service Unavailable", "text/html", "", html),
        Mood::TooMany if is_off => {
            page("429 Too Many Requests", "text/plain", "Retry-After: 1\r\n", "slow down")
        }
        Mood::LoginPage => page("200 OK", "text/html", "", html),
        Mood::NotFoundPage => page("404 Not Found", "text/html", "", html),
        Mood::OtherJson => page("200 OK", "application/json", "", "{\"status\": \"UP\"}"),
        Mood::Slow(ms) => {
            std::thread::sleep(Duration::from_millis(ms));
            passed(&head, &body, behind)
        }
        Mood::Well | Mood::Flapping | Mood::TooMany => passed(&head, &body, behind),
    };
    stream.write_all(canned.as_bytes())
}

/// What the registry answers.
fn passed(head: &str, body: &[u8], behind: &str) -> String {
    let mut words = head.lines().next().unwrap_or_default().split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let own = |line: &&str| {
        let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
        !["host", "content-length", "connection", "accept-encoding", ""].contains(&name.as_str())
    };
    let headers: Vec<(&str, &str)> =
        head.lines().skip(1).filter(own).filter_map(|line| line.split_once(": ")).collect();
    match http::request(behind, method, path, &headers, body) {
        Ok(answer) => {
            let text = answer.text();
            let kind =
                answer.headers.iter().find(|line| line.to_ascii_lowercase().starts_with("content-type"));
            let kind = kind.map_or("Content-Type: application/json", String::as_str);
            format!(
                "HTTP/1.1 {} OK\r\n{kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
                answer.status,
                text.len()
            )
        }
        Err(error) => format!("HTTP/1.1 502 Bad Gateway\r\nContent-Length: {}\r\n\r\n{error}", error.len()),
    }
}
