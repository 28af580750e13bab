//! The documents that a schema can refer to: itself and its dependencies, with every name inside them (`$id`,
//! `$anchor`), and the way from a `$ref` to a place.

use super::draft::Draft;
use super::uri;
use crate::json::{Json, Object};
use std::collections::HashMap;
use std::rc::Rc;

/// Members whose value is data, not a schema: names inside mean nothing.
const DATA: [&str; 4] = ["enum", "const", "default", "examples"];

/// A value inside a document, with what its own references start from.
#[derive(Debug, Clone)]
pub(super) struct Place<'a> {
    pub(super) json: &'a Json,
    pub(super) scope: Scope,
}

/// What a reference starts from.
#[derive(Debug, Clone)]
pub(super) struct Scope {
    /// The name of the innermost resource.
    pub(super) base: Rc<str>,
    /// The name of the document.
    document: Rc<str>,
    pub(super) draft: Draft,
}

impl Scope {
    /// The scope inside a schema, which may have a name of its own.
    pub(super) fn enter(&self, members: &Object) -> Self {
        let id = members.get(self.draft.id_keyword()).and_then(Json::as_str).unwrap_or("");
        let (name, _) = uri::split_fragment(id);
        if name.is_empty() || name.len() > uri::MAX_LENGTH {
            return self.clone();
        }
        let base = uri::resolve(&self.base, name);
        if base.len() > uri::MAX_LENGTH { self.clone() } else { Self { base: base.into(), ..self.clone() } }
    }
}

/// All documents, by their names.
#[derive(Debug, Default)]
pub(super) struct Documents<'a> {
    resources: HashMap<Rc<str>, Place<'a>>,
    anchors: HashMap<(Rc<str>, Rc<str>), Place<'a>>,
}

impl<'a> Documents<'a> {
    /// Takes a document under the name that others use for it; answers its scope. Who comes first keeps a name.
    pub(super) fn add(&mut self, json: &'a Json, name: &str, root: &str) -> Scope {
        let base = if name.is_empty() { String::new() } else { uri::resolve(root, name) };
        let base: Rc<str> = base.into();
        let mut scope = Scope { document: base.clone(), base, draft: Draft::of(json) };
        let inner = json.as_object().map_or_else(|| scope.clone(), |members| scope.enter(members));
        scope.document = inner.base.clone();
        let place = Place { json, scope: Scope { document: inner.base.clone(), ..inner } };
        let inner = place.scope.clone();
        if !name.is_empty() {
            self.resources.entry(name.into()).or_insert_with(|| place.clone());
        }
        self.resources.entry(scope.base.clone()).or_insert_with(|| place.clone());
        self.resources.entry(inner.base.clone()).or_insert(place);
        self.index(json, &scope);
        inner
    }

    /// Notes every name inside.
    fn index(&mut self, json: &'a Json, scope: &Scope) {
        match json {
            Json::Object(members) => {
                let inner = scope.enter(members);
                let place = || Place { json, scope: inner.clone() };
                if inner.base != scope.base {
                    self.resources.entry(inner.base.clone()).or_insert_with(place);
                }
                let id = members.get(scope.draft.id_keyword()).and_then(Json::as_str).unwrap_or("");
                let anchors = [
                    members.get("$anchor").and_then(Json::as_str),
                    members.get("$dynamicAnchor").and_then(Json::as_str),
                    Some(uri::split_fragment(id).1),
                ];
                for anchor in anchors.into_iter().flatten().filter(|name| !name.is_empty()) {
                    self.anchors.entry((inner.base.clone(), anchor.into())).or_insert_with(place);
                }
                for (name, value) in members {
                    if !DATA.contains(&&**name) {
                        self.index(value, &inner);
                    }
                }
            }
            Json::Array(elements) => elements.iter().for_each(|element| self.index(element, scope)),
            _ => {}
        }
    }

    /// Where a reference leads to; none if nothing at hand has that name.
    pub(super) fn find(&self, reference: &str, scope: &Scope) -> Option<Place<'a>> {
        if reference.len() > uri::MAX_LENGTH {
            return None;
        }
        let (name, fragment) = uri::split_fragment(reference);
        let resource = if name.is_empty() {
            self.resources.get(&scope.base)
        } else {
            self.resources
                .get(uri::resolve(&scope.base, name).as_str())
                .or_else(|| self.resources.get(name))
                .or_else(|| self.resources.get(name.trim_start_matches("./")))
        };
        let Some(resource) = resource else {
            // Somebody may have given a reference a name that has a fragment itself.
            return self.resources.get(reference).cloned();
        };
        let fragment = uri::decode(fragment);
        if fragment.is_empty() {
            return Some(resource.clone());
        }
        match fragment.strip_prefix('/') {
            // Generators write an `$id` into every subschema and mean the document all the same.
            Some(pointer) => walk(resource, pointer).or_else(|| {
                let document = self.resources.get(&scope.document).filter(|_| name.is_empty())?;
                walk(document, pointer)
            }),
            None => self.anchors.get(&(resource.scope.base.clone(), fragment.into())).cloned(),
        }
    }
}

/// Follows a JSON pointer (without its first slash), keeping the scope up to date.
fn walk<'a>(start: &Place<'a>, pointer: &str) -> Option<Place<'a>> {
    let mut place = start.clone();
    for token in pointer.split('/') {
        let token = token.replace("~1", "/").replace("~0", "~");
        place.json = match place.json {
            Json::Object(members) => members.get(token.as_str())?,
            Json::Array(elements) => elements.get(token.parse::<usize>().ok()?)?,
            _ => return None,
        };
        if let Json::Object(members) = place.json {
            place.scope = place.scope.enter(members);
        }
    }
    Some(place)
}
