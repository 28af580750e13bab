//! Which schema a key or value was written with, as serialisers say it in the bytes of a record.
//!
//! ```text
//! prefix   00 | schema id i32 BE       | payload         Confluent, and whoever writes as it does
//! header   __key_schema_id, __value_schema_id:
//!          01 | GUID, 16 bytes         | [indexes]       Confluent's HeaderSchemaIdSerializer
//!          00 | schema id i32 BE       | [indexes]       read by the same deserialiser
//! ```
//!
//! Protobuf's message indexes ([`MessageIndexes`]) follow the id where it stands: before the payload, or at the end of the
//! header's value. Here they are never needed to find an id.
//!
//! **What bytes cannot tell.** A key or value that begins with a zero byte need not be framed: a number, a UUID, a raw
//! Avro record may begin so too. [`Prefix::of`] says what the bytes look like; whether they are framed is for somebody to
//! say who knows the topic's subjects. Ids of 0 and below are given by no registry, so bytes with such a one are not
//! framed. Apicurio's serialisers can write ids of eight bytes behind the same zero byte; as long as such an id is below
//! 2^32 its first half is zero, so it looks like a prefix with id 0 ([`Prefix::LongId`]), and from 2^32 on it cannot be told
//! from one of four bytes.
//!
//! **Where several say it**, Confluent's deserialiser asks for the last header of the name (Kafka's `lastHeader`); where
//! that is there and its value is not null, the whole key or value is the payload, and bytes that look like a prefix are part
//! of it. [`applied`] answers as it does. Source: `SchemaId` and `DualSchemaIdDeserializer` of Confluent's schema registry
//! 8, `AWSSchemaRegistryConstants` of AWS Glue's library, `Legacy8ByteIdHandler` of Apicurio registry 3.

mod indexes;

#[cfg(test)]
mod tests;

use std::fmt;

use uuid::Uuid;

use crate::ids::SchemaId;
use crate::record::Headers;

pub use indexes::MessageIndexes;

/// The first byte where a schema id follows.
const ID_MAGIC: u8 = 0;
/// The first byte where a GUID follows.
const GUID_MAGIC: u8 = 1;
/// The first byte of Glue's framing.
const GLUE_MAGIC: u8 = 3;
/// What Glue has for "not compressed" and for "zlib".
const GLUE_COMPRESSION: [u8; 2] = [0, 5];

/// A part of a record that has a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// The key.
    Key = 0,
    /// The value.
    Value = 1,
}

impl Side {
    /// Both, in the order of a record's bytes.
    pub const ALL: [Self; 2] = [Self::Key, Self::Value];

    /// The name of the header that says which schema this side has.
    pub fn header(self) -> &'static str {
        match self {
            Self::Key => "__key_schema_id",
            Self::Value => "__value_schema_id",
        }
    }

    /// The side that a header of this name speaks of.
    pub fn of_header(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|side| name == side.header().as_bytes())
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Key => "key",
            Self::Value => "value",
        })
    }
}

/// How a record names a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SchemaRef {
    /// By its number in the registry's context.
    Id(SchemaId),
    /// By its content.
    Guid(Uuid),
}

impl SchemaRef {
    /// What the value of a schema header names; `None` where Confluent's deserialiser would find nothing in it. What
    /// follows the id is not looked at.
    pub fn of_header(value: &[u8]) -> Option<Self> {
        let (magic, rest) = value.split_first()?;
        match *magic {
            ID_MAGIC => SchemaId::new(u32::from_be_bytes(*rest.first_chunk()?)).map(Self::Id),
            GUID_MAGIC => rest.first_chunk().map(|guid| Self::Guid(Uuid::from_bytes(*guid))),
            _ => None,
        }
    }

    /// How many bytes it takes with its first byte.
    pub fn encoded_len(self) -> usize {
        match self {
            Self::Id(_) => 5,
            Self::Guid(_) => 17,
        }
    }
}

impl fmt::Display for SchemaRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "schema id {id}"),
            Self::Guid(guid) => write!(f, "schema GUID {guid}"),
        }
    }
}

/// What a key or value begins like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prefix {
    /// A zero byte and a schema id.
    Id(SchemaId),
    /// A zero byte and an id of eight bytes, 1 to 2^32-1: as Apicurio's serialisers can be told to write.
    LongId(u32),
    /// A one and a GUID. Confluent's deserialiser reads it here as well; its serialisers write it into headers only.
    Guid(Uuid),
    /// A three, 0 or 5, and the id of a schema version: AWS Glue.
    Glue(Uuid),
    /// None of these.
    Other,
}

impl Prefix {
    /// What `payload`, a whole key or value, begins like.
    pub fn of(payload: &[u8]) -> Self {
        let Some((magic, rest)) = payload.split_first() else { return Self::Other };
        match *magic {
            ID_MAGIC => Self::of_zero(rest),
            GUID_MAGIC => match rest.first_chunk() {
                Some(guid) => Self::Guid(Uuid::from_bytes(*guid)),
                None => Self::Other,
            },
            GLUE_MAGIC => match rest.split_first() {
                Some((compression, rest)) if GLUE_COMPRESSION.contains(compression) => {
                    rest.first_chunk().map_or(Self::Other, |id| Self::Glue(Uuid::from_bytes(*id)))
                }
                _ => Self::Other,
            },
            _ => Self::Other,
        }
    }

    fn of_zero(rest: &[u8]) -> Self {
        let Some((id, rest)) = rest.split_first_chunk() else { return Self::Other };
        let id = u32::from_be_bytes(*id);
        match (SchemaId::new(id), rest.first_chunk()) {
            (Some(id), _) => Self::Id(id),
            (None, Some(low)) if id == 0 && *low != [0; 4] => Self::LongId(u32::from_be_bytes(*low)),
            (None, _) => Self::Other,
        }
    }
}

/// Where a record names a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// In a header.
    Header,
    /// At the beginning of the key or value.
    Prefix,
}

/// The schema that clients read a key or value with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied<'a> {
    /// Which.
    pub schema: SchemaRef,
    /// Where it stands.
    pub place: Place,
    /// What follows it there: from a prefix the payload, from a header nothing; for Protobuf after the message indexes.
    pub after: &'a [u8],
}

/// The schema that Confluent's deserialiser reads one side of a record with: the last header's that is not null, else the
/// prefix's. `None` where it would find none, be it that a header cannot be read.
pub fn applied<'a>(side: Side, payload: &'a [u8], headers: Headers<'a>) -> Option<Applied<'a>> {
    let name = side.header().as_bytes();
    let last = headers.filter(|(key, _)| *key == name).last().and_then(|(_, value)| value);
    // A header and a prefix have one form; only here a GUID in a prefix counts, because this deserialiser takes it.
    let (place, bytes) = last.map_or((Place::Prefix, payload), |value| (Place::Header, value));
    let schema = SchemaRef::of_header(bytes)?;
    Some(Applied { schema, place, after: &bytes[schema.encoded_len()..] })
}
