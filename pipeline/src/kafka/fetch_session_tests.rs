use super::*;
use formats::ids::Topic;
use kafka_protocol::messages::TopicName;
use kafka_protocol::messages::fetch_response::FetchableTopicResponse;
use uuid::Uuid;

fn partition(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition::new(Topic::new(topic).expect("legal"), partition)
}

fn id(number: u128) -> TopicId {
    TopicId(Uuid::from_u128(number))
}

fn answer(session: i32, topics: &[(u128, &[i32])]) -> FetchResponse {
    let data = |number: &i32| PartitionData::default().with_partition_index(*number).with_log_start_offset(0);
    let topic = |(id, partitions): &(u128, &[i32])| {
        FetchableTopicResponse::default()
            .with_topic_id(Uuid::from_u128(*id))
            .with_partitions(partitions.iter().map(data).collect())
    };
    FetchResponse::default().with_session_id(session).with_responses(topics.iter().map(topic).collect())
}

fn asked(request: &FetchRequest) -> Vec<(u128, Vec<i32>)> {
    let numbers = |topic: &FetchTopic| topic.partitions.iter().map(|p| p.partition).collect();
    request.topics.iter().map(|topic| (topic.topic_id.as_u128(), numbers(topic))).collect()
}

fn forgotten(request: &FetchRequest) -> Vec<(u128, Vec<i32>)> {
    request
        .forgotten_topics_data
        .iter()
        .map(|topic| (topic.topic_id.as_u128(), topic.partitions.clone()))
        .collect()
}

fn delivered(received: Result<Received>) -> Vec<String> {
    match received.expect("a good answer") {
        Received::Partitions(partitions, _) => partitions.iter().map(|p| p.partition.to_string()).collect(),
        Received::Restart(code) => panic!("refused: {code}"),
    }
}

fn next(session: &mut Session) -> FetchRequest {
    let request = session.request(13, &FetchSettings::default(), Some("rack"));
    session.sent();
    request
}

fn opened() -> Session {
    let mut session = Session::default();
    session.add(partition("a", 0), id(1), Position::at(10));
    session.add(partition("a", 1), id(1), Position::at(20));
    session.add(partition("b", 0), id(2), Position::at(30));
    let request = next(&mut session);
    assert_eq!((request.session_id, request.session_epoch), (0, 0));
    assert_eq!(asked(&request), [(1, vec![0, 1]), (2, vec![0])]);
    assert_eq!(request.rack_id.as_str(), "rack");
    assert_eq!(delivered(session.receive(answer(77, &[(1, &[0]), (2, &[0])]))), ["a-0", "b-0"]);
    session
}

#[test]
fn a_session_names_only_what_changed() {
    let mut session = opened();
    assert!(session.seek(&partition("a", 1), Position::at(25)));
    session.remove(&partition("b", 0));
    session.add(partition("c", 3), id(3), Position::at(0));
    let request = next(&mut session);
    assert_eq!((request.session_id, request.session_epoch), (77, 1));
    assert_eq!(asked(&request), [(1, vec![1]), (3, vec![3])]);
    assert_eq!(forgotten(&request), [(2, vec![0])]);
    assert_eq!(request.topics[0].partitions[0].fetch_offset, 25);
    assert!(delivered(session.receive(answer(77, &[]))).is_empty());
    let request = next(&mut session);
    assert_eq!((request.session_epoch, asked(&request).len(), forgotten(&request).len()), (2, 0, 0));
}

#[test]
fn a_recreated_topic_is_forgotten_by_its_old_id_and_added_by_its_new_one() {
    let mut session = opened();
    session.add(partition("b", 0), id(9), Position::at(0));
    let request = next(&mut session);
    assert_eq!(asked(&request), [(9, vec![0])]);
    assert_eq!(forgotten(&request), [(2, vec![0])]);
    let error = session.receive(answer(77, &[(2, &[0])])).expect_err("the old id is not asked for");
    assert!(error.message().contains("was not asked for"), "{error}");
}

