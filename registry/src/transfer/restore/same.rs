//! Whether a schema of the archive and one of the target are the same. Where their references lead is the caller's to compare.

use crate::client::Schema;
use crate::parse::Parsed;
use crate::transfer::content::{Fingerprint, outline_of};
use crate::transfer::error::Result;
use crate::transfer::index::{Entry, Key};
use crate::transfer::source::Side;
use std::collections::HashMap;

/// Compares, and remembers what texts mean.
pub(super) struct Sameness<'a> {
    from: &'a Side,
    to: &'a Side,
    ours: HashMap<Key, Fingerprint>,
    theirs: HashMap<Key, Fingerprint>,
}

/// The form in which texts are compared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// As a registry stores them.
    Canonical,
    /// As a registry stores them that normalises.
    Normal,
}

impl<'a> Sameness<'a> {
    pub(super) fn new(from: &'a Side, to: &'a Side) -> Self {
        Self { from, to, ours: HashMap::new(), theirs: HashMap::new() }
    }

    /// Whether the two say the same. Texts are read only where they are not written the same.
    pub(super) async fn is_same(
        &mut self,
        own: (&Key, &Entry),
        other: (&Key, &Entry),
        form: Form,
    ) -> Result<bool> {
        if own.1.outline == other.1.outline {
            return Ok(true);
        }
        if own.1.schema_type != other.1.schema_type || own.1.references.len() != other.1.references.len() {
            return Ok(false);
        }
        let mine = meaning(self.from, own, form, &mut self.ours).await?;
        Ok(mine == meaning(self.to, other, form, &mut self.theirs).await?)
    }
}

async fn meaning(
    side: &Side,
    (key, entry): (&Key, &Entry),
    form: Form,
    known: &mut HashMap<Key, Fingerprint>,
) -> Result<Fingerprint> {
    if let Some(known) = known.get(key) {
        return Ok(*known);
    }
    let found = match side.schema(key).await? {
        Some(schema) => of(side, &schema, form).await?,
        // It was deleted for good meanwhile, and is nothing else.
        None => entry.outline,
    };
    known.insert(key.clone(), found);
    Ok(found)
}

async fn of(side: &Side, schema: &Schema, form: Form) -> Result<Fingerprint> {
    let parsed = side.parsed(schema).await?;
    let text = parsed.map(|parsed: Parsed| match form {
        Form::Canonical => parsed.canonical().to_owned(),
        Form::Normal => parsed.normalized(),
    });
    Ok(outline_of(schema, text.as_deref().unwrap_or(&schema.schema)))
}
