//! The rules of the language: everything is resolved and checked by protox, as `protoc` would, and comes out as a
//! descriptor. Nothing is read from disk or fetched: what can be imported is given.

use super::builtin;
use super::element::File;
use super::json_names;
use super::print::{Layout, print};
use crate::parse::Problem;
use protox::file::{FileResolver, GoogleFileResolver};
use std::collections::HashMap;

/// The name that the schema itself has in its descriptor, as in Confluent's registry.
const MAIN: &str = "default";

/// The encoded `FileDescriptorProto` of a file, with its custom options, without positions in the text, and without JSON names that
/// the text does not have.
///
/// The files must be free of map entry messages.
pub(super) fn compile<'a>(
    main: &File,
    imported: impl IntoIterator<Item = (&'a str, &'a File)>,
) -> Result<Vec<u8>, Problem> {
    let mut texts: HashMap<String, String> = HashMap::new();
    for (path, file) in imported {
        texts.insert(path.to_owned(), print(file, Layout::Compilable));
    }
    let mut text = print(main, Layout::Compilable);
    // Confluent's options are used without an import, too.
    if text.contains("(confluent.") && !main.all_imports().any(|path| path == builtin::META) {
        let mut main = main.clone();
        main.imports.push(builtin::META.to_owned());
        text = print(&main, Layout::Compilable);
        if let Some(meta) = builtin::file(builtin::META) {
            texts.entry(builtin::META.to_owned()).or_insert(print(&meta?, Layout::Compilable));
        }
    }
    texts.insert(MAIN.to_owned(), text);
    let mut compiler = protox::Compiler::with_file_resolver(Given { texts });
    compiler.include_imports(false).include_source_info(false);
    compiler.open_file(MAIN).map_err(|error| {
        let within = error
            .file()
            .filter(|file| *file != MAIN)
            .map(|file| format!(", in {file:?}"))
            .unwrap_or_default();
        Problem::new(format!("{}{within}", one_line(&error.to_string())))
    })?;
    let set = compiler.encode_file_descriptor_set();
    let file = only_entry(&set).and_then(|file| json_names::declared_only(main, file));
    file.ok_or_else(|| Problem::new("the compiler gave no descriptor for this schema"))
}

struct Given {
    texts: HashMap<String, String>,
}

impl FileResolver for Given {
    fn open_file(&self, name: &str) -> Result<protox::file::File, protox::Error> {
        match self.texts.get(name) {
            Some(text) => protox::file::File::from_source(name, text),
            None => GoogleFileResolver::new().open_file(name),
        }
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").trim_end_matches('.').to_owned()
}

/// The only entry of an encoded `FileDescriptorSet`: a tag, a length, and the rest.
fn only_entry(set: &[u8]) -> Option<&[u8]> {
    let mut rest = set.strip_prefix(&[0x0a])?;
    let length = prost::decode_length_delimiter(&mut rest).ok()?;
    (rest.len() == length).then_some(rest)
}
