//! Which message, enum or extension a name means, by the language's scoping: the innermost scope that has it wins.

use super::element::{Extend, File, Label, Message};
use std::collections::HashMap;

/// Everything that a file and what it imports declare, under full names without a leading dot.
pub(crate) struct Names<'a> {
    types: HashMap<String, Known<'a>>,
    /// Full name -> whether it is repeated.
    extensions: HashMap<String, bool>,
}

/// A declared type.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known<'a> {
    /// The package of its file.
    pub(crate) package: &'a str,
    /// Its file is proto3.
    pub(crate) proto3: bool,
    /// Declared in the schema itself rather than in something it imports.
    pub(crate) local: bool,
    pub(crate) declared: Declared<'a>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Declared<'a> {
    Message(&'a Message),
    Enum,
}

impl<'a> Names<'a> {
    /// The schema's own names win over those of what it imports.
    pub(crate) fn new(main: &'a File, imported: impl IntoIterator<Item = &'a File>) -> Self {
        let mut names = Self { types: HashMap::new(), extensions: HashMap::new() };
        for file in imported {
            names.file(file, false);
        }
        names.file(main, true);
        names
    }

    fn file(&mut self, file: &'a File, local: bool) {
        let package = file.package();
        for message in &file.messages {
            self.message(file, package, message, local);
        }
        for found in &file.enums {
            self.insert(file, package, &found.name, local, Declared::Enum);
        }
        self.extends(file, package, &file.extends, local);
    }

    fn message(&mut self, file: &'a File, scope: &str, message: &'a Message, local: bool) {
        self.insert(file, scope, &message.name, local, Declared::Message(message));
        let scope = join(scope, &message.name);
        for nested in &message.messages {
            self.message(file, &scope, nested, local);
        }
        for group in message.all_groups() {
            self.message(file, &scope, &group.body, local);
        }
        for found in &message.enums {
            self.insert(file, &scope, &found.name, local, Declared::Enum);
        }
        self.extends(file, &scope, &message.extends, local);
    }

    fn extends(&mut self, file: &'a File, scope: &str, extends: &'a [Extend], local: bool) {
        for extend in extends {
            for field in &extend.fields {
                self.extensions.insert(join(scope, &field.name), field.label == Some(Label::Repeated));
            }
            for group in &extend.groups {
                self.message(file, scope, &group.body, local);
                let name = group.body.name.to_ascii_lowercase();
                self.extensions.insert(join(scope, &name), group.label == Some(Label::Repeated));
            }
        }
    }

    fn insert(&mut self, file: &'a File, scope: &str, name: &str, local: bool, declared: Declared<'a>) {
        let (package, proto3) = (file.package(), file.is_proto3());
        self.types.insert(join(scope, name), Known { package, proto3, local, declared });
    }

    /// The full name and the declaration of a type that is named within a scope.
    pub(crate) fn find(&self, scope: &str, name: &str) -> Option<(String, Known<'a>)> {
        let full = resolve(&self.types, scope, name)?;
        let known = *self.types.get(&full)?;
        Some((full, known))
    }

    /// The full name of an extension, and whether it is repeated.
    pub(crate) fn find_extension(&self, scope: &str, name: &str) -> Option<(String, bool)> {
        let full = resolve(&self.extensions, scope, name)?;
        let repeated = *self.extensions.get(&full)?;
        Some((full, repeated))
    }
}

fn resolve<T>(known: &HashMap<String, T>, scope: &str, name: &str) -> Option<String> {
    if let Some(absolute) = name.strip_prefix('.') {
        return known.contains_key(absolute).then(|| absolute.to_owned());
    }
    let mut scope = scope;
    loop {
        let full = join(scope, name);
        if known.contains_key(&full) {
            return Some(full);
        }
        if scope.is_empty() {
            return None;
        }
        scope = scope.rsplit_once('.').map_or("", |(outer, _)| outer);
    }
}

/// A name within a scope; the empty scope is the root.
pub(crate) fn join(scope: &str, name: &str) -> String {
    if scope.is_empty() { name.to_owned() } else { format!("{scope}.{name}") }
}
