//! What a broker can do wrong, and how each is told: with the broker, the request and the reason, within its time limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use formats::ids::{Topic, TopicId, TopicPartition};
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult,
};
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Request, StrBytes};
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use super::scripted::{Peer, Received, Scripted, frame, offer};
use crate::budget::Budget;
use crate::kafka::connection::{self, Connection};
use crate::kafka::{
    AppendError, At, Client, FetchSettings, Fetcher, HostPort, Isolation, LogRecord, NewTopic, Placement,
    Plaintext, Position, Tcp, TopicLog, TopicLogSettings, Topics,
};
use crate::seam::Seam;
use crate::{Error, ErrorKind, Result};

/// Longer than any limit in these tests.
const PATIENCE: Duration = Duration::from_secs(20);

async fn connect(broker: &Scripted) -> Result<Connection> {
    let config = broker.config();
    let peer = connection::Peer { broker: Some(1), address: broker.address.clone() };
    timeout(PATIENCE, Connection::open(peer, &config, &Tcp::new(config.tcp.clone()), &Plaintext))
        .await
        .expect("bounded")
}

/// Connects, asks for metadata, and expects that to fail, not earlier and not much later than said.
async fn failure(broker: &Scripted) -> Error {
    let connection = connect(broker).await.expect("the handshake works");
    let answer = timeout(PATIENCE, connection.call(&MetadataRequest::default())).await.expect("bounded");
    let error = answer.expect_err("the broker misbehaves");
    let place = format!("broker 1 ({}): Metadata v13, correlation 1 failed: ", broker.address);
    assert!(error.message().starts_with(&place), "{error}");
    assert!(!connection.is_alive());
    let later = connection.call(&MetadataRequest::default()).await.expect_err("failed once, failed for good");
    assert_eq!(later.kind(), error.kind());
    error
}

