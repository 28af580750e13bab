//! Protobuf schemas: proto2 and proto3, as text or as the base64 of a `FileDescriptorProto` (which the clients for
//! Python send). Editions are refused, as in Confluent's registry.
//!
//! ```text
//!   text ---- lex, options, read ---> File ---- print ---> canonical, normalised, without extensions
//!   base64 -- descriptor -----------> (element)  |
//!                                                +--- names ----> compatibility (compat::protobuf)
//!                                                +--- compile --> checked, and as a descriptor
//! ```
//!
//! The canonical text is printed from the tree and not from a descriptor, because Confluent's is: names and options
//! stay as they are written. It has no comments.
//!
//! Bounds: a text has at most 8 MiB, messages and option values nest at most 32 levels deep, a package has at most 512
//! characters, and a schema imports at most 1,000 files. Within these, time grows with the size of the texts.

mod builtin;
mod compile;
mod descriptor;
pub(crate) mod element;
mod json_names;
mod lex;
pub(crate) mod names;
mod normal;
mod options;
mod print;
mod read;
#[cfg(test)]
mod tests;

use super::{Problem, Strictness};
use crate::schema::Dependency;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use element::File;
use names::Names;
use print::{Layout, print};
use prost::Message as _;
use std::collections::HashSet;

const MAX_TEXT: usize = 8 << 20;
const MAX_PACKAGE: usize = 512;
const MAX_IMPORTED: usize = 1000;

/// A Protobuf schema: one file, and the files that it imports.
#[derive(Debug, Clone)]
pub struct Protobuf {
    canonical: String,
    /// The tree that the canonical text was printed from.
    file: File,
    /// The same with maps as map fields, where a descriptor had spelled out their entries.
    restored: Option<File>,
    /// Path -> what is there, references and built-in files.
    imported: Vec<(String, File)>,
    /// The encoded descriptor, where the schema was checked; one from another registry is compiled when that is asked.
    descriptor: Option<Vec<u8>>,
}

impl Protobuf {
    /// Reads a schema: text, or the base64 of a `FileDescriptorProto`. Dependencies are named by the paths that are
    /// imported.
    ///
    /// # Errors
    ///
    /// If the text is neither; with [`Strictness::New`] also if an import leads nowhere or the schema breaks a rule of
    /// the language.
    pub fn parse(
        text: &str,
        dependencies: &[Dependency<'_>],
        strictness: Strictness,
    ) -> Result<Self, Problem> {
        let file = read_any(text)?;
        let mut imported: Vec<(String, File)> = Vec::new();
        if dependencies.len() > MAX_IMPORTED {
            return Err(Problem::new(format!(
                "the schema has {} references; at most {MAX_IMPORTED} are allowed, put several messages into one file",
                dependencies.len()
            )));
        }
        let mut known: HashSet<&str> = HashSet::new();
        for dependency in dependencies {
            if known.insert(dependency.name) {
                let within =
                    |problem: Problem| Problem::new(format!("{problem}, in reference {:?}", dependency.name));
                let mut file = read_any(dependency.text).map_err(within)?;
                element::restore_maps(&mut file);
                imported.push((dependency.name.to_owned(), file));
            }
        }
        add_built_in(&file, &mut imported)?;
        if strictness == Strictness::New {
            check_imports(&file, &imported)?;
        }
        let restored = element::has_map_entries(&file.messages).then(|| {
            let mut restored = file.clone();
            element::restore_maps(&mut restored);
            restored
        });
        let canonical = print(&file, Layout::Canonical);
        // Comments and semicolons only: there is nothing that could be registered.
        if canonical.trim().is_empty() {
            return Err(empty());
        }
        let mut schema = Self { canonical, file, restored, imported, descriptor: None };
        if strictness == Strictness::New {
            schema.descriptor = Some(schema.compile()?);
        }
        Ok(schema)
    }

    fn compile(&self) -> Result<Vec<u8>, Problem> {
        compile::compile(self.restored(), self.imported.iter().map(|(path, file)| (path.as_str(), file)))
    }

    /// The text that clients see, and that ids and GUIDs are made from.
    pub fn canonical(&self) -> &str {
        &self.canonical
    }

    /// The text for `normalize=true`: imports, options, fields and enum values sorted, names in full, maps as maps.
    pub fn normalized(&self) -> String {
        print(self.restored(), Layout::Normal(&self.names()))
    }

    /// The text for `format=ignore_extensions`: without custom options (Confluent's own stay), extensions and their
    /// ranges.
    pub fn without_extensions(&self) -> String {
        print(&self.file, Layout::WithoutExtensions)
    }

    /// The text for `format=serialized`: base64 of the `FileDescriptorProto`, with types resolved and custom options.
    ///
    /// # Errors
    ///
    /// If a schema that some other registry has accepted does not follow the rules of the language.
    pub fn serialized(&self) -> Result<String, Problem> {
        if let Some(bytes) = &self.descriptor {
            return Ok(STANDARD.encode(bytes));
        }
        let explain = |problem| {
            Problem::new(format!(
                "the schema has no descriptor: {problem}; ask for it without format=serialized"
            ))
        };
        self.compile().map(|bytes| STANDARD.encode(bytes)).map_err(explain)
    }

    /// Whether its first message has a field of this name.
    pub fn has_field(&self, name: &str) -> bool {
        let Some(message) = self.file.messages.first() else { return false };
        let oneofs = message.oneofs.iter().flat_map(|oneof| &oneof.fields);
        message.fields.iter().chain(oneofs).any(|field| field.name == name)
    }

    /// The text by which AxonOps' identity compares: the normalised one, so that order, spelling of names and comments
    /// do not count.
    pub fn reduced(&self) -> String {
        self.normalized()
    }

    pub(crate) fn restored(&self) -> &File {
        self.restored.as_ref().unwrap_or(&self.file)
    }

    pub(crate) fn names(&self) -> Names<'_> {
        Names::new(self.restored(), self.imported.iter().map(|(_, file)| file))
    }
}

