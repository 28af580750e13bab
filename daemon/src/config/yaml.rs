//! YAML text to a tree of located nodes.
//!
//! The tree keeps what a typed deserialiser would throw away and what good errors need: line and column of every key
//! and value, the text of a scalar as it was written, its tag. What a value means is not decided here.
//!
//! Bounded by construction: nesting, the number of nodes and the bytes of text are limited, and what an alias repeats
//! counts again, so that a small file cannot grow into a large tree.

use std::collections::HashMap;

use serde_saphyr::granit_parser::{self, Event, Marker, Parser, ScalarStyle, Tag};

use super::error::{At, Problems};

/// The deepest nesting of lists and maps.
const DEEPEST: usize = 32;
/// The most nodes of a tree, those that aliases repeat included.
const MOST_NODES: usize = 50_000;
/// The most bytes of scalar text in a tree, those that aliases repeat included.
const MOST_BYTES: usize = 4 << 20;

/// A value and where it stands.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) at: At,
    /// A tag of the file's own, such as `!specific`, without its exclamation mark.
    pub(crate) tag: Option<String>,
    pub(crate) data: Data,
}

/// What a value is made of.
#[derive(Clone)]
pub(crate) enum Data {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A text, number, boolean or nothing: which of them is up to the key that it belongs to.
#[derive(Clone)]
pub(crate) struct Scalar {
    pub(crate) text: String,
    /// Written without quotes: only then can it mean "nothing".
    pub(crate) plain: bool,
    /// The value came, wholly or in part, from a variable or a file: errors do not quote it.
    pub(crate) expanded: bool,
    /// The value could not be expanded, which has been reported: nothing more is to be said of it.
    pub(crate) failed: bool,
}

/// A key with its value.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) at: At,
    pub(crate) value: Node,
}

impl Node {
    /// Whether the key was written without a value (or with `null`), which is the same as leaving it out.
    pub(crate) fn is_null(&self) -> bool {
        match &self.data {
            Data::Scalar(Scalar { text, plain: true, failed: false, .. }) => {
                matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL")
            }
            _ => false,
        }
    }

    /// Nodes, bytes of text and height of the tree below and including this node.
    fn size(&self) -> Size {
        let join = |sum: Size, part: Size| Size {
            nodes: sum.nodes + part.nodes,
            bytes: sum.bytes + part.bytes,
            height: sum.height.max(part.height + 1),
        };
        let own = Size { nodes: 1, bytes: 0, height: 0 };
        match &self.data {
            Data::Scalar(scalar) => Size { bytes: scalar.text.len(), ..own },
            Data::List(items) => items.iter().map(Node::size).fold(own, join),
            Data::Map(entries) => entries
                .iter()
                .map(|entry| {
                    let size = entry.value.size();
                    Size { bytes: size.bytes + entry.key.len(), ..size }
                })
                .fold(own, join),
        }
    }
}

#[derive(Clone, Copy)]
struct Size {
    nodes: usize,
    bytes: usize,
    height: usize,
}

/// A list or map that is not closed yet.
struct Open {
    node: Node,
    anchor: usize,
    /// The key whose value comes next, and where each key was seen.
    key: Option<(String, At)>,
    seen: HashMap<String, At>,
}

/// Builds the tree of a text that holds one document. `None`, with at least one problem, where there is no usable tree;
/// a tree with problems (a duplicate key) is good enough to look for more.
pub(crate) fn parse(text: &str, problems: &mut Problems) -> Option<Node> {
    let mut builder = Builder { stack: Vec::new(), anchors: HashMap::new(), root: None, nodes: 0, bytes: 0 };
    let options = granit_parser::options! { emit_comments: false };
    for next in Parser::new_from_str_with_options(text, options) {
        let (event, span) = match next {
            Ok(next) => next,
            Err(error) => {
                syntax(text, at(error.marker()), &error.info(), problems);
                return None;
            }
        };
        if let Err(Stop) = builder.take(event, at(&span.start), problems) {
            return None;
        }
    }
    if builder.root.is_none() {
        problems.add(At::START, "the file holds no job", "begin with configs/minimal.yaml");
    }
    builder.root
}

fn at(marker: &Marker) -> At {
    At { line: marker.line().max(1), column: marker.col() + 1, outside: None }
}

