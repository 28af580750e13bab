//! An HTTP proxy that does what networks and servers do on bad days. One request a connection.
//!
//! What is behind it is a real server or the small cloud in memory.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::cloud::Cloud;
use sandbox::scratch::Port;

/// What to do with a request.
#[derive(Debug, Clone)]
pub(super) enum Action {
    /// Pass it on, and the answer back.
    Pass,
    /// Pass it on, and close the connection where the answer should go.
    LoseAnswer,
    /// Pass it on, and give this answer in place of the server's.
    AnswerInstead(u16, &'static str),
    /// Close the connection at once.
    Hangup,
    /// Pass nothing on and say nothing.
    Silence,
    /// Answer in the server's place.
    Answer(u16, &'static str),
    /// Pass on the answer's head and so many bytes of its body, then close.
    CutBody(usize),
    /// Pass on the answer's head and so many bytes of its body, then say no more.
    StallBody(usize),
}

/// An action for the next `times` requests of a method whose target contains a text.
#[derive(Debug)]
pub(super) struct Rule {
    method: &'static str,
    texts: Vec<String>,
    times: usize,
    action: Action,
}

impl Rule {
    pub(super) fn new(method: &'static str, text: impl Into<String>, times: usize, action: Action) -> Self {
        Self { method, texts: vec![text.into()], times, action }
    }

    /// The target must contain this as well.
    pub(super) fn and(mut self, text: &str) -> Self {
        self.texts.push(text.to_owned());
        self
    }
}

/// What is behind the proxy.
#[derive(Debug)]
pub(super) enum Upstream {
    /// A server, by host and port.
    Server(String),
    Memory(Cloud),
}

/// What to do with a request of this method, if anything.
type Chance = Arc<dyn Fn(&str) -> Option<Action> + Send + Sync>;

struct State {
    upstream: Upstream,
    rules: Mutex<Vec<Rule>>,
    chance: Mutex<Option<Chance>>,
    /// Method and target of every request.
    seen: Mutex<Vec<(String, String)>>,
}

/// Listens while it lives.
pub(super) struct Proxy {
    port: Port,
    state: Arc<State>,
    task: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Request {
    method: String,
    target: String,
    /// Up to and without the empty line.
    head: Vec<u8>,
    body: Vec<u8>,
}

impl Proxy {
    pub(super) async fn start(upstream: Upstream) -> Self {
        let port = Port::reserve();
        let listener = TcpListener::bind(port.address()).await.unwrap();
        let state = Arc::new(State {
            upstream,
            rules: Mutex::default(),
            chance: Mutex::default(),
            seen: Mutex::default(),
        });
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let state = Arc::clone(&shared);
                tokio::spawn(async move { state.serve(client).await });
            }
        });
        Self { port, state, task }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.port.address())
    }

    /// Adds a rule. The first that fits is used.
    pub(super) fn rule(&self, rule: Rule) {
        self.state.rules.lock().unwrap().push(rule);
    }

    /// From now on, does something to a request by chance where no rule fits.
    pub(super) fn chance(&self, chance: impl Fn(&str) -> Option<Action> + Send + Sync + 'static) {
        *self.state.chance.lock().unwrap() = Some(Arc::new(chance));
    }

    /// Leaves nothing to chance any more.
    pub(super) fn calm(&self) {
        *self.state.chance.lock().unwrap() = None;
    }

    pub(super) fn clear(&self) {
        self.state.rules.lock().unwrap().clear();
    }

    /// How many requests of a method had a text in their target.
    pub(super) fn seen(&self, method: &str, text: &str) -> usize {
        self.state
            .seen
            .lock()
            .unwrap()
            .iter()
            .filter(|(m, target)| m == method && target.contains(text))
            .count()
    }

    /// How many objects the cloud in memory holds.
    pub(super) fn objects(&self) -> usize {
        match &self.state.upstream {
            Upstream::Server(_) => 0,
            Upstream::Memory(cloud) => cloud.objects(),
        }
    }
}

impl State {
    async fn serve(&self, mut client: TcpStream) {
        let Some(request) = read_request(&mut client).await else { return };
        self.seen.lock().unwrap().push((request.method.clone(), request.target.clone()));
        let answer = match self.action(&request) {
            Some(Action::Hangup) => return,
            Some(Action::Silence) => return hold(client).await,
            Some(Action::Answer(status, body)) => answer(status, body),
            Some(Action::AnswerInstead(status, body)) => {
                self.forward(&request).await;
                answer(status, body)
            }
            Some(Action::LoseAnswer) => {
                self.forward(&request).await;
                return;
            }
            Some(Action::CutBody(keep)) => cut(self.forward(&request).await, keep),
            Some(Action::StallBody(keep)) => {
                let part = cut(self.forward(&request).await, keep);
                if client.write_all(&part).await.is_ok() {
                    hold(client).await;
                }
                return;
            }
            Some(Action::Pass) | None => self.forward(&request).await,
        };
        // The client may be gone: a time-out of its own, or a test that ended.
        let _ = client.write_all(&answer).await;
        let _ = client.shutdown().await;
    }

    fn action(&self, request: &Request) -> Option<Action> {
        let mut rules = self.rules.lock().unwrap();
        let fits = |rule: &&mut Rule| {
            rule.times > 0
                && rule.method == request.method
                && rule.texts.iter().all(|text| request.target.contains(text))
        };
        if let Some(rule) = rules.iter_mut().find(fits) {
            rule.times -= 1;
            return Some(rule.action.clone());
        }
        let chance = self.chance.lock().unwrap().clone()?;
        chance(&request.method)
    }

    async fn forward(&self, request: &Request) -> Vec<u8> {
        let upstream = match &self.upstream {
            Upstream::Server(address) => address,
            Upstream::Memory(cloud) => {
                let head = String::from_utf8_lossy(&request.head);
                return cloud.answer(&request.method, &request.target, &head, &request.body);
            }
        };
        let mut server = TcpStream::connect(upstream).await.unwrap();
        server.write_all(&request.head).await.unwrap();
        server.write_all(b"\r\nconnection: close\r\n\r\n").await.unwrap();
        server.write_all(&request.body).await.unwrap();
        let mut answer = Vec::new();
        server.read_to_end(&mut answer).await.unwrap();
        answer
    }
}

fn answer(status: u16, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}").into()
}

async fn hold(client: TcpStream) {
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    drop(client);
}

fn find_end_of_head(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|window| window == b"\r\n\r\n")
}

fn cut(answer: Vec<u8>, keep: usize) -> Vec<u8> {
    let body = find_end_of_head(&answer).unwrap() + 4;
    answer[..answer.len().min(body + keep)].to_vec()
}

async fn read_request(client: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = find_end_of_head(&bytes) {
            break end;
        }
        if client.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = bytes[..end].to_vec();
    let text = String::from_utf8_lossy(&head).into_owned();
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let mut body = bytes[end + 4..].to_vec();
    while body.len() < length.unwrap_or(0) {
        if client.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    let mut words = text.split_whitespace();
    Some(Request { method: words.next()?.to_owned(), target: words.next()?.to_owned(), head, body })
}
