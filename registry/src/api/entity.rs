//! Answers about schemas, in Confluent's shapes: members in its order, what is empty left out, the type left out where it is Avro.

use crate::parse::outline::{Kind, outline};
use crate::schema::{Metadata, Reference, RuleSet, SchemaType};
use crate::service::{ById, Entity, Registered};
use crate::settings::Level;
use serde::Serialize;

/// A schema in an answer.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Shape<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) subject: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) version: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) guid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) schema_type: Option<&'static str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(super) references: Vec<Reference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) metadata: Option<&'a Metadata>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rule_set: Option<&'a RuleSet>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) schema: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) max_id: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ts: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) deleted: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) schema_tags: Option<Vec<Tagged>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(super) aliases: Vec<String>,
}

/// The tags that a text gives one of its parts.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Tagged {
    schema_entity: TaggedEntity,
    tags: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct TaggedEntity {
    entity_path: String,
    entity_type: &'static str,
}

/// A version as it is exported: everything that an import needs.
#[derive(Debug, Serialize)]
pub(super) struct Exported<'a> {
    subject: String,
    version: i32,
    id: u32,
    guid: String,
    schema: &'a str,
    schema_type: &'static str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    references: &'a [Reference],
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a Metadata>,
    #[serde(rename = "ruleSet", skip_serializing_if = "Option::is_none")]
    rule_set: Option<&'a RuleSet>,
    deleted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    compatibility_level: Option<&'static str>,
}

impl<'a> Exported<'a> {
    pub(super) fn of(entity: &'a Entity) -> Self {
        Self {
            subject: entity.subject.to_string(),
            version: entity.version.version,
            id: entity.version.schema.id,
            guid: entity.guid.to_string(),
            schema: &entity.texts.canonical,
            schema_type: entity.schema_type.name(),
            references: &entity.references,
            metadata: entity.texts.metadata.as_deref(),
            rule_set: entity.texts.rule_set.as_deref(),
            deleted: entity.version.deleted,
            compatibility_level: None,
        }
    }

    /// With the level that counts for its subject.
    pub(super) fn under(self, level: Option<Level>) -> Self {
        Self { compatibility_level: level.map(Level::name), ..self }
    }
}

/// A time, unless nobody knows it.
fn known(time_ms: i64) -> Option<i64> {
    (time_ms != 0).then_some(time_ms)
}

fn named(schema_type: SchemaType) -> Option<&'static str> {
    (schema_type != SchemaType::Avro).then(|| schema_type.name())
}

impl<'a> Shape<'a> {
    /// A version. `text` replaces the canonical one where another format was asked for.
    pub(super) fn of_version(entity: &'a Entity, text: Option<&'a str>) -> Self {
        Self {
            subject: Some(entity.subject.to_string()),
            version: Some(entity.version.version),
            id: Some(entity.version.schema.id),
            guid: Some(entity.guid.to_string()),
            schema_type: named(entity.schema_type),
            references: entity.references.to_vec(),
            metadata: entity.texts.metadata.as_deref(),
            rule_set: entity.texts.rule_set.as_deref(),
            schema: Some(text.unwrap_or(&entity.texts.canonical)),
            ts: known(entity.version.time_ms),
            deleted: Some(entity.version.deleted),
            ..Self::default()
        }
    }

    /// What was registered, where the client knows what that is.
    pub(super) fn of_known(registered: &Registered) -> Self {
        Self {
            id: Some(registered.schema.id),
            version: Some(registered.version),
            guid: Some(registered.guid.to_string()),
            ..Self::default()
        }
    }

    /// What was registered, with all that the server has added to it.
    pub(super) fn of_registered(registered: &'a Registered, text: Option<&'a str>) -> Self {
        Self {
            id: Some(registered.schema.id),
            version: Some(registered.version),
            guid: Some(registered.guid.to_string()),
            schema_type: named(registered.schema_type),
            references: registered.references.to_vec(),
            metadata: registered.texts.metadata.as_deref(),
            rule_set: registered.texts.rule_set.as_deref(),
            schema: Some(text.unwrap_or(&registered.texts.canonical)),
            ..Self::default()
        }
    }

    /// A schema by its id or GUID; with its version where a subject was named.
    pub(super) fn of_id(found: &'a ById, text: Option<&'a str>, max_id: Option<u32>) -> Self {
        Self {
            subject: found.of.as_ref().map(|(subject, _)| subject.to_string()),
            version: found.of.as_ref().map(|(_, version)| version.version),
            guid: Some(found.guid.to_string()),
            schema_type: named(found.schema_type),
            references: found.references.to_vec(),
            metadata: found.texts.metadata.as_deref(),
            rule_set: found.texts.rule_set.as_deref(),
            schema: Some(text.unwrap_or(&found.texts.canonical)),
            max_id,
            ts: found.of_any.and_then(|version| known(version.time_ms)),
            deleted: found.of_any.map(|version| version.deleted),
            ..Self::default()
        }
    }

    /// With the tags that the text gives its parts, of those names that are wanted: `findTags`, where `*` stands for all.
    pub(super) fn tagged(mut self, wanted: &[&str], schema_type: SchemaType, text: &str) -> Self {
        if !wanted.is_empty() {
            let is_wanted = |tag: &String| wanted.contains(&"*") || wanted.contains(&tag.as_str());
            let parts = outline(schema_type, text).into_iter();
            let tagged = parts.filter(|part| part.tags.iter().any(is_wanted)).map(|part| Tagged {
                schema_entity: TaggedEntity {
                    entity_path: part.entity,
                    entity_type: match part.kind {
                        Kind::Record => "sr_record",
                        Kind::Field => "sr_field",
                    },
                },
                tags: part.tags,
            });
            self.schema_tags = Some(tagged.collect()).filter(|list: &Vec<_>| !list.is_empty());
        }
        self
    }

    /// References to subjects of the schema's own context are written with it: `referenceFormat=qualified`.
    pub(super) fn qualified(mut self, context: &crate::names::Context) -> Self {
        for reference in &mut self.references {
            reference.subject = crate::names::Subject::parse_in(&reference.subject, context).to_string();
        }
        self
    }
}