fn syntax(text: &str, at: At, info: &str, problems: &mut Problems) {
    let line = text.lines().nth(at.line - 1).unwrap_or_default();
    let indent = &line[..line.len() - line.trim_start().len()];
    let hint = if indent.contains('\t') {
        "indent with spaces: YAML does not take tabs"
    } else {
        "check the indentation, the quotes and the brackets on this line and the one before it"
    };
    problems.add(at, format!("not valid YAML: {info}"), hint);
}

/// Reading cannot go on; the reason has been reported.
struct Stop;

struct Builder {
    stack: Vec<Open>,
    anchors: HashMap<usize, Node>,
    root: Option<Node>,
    nodes: usize,
    bytes: usize,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, at: At, problems: &mut Problems) -> Result<(), Stop> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain;
                let scalar = Scalar { text: text.into_owned(), plain, expanded: false, failed: false };
                let node = Node { at, tag: own_tag(tag.as_deref()), data: Data::Scalar(scalar) };
                let cost = node.size();
                self.complete(node, anchor, cost, problems)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.open(at, anchor, tag.as_deref(), Data::List(Vec::new()), problems)
            }
            Event::MappingStart(_, anchor, tag) => {
                self.open(at, anchor, tag.as_deref(), Data::Map(Vec::new()), problems)
            }
            Event::SequenceEnd | Event::MappingEnd => match self.stack.pop() {
                Some(open) => {
                    let mut node = open.node;
                    merge(&mut node);
                    // Its children have been counted one by one.
                    self.complete(node, open.anchor, Size { nodes: 1, bytes: 0, height: 0 }, problems)
                }
                None => Ok(()),
            },
            Event::Alias(id) => {
                let Some(mut node) = self.anchors.get(&id).cloned() else {
                    problems.add(at, "an alias cannot stand inside what it names", "write the value out");
                    return Err(Stop);
                };
                node.at = at;
                let cost = node.size();
                self.complete(node, 0, cost, problems)
            }
            Event::DocumentStart(..) if self.root.is_some() => {
                problems.add(
                    at,
                    "the file holds more than one document",
                    "write one job a file, without a second ---",
                );
                Err(Stop)
            }
            _ => Ok(()),
        }
    }

    fn open(
        &mut self,
        at: At,
        anchor: usize,
        tag: Option<&Tag>,
        data: Data,
        problems: &mut Problems,
    ) -> Result<(), Stop> {
        if let Some(Open { node: Node { data: Data::Map(_), .. }, key: None, .. }) = self.stack.last() {
            problems.add(at, "a key must be a plain text, not a list or a map", "write key: value");
            return Err(Stop);
        }
        if self.stack.len() >= DEEPEST {
            problems.add(
                at,
                format!("nested more than {DEEPEST} deep"),
                "no job needs that: flatten the file",
            );
            return Err(Stop);
        }
        let node = Node { at, tag: own_tag(tag), data };
        self.stack.push(Open { node, anchor, key: None, seen: HashMap::new() });
        Ok(())
    }

    /// Puts a finished node where it belongs: into the open list or map, as a key, or at the root.
    fn complete(
        &mut self,
        node: Node,
        anchor: usize,
        cost: Size,
        problems: &mut Problems,
    ) -> Result<(), Stop> {
        self.nodes += cost.nodes;
        self.bytes += cost.bytes;
        if self.nodes > MOST_NODES || self.bytes > MOST_BYTES || self.stack.len() + cost.height > DEEPEST {
            problems.add(
                node.at,
                "the file is too large once its aliases are followed",
                "write fewer or smaller aliases",
            );
            return Err(Stop);
        }
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(open) = self.stack.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match &mut open.node.data {
            Data::List(items) => items.push(node),
            Data::Map(entries) => match open.key.take() {
                Some((key, at)) => entries.push(Entry { key, at, value: node }),
                None => {
                    let Data::Scalar(scalar) = node.data else {
                        problems.add(
                            node.at,
                            "a key must be a plain text, not a list or a map",
                            "write key: value",
                        );
                        return Err(Stop);
                    };
                    if let Some(first) = open.seen.insert(scalar.text.clone(), node.at) {
                        let message =
                            format!("key {:?} is given twice, first at line {}", scalar.text, first.line);
                        problems.add(node.at, message, "remove one of them");
                    }
                    open.key = Some((scalar.text, node.at));
                }
            },
            Data::Scalar(_) => {}
        }
        Ok(())
    }
}

