//! Kafka's error codes: their names and what a client does about each.

use std::fmt;

use ErrorClass::{Fatal, RefreshMetadata, Retriable};

use crate::{Error, ErrorKind};

/// What a client does about an error code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// Ask the same broker again after a pause.
    Retriable,
    /// What is known of the cluster is out of date: refresh the metadata, then ask again, perhaps elsewhere.
    RefreshMetadata,
    /// Asking again does not help.
    Fatal,
}

/// An error code in a broker's answer, never 0.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KafkaErrorCode(i16);

impl KafkaErrorCode {
    /// The offset lies outside the log.
    pub const OFFSET_OUT_OF_RANGE: Self = Self(1);
    /// No such topic or partition here (yet, or any more).
    pub const UNKNOWN_TOPIC_OR_PARTITION: Self = Self(3);
    /// The broker asked does not lead the partition, or has just ceased to.
    pub const NOT_LEADER_OR_FOLLOWER: Self = Self(6);
    /// The leader has waited for its replicas for too long.
    pub const REQUEST_TIMED_OUT: Self = Self(7);
    /// The batch is larger than the topic takes.
    pub const MESSAGE_TOO_LARGE: Self = Self(10);
    /// The leader has the batch, and too few replicas have it.
    pub const NOT_ENOUGH_REPLICAS_AFTER_APPEND: Self = Self(20);
    /// The group has had another election since.
    pub const ILLEGAL_GENERATION: Self = Self(22);
    /// The group's members speak another protocol.
    pub const INCONSISTENT_GROUP_PROTOCOL: Self = Self(23);
    /// The group does not know the member (any more).
    pub const UNKNOWN_MEMBER_ID: Self = Self(25);
    /// The group waits for all members to join again.
    pub const REBALANCE_IN_PROGRESS: Self = Self(27);
    /// The topic exists.
    pub const TOPIC_ALREADY_EXISTS: Self = Self(36);
    /// The sequence number leaves a gap, or is older than what the broker remembers.
    pub const OUT_OF_ORDER_SEQUENCE_NUMBER: Self = Self(45);
    /// The batch was appended earlier.
    pub const DUPLICATE_SEQUENCE_NUMBER: Self = Self(46);
    /// The producer's epoch is older than another's.
    pub const INVALID_PRODUCER_EPOCH: Self = Self(47);
    /// The broker's disk has failed.
    pub const KAFKA_STORAGE_ERROR: Self = Self(56);
    /// The broker has forgotten the producer.
    pub const UNKNOWN_PRODUCER_ID: Self = Self(59);
    /// The broker does not know the fetch session.
    pub const FETCH_SESSION_ID_NOT_FOUND: Self = Self(70);
    /// The fetch session's epoch is not the next one.
    pub const INVALID_FETCH_SESSION_EPOCH: Self = Self(71);
    /// We know an older leader epoch than the broker.
    pub const FENCED_LEADER_EPOCH: Self = Self(74);
    /// We know a newer leader epoch than the broker.
    pub const UNKNOWN_LEADER_EPOCH: Self = Self(75);
    /// A record is against the rules of the broker or of the topic.
    pub const INVALID_RECORD: Self = Self(87);
    /// No topic has this id (any more).
    pub const UNKNOWN_TOPIC_ID: Self = Self(100);
    /// The member must ask under the name that it was given.
    pub const MEMBER_ID_REQUIRED: Self = Self(79);
    /// The partition has another topic id than the session says.
    pub const INCONSISTENT_TOPIC_ID: Self = Self(103);
    /// The session began with names and goes on with ids, or the other way round.
    pub const FETCH_SESSION_TOPIC_ID_ERROR: Self = Self(106);

    /// The error that a code on the wire stands for; none for 0.
    pub fn check(code: i16) -> Option<Self> {
        (code != 0).then_some(Self(code))
    }

    /// The number on the wire.
    pub fn code(self) -> i16 {
        self.0
    }