#[test]
fn what_is_added_again_under_its_id_is_not_forgotten() {
    let mut session = opened();
    session.remove(&partition("b", 0));
    session.add(partition("b", 0), id(2), Position::at(31));
    let request = next(&mut session);
    assert_eq!(asked(&request), [(2, vec![0])]);
    assert!(forgotten(&request).is_empty());
}

#[test]
fn data_for_an_old_position_or_a_removed_partition_is_dropped() {
    let mut session = opened();
    next(&mut session);
    session.seek(&partition("a", 0), Position::at(99));
    session.remove(&partition("a", 1));
    session.remove(&partition("b", 0));
    session.add(partition("b", 0), id(2), Position::at(5));
    assert!(delivered(session.receive(answer(77, &[(1, &[0, 1]), (2, &[0])]))).is_empty());
}

#[test]
fn a_refused_session_starts_over_and_closes_the_old_one() {
    for (code, session_id) in [(70, 0), (71, 77), (106, 77)] {
        let mut session = opened();
        next(&mut session);
        let received = session.receive(FetchResponse::default().with_error_code(code)).expect("not an error");
        assert!(matches!(received, Received::Restart(_)));
        let request = next(&mut session);
        assert_eq!((request.session_id, request.session_epoch), (session_id, 0), "after {code}");
        let partitions: usize = asked(&request).iter().map(|(_, partitions)| partitions.len()).sum();
        assert_eq!(partitions, 3);
    }
}

#[test]
fn without_room_for_a_session_every_request_is_full_and_partitions_take_turns() {
    let mut session = Session::default();
    session.add(partition("a", 0), id(1), Position::at(10));
    session.add(partition("b", 0), id(2), Position::at(30));
    assert_eq!(asked(&next(&mut session)), [(1, vec![0]), (2, vec![0])]);
    delivered(session.receive(answer(0, &[(1, &[0])])));
    let request = next(&mut session);
    assert_eq!(asked(&request), [(2, vec![0]), (1, vec![0])]);
    assert_eq!((request.session_id, request.session_epoch), (0, 0));
}

#[test]
fn a_topic_without_an_id_makes_the_session_go_by_names() {
    let mut session = opened();
    assert_eq!(session.version(17), 17);
    session.add(partition("old", 0), TopicId::default(), Position::at(0));
    assert_eq!(session.version(17), 12);
    let request = session.request(12, &FetchSettings::default(), None);
    assert_eq!((request.session_id, request.session_epoch), (77, 0));
    let old = TopicName(StrBytes::from_static_str("old"));
    assert!(request.topics.iter().any(|topic| topic.topic == old && topic.topic_id.is_nil()));
}

#[test]
fn nonsense_is_refused_with_context() {
    let mut session = opened();
    next(&mut session);
    let error = session.receive(answer(77, &[(1, &[7])])).expect_err("not asked for");
    assert_eq!(error.message(), "Fetch answered for a-7, which was not asked for");
    let mut session = opened();
    next(&mut session);
    let error = session.receive(answer(77, &[(1, &[0, 0])])).expect_err("twice");
    assert_eq!(error.message(), "Fetch answered twice for a-0");
    let mut session = opened();
    next(&mut session);
    assert!(session.receive(answer(78, &[])).expect_err("another session").is_retriable());
    let mut session = opened();
    next(&mut session);
    let mut odd = answer(77, &[(1, &[0])]);
    odd.responses[0].partitions[0].high_watermark = -5;
    let error = session.receive(odd).expect_err("no such offset");
    assert!(error.message().contains("a-0@10") && error.message().contains("-5"), "{error}");
}

#[test]
fn the_epoch_goes_on_at_one_after_its_largest() {
    let mut session = opened();
    session.epoch = i32::MAX;
    next(&mut session);
    delivered(session.receive(answer(77, &[])));
    assert_eq!(session.epoch, 1);
}
