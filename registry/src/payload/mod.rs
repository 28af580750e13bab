//! Whether bytes are a message of a schema: what stands behind a schema's id in a record of Kafka.
//!
//! ```text
//!   parse::Parsed -- Reader::of --> Reader (small, shared) -- reads(payload) --> yes or no
//! ```
//!
//! Nothing is decoded: the bytes are walked through, and must end where the message ends. That is evidence that bytes which
//! only look like an id and a payload are just that. How strong it is depends on the language:
//!
//! - **Avro**: strong, unless the schema is so small that many bytes fit it; none for a schema that is `bytes` alone.
//! - **JSON Schema**: that the payload is JSON, not that it fits the schema.
//! - **Protobuf**: known fields must fit; unknown ones may be there, and an empty payload is a message of every type. Values of
//!   `required` fields may be missing, and extensions count as unknown.
//!
//! What a rule of a data contract has encrypted as a whole (`ENCRYPT_PAYLOAD`) is no message here.

mod avro;
mod json;
mod protobuf;
#[cfg(test)]
mod tests;
mod varint;

use crate::parse::Parsed;

/// Says whether bytes are a message of one schema.
#[derive(Debug)]
pub struct Reader(Language);

#[derive(Debug)]
enum Language {
    Avro(avro::Types),
    Json,
    Protobuf(protobuf::Messages),
}

impl Reader {
    /// For a schema that the registry understands.
    ///
    /// # Errors
    /// In words, why it cannot be done: a Protobuf file without messages, or with a type that nothing declares.
    pub fn of(parsed: &Parsed) -> Result<Self, String> {
        Ok(Self(match parsed {
            Parsed::Avro(schema) => Language::Avro(avro::Types::of(schema)),
            Parsed::Json(_) => Language::Json,
            Parsed::Protobuf(schema) => Language::Protobuf(protobuf::Messages::of(schema)?),
        }))
    }

    /// Whether all of `payload`, what follows the id, is one message.
    ///
    /// `indexes_first` is for Protobuf: true where message indexes are at the beginning of `payload`; false where they are not
    /// there because a header carries them, and the payload may be any message type of the file.
    pub fn reads(&self, payload: &[u8], indexes_first: bool) -> bool {
        match &self.0 {
            Language::Avro(types) => types.reads(payload),
            Language::Json => json::reads(payload),
            Language::Protobuf(messages) if indexes_first => messages.reads_indexed(payload),
            Language::Protobuf(messages) => messages.reads_any(payload),
        }
    }

    /// Whether what it reads is evidence of anything: any bytes are a message of a schema that is `bytes` alone.
    pub fn is_evidence(&self) -> bool {
        !matches!(&self.0, Language::Avro(types) if types.takes_anything())
    }

    /// Bytes of memory that it holds, about.
    pub fn weight(&self) -> u64 {
        let inside = match &self.0 {
            Language::Avro(types) => types.weight(),
            Language::Json => 0,
            Language::Protobuf(messages) => messages.weight(),
        };
        (size_of::<Self>() + inside) as u64
    }
}
