//! Membership in a group of Kafka's classic protocol: JoinGroup, SyncGroup, Heartbeat, LeaveGroup.
//!
//! ```text
//! join (waits for the others) -> sync (one member assigns, all are told) -> heartbeat, heartbeat, ... -> join again
//! ```
//! What members tell each other is opaque here. A member has a connection of its own: JoinGroup may take as long as the other
//! members need, and a broker serves one connection serially. Nothing is tried again in here but to find the coordinator;
//! after an error that is retriable, join again.

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    GroupId, HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, SyncGroupRequest,
};
use kafka_protocol::protocol::StrBytes;

use super::client::Client;
use super::connection::Connection;
use super::error::KafkaErrorCode;
use crate::{Error, Result};

/// What a member is.
#[derive(Debug, Clone)]
pub struct GroupSettings {
    /// The group.
    pub group_id: String,
    /// The kind of group; a broker keeps kinds apart.
    pub protocol_type: String,
    /// The only protocol that is spoken.
    pub protocol: String,
    /// How long a member may be silent before it is taken for gone.
    pub session_timeout: Duration,
    /// How long others wait for it to join again.
    pub rebalance_timeout: Duration,
}

/// A group that a member has joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// Counts the group's elections.
    pub generation: i32,
    /// The member's name in the group.
    pub member_id: String,
    /// Where this member makes the assignment: all members, with what they told the group. Otherwise nothing.
    pub members: Vec<(String, Bytes)>,
    /// Whether it does.
    pub is_leader: bool,
}

/// What a heartbeat has told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beat {
    /// Nothing has changed.
    Stable,
    /// The group waits for this member to join again.
    Rejoin,
    /// The group has gone on without this member.
    Expelled,
}

/// A member of a group.
#[derive(Debug)]
pub struct GroupMember {
    client: Client,
    settings: GroupSettings,
    connection: Option<Connection>,
    /// Empty until a broker has given one.
    member_id: String,
    generation: i32,
}

impl GroupMember {
    /// A member that has not joined yet.
    pub fn new(client: Client, settings: GroupSettings) -> Self {
        Self { client, settings, connection: None, member_id: String::new(), generation: -1 }
    }

    /// Joins the group, or joins it again; waits for the other members.
    ///
    /// # Errors
    /// The coordinator cannot be reached, or refuses.
    pub async fn join(&mut self, metadata: &[u8]) -> Result<Joined> {
        loop {
            let asked_as = self.member_id.clone();
            let request = JoinGroupRequest::default()
                .with_group_id(self.group())
                .with_session_timeout_ms(millis(self.settings.session_timeout))
                .with_rebalance_timeout_ms(millis(self.settings.rebalance_timeout))
                .with_member_id(text(&asked_as))
                .with_protocol_type(text(&self.settings.protocol_type))
                .with_protocols(vec![
                    JoinGroupRequestProtocol::default()
                        .with_name(text(&self.settings.protocol))
                        .with_metadata(Bytes::copy_from_slice(metadata)),
                ]);
            let wait = self.settings.rebalance_timeout;
            let connection = self.connection().await?;
            let response = connection.call_patiently(&request, wait).await;
            let response = self.checked(response)?;
            match KafkaErrorCode::check(response.error_code) {
                None => {}
                // The broker has thought of a name, under which it wants to be asked (KIP-394).
                Some(KafkaErrorCode::MEMBER_ID_REQUIRED) if asked_as.is_empty() => {
                    self.member_id = response.member_id.to_string();
                    continue;
                }
                Some(KafkaErrorCode::UNKNOWN_MEMBER_ID) if !asked_as.is_empty() => {
                    self.member_id.clear();
                    continue;
                }
                Some(code) => return Err(self.refused("JoinGroup", code)),
            }
            self.member_id = response.member_id.to_string();
            self.generation = response.generation_id;
            let is_leader = response.leader == response.member_id;
            let members = response.members.into_iter();
            return Ok(Joined {
                generation: self.generation,
                member_id: self.member_id.clone(),
                members: members.map(|member| (member.member_id.to_string(), member.metadata)).collect(),
                is_leader,
            });
        }
    }