    /// Kafka's own name.
    pub fn name(self) -> &'static str {
        self.row().map_or("an error code unknown to this client", |row| row.0)
    }

    /// What a client does about it. Codes newer than this table are fatal, as in Kafka's own clients.
    pub fn class(self) -> ErrorClass {
        self.row().map_or(Fatal, |row| row.1)
    }

    /// Whether asking again may help, after a metadata refresh where the class says so.
    pub fn is_retriable(self) -> bool {
        self.class() != Fatal
    }

    fn row(self) -> Option<&'static (&'static str, ErrorClass)> {
        TABLE.get(usize::try_from(i32::from(self.0) + 1).ok()?)
    }

    /// The error for the reader. `what` was asked, naming broker and topic-partition; `message` is the broker's own text.
    pub fn to_error(self, what: impl fmt::Display, message: Option<&str>) -> Error {
        let text = match message {
            Some(message) if !message.is_empty() => format!("{what}: {self}: {message}"),
            _ => format!("{what}: {self}"),
        };
        let error = Error::new(self.kind(), text);
        match self.hint() {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }

    fn kind(self) -> ErrorKind {
        match self.0 {
            _ if self.is_retriable() => ErrorKind::Retry,
            29..=31 | 33 | 34 | 53 | 54 | 58 | 61..=67 | 93 => ErrorKind::Credentials,
            47 | 90 => ErrorKind::Fenced,
            17 | 36..=40 | 44 => ErrorKind::Input,
            69 | 91 | 105 => ErrorKind::NotFound,
            _ => ErrorKind::Permanent,
        }
    }

    fn hint(self) -> Option<&'static str> {
        Some(match self.0 {
            3 | 100 => "check that the topic exists and that this client may describe it",
            10 | 18 => "raise the topic's max.message.bytes or segment.bytes",
            29 => "grant this client's principal the operation on the topic (kafka-acls)",
            30 => "grant this client's principal the operation on the group (kafka-acls)",
            31 => "grant this client's principal the operation on the cluster (kafka-acls)",
            19 | 20 => "bring replicas back, or lower the topic's min.insync.replicas",
            38 => "lower the replication factor to the number of brokers",
            44 => "the target's own policy forbids this; change the setting named, or the policy",
            47 | 90 => "another producer took over this producer id",
            _ => return None,
        })
    }
}

impl fmt::Display for KafkaErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name(), self.0)
    }
}

impl fmt::Debug for KafkaErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A broker's refusal of one item of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub code: KafkaErrorCode,
    /// The broker's own words.
    pub message: Option<String>,
}

impl Refusal {
    /// The refusal that a code on the wire stands for; none for 0.
    pub(super) fn check(code: i16, message: Option<&str>) -> Result<(), Self> {
        match KafkaErrorCode::check(code) {
            None => Ok(()),
            Some(code) => Err(Self { code, message: message.map(str::to_owned) }),
        }
    }

    /// The error for the reader. `what` was asked, naming broker and topic-partition.
    pub fn to_error(&self, what: impl fmt::Display) -> Error {
        self.code.to_error(what, self.message.as_deref())
    }
}