/// A broker that handshakes, reads one request and then does something with the socket.
async fn after_a_request<F>(act: impl Fn(Peer, Received) -> F + Clone + Send + Sync + 'static) -> Scripted
where
    F: Future<Output = ()> + Send,
{
    Scripted::start(move |mut peer, _| {
        let act = act.clone();
        async move {
            if peer.handshake().await.is_some()
                && let Some(request) = peer.request().await
            {
                act(peer, request).await;
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_broker_that_never_answers_is_given_up_after_the_request_timeout() {
    let broker = after_a_request(|peer, _| async move {
        sleep(PATIENCE).await;
        drop(peer);
    })
    .await;
    let started = Instant::now();
    let error = failure(&broker).await;
    assert!(
        error.is_retriable()
            && error.message().ends_with("no answer to Metadata v13, correlation 1 within 200ms"),
        "{error}"
    );
    assert!((200..2_000).contains(&started.elapsed().as_millis()));
}

#[tokio::test]
async fn a_broker_that_accepts_and_says_nothing_is_given_up_after_the_connect_timeout() {
    let broker = Scripted::start(|peer, _| async move {
        sleep(PATIENCE).await;
        drop(peer);
    })
    .await;
    let error = connect(&broker).await.expect_err("no handshake");
    assert!(error.is_retriable(), "{error}");
    assert!(error.message().starts_with(&format!("broker 1 ({})", broker.address)), "{error}");
}

#[tokio::test]
async fn half_a_frame_and_then_silence_is_given_up_after_the_body_timeout() {
    let broker = after_a_request(|mut peer, _| async move {
        peer.stream.write_all(&[0, 0, 1, 0, 0, 0, 0, 1, 9]).await.expect("written");
        sleep(PATIENCE).await;
    })
    .await;
    let error = failure(&broker).await;
    assert!(error.is_retriable());
    assert!(error.message().ends_with("no progress for 200ms after 5 of 256 bytes of an answer"), "{error}");
}

#[tokio::test]
async fn bytes_that_drip_do_not_count_as_progress() {
    let broker = after_a_request(|mut peer, _| async move {
        peer.stream.write_all(&[0, 8, 0, 0]).await.expect("written");
        while peer.stream.write_all(&[0]).await.is_ok() {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert!(failure(&broker).await.message().contains("no progress"));
}

#[tokio::test]
async fn impossible_lengths_are_refused_with_a_guess_at_the_cause() {
    for (bytes, hint) in [
        ([0x7f, 0xff, 0xff, 0xff], "Kafka listener"),
        ([0, 0x10, 0, 1], "max_frame_bytes"),
        ([0xff, 0xff, 0xff, 0xff], "Kafka listener"),
        ([0, 0, 0, 0], "Kafka listener"),
        ([0, 0, 0, 3], "Kafka listener"),
        (*b"HTTP", "HTTP"),
        ([0x15, 3, 3, 0], "TLS"),
    ] {
        let broker = after_a_request(move |mut peer, _| async move {
            peer.stream.write_all(&bytes).await.expect("written");
            sleep(PATIENCE).await;
        })
        .await;
        let error = failure(&broker).await;
        assert_eq!(error.kind(), ErrorKind::Permanent);
        assert!(error.message().contains(&i32::from_be_bytes(bytes).to_string()), "{error}");
        assert!(
            error.next_step().is_some_and(|step| step.contains(hint)),
            "{bytes:?}: {:?}",
            error.next_step()
        );
    }
}

#[tokio::test]
async fn a_wrong_correlation_id_fails_the_connection() {
    let broker = after_a_request(|mut peer, request| async move {
        let answer = frame(request.correlation + 5, request.version, &MetadataResponse::default());
        peer.stream.write_all(&answer).await.expect("written");
        sleep(PATIENCE).await;
    })
    .await;
    let error = failure(&broker).await;
    assert!(error.message().contains("an answer with correlation 6 came instead"), "{error}");
}

#[tokio::test]
async fn a_reset_or_an_end_in_the_middle_of_a_frame_is_a_lost_connection() {
    for reset in [true, false] {
        let broker = after_a_request(move |mut peer, _| async move {
            peer.stream.write_all(&[0, 0, 1, 0, 0, 0, 0, 1, 9]).await.expect("written");
            // Lets the client read the start before it is cut off.
            sleep(Duration::from_millis(50)).await;
            if reset {
                socket2::SockRef::from(&peer.stream).set_linger(Some(Duration::ZERO)).expect("set");
            }
        })
        .await;
        let error = failure(&broker).await;
        assert!(error.is_retriable());
        let why = if reset { "read failed" } else { "closed the connection" };
        assert!(
            error.message().contains(why) && error.message().ends_with("after 5 of 256 bytes of an answer"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn an_answer_that_cannot_be_decoded_is_refused_without_taking_its_counts_at_their_word() {
    // Correlation 1, no tags, throttle 0, and then an array of 2^32 - 2 brokers.
    const HUGE: &[u8] = &[0, 0, 0, 14, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f];
    for bytes in [HUGE, &[0, 0, 0, 5, 0, 0, 0, 1, 0], &[0, 0, 0, 4, 0, 0, 0, 1]] {
        let broker = after_a_request(move |mut peer, _| async move {
            peer.stream.write_all(bytes).await.expect("written");
            sleep(PATIENCE).await;
        })
        .await;
        let connection = connect(&broker).await.expect("the handshake works");
        let error = connection.call(&MetadataRequest::default()).await.expect_err("nonsense");
        assert_eq!(error.kind(), ErrorKind::Permanent);
        assert!(
            error.message().ends_with("the answer to Metadata v13, correlation 1 cannot be read"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn bytes_that_nobody_asked_for_and_an_idle_close_end_the_connection() {
    for extra in [&b"\0\0\0\x04\0\0\0\0"[..], b""] {
        let broker = Scripted::start(move |mut peer, _| async move {
            peer.handshake().await;
            peer.stream.write_all(extra).await.expect("written");
            sleep(Duration::from_millis(100)).await;
        })
        .await;
        let connection = connect(&broker).await.expect("the handshake works");
        timeout(PATIENCE, async {
            while connection.is_alive() {
                sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .expect("noticed without a request");
    }
}

#[tokio::test]
async fn a_lost_connection_fails_every_outstanding_request_with_its_own_name() {
    let broker = after_a_request(|mut peer, _| async move {
        peer.request().await;
        peer.request().await;
    })
    .await;
    let connection = connect(&broker).await.expect("the handshake works");
    let mut answers = Vec::new();
    for _ in 0..3 {
        answers.push(connection.send(&MetadataRequest::default(), 12, PATIENCE).await.expect("sent"));
    }
    for (number, answer) in (1..).zip(answers) {
        let error = answer.response().await.expect_err("lost");
        assert!(error.is_retriable());
        assert!(error.message().contains(&format!("Metadata v12, correlation {number} failed: ")), "{error}");
    }
}

#[tokio::test]
async fn answers_reach_their_requests_in_order_though_some_were_given_up() {
    let broker = Scripted::start(|mut peer, _| async move {
        peer.handshake().await;
        while let Some(request) = peer.request().await {
            let response = MetadataResponse::default().with_throttle_time_ms(request.correlation);
            peer.answer(&request, &response).await;
        }
    })
    .await;
    let connection = connect(&broker).await.expect("the handshake works");
    let mut answers = Vec::new();
    for _ in 0..10 {
        answers.push(connection.send(&MetadataRequest::default(), 12, PATIENCE).await.expect("sent"));
    }
    for (number, answer) in (1..).zip(answers) {
        if number % 3 == 0 {
            drop(answer);
        } else {
            assert_eq!(answer.response().await.expect("answered").throttle_time_ms, number);
        }
    }
}

#[tokio::test]
async fn a_broker_that_refuses_the_version_of_the_question_for_versions_is_asked_with_v0() {
    let broker = Scripted::start(|mut peer, _| async move {
        let Some(first) = peer.request().await else { return };
        assert_eq!(first.version, 3);
        let refusal = ApiVersionsResponse::default().with_error_code(35);
        peer.stream.write_all(&frame(first.correlation, 0, &refusal)).await.expect("written");
        let Some(second) = peer.request().await else { return };
        assert_eq!(second.version, 0);
        peer.answer(&second, &offer(15)).await;
        sleep(PATIENCE).await;
    })
    .await;
    let connection = connect(&broker).await.expect("the second question is answered");
    assert_eq!(connection.version::<FetchRequest>().expect("in common"), 15);
}

#[tokio::test]
async fn an_older_broker_gets_older_requests_and_a_too_old_one_a_refusal() {
    for (max, expected) in [(13, Ok(13)), (12, Ok(12)), (11, Err("Fetch v4 to v11"))] {
        let broker = Scripted::start(move |mut peer, _| async move {
            let Some(request) = peer.request().await else { return };
            peer.answer(&request, &offer(max)).await;
            sleep(PATIENCE).await;
        })
        .await;
        let connection = connect(&broker).await.expect("the handshake works");
        match (connection.version::<FetchRequest>(), expected) {
            (Ok(version), Ok(expected)) => assert_eq!(version, expected),
            (Err(error), Err(ranges)) => {
                assert_eq!(error.kind(), ErrorKind::Permanent);
                assert!(
                    error.message().contains(ranges) && error.message().contains("broker 1 ("),
                    "{error}"
                );
            }
            (version, _) => panic!("{version:?} with fetch up to v{max}"),
        }
    }
}

/// The cluster of the tests below: one broker, which leads `t-0`.
fn metadata(port: u16) -> MetadataResponse {
    let broker = MetadataResponseBroker::default()
        .with_node_id(BrokerId(1))
        .with_host(StrBytes::from_static_str("127.0.0.1"))
        .with_port(port.into());
    let partition = MetadataResponsePartition::default().with_leader_id(BrokerId(1)).with_leader_epoch(4);
    let topic = MetadataResponseTopic::default()
        .with_name(Some(TopicName(StrBytes::from_static_str("t"))))
        .with_topic_id(Uuid::from_u128(7))
        .with_partitions(vec![partition]);
    MetadataResponse::default()
        .with_brokers(vec![broker])
        .with_controller_id(BrokerId(1))
        .with_topics(vec![topic])
}

/// A broker that answers metadata by itself and leaves the rest to the test.
async fn cluster<F>(answer: impl Fn(Peer, Received, usize) -> F + Clone + Send + Sync + 'static) -> Scripted
where
    F: Future<Output = Option<Peer>> + Send,
{
    let asked = Arc::new(AtomicUsize::new(0));
    Scripted::start(move |mut peer, _| {
        let (answer, asked) = (answer.clone(), Arc::clone(&asked));
        async move {
            if peer.handshake().await.is_none() {
                return;
            }
            while let Some(request) = peer.request().await {
                if request.api == MetadataRequest::KEY {
                    let response = metadata(peer.port);
                    peer.answer(&request, &response).await;
                } else {
                    let number = asked.fetch_add(1, Ordering::SeqCst);
                    match answer(peer, request, number).await {
                        Some(same) => peer = same,
                        None => return,
                    }
                }
            }
        }
    })
    .await
}

async fn client(broker: &Scripted) -> Client {
    Client::connect(broker.config(), Seam::system()).await.expect("connects")
}

fn t0() -> TopicPartition {
    TopicPartition::new(Topic::new("t").expect("legal"), 0)
}

#[tokio::test]
async fn every_bootstrap_server_is_tried_and_each_failure_told() {
    let broker = cluster(|peer, _, _| async { Some(peer) }).await;
    // Nothing listens on the first two.
    let dead = [HostPort::new("127.0.0.1", 1), HostPort::new("::1", 2)];
    let mut config = broker.config();
    config.bootstrap_servers.splice(0..0, dead.clone());
    let client = Client::connect(config.clone(), Seam::system()).await.expect("the third works");
    assert_eq!(client.metadata().brokers[&1].address, broker.address);
    config.bootstrap_servers = dead.to_vec();
    config.retry.deadline = Duration::from_millis(100);
    let error = Client::connect(config, Seam::system()).await.expect_err("nobody there");
    assert!(error.is_retriable());
    for place in ["127.0.0.1:1", "[::1]:2", "gave up after"] {
        assert!(error.message().contains(place), "{error}");
    }
}

#[tokio::test]
async fn a_leader_that_moves_is_asked_again_after_fresh_metadata() {
    let broker = cluster(|mut peer, request, number| async move {
        request.decode::<ListOffsetsRequest>();
        let code = if number < 2 { 6 } else { 0 };
        let partition = ListOffsetsPartitionResponse::default().with_error_code(code).with_offset(42);
        let topic = ListOffsetsTopicResponse::default()
            .with_name(TopicName(StrBytes::from_static_str("t")))
            .with_partitions(vec![partition]);
        peer.answer(&request, &ListOffsetsResponse::default().with_topics(vec![topic])).await;
        Some(peer)
    })
    .await;
    let client = client(&broker).await;
    let offsets = client.list_offsets([t0()], At::Latest, Isolation::ReadCommitted).await;
    assert_eq!(offsets[&t0()].as_ref().expect("found in the end").offset, Some(42));
}

#[tokio::test]
async fn a_partition_that_does_not_come_back_is_given_up_with_its_name() {
    let broker = cluster(|mut peer, request, _| async move {
        peer.answer(&request, &ListOffsetsResponse::default()).await;
        Some(peer)
    })
    .await;
    let client = client(&broker).await;
    let offsets = client.list_offsets([t0()], At::Latest, Isolation::ReadCommitted).await;
    let error = offsets[&t0()].as_ref().expect_err("never answered");
    assert!(error.message().contains("ListOffsets of t-0 at broker 1: not answered"), "{error}");
}

#[tokio::test]
async fn a_moved_controller_is_asked_again_and_a_refusal_is_reported() {
    let broker = cluster(|mut peer, request, number| async move {
        let code = if number == 0 { 41 } else { 36 };
        let topic = CreatableTopicResult::default()
            .with_name(TopicName(StrBytes::from_static_str("t")))
            .with_error_code(code)
            .with_topic_config_error_code(0)
            .with_error_message(Some(StrBytes::from_static_str("is there")));
        peer.answer(&request, &CreateTopicsResponse::default().with_topics(vec![topic])).await;
        Some(peer)
    })
    .await;
    let topic = NewTopic {
        name: t0().topic,
        placement: Placement::Chosen { partitions: 1, replication_factor: None },
        configs: [].into(),
    };
    let created = client(&broker).await.create_topics(&[topic], false).await.expect("answered");
    let refusal = created[&t0().topic].as_ref().expect_err("refused");
    assert_eq!((refusal.code.name(), refusal.message.as_deref()), ("TOPIC_ALREADY_EXISTS", Some("is there")));
}

fn fetched(session: i32, records: Option<Bytes>) -> FetchResponse {
    let data = PartitionData::default().with_log_start_offset(0).with_high_watermark(9).with_records(records);
    let topic =
        FetchableTopicResponse::default().with_topic_id(Uuid::from_u128(7)).with_partitions(vec![data]);
    FetchResponse::default().with_session_id(session).with_responses(vec![topic])
}

fn fetcher(client: &Client, budget: &Budget) -> Fetcher {
    let settings = FetchSettings { max_wait: Duration::from_millis(50), ..FetchSettings::default() };
    let mut fetcher = Fetcher::new(client.clone(), 1, settings, budget.clone());
    fetcher.add(t0(), TopicId(Uuid::from_u128(7)), Position::at(5));
    fetcher
}

#[tokio::test]
async fn records_are_slices_of_the_answer_and_stay_charged_until_the_last_is_dropped() {
    let broker = cluster(|mut peer, request, _| async move {
        peer.answer(&request, &fetched(3, Some(Bytes::from(vec![7; 5_000])))).await;
        Some(peer)
    })
    .await;
    let (client, budget) = (client(&broker).await, Budget::new(8_000));
    let mut fetcher = fetcher(&client, &budget);
    let mut outcome = fetcher.receive().await.expect("fetched");
    let records = outcome.partitions.remove(0).records.expect("records");
    drop(outcome);
    assert_eq!(records.len(), 5_000);
    let frame = budget.used();
    assert!((5_000..5_200).contains(&frame), "the answer is charged: {frame}");
    // The next answer does not fit beside it. Its wait is longer than every time limit and breaks none.
    fetcher.issue().await.expect("issued");
    timeout(Duration::from_millis(600), fetcher.receive()).await.expect_err("waits for the budget");
    assert!(budget.is_pressed());
    let slice = records.slice(10..20);
    drop(records);
    assert_eq!(budget.used(), frame);
    drop(slice);
    let outcome =
        timeout(PATIENCE, fetcher.receive()).await.expect("admitted").expect("the same request goes on");
    assert_eq!(outcome.partitions[0].records.as_ref().expect("records").len(), 5_000);
    drop(outcome);
    assert_eq!(budget.used(), 0);
}

#[tokio::test]
async fn a_fetcher_goes_on_with_its_positions_after_faults() {
    // A reset, a refused session, an answer for somebody else's partition, and then data.
    let broker = cluster(|mut peer, request, number| async move {
        let fetch: FetchRequest = request.decode();
        assert_eq!(
            (fetch.session_epoch, fetch.topics[0].partitions[0].fetch_offset),
            (0, 5),
            "request {number}"
        );
        match number {
            0 => return None,
            1 => peer.answer(&request, &FetchResponse::default().with_error_code(70)).await,
            2 => {
                let mut odd = fetched(3, None);
                odd.responses[0].partitions[0].partition_index = 8;
                peer.answer(&request, &odd).await;
            }
            _ => peer.answer(&request, &fetched(3, Some(Bytes::from_static(b"batches")))).await,
        }
        Some(peer)
    })
    .await;
    let (client, budget) = (client(&broker).await, Budget::new(8_000));
    let mut fetcher = fetcher(&client, &budget);
    let lost = fetcher.receive().await.expect_err("reset");
    assert!(lost.is_retriable() && lost.message().contains("Fetch v17"), "{lost}");
    let odd = fetcher.receive().await.expect_err("not asked for");
    assert_eq!(odd.message(), "broker 1: Fetch answered for t-8, which was not asked for");
    let outcome = fetcher.receive().await.expect("data in the end");
    assert_eq!(outcome.partitions[0].fetch_offset, 5);
    assert_eq!(outcome.partitions[0].records.as_deref(), Some(&b"batches"[..]));
}

#[tokio::test]
async fn after_all_brokers_went_the_bootstrap_servers_are_asked_again() {
    let front = Arc::new(AtomicUsize::new(1));
    let moved = Arc::clone(&front);
    // The metadata name a port where nobody listens until the test says so.
    let broker = Scripted::start(move |mut peer, _| {
        let moved = Arc::clone(&moved);
        async move {
            if peer.handshake().await.is_none() {
                return;
            }
            while let Some(request) = peer.request().await {
                let port = u16::try_from(moved.load(Ordering::SeqCst)).expect("a port");
                peer.answer(&request, &metadata(port)).await;
            }
        }
    })
    .await;
    let client = client(&broker).await;
    client.control(1).await.expect_err("nobody listens on port 1");
    front.store(broker.address.port.into(), Ordering::SeqCst);
    client.refresh(Topics::All).await.expect("found back by way of the bootstrap server");
    client.control(1).await.expect("the broker has moved here");
}

async fn log(broker: &Scripted) -> TopicLog {
    let settings = TopicLogSettings { topic: t0().topic, replication_factor: 1, max_message_bytes: 1 << 20 };
    TopicLog::open(client(broker).await, &settings).await.expect("the topic is as it must be")
}

/// Answers all that a log asks before it produces.
async fn of_a_log(peer: &mut Peer, request: &Received, producer_takes: Duration) {
    match request.api {
        DescribeConfigsRequest::KEY => {
            let config = DescribeConfigsResourceResult::default()
                .with_name(StrBytes::from_static_str("cleanup.policy"))
                .with_value(Some(StrBytes::from_static_str("compact")));
            let result = DescribeConfigsResult::default()
                .with_resource_type(2)
                .with_resource_name(StrBytes::from_static_str("t"))
                .with_configs(vec![config]);
            peer.answer(request, &DescribeConfigsResponse::default().with_results(vec![result])).await;
        }
        _ => {
            request.decode::<InitProducerIdRequest>();
            sleep(producer_takes).await;
            let response = InitProducerIdResponse::default().with_producer_id(ProducerId(3));
            peer.answer(request, &response).await;
        }
    }
}

#[tokio::test]
async fn nothing_is_sent_to_a_log_once_the_time_is_up() {
    let broker = cluster(|mut peer, request, _| async move {
        assert_ne!(request.api, ProduceRequest::KEY, "it is too late");
        of_a_log(&mut peer, &request, Duration::from_millis(100)).await;
        Some(peer)
    })
    .await;
    let outcome = log(&broker).await.append(&[LogRecord::default()], Duration::from_millis(50)).await;
    let Err(AppendError::Nothing(error)) = outcome else { panic!("{outcome:?}") };
    assert!(error.message().contains("the time was up"), "{error}");
}

/// Some refusals come from a broker that led the log until a moment ago, and may have passed the records on before.
#[tokio::test]
async fn what_a_log_says_after_it_may_have_appended_is_no_refusal() {
    for (code, may_be_there) in [(6, true), (7, true), (19, false), (20, true), (56, true)] {
        let broker = cluster(move |mut peer, request, _| async move {
            if request.api != ProduceRequest::KEY {
                of_a_log(&mut peer, &request, Duration::ZERO).await;
                return Some(peer);
            }
            let result = PartitionProduceResponse::default().with_error_code(code).with_base_offset(-1);
            let topic = TopicProduceResponse::default()
                .with_name(TopicName(StrBytes::from_static_str("t")))
                .with_partition_responses(vec![result]);
            peer.answer(&request, &ProduceResponse::default().with_responses(vec![topic])).await;
            Some(peer)
        })
        .await;
        let outcome = log(&broker).await.append(&[LogRecord::default()], Duration::from_millis(50)).await;
        match may_be_there {
            true => assert!(matches!(outcome, Err(AppendError::Unknown(_))), "{code}: {outcome:?}"),
            false => assert!(matches!(outcome, Err(AppendError::Nothing(_))), "{code}: {outcome:?}"),
        }
    }
}
