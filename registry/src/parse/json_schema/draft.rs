//! The dialects of JSON Schema, and which one a document is written in.

use crate::json::Json;

/// A dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Draft {
    Draft4,
    Draft6,
    Draft7,
    Draft2019,
    Draft2020,
}

impl Draft {
    /// By `$schema`; draft 7 where there is none or an unknown one, as Confluent's registry chooses.
    pub(super) fn of(document: &Json) -> Self {
        document.get("$schema").and_then(Json::as_str).and_then(Self::by_uri).unwrap_or(Self::Draft7)
    }

    /// The dialect that a metaschema's URI names.
    pub(super) fn by_uri(uri: &str) -> Option<Self> {
        let uri = uri.trim_end_matches('#').trim_end_matches('/');
        let path = uri.strip_prefix("https://").or_else(|| uri.strip_prefix("http://"))?;
        Some(match path {
            "json-schema.org/draft-04/schema" => Self::Draft4,
            "json-schema.org/draft-06/schema" => Self::Draft6,
            "json-schema.org/draft-07/schema" => Self::Draft7,
            "json-schema.org/draft/2019-09/schema" => Self::Draft2019,
            "json-schema.org/draft/2020-12/schema" => Self::Draft2020,
            _ => return None,
        })
    }

    /// From 2019-09 on a `$ref` may have neighbours, and more keywords apply.
    pub(super) fn is_modern(self) -> bool {
        self >= Self::Draft2019
    }

    /// The keyword that names a schema.
    pub(super) fn id_keyword(self) -> &'static str {
        if self == Self::Draft4 { "id" } else { "$id" }
    }
}
