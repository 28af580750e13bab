//! Clients that mean no good, over real sockets: each costs its own connection and nothing more.

use super::*;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Answers by the path.
#[derive(Default)]
struct Sample {
    connections: AtomicI64,
    in_flight: AtomicI64,
    served: Mutex<Vec<(String, u16)>>,
}

impl Handler for Sample {
    async fn answer(&self, request: &api::Request<'_>) -> Reply {
        let body = match request.path {
            "/panics" => panic!("on purpose"),
            "/sleeps" => {
                tokio::time::sleep(Duration::from_secs(30)).await;
                Bytes::new()
            }
            "/pauses" => {
                tokio::time::sleep(Duration::from_millis(300)).await;
                Bytes::from_static(b"done")
            }
            "/large" => Bytes::from(vec![b'x'; 64 << 20]),
            "/middling" => Bytes::from(vec![b'x'; 900 << 10]),
            _ => Bytes::from(format!("{} {}", request.method, request.body.len())),
        };
        let (status, allow) = match request.path {
            "/subjects/a" => (405, Some("POST".to_owned())),
            _ => (200, None),
        };
        Reply { status, content_type: api::JSON, body, endpoint: None, allow }
    }

    fn is_urgent(&self, path: &str) -> bool {
        path == "/health/live"
    }

    fn in_flight(&self, change: i64) {
        self.in_flight.fetch_add(change, Ordering::Relaxed);
    }

    fn served(&self, served: &Served<'_>) {
        self.served.lock().expect("no panic").push((served.path.to_owned(), served.status));
    }

    fn connections(&self, change: i64) {
        self.connections.fetch_add(change, Ordering::Relaxed);
    }
}

struct Server {
    address: std::net::SocketAddr,
    sample: Arc<Sample>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

const SHORT: Duration = Duration::from_millis(400);

fn limits() -> Limits {
    Limits {
        body: 2 << 20,
        bodies: 2 << 20,
        head: 16 << 10,
        connections: 100,
        read: SHORT,
        write: SHORT,
        idle: SHORT,
        shutdown: Duration::from_secs(5),
    }
}

async fn server(limits: Limits) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (sample, stop) = (Arc::new(Sample::default()), CancellationToken::new());
    let task = tokio::spawn(serve(listener, Arc::clone(&sample), limits, stop.clone()));
    Server { address, sample, stop, task }
}

impl Server {
    async fn client(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("connected")
    }

    async fn sent(&self, words: &str) -> TcpStream {
        let mut client = self.client().await;
        client.write_all(words.as_bytes()).await.expect("sent");
        client
    }

    /// Sends something and reads until the server closes.
    async fn says(&self, words: &str) -> String {
        rest(self.sent(words).await).await
    }

    /// Waits until no connection is left.
    async fn is_left_alone(&self) {
        for _ in 0..200 {
            if self.sample.connections.load(Ordering::Relaxed) == 0 {
                assert_eq!(self.sample.in_flight.load(Ordering::Relaxed), 0);
                return;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("{} connections are left", self.sample.connections.load(Ordering::Relaxed));
    }
}

/// Everything until the end of a connection, or until a reset.
async fn rest(mut client: TcpStream) -> String {
    let mut all = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(10), client.read_to_end(&mut all)).await;
    assert!(read.is_ok(), "the server has not closed: {}", String::from_utf8_lossy(&all));
    String::from_utf8_lossy(&all).into_owned()
}

/// Reads one answer of a connection that stays open.
async fn one(client: &mut TcpStream) -> String {
    let mut all = Vec::new();
    loop {
        let mut byte = [0];
        client.read_exact(&mut byte).await.expect("an answer");
        all.push(byte[0]);
        if all.ends_with(b"\r\n\r\n") {
            break;
        }
    }
    let head = String::from_utf8_lossy(&all).into_owned();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.and_then(|length| length.parse().ok()).unwrap_or(0)];
    client.read_exact(&mut body).await.expect("a body");
    head + &String::from_utf8_lossy(&body)
}

fn is_refusal(answer: &str, status: u16, code: u32) {
    let begins = answer.starts_with(&format!("HTTP/1.1 {status} "));
    let body = answer.split("\r\n\r\n").last().unwrap_or_default();
    let body: serde_json::Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("no JSON: {answer}"));
    assert!(begins && body["error_code"] == code, "{status}/{code}: {answer}");
    assert!(answer.contains("content-type: application/vnd.schemaregistry.v1+json"), "{answer}");
}

const GET: &str = "GET /x HTTP/1.1\r\nHost: h\r\n\r\n";