fn empty() -> Problem {
    Problem::new("the schema is empty; send the text of a .proto file")
}

/// The tree of a text alone, maps as map fields, where it can be read.
pub(crate) fn tree(text: &str) -> Option<File> {
    let mut file = read_any(text).ok()?;
    element::restore_maps(&mut file);
    Some(file)
}

/// Text first; what is no text may be base64 of a descriptor.
fn read_any(text: &str) -> Result<File, Problem> {
    if text.trim().is_empty() {
        return Err(empty());
    }
    if text.len() > MAX_TEXT {
        return Err(Problem::new(format!(
            "the schema has {} bytes; at most {MAX_TEXT} are allowed",
            text.len()
        )));
    }
    let file = match read::read(text) {
        Ok(file) => file,
        Err(problem) => serialized(text.trim()).unwrap_or(Err(problem))?,
    };
    match file.package.as_ref().map(String::len) {
        Some(length) if length > MAX_PACKAGE => Err(Problem::new(format!(
            "the package has {length} characters; at most {MAX_PACKAGE} are allowed"
        ))),
        _ => Ok(file),
    }
}

/// `None` if the text is no descriptor.
fn serialized(text: &str) -> Option<Result<File, Problem>> {
    let bytes = STANDARD.decode(text).or_else(|_| STANDARD_NO_PAD.decode(text)).ok()?;
    let found = prost_types::FileDescriptorProto::decode(bytes.as_slice()).ok()?;
    // What a descriptor names must be what a text could name, or the printed text would not be read as the same.
    let file = match descriptor::file(&found) {
        Ok(file) => file,
        Err(problem) => return Some(Err(problem)),
    };
    // Other bytes may look like a descriptor in which nothing is known.
    if file.is_empty() && (found.name.is_none() || found.encode_to_vec() != bytes) {
        return None;
    }
    let printed = print(&file, Layout::Canonical);
    Some(match read::read(&printed) {
        Ok(again) if print(&again, Layout::Canonical) == printed => Ok(again),
        Ok(_) => Err(Problem::new("the descriptor holds a name that is no name; generate it with protoc")),
        Err(problem) => Err(Problem::new(format!("the descriptor is not valid: {problem} of its text"))),
    })
}

/// Adds the built-in files that are imported and not given, and those that these import.
fn add_built_in(file: &File, imported: &mut Vec<(String, File)>) -> Result<(), Problem> {
    let mut known: HashSet<String> = imported.iter().map(|(path, _)| path.clone()).collect();
    let mut wanted: Vec<String> = imported.iter().flat_map(|(_, file)| file.all_imports().cloned()).collect();
    wanted.extend(file.all_imports().cloned());
    while let Some(path) = wanted.pop() {
        if known.contains(&path) {
            continue;
        }
        known.insert(path.clone());
        if let Some(found) = builtin::file(&path) {
            let mut found = found?;
            element::restore_maps(&mut found);
            wanted.extend(found.all_imports().cloned());
            imported.push((path, found));
        }
    }
    Ok(())
}

fn check_imports(file: &File, imported: &[(String, File)]) -> Result<(), Problem> {
    let known: HashSet<&str> = imported.iter().map(|(path, _)| path.as_str()).collect();
    let main = file.all_imports().map(|path| (path, None));
    let others = imported.iter().flat_map(|(of, file)| file.all_imports().map(move |path| (path, Some(of))));
    for (path, of) in main.chain(others) {
        if !known.contains(path.as_str()) {
            let of = of.map(|of| format!(" (by {of:?})")).unwrap_or_default();
            return Err(Problem::new(format!(
                "{path:?} is imported{of} but no reference has this name; register the file under a subject and add a \
                 reference with name {path:?} to it"
            )));
        }
    }
    Ok(())
}