/// Every code from -1 on, in order. Retriable is what Kafka's `Errors` derives from `RetriableException`, and
/// `RefreshMetadata` what it derives from `InvalidMetadataException`; `BROKER_NOT_AVAILABLE` is added to the latter.
const TABLE: &[(&str, ErrorClass)] = &[
    ("UNKNOWN_SERVER_ERROR", Fatal),
    ("NONE", Fatal),
    ("OFFSET_OUT_OF_RANGE", Fatal),
    ("CORRUPT_MESSAGE", Retriable),
    ("UNKNOWN_TOPIC_OR_PARTITION", RefreshMetadata),
    ("INVALID_FETCH_SIZE", Fatal),
    ("LEADER_NOT_AVAILABLE", RefreshMetadata),
    ("NOT_LEADER_OR_FOLLOWER", RefreshMetadata),
    ("REQUEST_TIMED_OUT", Retriable),
    ("BROKER_NOT_AVAILABLE", RefreshMetadata),
    ("REPLICA_NOT_AVAILABLE", RefreshMetadata),
    ("MESSAGE_TOO_LARGE", Fatal),
    ("STALE_CONTROLLER_EPOCH", Fatal),
    ("OFFSET_METADATA_TOO_LARGE", Fatal),
    ("NETWORK_EXCEPTION", RefreshMetadata),
    ("COORDINATOR_LOAD_IN_PROGRESS", Retriable),
    ("COORDINATOR_NOT_AVAILABLE", Retriable),
    ("NOT_COORDINATOR", Retriable),
    ("INVALID_TOPIC_EXCEPTION", Fatal),
    ("RECORD_LIST_TOO_LARGE", Fatal),
    ("NOT_ENOUGH_REPLICAS", Retriable),
    ("NOT_ENOUGH_REPLICAS_AFTER_APPEND", Retriable),
    ("INVALID_REQUIRED_ACKS", Fatal),
    ("ILLEGAL_GENERATION", Fatal),
    ("INCONSISTENT_GROUP_PROTOCOL", Fatal),
    ("INVALID_GROUP_ID", Fatal),
    ("UNKNOWN_MEMBER_ID", Fatal),
    ("INVALID_SESSION_TIMEOUT", Fatal),
    ("REBALANCE_IN_PROGRESS", Fatal),
    ("INVALID_COMMIT_OFFSET_SIZE", Fatal),
    ("TOPIC_AUTHORIZATION_FAILED", Fatal),
    ("GROUP_AUTHORIZATION_FAILED", Fatal),
    ("CLUSTER_AUTHORIZATION_FAILED", Fatal),
    ("INVALID_TIMESTAMP", Fatal),
    ("UNSUPPORTED_SASL_MECHANISM", Fatal),
    ("ILLEGAL_SASL_STATE", Fatal),
    ("UNSUPPORTED_VERSION", Fatal),
    ("TOPIC_ALREADY_EXISTS", Fatal),
    ("INVALID_PARTITIONS", Fatal),
    ("INVALID_REPLICATION_FACTOR", Fatal),
    ("INVALID_REPLICA_ASSIGNMENT", Fatal),
    ("INVALID_CONFIG", Fatal),
    ("NOT_CONTROLLER", RefreshMetadata),
    ("INVALID_REQUEST", Fatal),
    ("UNSUPPORTED_FOR_MESSAGE_FORMAT", Fatal),
    ("POLICY_VIOLATION", Fatal),
    ("OUT_OF_ORDER_SEQUENCE_NUMBER", Fatal),
    ("DUPLICATE_SEQUENCE_NUMBER", Fatal),
    ("INVALID_PRODUCER_EPOCH", Fatal),
    ("INVALID_TXN_STATE", Fatal),
    ("INVALID_PRODUCER_ID_MAPPING", Fatal),
    ("INVALID_TRANSACTION_TIMEOUT", Fatal),
    ("CONCURRENT_TRANSACTIONS", Retriable),
    ("TRANSACTION_COORDINATOR_FENCED", Fatal),
    ("TRANSACTIONAL_ID_AUTHORIZATION_FAILED", Fatal),
    ("SECURITY_DISABLED", Fatal),
    ("OPERATION_NOT_ATTEMPTED", Fatal),
    ("KAFKA_STORAGE_ERROR", RefreshMetadata),
    ("LOG_DIR_NOT_FOUND", Fatal),
    ("SASL_AUTHENTICATION_FAILED", Fatal),
    ("UNKNOWN_PRODUCER_ID", Fatal),
    ("REASSIGNMENT_IN_PROGRESS", Fatal),
    ("DELEGATION_TOKEN_AUTH_DISABLED", Fatal),
    ("DELEGATION_TOKEN_NOT_FOUND", Fatal),
    ("DELEGATION_TOKEN_OWNER_MISMATCH", Fatal),
    ("DELEGATION_TOKEN_REQUEST_NOT_ALLOWED", Fatal),
    ("DELEGATION_TOKEN_AUTHORIZATION_FAILED", Fatal),
    ("DELEGATION_TOKEN_EXPIRED", Fatal),
    ("INVALID_PRINCIPAL_TYPE", Fatal),
    ("NON_EMPTY_GROUP", Fatal),
    ("GROUP_ID_NOT_FOUND", Fatal),
    ("FETCH_SESSION_ID_NOT_FOUND", Retriable),
    ("INVALID_FETCH_SESSION_EPOCH", Retriable),
    ("LISTENER_NOT_FOUND", RefreshMetadata),
    ("TOPIC_DELETION_DISABLED", Fatal),
    ("FENCED_LEADER_EPOCH", RefreshMetadata),
    ("UNKNOWN_LEADER_EPOCH", RefreshMetadata),
    ("UNSUPPORTED_COMPRESSION_TYPE", Fatal),
    ("STALE_BROKER_EPOCH", Fatal),
    ("OFFSET_NOT_AVAILABLE", Retriable),
    ("MEMBER_ID_REQUIRED", Fatal),
    ("PREFERRED_LEADER_NOT_AVAILABLE", RefreshMetadata),
    ("GROUP_MAX_SIZE_REACHED", Fatal),
    ("FENCED_INSTANCE_ID", Fatal),
    ("ELIGIBLE_LEADERS_NOT_AVAILABLE", RefreshMetadata),
    ("ELECTION_NOT_NEEDED", RefreshMetadata),
    ("NO_REASSIGNMENT_IN_PROGRESS", Fatal),
    ("GROUP_SUBSCRIBED_TO_TOPIC", Fatal),
    ("INVALID_RECORD", Fatal),
    ("UNSTABLE_OFFSET_COMMIT", Retriable),
    ("THROTTLING_QUOTA_EXCEEDED", Retriable),
    ("PRODUCER_FENCED", Fatal),
    ("RESOURCE_NOT_FOUND", Fatal),
    ("DUPLICATE_RESOURCE", Fatal),
    ("UNACCEPTABLE_CREDENTIAL", Fatal),
    ("INCONSISTENT_VOTER_SET", Fatal),
    ("INVALID_UPDATE_VERSION", Fatal),
    ("FEATURE_UPDATE_FAILED", Fatal),
    ("PRINCIPAL_DESERIALIZATION_FAILURE", Fatal),
    ("SNAPSHOT_NOT_FOUND", Fatal),
    ("POSITION_OUT_OF_RANGE", Fatal),
    ("UNKNOWN_TOPIC_ID", RefreshMetadata),
    ("DUPLICATE_BROKER_REGISTRATION", Fatal),
    ("BROKER_ID_NOT_REGISTERED", Fatal),
    ("INCONSISTENT_TOPIC_ID", RefreshMetadata),
    ("INCONSISTENT_CLUSTER_ID", Fatal),
    ("TRANSACTIONAL_ID_NOT_FOUND", Fatal),
    ("FETCH_SESSION_TOPIC_ID_ERROR", Retriable),
    ("INELIGIBLE_REPLICA", Fatal),
    ("NEW_LEADER_ELECTED", Fatal),
    ("OFFSET_MOVED_TO_TIERED_STORAGE", Fatal),
    ("FENCED_MEMBER_EPOCH", Fatal),
    ("UNRELEASED_INSTANCE_ID", Fatal),
    ("UNSUPPORTED_ASSIGNOR", Fatal),
    ("STALE_MEMBER_EPOCH", Fatal),
    ("MISMATCHED_ENDPOINT_TYPE", Fatal),
    ("UNSUPPORTED_ENDPOINT_TYPE", Fatal),
    ("UNKNOWN_CONTROLLER_ID", Fatal),
    ("UNKNOWN_SUBSCRIPTION_ID", Fatal),
    ("TELEMETRY_TOO_LARGE", Fatal),
    ("INVALID_REGISTRATION", Fatal),
    ("TRANSACTION_ABORTABLE", Fatal),
    ("INVALID_RECORD_STATE", Fatal),
    ("SHARE_SESSION_NOT_FOUND", Retriable),
    ("INVALID_SHARE_SESSION_EPOCH", Retriable),
    ("FENCED_STATE_EPOCH", Fatal),
    ("INVALID_VOTER_KEY", Fatal),
    ("DUPLICATE_VOTER", Fatal),
    ("VOTER_NOT_FOUND", Fatal),
    ("INVALID_REGULAR_EXPRESSION", Fatal),
    ("REBOOTSTRAP_REQUIRED", RefreshMetadata),
    ("STREAMS_INVALID_TOPOLOGY", Fatal),
    ("STREAMS_INVALID_TOPOLOGY_EPOCH", Fatal),
    ("STREAMS_TOPOLOGY_FENCED", Fatal),
    ("SHARE_SESSION_LIMIT_REACHED", Retriable),
];

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::ResponseError;

    fn code(code: i16) -> KafkaErrorCode {
        KafkaErrorCode::check(code).expect("not 0")
    }

    #[test]
    fn the_table_agrees_with_the_codec_on_what_is_retriable() {
        for number in (-1..=133).filter(|number| *number != 0) {
            let theirs = ResponseError::try_from_code(number).expect("an error");
            if matches!(theirs, ResponseError::Unknown(_)) {
                continue;
            }
            let ours = code(number);
            // The codec is behind on CONCURRENT_TRANSACTIONS; BROKER_NOT_AVAILABLE passes with fresh metadata.
            assert_eq!(
                ours.is_retriable(),
                theirs.is_retriable() || matches!(number, 8 | 51 | 129),
                "{ours}"
            );
            let camel: String =
                ours.name().split('_').map(|word| word[..1].to_owned() + &word[1..].to_lowercase()).collect();
            assert_eq!(camel.to_lowercase(), theirs.to_string().to_lowercase(), "{number}");
        }
    }

    #[test]
    fn constants_have_their_names_and_unknown_codes_are_fatal() {
        assert_eq!(KafkaErrorCode::OFFSET_OUT_OF_RANGE.to_string(), "OFFSET_OUT_OF_RANGE (1)");
        assert_eq!(KafkaErrorCode::INCONSISTENT_TOPIC_ID.name(), "INCONSISTENT_TOPIC_ID");
        assert_eq!(KafkaErrorCode::FETCH_SESSION_TOPIC_ID_ERROR.name(), "FETCH_SESSION_TOPIC_ID_ERROR");
        assert_eq!(TABLE.len(), 135);
        for number in [134, i16::MAX, -2, i16::MIN] {
            assert_eq!(code(number).class(), ErrorClass::Fatal);
            assert_eq!(code(number).name(), "an error code unknown to this client");
        }
    }

    #[test]
    fn an_error_says_what_was_asked_and_the_next_step() {
        let error = code(29).to_error("orders-3 at broker 1", Some("no"));
        assert_eq!(error.message(), "orders-3 at broker 1: TOPIC_AUTHORIZATION_FAILED (29): no");
        assert_eq!(error.kind(), ErrorKind::Credentials);
        assert!(error.next_step().is_some());
    }
}