#[tokio::test]
async fn headers_that_do_not_end_are_answered_408() {
    let server = server(limits()).await;
    let began = Instant::now();
    let mut client = server.sent("GET /x HTTP/1.1\r\nHost: h\r\n").await;
    // A header every now and then does not help.
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(60)).await;
        client.write_all(b"X-More: 1\r\n").await.expect("sent");
    }
    is_refusal(&rest(client).await, 408, 408);
    assert!(began.elapsed() >= SHORT && began.elapsed() < SHORT * 8, "{:?}", began.elapsed());
    assert_eq!(server.says("").await, "", "who says nothing is told nothing");
    server.is_left_alone().await;
}

#[tokio::test]
async fn bodies_that_do_not_end_are_answered_408() {
    let server = server(limits()).await;
    let answer = server.says("POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n12345").await;
    is_refusal(&answer, 408, 408);
    assert!(answer.contains("connection: close"), "{answer}");
    let chunked = "POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n";
    is_refusal(&server.says(chunked).await, 408, 408);
    server.is_left_alone().await;
}

#[tokio::test]
async fn clients_that_do_not_read_are_cut_off() {
    let server = server(limits()).await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(server.sent("GET /middling HTTP/1.1\r\nHost: h\r\n\r\n").await);
    }
    // Larger than all room there is; and read by nobody.
    clients.push(server.sent("GET /large HTTP/1.1\r\nHost: h\r\n\r\n").await);
    let began = Instant::now();
    server.is_left_alone().await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    drop(clients);
    // And their room is free again.
    let answer = server.says("GET /large HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.len() > 64 << 20);
}