/// A tag of the file's own; YAML's own tags (`!!str`) say nothing here, since the key decides.
fn own_tag(tag: Option<&Tag>) -> Option<String> {
    tag.filter(|tag| !tag.is_yaml_core_schema()).map(|tag| tag.suffix().to_owned())
}

/// Follows a merge key (`<<: *defaults`): its keys are taken where the map does not have them itself.
fn merge(node: &mut Node) {
    let Data::Map(entries) = &mut node.data else { return };
    let Some(place) = entries.iter().position(|entry| entry.key == "<<") else { return };
    let sources = match &entries[place].value.data {
        Data::Map(_) => vec![entries[place].value.clone()],
        Data::List(items) if items.iter().all(|item| matches!(item.data, Data::Map(_))) => items.clone(),
        // Anything else stays, and is reported as the unknown key that it is.
        _ => return,
    };
    entries.remove(place);
    let mut have: std::collections::HashSet<String> = entries.iter().map(|entry| entry.key.clone()).collect();
    for source in sources {
        let Data::Map(merged) = source.data else { continue };
        entries.extend(merged.into_iter().filter(|entry| have.insert(entry.key.clone())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(text: &str) -> Result<Node, String> {
        let mut problems = Problems::default();
        let node = parse(text, &mut problems);
        match node {
            Some(node) if problems.is_empty() => Ok(node),
            _ => Err(problems.into_error("f").to_string()),
        }
    }

    fn entries(node: &Node) -> Vec<(String, String, At)> {
        let Data::Map(entries) = &node.data else { panic!("not a map") };
        let text = |node: &Node| match &node.data {
            Data::Scalar(scalar) => scalar.text.clone(),
            Data::List(_) | Data::Map(_) => String::new(),
        };
        entries.iter().map(|entry| (entry.key.clone(), text(&entry.value), entry.value.at)).collect()
    }

    #[test]
    fn keeps_text_as_written_and_where_it_stands() {
        let node = tree("a: 007\n# note\nb:   'x'\n").expect("good");
        let found = entries(&node);
        assert_eq!(found[0], ("a".into(), "007".into(), At { line: 1, column: 4, outside: None }));
        assert_eq!(found[1], ("b".into(), "x".into(), At { line: 3, column: 6, outside: None }));
    }

    #[test]
    fn merge_keys_fill_in_what_is_missing() {
        let node = tree("x: &x {a: 1, b: 2}\ny:\n  <<: *x\n  b: 3\n").expect("good");
        let Data::Map(top) = &node.data else { panic!() };
        let found: Vec<_> = entries(&top[1].value).into_iter().map(|(key, text, _)| (key, text)).collect();
        assert_eq!(found, [("b".into(), "3".into()), ("a".into(), "1".into())]);
    }

    #[test]
    fn a_tag_of_the_files_own_is_kept() {
        let node = tree("a: !specific {t: 1}\nb: !!str 3\n").expect("good");
        let Data::Map(top) = &node.data else { panic!() };
        assert_eq!(top[0].value.tag.as_deref(), Some("specific"));
        assert_eq!(top[1].value.tag, None);
    }

    #[test]
    fn a_bomb_of_aliases_is_refused() {
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
        for level in 1..12 {
            let refs = vec![format!("*a{}", level - 1); 9].join(", ");
            bomb.push_str(&format!("a{level}: &a{level} [{refs}]\n"));
        }
        let error = tree(&bomb).err().expect("refused");
        assert!(error.contains("too large once its aliases are followed"), "{error}");
        let deep: String = (0..200).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
        assert!(tree(&deep).err().expect("refused").contains("nested more than 32 deep"));
        assert!(tree(&"[".repeat(100_000)).is_err());
        let text = format!("a: &a \"{}\"\nb: [{}]\n", "x".repeat(900_000), vec!["*a"; 50].join(", "));
        assert!(tree(&text).err().expect("refused").contains("too large"));
    }

    #[test]
    fn problems_of_structure_are_named() {
        for (text, words) in [
            ("", "holds no job"),
            ("a: 1\n---\nb: 2\n", "more than one document"),
            ("? [a]\n: 1\n", "a key must be a plain text"),
            ("a: 1\nb: 2\na: 3\n", "key \"a\" is given twice, first at line 1"),
            ("a: &a [*a]\n", "f:1:8:"),
            ("a: *nowhere\n", "not valid YAML"),
            ("a: [1, 2\n", "not valid YAML"),
        ] {
            let error = tree(text).err().expect("refused");
            assert!(error.contains(words), "{text:?}: {error}");
        }
    }
}
