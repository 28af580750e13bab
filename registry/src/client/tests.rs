//! The client against servers that are away, busy, slow, strange or ours.

use super::scripted::{Asked, Reply, Server, json};
use super::*;
use crate::secret::Secret;
use base64::Engine;
use futures::{StreamExt, TryStreamExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn settings(urls: &[&str]) -> ClientSettings {
    let mut settings = ClientSettings::new(urls.iter().copied());
    settings.limits.pause = Duration::from_millis(1);
    settings.limits.longest_pause = Duration::from_millis(20);
    settings.limits.connect = Duration::from_secs(2);
    settings
}

fn client(settings: ClientSettings) -> Client {
    Client::new(settings, Arc::new(|| 7)).expect("a client")
}

fn orders() -> Subject {
    Subject::parse("orders-value")
}

const NOT_FOUND: &str = r#"{"error_code":40401,"message":"Subject 'orders-value' not found."}"#;

#[tokio::test]
async fn the_instance_that_answers_is_kept() {
    let dead = "http://127.0.0.1:9";
    let busy =
        Server::replying(|_, _| json(503, r#"{"error_code":50004,"message":"Leader not known."}"#)).await;
    let good = Server::replying(|_, _| json(200, r#"{"mode":"READWRITE"}"#)).await;
    let client = client(settings(&[dead, &busy.url, &good.url]));
    for _ in 0..5 {
        assert_eq!(client.mode(&orders()).await.expect("an answer"), Some(Mode::Readwrite));
    }
    assert_eq!((busy.asked().len(), good.asked().len()), (1, 5));
}

#[tokio::test]
async fn several_instances_get_as_many_attempts_and_pauses_as_one() {
    let busy = || Server::replying(|_, _| json(503, "{}"));
    let servers = [busy().await, busy().await, busy().await];
    let mut settings = settings(&[&servers[0].url, &servers[1].url, &servers[2].url]);
    settings.limits.retries = 2;
    // A random number is taken for every pause.
    let pauses = Arc::new(AtomicUsize::new(0));
    let taken = Arc::clone(&pauses);
    let random = Arc::new(move || taken.fetch_add(1, Ordering::SeqCst) as u64);
    let client = Client::new(settings, random).expect("a client");
    let subject = orders();
    let asked = || servers.iter().map(|server| server.asked().len()).collect::<Vec<_>>();
    client.mode(&subject).await.expect_err("away");
    assert_eq!((asked(), pauses.load(Ordering::SeqCst)), (vec![3, 3, 3], 2));
    // Also where others move on to the next instance in between.
    let answers = futures::future::join_all((0..8).map(|_| client.mode(&subject))).await;
    assert!(answers.iter().all(Result::is_err));
    assert_eq!((asked().iter().sum::<usize>(), pauses.load(Ordering::SeqCst)), (9 * 9, 9 * 2));
}

#[tokio::test]
async fn busy_registries_are_asked_again_and_not_for_ever() {
    let server = Server::replying(|n, _| match n {
        0 => Reply::Full(429, "Retry-After: 5000\r\n", b"slow down".to_vec()),
        1 => Reply::Gone,
        2 => json(500, r#"{"error_code":50002,"message":"Register operation timed out"}"#),
        _ => json(200, r#"{"id":7}"#),
    })
    .await;
    let schema = Schema { subject: "orders-value".into(), schema: "\"int\"".into(), ..Schema::default() };
    let client = client(settings(&[&server.url]));
    assert_eq!(client.register(&schema, Placed::Next).await.expect("registered").id, 7);
    assert_eq!(server.asked().len(), 4);
    let stays = Server::replying(|_, _| json(503, "{}")).await;
    let error = self::client(settings(&[&stays.url])).mode(&orders()).await.expect_err("away");
    assert_eq!((error.kind(), error.status(), stays.asked().len()), (ErrorKind::Away, Some(503), 7));
}

#[tokio::test]
async fn what_is_refused_is_not_asked_again_and_says_why() {
    for (status, code, kind) in [
        (401, 40101, ErrorKind::Credentials),
        (403, 40301, ErrorKind::Credentials),
        (409, 409, ErrorKind::Refused),
        (422, 42205, ErrorKind::Refused),
    ] {
        let body = format!(r#"{{"error_code":{code},"message":"no, because"}}"#);
        let server = Server::replying(move |_, _| json(status, &body)).await;
        let schema = Schema { subject: "s".into(), schema: "\"int\"".into(), ..Schema::default() };
        let error =
            client(settings(&[&server.url])).register(&schema, Placed::Same).await.expect_err("refused");
        assert_eq!((error.kind(), error.code(), error.status()), (kind, Some(code), Some(status)));
        assert!(
            error.to_string().contains("no, because") && error.to_string().contains("/subjects/s/versions")
        );
        assert_eq!(server.asked().len(), 1);
    }
}

#[tokio::test]
async fn who_is_not_let_in_hears_which_property_lets_in() {
    let server = Server::replying(|_, _| json(401, "{}")).await;
    let error = client(settings(&[&server.url])).mode(&orders()).await.expect_err("refused");
    assert!(error.next_step().is_some_and(|next| next.contains("basic.auth.user.info")), "{error:?}");
    // Fatal alerts of TLS: certificate_required, unknown_ca.
    for alert in [116, 48] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("https://{}", listener.local_addr().expect("an address"));
        let asked = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut hello = [0; 1 << 14];
            assert!(stream.read(&mut hello).await.expect("a greeting") > 0);
            stream.write_all(&[21, 3, 3, 0, 2, 2, alert]).await.expect("sent");
        });
        let error = client(settings(&[&url])).mode(&orders()).await.expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Settings, "{error}");
        assert!(error.next_step().is_some_and(|next| next.contains("ssl.key.location")), "{error:?}");
        asked.await.expect("done");
    }
}

#[tokio::test]
async fn requests_look_like_those_of_confluents_clients_and_errors_have_no_credentials() {
    let server = Server::replying(|_, _| json(403, "{}")).await;
    let url = server.url.replace("http://", "http://alice:hunter2@");
    let mut settings = settings(&[&url]);
    settings.headers = vec![("X-API-Key".into(), Secret::new("hunter3"))];
    let error =
        client(settings).set_mode(&Subject::parse(":.c:a/b c"), Mode::Import).await.expect_err("refused");
    assert!(!format!("{error} {error:?}").contains("hunter"), "{error}");
    let asked = &server.asked()[0];
    let header = |name: &str| asked.headers.get(name).map(String::as_str);
    assert_eq!(header("authorization"), Some("Basic YWxpY2U6aHVudGVyMg=="));
    assert_eq!(header("confluent-accept-unknown-properties"), Some("true"));
    assert_eq!(header("content-type"), Some("application/vnd.schemaregistry.v1+json"));
    assert_eq!(header("x-api-key"), Some("hunter3"));
    assert!(header("user-agent").is_some_and(|agent| agent.starts_with("replevin/")));
    assert!(
        header("accept").is_some_and(|accept| accept.starts_with("application/vnd.schemaregistry.v1+json"))
    );
    assert_eq!((asked.method.as_str(), asked.path.as_str()), ("PUT", "/mode/%3A.c%3Aa%2Fb%20c"));
    assert_eq!(asked.query, "force=true");
}

#[tokio::test]
async fn who_answers_with_pages_is_no_registry() {
    let page = b"<html><body>Please log in</body></html>".to_vec();
    for (status, headers) in [(200, ""), (404, ""), (302, "Location: https://login.example.com/\r\n")] {
        let page = page.clone();
        let server = Server::replying(move |_, _| Reply::Full(status, headers, page.clone())).await;
        let client = client(settings(&[&server.url]));
        let error = client.config(&Subject::parse("")).await.expect_err("no registry");
        assert!(error.next_step().is_some_and(|next| next.contains("URL")), "{error:?}");
        let said = error.to_string();
        assert!(said.contains("Please log in") || said.contains("login.example.com"), "{said}");
        assert_eq!(server.asked().len(), 1, "no redirect is followed, nothing is repeated");
    }
}

#[tokio::test]
async fn only_a_registry_says_that_it_keeps_no_keys() {
    let bodies = [
        (r#"{"error_code":404,"message":"HTTP 404 Not Found"}"#, true),
        (r#"{"detail":"Not Found"}"#, true),
        ("\"Not Found\"", true),
        ("404: Not Found", true),
        ("", true),
        ("<html><body>404 Not Found</body></html>", false),
        ("no route", false),
        ("404", false),
    ];
    for (body, is_said) in bodies {
        let server = Server::replying(move |_, _| Reply::Full(404, "", body.as_bytes().to_vec())).await;
        match client(settings(&[&server.url])).has_keys().await {
            Ok(has) => assert!(is_said && !has, "{body}"),
            Err(error) => {
                assert!(!is_said, "{body}: {error}");
                assert!(error.to_string().contains("/dek-registry/v1/keks"), "{error}");
                assert!(error.next_step().is_some_and(|next| next.contains("URL")), "{error:?}");
            }
        }
    }
}

#[tokio::test]
async fn answers_are_bounded_in_size_and_time() {
    let server = Server::replying(|_, _| Reply::Full(200, "", vec![b' '; 2000])).await;
    let mut small = settings(&[&server.url]);
    small.limits.answer_bytes = 1000;
    let error = client(small).mode(&orders()).await.expect_err("too large");
    assert!(error.to_string().contains("larger than 1000 bytes"), "{error}");
    let silent = Server::start(|_, _| Box::pin(std::future::pending())).await;
    let mut hasty = settings(&[&silent.url]);
    (hasty.limits.request, hasty.limits.retries) = (Duration::from_millis(100), 2);
    let error = client(hasty).mode(&orders()).await.expect_err("silent");
    assert_eq!((error.kind(), silent.asked().len()), (ErrorKind::Away, 3));
    assert!(error.to_string().contains("no answer in time"), "{error}");
}

#[tokio::test]
async fn a_deletion_whose_answer_was_lost_is_done() {
    let server = Server::replying(|n, _| if n == 0 { Reply::Gone } else { json(404, NOT_FOUND) }).await;
    client(settings(&[&server.url])).delete_version(&orders(), 1, Deletion::Permanent).await.expect("done");
    let soft = r#"{"error_code":40406,"message":"Subject 'orders-value' Version 1 was soft deleted."}"#;
    let server = Server::replying(move |_, _| json(404, soft)).await;
    client(settings(&[&server.url])).delete_version(&orders(), 1, Deletion::Soft).await.expect("done before");
    let server = Server::replying(|_, _| json(404, NOT_FOUND)).await;
    let error = client(settings(&[&server.url])).delete_version(&orders(), 1, Deletion::Soft).await;
    assert!(error.expect_err("never was").is_absent());
}

#[tokio::test]
async fn tokens_are_asked_for_once_and_again_when_they_are_refused() {
    let issuer =
        Server::replying(|n, _| json(200, &format!(r#"{{"access_token":"t{n}","expires_in":3600}}"#))).await;
    let registry = Server::replying(|n, asked: &Asked| {
        let token = asked.headers.get("authorization").map(String::as_str);
        match (n, token) {
            (0..=4, Some("Bearer t0")) | (6.., Some("Bearer t1")) => json(200, r#"{"mode":"READWRITE"}"#),
            _ => json(401, "{}"),
        }
    })
    .await;
    let mut settings = settings(&[&registry.url]);
    let oauth = OAuth {
        token_url: format!("{}/token", issuer.url),
        client_id: "me".into(),
        client_secret: Secret::new("hunter2"),
        scope: Some("sr".into()),
    };
    settings.auth =
        Auth::OAuth(Bearer { logical_cluster: Some("lsrc-1".into()), ..Bearer::default() }, oauth);
    let client = client(settings);
    for _ in 0..8 {
        client.mode(&orders()).await.expect("an answer");
    }
    assert_eq!(issuer.asked().len(), 2);
    let asked = &issuer.asked()[0];
    assert_eq!(String::from_utf8_lossy(&asked.body), "grant_type=client_credentials&scope=sr");
    assert_eq!(registry.asked()[0].headers.get("target-sr-cluster").map(String::as_str), Some("lsrc-1"));
    let refusing = Server::replying(|_, _| json(401, "{}")).await;
    let mut wrong = self::settings(&[&registry.url]);
    let token_url = refusing.url.clone();
    let (client_id, client_secret) = ("me".into(), Secret::new("hunter2"));
    wrong.auth = Auth::OAuth(Bearer::default(), OAuth { token_url, client_id, client_secret, scope: None });
    let error = self::client(wrong).mode(&orders()).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Credentials);
    assert!(!error.to_string().contains("hunter2"));
}

#[tokio::test]
async fn an_issuer_is_told_who_asks_encoded_and_nothing_that_is_for_the_registry() {
    let issuer = Server::replying(|_, _| json(200, r#"{"access_token":"t"}"#)).await;
    let registry = Server::replying(|_, _| json(200, r#"{"mode":"READWRITE"}"#)).await;
    let mut settings = settings(&[&registry.url]);
    settings.headers = vec![("X-API-Key".into(), Secret::new("hunter3"))];
    let oauth = OAuth {
        token_url: issuer.url.clone(),
        client_id: "back:up".into(),
        client_secret: Secret::new("hunter2:+1%& ä-_.~"),
        scope: None,
    };
    let bearer = Bearer { logical_cluster: Some("lsrc-1".into()), identity_pool: Some("pool-1".into()) };
    settings.auth = Auth::OAuth(bearer, oauth);
    client(settings).mode(&orders()).await.expect("an answer");
    let asked = &issuer.asked()[0];
    let basic = asked.headers["authorization"].strip_prefix("Basic ").expect("basic");
    let basic = base64::engine::general_purpose::STANDARD.decode(basic).expect("base64");
    assert_eq!(String::from_utf8_lossy(&basic), "back%3Aup:hunter2%3A%2B1%25%26%20%C3%A4-_.~");
    let shown = |to: &Asked, name: &str| to.headers.contains_key(name);
    for name in ["x-api-key", "target-sr-cluster", "confluent-identity-pool-id"] {
        assert_eq!((shown(asked, name), shown(&registry.asked()[0], name)), (false, true), "{name}");
    }
}

#[tokio::test]
async fn the_life_of_a_token_is_a_number_or_a_text_and_never_too_long() {
    for (life, tokens) in
        [("3599", 1), ("\"3599\"", 1), ("1e19", 1), ("null", 1), ("\"soon\"", 1), ("\"0\"", 2)]
    {
        let answer = format!(r#"{{"access_token":"t","expires_in":{life}}}"#);
        let issuer = Server::replying(move |_, _| json(200, &answer)).await;
        let registry = Server::replying(|_, _| json(200, r#"{"mode":"READWRITE"}"#)).await;
        let mut settings = settings(&[&registry.url]);
        let (client_id, client_secret) = ("me".into(), Secret::new("hunter2"));
        let oauth = OAuth { token_url: issuer.url.clone(), client_id, client_secret, scope: None };
        settings.auth = Auth::OAuth(Bearer::default(), oauth);
        let client = client(settings);
        for _ in 0..2 {
            client.mode(&orders()).await.expect("an answer");
        }
        assert_eq!(issuer.asked().len(), tokens, "{life}");
    }
}

#[tokio::test]
async fn no_more_requests_are_under_way_than_may_be() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (count, seen) = (Arc::clone(&now), Arc::clone(&most));
    let server = Server::start(move |_, _| {
        let (count, seen) = (Arc::clone(&count), Arc::clone(&seen));
        Box::pin(async move {
            seen.fetch_max(count.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(5)).await;
            count.fetch_sub(1, Ordering::SeqCst);
            json(200, r#"{"mode":"READWRITE"}"#)
        })
    })
    .await;
    let mut settings = settings(&[&server.url]);
    settings.limits.in_flight = 5;
    let client = client(settings);
    let subject = orders();
    futures::future::try_join_all((0..30).map(|_| client.mode(&subject))).await.expect("answers");
    assert_eq!(most.load(Ordering::SeqCst), 5);
}

#[tokio::test]
async fn everything_of_our_own_registry_can_be_asked_for() {
    let server = Server::registry(|_, _| None).await;
    let mut settings = settings(&[&server.url]);
    settings.limits.page = 12;
    let client = client(settings);
    for n in 0..40 {
        let subject = if n % 2 == 0 { format!("s{n}") } else { format!(":.c:s{n}") };
        let schema = format!(r#"{{"type":"fixed","name":"F{n}","size":{}}}"#, n + 1);
        let schema = Schema { subject, schema, schema_type: "AVRO".into(), ..Schema::default() };
        client.register(&schema, Placed::Next).await.expect("registered");
    }
    let contexts = client.contexts().await.expect("contexts");
    assert_eq!(contexts.iter().map(|context| context.as_str()).collect::<Vec<_>>(), [".", ".c"]);
    let all: Vec<Subject> = client.subjects(&[]).try_collect().await.expect("subjects");
    assert_eq!(all.len(), 40);
    let some: Vec<Subject> = client.subjects(&contexts[1..]).try_collect().await.expect("subjects");
    assert_eq!(some.len(), 20);
    let first = Subject::parse("s0");
    client.delete_version(&first, 1, Deletion::Soft).await.expect("deleted");
    assert_eq!(client.versions(&first).await.expect("versions"), [(1, true)]);
    let found = client.version(&first, 1).await.expect("softly deleted, and there");
    let by_id = client.by_id(found.id, None).await.expect("by id");
    assert_eq!(by_id.schema, found.schema);
    let guid = found.guid.clone().expect("a GUID");
    assert_eq!(client.by_guid(&guid).await.expect("by GUID").schema, found.schema);
    assert_eq!(client.ids_of(&guid).await.expect("ids"), [IdInContext { context: ".".into(), id: found.id }]);
    let second = client.version(&Subject::parse("s2"), 1).await.expect("there");
    assert_eq!(client.look_up(&Subject::parse("s2"), &second).await.expect("found").id, second.id);
    let none = std::collections::HashSet::new();
    let streamed =
        client.schemas(&[], &none, |_, numbers| numbers.iter().map(|(number, _)| *number).collect());
    let streamed: Vec<_> = streamed.collect().await;
    assert_eq!(streamed.iter().filter(|found| found.is_ok()).count(), 40);
    let settings = serde_json::json!({"compatibilityLevel": "FULL", "normalize": true});
    let serde_json::Value::Object(settings) = settings else { panic!("an object") };
    client.set_config(&first, &settings).await.expect("set");
    assert_eq!(client.config(&first).await.expect("config").expect("its own")["compatibilityLevel"], "FULL");
    client.delete_config(&first).await.expect("removed");
    client.delete_config(&first).await.expect("stays removed");
    assert_eq!(client.config(&first).await.expect("config"), None);
}

#[tokio::test]
async fn subjects_of_a_context_are_found_where_only_its_own_path_lists_them() {
    let server =
        Server::replying(|_, asked| match (asked.path.as_str(), asked.query.contains("subjectPrefix")) {
            ("/contexts", _) => json(200, r#"[".",".pay"]"#),
            ("/subjects", false) => json(200, r#"["plain"]"#),
            ("/subjects", true) => json(200, "[]"),
            ("/contexts/.pay/subjects", _) => json(200, r#"["orders",":.pay:bills"]"#),
            _ => json(404, "{}"),
        })
        .await;
    let client = client(settings(&[&server.url]));
    let found: Vec<Subject> = client.subjects(&[]).try_collect().await.expect("subjects");
    assert_eq!(
        found.iter().map(Subject::to_string).collect::<Vec<_>>(),
        ["plain", ":.pay:orders", ":.pay:bills"]
    );
}

async fn register(client: &Client, subject: &str, text: &str) {
    let schema = Schema {
        subject: subject.into(),
        schema: text.into(),
        schema_type: "AVRO".into(),
        ..Schema::default()
    };
    client.register(&schema, Placed::Next).await.expect("registered");
}

#[tokio::test]
async fn everything_is_had_from_one_list_in_pages_as_large_as_they_may_be_and_from_many_where_there_is_none()
{
    let whole = |_: usize, _: &Asked| None;
    let small = |_: usize, asked: &Asked| {
        let limit = asked.query.split('&').find_map(|pair| pair.strip_prefix("limit=")?.parse::<u32>().ok());
        let is_large = asked.path == "/schemas" && limit.is_none_or(|limit| limit > 2);
        is_large.then(|| json(422, r#"{"error_code":42209,"message":"too much"}"#))
    };
    let unlisted = |_: usize, asked: &Asked| {
        (asked.path == "/schemas").then(|| json(404, r#"{"error_code":404,"message":"HTTP 404 Not Found"}"#))
    };
    let default_only = |_: usize, asked: &Asked| {
        let is_asked = asked.path == "/schemas" && !asked.query.contains("subjectPrefix");
        is_asked.then(|| json(200, "[]"))
    };
    let servers = [
        Server::registry(whole).await,
        Server::registry(small).await,
        Server::registry(unlisted).await,
        Server::registry(default_only).await,
    ];
    for (number, server) in servers.iter().enumerate() {
        let client = client(settings(&[&server.url]));
        let register = async |subject: &str, text: &str| register(&client, subject, text).await;
        for subject in ["a", "b", ":.eu:c"] {
            client
                .set_config(
                    &Subject::parse(subject),
                    &Settings::from_iter([("compatibility".to_owned(), "NONE".into())]),
                )
                .await
                .expect("set");
            for text in ["\"int\"", "\"long\"", "\"bytes\""] {
                register(subject, text).await;
            }
        }
        client.delete_version(&Subject::parse("a"), 2, Deletion::Soft).await.expect("deleted");
        let mut all: Vec<Schema> = client.all_schemas().try_collect().await.expect("all of them");
        all.sort_by_key(|schema| (schema.subject.clone(), schema.version));
        let live = client.live_versions().await.expect("those that live");
        let found: Vec<_> = all
            .iter()
            .map(|schema| {
                let is_live = live.contains(&(Subject::parse(&schema.subject), schema.version));
                assert!(schema.deleted.is_none_or(|deleted| deleted != is_live), "{number}: {schema:?}");
                (schema.subject.as_str(), schema.version, schema.schema.as_str(), is_live)
            })
            .collect();
        let versions = |subject, gone| {
            [(1, "\"int\""), (2, "\"long\""), (3, "\"bytes\"")]
                .map(|(version, text)| (subject, version, text, version != gone))
        };
        let wanted = [versions(":.eu:c", 0), versions("a", 2), versions("b", 0)].concat();
        let wanted: Vec<_> =
            wanted.into_iter().filter(|(subject, ..)| number != 3 || subject.starts_with(':')).collect();
        assert_eq!(found, wanted, "{number}");
    }
}

#[tokio::test]
async fn who_listens_knows_whether_the_same_would_be_heard_again() {
    // Whole lists; pages; and a registry without a list, whose versions are asked for one by one.
    for (number, page) in [(0, 1000), (1, 2), (2, 1000)] {
        let server = Server::registry(move |_, asked| match number {
            2 if asked.path == "/schemas" => Some(json(404, "{}")),
            _ => None,
        })
        .await;
        let mut settings = ClientSettings::new([server.url.as_str()]);
        settings.limits.page = page;
        let client = Client::new(settings, Arc::new(|| 0)).expect("a client");
        let register = async |subject: &str, text: &str| register(&client, subject, text).await;
        let listen = async || {
            let lists = client.listening();
            let all: Vec<Schema> = lists.all_schemas().try_collect().await.expect("all of them");
            assert!(all.len() > 3, "{number}");
            lists
        };
        for subject in ["a", "b", "c", "d"] {
            register(subject, "\"int\"").await;
        }
        let same = async |lists: &Client| lists.is_answered_the_same().await.expect("an answer");
        let lists = listen().await;
        assert!(same(&lists).await && same(&lists).await, "{number}");
        assert!(!same(&client).await, "it has not listened");
        for change in 0..4 {
            let lists = listen().await;
            let c = Subject::parse("c");
            match change {
                0 => register("b2", "\"int\"").await,
                1 => register(":.new:a", "\"int\"").await,
                2 => client.delete_version(&c, 1, Deletion::Soft).await.expect("deleted"),
                _ => client.delete_version(&c, 1, Deletion::Permanent).await.expect("deleted"),
            }
            assert!(!same(&lists).await, "{number}: {change}");
        }
    }
}