#[tokio::test]
async fn answers_that_find_no_room_are_answered_503() {
    let server = server(Limits { write: Duration::from_secs(5), ..limits() }).await;
    let slow = server.sent("GET /large HTTP/1.1\r\nHost: h\r\n\r\n").await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    is_refusal(
        &server.says("GET /middling HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await,
        503,
        50001,
    );
    let small = server.says("GET /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
    assert!(small.ends_with("GET 0"), "small answers need no room: {small}");
    drop(slow);
    server.is_left_alone().await;
}

#[tokio::test]
async fn large_bodies_are_refused_before_they_are_read() {
    let server = server(limits()).await;
    let announced =
        "POST /x HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 1073741824\r\n\r\n";
    let answer = server.says(announced).await;
    is_refusal(&answer, 413, 413);
    // Who does not ask first and sends it all is told too.
    let all = format!(
        "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{}",
        12 << 20,
        "x".repeat(12 << 20)
    );
    is_refusal(&server.says(&all).await, 413, 413);
    // One that comes in pieces is refused when it is too large, and the answer arrives although more was sent.
    let mut client = server.sent("POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    let piece = format!("40000\r\n{}\r\n", "x".repeat(0x40000));
    for _ in 0..10 {
        client.write_all(piece.as_bytes()).await.expect("sent");
    }
    is_refusal(&rest(client).await, 413, 413);
    let whole = format!(
        "POST /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{}",
        2 << 20,
        "x".repeat(2 << 20)
    );
    assert!(server.says(&whole).await.ends_with("POST 2097152"), "the largest that is allowed");
    server.is_left_alone().await;
}

#[tokio::test]
async fn large_bodies_share_their_room_and_small_ones_need_none() {
    let server = server(Limits { read: Duration::from_secs(4), ..limits() }).await;
    let begin = format!("POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", 2 << 20);
    let (mut first, mut second) = (server.sent(&begin).await, server.sent(&begin).await);
    first.write_all(&vec![b'x'; 1 << 20]).await.expect("sent");
    second.write_all(&vec![b'x'; (1 << 20) - (64 << 10)]).await.expect("sent");
    tokio::time::sleep(Duration::from_millis(200)).await;
    let third = begin.clone() + &"x".repeat(600 << 10);
    let answer = server.says(&third).await;
    is_refusal(&answer, 503, 50001);
    assert!(answer.contains("retry-after: 1"), "{answer}");
    let small = format!(
        "POST /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 16384\r\n\r\n{}",
        "x".repeat(16 << 10)
    );
    assert!(server.says(&small).await.ends_with("POST 16384"));
    drop((first, second));
    server.is_left_alone().await;
}

#[tokio::test]
async fn what_is_no_http_is_answered_in_json() {
    let server = server(limits()).await;
    for garbage in [
        "GARBAGE\r\n\r\n",
        "\0\0\0\0\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET /x HTTP/1.1\r\nno colon\r\n\r\n",
    ] {
        is_refusal(&server.says(garbage).await, 400, 400);
    }
    let long = format!("GET /x HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "a".repeat(100_000));
    is_refusal(&server.says(&long).await, 431, 431);
    let many: String = (0..500).map(|n| format!("X-{n}: 1\r\n")).collect();
    is_refusal(&server.says(&format!("GET /x HTTP/1.1\r\nHost: h\r\n{many}\r\n")).await, 431, 431);
    let both = "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";
    let answer = server.says(both).await;
    assert!(!answer.contains("GET 0"), "{answer}");
    server.is_left_alone().await;
}

#[tokio::test]
async fn a_panic_is_an_answer_and_harms_nobody_else() {
    let server = server(limits()).await;
    let mut client = server.sent("GET /panics HTTP/1.1\r\nHost: h\r\n\r\n").await;
    is_refusal(&one(&mut client).await, 500, 50001);
    client.write_all(GET.as_bytes()).await.expect("the connection goes on");
    assert!(one(&mut client).await.ends_with("GET 0"));
    is_refusal(
        &server.says("GET /sleeps HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await,
        500,
        50002,
    );
    assert!(server.sample.served.lock().expect("no panic").contains(&("/panics".to_owned(), 500)));
    drop(client);
    server.is_left_alone().await;
}

#[tokio::test]
async fn head_is_get_without_a_body_and_headers_are_told() {
    let server = server(limits()).await;
    let head = server.says("HEAD /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
    assert!(
        head.starts_with("HTTP/1.1 200") && head.contains("content-length: 5") && head.ends_with("\r\n\r\n"),
        "{head}"
    );
    let wrong = server
        .says("GET /subjects/a HTTP/1.1\r\nHost: h\r\nConnection: close\r\nX-Request-ID: mine\r\n\r\n")
        .await;
    assert!(wrong.starts_with("HTTP/1.1 405") && wrong.contains("allow: POST\r\n"), "{wrong}");
    assert!(wrong.contains("x-request-id: mine") && wrong.contains("vary: Accept"), "{wrong}");
    let options = server.says("OPTIONS /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
    assert!(options.ends_with("OPTIONS 0"), "whoever answers says what there is: {options}");
}

#[tokio::test]
async fn idle_connections_give_way_and_health_is_always_answered() {
    let server = server(Limits { connections: 3, idle: Duration::from_secs(60), ..limits() }).await;
    let mut idle = Vec::new();
    for _ in 0..3 {
        let mut client = server.sent(GET).await;
        one(&mut client).await;
        idle.push(client);
    }
    let health = server.says("GET /health/live HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert!(health.starts_with("HTTP/1.1 200") && health.contains("connection: close"), "{health}");
    is_refusal(&server.says(GET).await, 503, 50001);
    // Those that are idle for a second give their places to others.
    tokio::time::sleep(SHORTLY + Duration::from_millis(200)).await;
    let _ = server.says(GET).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut client = server.sent(GET).await;
    assert!(one(&mut client).await.ends_with("GET 0"));
    for client in idle {
        assert_eq!(rest(client).await, "");
    }
}

#[tokio::test]
async fn thousands_that_say_nothing_harm_nobody() {
    let server = server(Limits { connections: 50, read: Duration::from_secs(20), ..limits() }).await;
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(server.client().await);
    }
    // The further places are taken too; what comes is refused at once and not left waiting.
    let began = Instant::now();
    let refused = server.says("").await;
    is_refusal(&refused, 503, 50001);
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    drop(silent);
    server.is_left_alone().await;
    assert!(server.says("GET /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await.ends_with("GET 0"));
}

#[tokio::test]
async fn requests_in_a_row_are_answered_in_their_order() {
    let server = server(limits()).await;
    let mut client =
        server.sent(&format!("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab{GET}{GET}")).await;
    for body in ["POST 2", "GET 0", "GET 0"] {
        let answer = one(&mut client).await;
        assert!(answer.ends_with(body), "{answer}");
    }
    // Silence ends it, without a word.
    assert_eq!(rest(client).await, "");
}

#[tokio::test]
async fn what_was_begun_is_finished_when_the_server_stops() {
    let server = server(limits()).await;
    let busy = server.sent("GET /pauses HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let mut idle = server.sent(GET).await;
    one(&mut idle).await;
    server.stop.cancel();
    assert!(rest(busy).await.ends_with("done"));
    assert_eq!(rest(idle).await, "");
    tokio::time::timeout(Duration::from_secs(2), server.task).await.expect("in time").expect("no panic");
    assert!(TcpStream::connect(server.address).await.is_err());
}
