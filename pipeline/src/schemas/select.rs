//! Which schemas a backup takes: by subject and type. All versions of a subject are taken, softly deleted ones too, because records
//! may bear the id of any of them; and what a taken schema refers to is taken with it.

use std::collections::BTreeSet;

use globset::{GlobBuilder, GlobMatcher};

use super::source::FoundVersion;
use crate::{Error, Result};

/// A selection of subjects and types.
#[derive(Debug, Clone)]
pub struct SchemaSelection {
    include: Vec<GlobMatcher>,
    exclude: Vec<GlobMatcher>,
    types: BTreeSet<String>,
    references: bool,
    protobuf_references: bool,
}

impl SchemaSelection {
    /// `include` and `exclude` are names or globs (`*`, `?`, `[...]`) of whole subjects, with their context in front where that is not
    /// the default one; an empty `include` takes all, `exclude` wins. Empty `types` take all. With `references`, what is left out and
    /// referred to is taken too.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Input`] for a pattern that cannot be read.
    pub fn new<S: AsRef<str>>(include: &[S], exclude: &[S], types: &[S], references: bool) -> Result<Self> {
        let globs = |list: &[S]| list.iter().map(|text| glob(text.as_ref())).collect::<Result<Vec<_>>>();
        let all = include.iter().any(|text| text.as_ref() == "*");
        Ok(Self {
            include: if all { Vec::new() } else { globs(include)? },
            exclude: globs(exclude)?,
            types: types.iter().map(|name| name.as_ref().to_uppercase()).collect(),
            references,
            protobuf_references: true,
        })
    }

    /// Everything.
    pub fn all() -> Self {
        Self {
            include: Vec::new(),
            exclude: Vec::new(),
            types: BTreeSet::new(),
            references: true,
            protobuf_references: true,
        }
    }

    /// The same, without what Protobuf schemas import.
    #[must_use]
    pub fn without_protobuf_references(self) -> Self {
        Self { protobuf_references: false, ..self }
    }

    /// Checks one pattern of `include` or `exclude`, without keeping it.
    ///
    /// # Errors
    /// As [`SchemaSelection::new`].
    pub fn check_pattern(text: &str) -> Result<()> {
        glob(text).map(drop)
    }

    /// Whether nothing can be left out.
    pub fn is_everything(&self) -> bool {
        self.include.is_empty() && self.exclude.is_empty() && self.types.is_empty()
    }

    /// Whether a version is taken for its own sake.
    pub(super) fn takes(&self, found: &FoundVersion) -> bool {
        let matches = |list: &[GlobMatcher]| list.iter().any(|glob| glob.is_match(&found.subject));
        !matches(&self.exclude)
            && (self.include.is_empty() || matches(&self.include))
            && (self.types.is_empty() || self.types.contains(&found.schema_type))
    }

    /// Whether what a taken schema of this type refers to is taken too.
    pub(super) fn takes_references_of(&self, schema_type: &str) -> bool {
        self.references && (self.protobuf_references || schema_type != "PROTOBUF")
    }
}

fn glob(text: &str) -> Result<GlobMatcher> {
    let glob = GlobBuilder::new(text).literal_separator(false).backslash_escape(false).build();
    let glob = glob.map_err(|e| {
        Error::input(format!("{text:?} is no pattern of subjects")).caused_by(e).hint("as in orders-*")
    })?;
    Ok(glob.compile_matcher())
}