    /// Tells the group the assignment, where this member makes it (else nothing), and gives what this member is assigned.
    ///
    /// # Errors
    /// The coordinator cannot be reached, or the group is at another election by now (retriable: join again).
    pub async fn sync(&mut self, assignments: Vec<(String, Bytes)>) -> Result<Bytes> {
        let assignment = |(member, bytes): (String, Bytes)| {
            SyncGroupRequestAssignment::default().with_member_id(text(&member)).with_assignment(bytes)
        };
        let request = SyncGroupRequest::default()
            .with_group_id(self.group())
            .with_generation_id(self.generation)
            .with_member_id(text(&self.member_id))
            .with_protocol_type(Some(text(&self.settings.protocol_type)))
            .with_protocol_name(Some(text(&self.settings.protocol)))
            .with_assignments(assignments.into_iter().map(assignment).collect());
        let wait = self.settings.rebalance_timeout;
        let response = self.connection().await?.call_patiently(&request, wait).await;
        let response = self.checked(response)?;
        match KafkaErrorCode::check(response.error_code) {
            None => Ok(response.assignment),
            Some(code) => Err(self.refused("SyncGroup", code)),
        }
    }

    /// Says that this member is there.
    ///
    /// # Errors
    /// The coordinator cannot be reached, or is another one by now.
    pub async fn heartbeat(&mut self) -> Result<Beat> {
        let request = HeartbeatRequest::default()
            .with_group_id(self.group())
            .with_generation_id(self.generation)
            .with_member_id(text(&self.member_id));
        let response = self.connection().await?.call(&request).await;
        let response = self.checked(response)?;
        match KafkaErrorCode::check(response.error_code) {
            None => Ok(Beat::Stable),
            Some(KafkaErrorCode::REBALANCE_IN_PROGRESS) => Ok(Beat::Rejoin),
            Some(KafkaErrorCode::ILLEGAL_GENERATION) => Ok(Beat::Expelled),
            Some(KafkaErrorCode::UNKNOWN_MEMBER_ID) => {
                self.member_id.clear();
                Ok(Beat::Expelled)
            }
            Some(code) => Err(self.refused("Heartbeat", code)),
        }
    }

    /// Leaves the group, so that nobody waits for this member.
    ///
    /// # Errors
    /// The coordinator cannot be reached, or refuses; then the group waits for the session to end.
    pub async fn leave(&mut self) -> Result<()> {
        if self.member_id.is_empty() {
            return Ok(());
        }
        let request = LeaveGroupRequest::default()
            .with_group_id(self.group())
            .with_members(vec![MemberIdentity::default().with_member_id(text(&self.member_id))]);
        let response = self.connection().await?.call(&request).await;
        let response = self.checked(response)?;
        let of_member = response.members.first().map_or(0, |member| member.error_code);
        self.member_id.clear();
        let mut codes = [response.error_code, of_member].into_iter().filter_map(KafkaErrorCode::check);
        match codes.next() {
            None => Ok(()),
            Some(code) => Err(self.refused("LeaveGroup", code)),
        }
    }

    fn group(&self) -> GroupId {
        GroupId(text(&self.settings.group_id))
    }

    /// The connection to the coordinator, made where there is none.
    async fn connection(&mut self) -> Result<&Connection> {
        let held = self.connection.take().filter(Connection::is_alive);
        let connection = match held {
            Some(connection) => connection,
            None => {
                let broker = self.client.group_coordinator(&self.settings.group_id).await?;
                self.client.open(broker).await?
            }
        };
        Ok(self.connection.insert(connection))
    }

    /// A connection that failed is not used again, and the coordinator is looked for anew.
    fn checked<T>(&mut self, response: Result<T>) -> Result<T> {
        if response.is_err() {
            self.connection = None;
        }
        response
    }

    fn refused(&mut self, request: &str, code: KafkaErrorCode) -> Error {
        let what = format!("{request} of group {}", self.settings.group_id);
        match code {
            // Another election has begun; the next join takes part in it.
            KafkaErrorCode::REBALANCE_IN_PROGRESS | KafkaErrorCode::ILLEGAL_GENERATION => {
                Error::retry(format!("{what}: {code}"))
            }
            KafkaErrorCode::UNKNOWN_MEMBER_ID => {
                self.member_id.clear();
                Error::retry(format!("{what}: {code}"))
            }
            KafkaErrorCode::INCONSISTENT_GROUP_PROTOCOL => Error::input(format!("{what}: {code}"))
                .hint("the group has members of another kind; choose another group id"),
            code => {
                self.connection = None;
                code.to_error(what, None)
            }
        }
    }
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}
