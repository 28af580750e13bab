//! Two trees -> what changed between them.
//!
//! The messages of the two files are compared by name, level by level. Where a field has a type from an imported file,
//! the pair of types goes on a list and is compared later, once, however many fields use it: so schemas may refer to
//! each other in circles, and time grows with the number of distinct pairs, not of paths to them. Which fields have a
//! type that changed incompatibly is decided at the end, over the graph of the pairs.

use super::rules::{Change, Rule};
use crate::parse::protobuf::Protobuf;
use crate::parse::protobuf::element::{Enum, Field, File, Group, Label, Message, Type, is_scalar};
use crate::parse::protobuf::names::{Declared, Known, Names, join};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// Changes beyond this many are not looked for: nobody reads them, and the verdict is known.
const MAX_CHANGES: usize = 10_000;

pub(super) fn changes(reader: &Protobuf, writer: &Protobuf) -> Vec<Change> {
    let (old, new) = (writer.restored(), reader.restored());
    let mut walk = Walk {
        old: Side { names: writer.names(), package: old.package() },
        new: Side { names: reader.names(), package: new.package() },
        path: Vec::new(),
        scope: Vec::new(),
        changes: Vec::new(),
        pairs: HashMap::new(),
        waiting: Vec::new(),
        uses: Vec::new(),
        pair: 0,
        broken: BTreeSet::new(),
    };
    walk.files(old, new);
    walk.imported();
    walk.types_of_broken_pairs();
    let mut seen = HashSet::new();
    let mut changes = walk.changes;
    changes.retain(|change| seen.insert((change.rule, change.path.clone())));
    changes
}

struct Side<'a> {
    names: Names<'a>,
    /// The package that names are looked up from: that of the file whose message is being compared.
    package: &'a str,
}

impl<'a> Side<'a> {
    fn find(&self, scope: &[String], name: &str) -> Option<(String, Known<'a>)> {
        let scope = join_all(self.package, scope);
        self.names.find(&scope, name)
    }
}

fn join_all(package: &str, scope: &[String]) -> String {
    scope.iter().fold(package.to_owned(), |whole, part| join(&whole, part))
}

/// Two messages that stand for the same type, and the name that both have in their packages.
struct Pair<'a> {
    number: usize,
    old: (&'a Message, &'a str),
    new: (&'a Message, &'a str),
    local_name: String,
}

/// A field whose types are a pair.
struct Use {
    /// The pair whose message the field belongs to; 0 is the schema itself.
    within: usize,
    of: usize,
    change: Change,
}

struct Walk<'a> {
    old: Side<'a>,
    new: Side<'a>,
    path: Vec<String>,
    /// The messages on the path, for looking names up.
    scope: Vec<String>,
    changes: Vec<Change>,
    /// Full names of both types -> number of the pair.
    pairs: HashMap<(String, String), usize>,
    waiting: Vec<Pair<'a>>,
    uses: Vec<Use>,
    pair: usize,
    broken: BTreeSet<usize>,
}

/// A field or a group, with the oneof that it stands in.
struct Member<'a> {
    name: &'a str,
    label: Option<Label>,
    kind: Type,
    group: bool,
    oneof: Option<&'a str>,
}

impl Member<'_> {
    fn text(&self) -> String {
        let label = self.label.map_or(String::new(), |label| format!("{} ", label.name()));
        format!("{label}{} {}", self.kind_text(), self.name)
    }

    fn kind_text(&self) -> String {
        if self.group { format!("group {}", self.kind.text()) } else { self.kind.text() }
    }

    /// With the label, as the field is declared.
    fn label_text(&self) -> String {
        match self.label {
            Some(label) => format!("{} {}", label.name(), self.kind_text()),
            None => self.kind_text(),
        }
    }
}

fn members(message: &Message) -> BTreeMap<i32, Member<'_>> {
    let mut all = BTreeMap::new();
    for field in &message.fields {
        all.insert(field.tag, of_field(field, None));
    }
    for group in &message.groups {
        all.insert(group.tag, of_group(group, None));
    }
    for oneof in &message.oneofs {
        for field in &oneof.fields {
            all.insert(field.tag, of_field(field, Some(&oneof.name)));
        }
        for group in &oneof.groups {
            all.insert(group.tag, of_group(group, Some(&oneof.name)));
        }
    }
    all
}

fn of_field<'a>(field: &'a Field, oneof: Option<&'a str>) -> Member<'a> {
    Member { name: &field.name, label: field.label, kind: field.kind.clone(), group: false, oneof }
}

fn of_group<'a>(group: &'a Group, oneof: Option<&'a str>) -> Member<'a> {
    let kind = Type::Named(group.body.name.clone());
    Member { name: &group.body.name, label: group.label, kind, group: true, oneof }
}

impl<'a> Walk<'a> {
    fn add(&mut self, rule: Rule, old: impl Into<String>, new: impl Into<String>) {
        // Room is kept for what is incompatible, or the verdict could be lost behind changes that do no harm.
        let mut room = self.changes.len() < MAX_CHANGES;
        if !rule.compatible() {
            room |= self.broken.insert(self.pair);
        }
        if room {
            let path = format!("#/{}", self.path.join("/"));
            self.changes.push(Change { rule, path, old: old.into(), new: new.into() });
        }
    }

    fn at<T>(&mut self, part: impl Into<String>, then: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(part.into());
        let result = then(self);
        self.path.pop();
        result
    }

    fn named<T>(&mut self, name: &str, then: impl FnOnce(&mut Self) -> T) -> T {
        self.scope.push(name.to_owned());
        let result = self.at(name, then);
        self.scope.pop();
        result
    }

    fn files(&mut self, old: &'a File, new: &'a File) {
        if old.package != new.package {
            let shown =
                |file: &File| file.package.as_ref().map_or("none".to_owned(), |name| format!("{name:?}"));
            self.add(Rule::PackageChanged, shown(old), shown(new));
        }
        let (old_messages, new_messages) = (old.messages.iter().collect(), new.messages.iter().collect());
        self.types(old_messages, new_messages, &old.enums, &new.enums);
    }

    fn types(
        &mut self,
        old: Vec<&'a Message>,
        new: Vec<&'a Message>,
        old_enums: &'a [Enum],
        new_enums: &'a [Enum],
    ) {
        let by_name = |messages: Vec<&'a Message>| -> BTreeMap<&'a str, (usize, &'a Message)> {
            messages
                .into_iter()
                .enumerate()
                .map(|(index, message)| (message.name.as_str(), (index, message)))
                .collect()
        };
        let (old, new) = (by_name(old), by_name(new));
        for name in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
            self.named(name, |walk| match (old.get(name), new.get(name)) {
                (Some(_), None) => walk.add(Rule::MessageRemoved, format!("message {name}"), ""),
                (None, Some(_)) => walk.add(Rule::MessageAdded, "", format!("message {name}")),
                (Some((was, old)), Some((is, new))) => {
                    walk.messages(old, new);
                    if was != is {
                        walk.add(Rule::MessageMoved, was.to_string(), is.to_string());
                    }
                }
                (None, None) => {}
            });
        }
        let by_name = |enums: &'a [Enum]| -> BTreeMap<&'a str, &'a Enum> {
            enums.iter().map(|found| (found.name.as_str(), found)).collect()
        };
        let (old, new) = (by_name(old_enums), by_name(new_enums));
        for name in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
            self.named(name, |walk| match (old.get(name), new.get(name)) {
                (Some(_), None) => walk.add(Rule::EnumRemoved, format!("enum {name}"), ""),
                (None, Some(_)) => walk.add(Rule::EnumAdded, "", format!("enum {name}")),
                (Some(old), Some(new)) => walk.enums(old, new),
                (None, None) => {}
            });
        }
    }

    fn enums(&mut self, old: &Enum, new: &Enum) {
        // Of several names for one number the last one counts, as in Confluent's registry.
        let by_number = |found: &'_ Enum| -> BTreeMap<i32, String> {
            found.constants.iter().map(|constant| (constant.tag, constant.name.clone())).collect()
        };
        let (old, new) = (by_number(old), by_number(new));
        for number in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
            self.at(number.to_string(), |walk| match (old.get(number), new.get(number)) {
                (Some(old), None) => walk.add(Rule::EnumConstRemoved, old, ""),
                (None, Some(new)) => walk.add(Rule::EnumConstAdded, "", new),
                (Some(old), Some(new)) if old != new => walk.add(Rule::EnumConstChanged, old, new),
                _ => {}
            });
        }
    }

    fn messages(&mut self, old: &'a Message, new: &'a Message) {
        let (before, after) = (members(old), members(new));
        self.exclusions(&before, new);
        let oneof_names = |message: &'a Message| -> BTreeSet<&'a str> {
            message.oneofs.iter().map(|oneof| oneof.name.as_str()).collect()
        };
        let (old_oneofs, new_oneofs) = (oneof_names(old), oneof_names(new));
        for name in old_oneofs.union(&new_oneofs) {
            self.at(*name, |walk| match (old_oneofs.contains(name), new_oneofs.contains(name)) {
                (true, false) => walk.add(Rule::OneofRemoved, *name, ""),
                (false, true) => walk.add(Rule::OneofAdded, "", *name),
                _ => {}
            });
        }
        // A oneof that goes away with all its members is a deletion like that of a field.
        let survivors: HashSet<&str> = before
            .iter()
            .filter(|(tag, _)| after.contains_key(tag))
            .filter_map(|(_, member)| member.oneof)
            .collect();
        let deleted = |oneof: &str| !new_oneofs.contains(oneof) && !survivors.contains(oneof);
        for tag in before.keys().chain(after.keys()).collect::<BTreeSet<_>>() {
            self.field(*tag, before.get(tag), after.get(tag), &deleted);
        }
        let nested = |message: &'a Message| -> Vec<&'a Message> {
            message.messages.iter().chain(message.all_groups().map(|group| &group.body)).collect()
        };
        self.types(nested(old), nested(new), &old.enums, &new.enums);
    }

    /// Fields that could be set together and cannot be any more.
    fn exclusions(&mut self, before: &BTreeMap<i32, Member<'_>>, new: &Message) {
        for oneof in &new.oneofs {
            let mut from_oneofs: BTreeSet<&str> = BTreeSet::new();
            let mut outside = Vec::new();
            let mut known: Vec<&str> = Vec::new();
            let tags = oneof.fields.iter().map(|field| (field.tag, field.name.as_str()));
            let groups = oneof.groups.iter().map(|group| (group.tag, group.body.name.as_str()));
            for (tag, name) in tags.chain(groups) {
                let Some(member) = before.get(&tag) else { continue };
                known.push(name);
                match member.oneof {
                    Some(of) => {
                        from_oneofs.insert(of);
                    }
                    None => outside.push(name),
                }
            }
            if from_oneofs.len() + outside.len() > 1 {
                let many = outside.len() > 1;
                let rule =
                    if many { Rule::MultipleFieldsMovedToOneof } else { Rule::FieldMovedToExistingOneof };
                self.at(&oneof.name, |walk| walk.add(rule, "", known.join(", ")));
            }
        }
    }

    fn field(
        &mut self,
        tag: i32,
        old: Option<&Member<'_>>,
        new: Option<&Member<'_>>,
        deleted: &impl Fn(&str) -> bool,
    ) {
        let oneof = new.or(old).and_then(|member| member.oneof).map(str::to_owned);
        let within = usize::from(oneof.is_some());
        self.path.extend(oneof);
        self.path.push(tag.to_string());
        match (old, new) {
            (Some(old), None) => match old.oneof {
                Some(oneof) if deleted(oneof) => {}
                Some(_) => self.add(Rule::OneofFieldRemoved, old.text(), ""),
                None if old.label == Some(Label::Required) => {
                    self.add(Rule::RequiredFieldRemoved, old.text(), "")
                }
                None => self.add(Rule::FieldRemoved, old.text(), ""),
            },
            (None, Some(new)) => match new.oneof {
                Some(_) => self.add(Rule::OneofFieldAdded, "", new.text()),
                None if new.label == Some(Label::Required) => {
                    self.add(Rule::RequiredFieldAdded, "", new.text())
                }
                None => self.add(Rule::FieldAdded, "", new.text()),
            },
            (Some(old), Some(new)) => {
                if let (Some(oneof), None) = (old.oneof, new.oneof) {
                    self.add(Rule::OneofFieldMovedToTopLevel, oneof, new.text());
                }
                self.content(old, new);
            }
            (None, None) => {}
        }
        self.path.truncate(self.path.len().saturating_sub(1 + within));
    }

    fn content(&mut self, old: &Member<'_>, new: &Member<'_>) {
        if old.name != new.name {
            self.add(Rule::FieldNameChanged, old.name, new.name);
        }
        if old.group != new.group {
            self.add(Rule::FieldKindChanged, old.kind_text(), new.kind_text());
            return;
        }
        let told = self.kinds(old, new);
        let required = |member: &Member<'_>| member.label == Some(Label::Required);
        if required(new) && !required(old) && !told {
            self.add(Rule::RequiredFieldAdded, old.label_text(), new.label_text());
        }
    }

    /// Whether something incompatible was told about the two.
    fn kinds(&mut self, old: &Member<'_>, new: &Member<'_>) -> bool {
        match (&old.kind, &new.kind) {
            (Type::Map { key: old_key, value: old_value }, Type::Map { key: new_key, value: new_value }) => {
                self.named_types(old_key, new_key, None) | self.named_types(old_value, new_value, None)
            }
            (Type::Named(old_name), Type::Named(new_name)) => {
                self.named_types(old_name, new_name, Some((old, new)))
            }
            _ => {
                self.add(Rule::FieldKindChanged, old.kind_text(), new.kind_text());
                true
            }
        }
    }

    fn named_types(&mut self, old: &str, new: &str, members: Option<(&Member<'_>, &Member<'_>)>) -> bool {
        let (old_kind, new_kind) = (kind(&self.old, &self.scope, old), kind(&self.new, &self.scope, new));
        match (old_kind, new_kind) {
            (Kind::Scalar(old_scalar), Kind::Scalar(new_scalar)) => {
                if old_scalar != new_scalar {
                    self.add(Rule::FieldScalarKindChanged, old, new);
                    return true;
                }
                let Some((old, new)) = members else { return false };
                if old.label.is_none() || new.label.is_none() || old.label == new.label {
                    return false;
                }
                let text = old_scalar == Scalar::Text;
                let rule =
                    if text { Rule::FieldStringOrBytesLabelChanged } else { Rule::FieldNumericLabelChanged };
                self.add(rule, old.label_text(), new.label_text());
                !text
            }
            (Kind::Message(old_known), Kind::Message(new_known)) => {
                self.message_types(old, new, old_known, new_known)
            }
            _ => {
                self.add(Rule::FieldKindChanged, old, new);
                true
            }
        }
    }

    fn message_types(
        &mut self,
        old: &str,
        new: &str,
        old_known: Option<(String, Known<'a>)>,
        new_known: Option<(String, Known<'a>)>,
    ) -> bool {
        let (Some((old_full, old_known)), Some((new_full, new_known))) = (old_known, new_known) else {
            // Nothing is known of one of them: then what is written counts.
            if old != new {
                self.add(Rule::FieldNamedTypeChanged, old, new);
            }
            return old != new;
        };
        let local = local_name(&old_full, old_known.package);
        if local != local_name(&new_full, new_known.package) {
            self.add(Rule::FieldNamedTypeChanged, old_full, new_full);
            return true;
        }
        // What both files declare themselves is compared by name anyway.
        if old_known.local && new_known.local {
            return false;
        }
        let (Declared::Message(old_message), Declared::Message(new_message)) =
            (old_known.declared, new_known.declared)
        else {
            return false;
        };
        let local_name = local.to_owned();
        let next = self.pairs.len() + 1;
        let change = Change {
            rule: Rule::FieldNamedTypeChanged,
            path: format!("#/{}", self.path.join("/")),
            old: old_full.clone(),
            new: new_full.clone(),
        };
        let number = *self.pairs.entry((old_full, new_full)).or_insert_with(|| {
            let (old, new) = ((old_message, old_known.package), (new_message, new_known.package));
            self.waiting.push(Pair { number: next, old, new, local_name });
            next
        });
        self.uses.push(Use { within: self.pair, of: number, change });
        false
    }

    fn imported(&mut self) {
        while let Some(pair) = self.waiting.pop() {
            self.pair = pair.number;
            self.old.package = pair.old.1;
            self.new.package = pair.new.1;
            self.path = pair.local_name.split('.').map(str::to_owned).collect();
            self.scope = self.path.clone();
            self.messages(pair.old.0, pair.new.0);
        }
    }

    /// A pair is broken if something incompatible changed in it, or if a field of it has a type that is broken.
    fn types_of_broken_pairs(&mut self) {
        let mut users: HashMap<usize, Vec<usize>> = HashMap::new();
        for (index, used) in self.uses.iter().enumerate() {
            users.entry(used.of).or_default().push(index);
        }
        let mut spread: Vec<usize> = self.broken.iter().copied().collect();
        let mut broken_uses = BTreeSet::new();
        while let Some(pair) = spread.pop() {
            for index in users.get(&pair).into_iter().flatten() {
                let fresh = broken_uses.insert(*index);
                let within = self.uses.get(*index).map(|used| used.within);
                if let Some(within) = within.filter(|within| fresh && self.broken.insert(*within)) {
                    spread.push(within);
                }
            }
        }
        let room = MAX_CHANGES.saturating_sub(self.changes.len());
        let told =
            broken_uses.into_iter().filter_map(|index| self.uses.get(index)).map(|used| used.change.clone());
        // At least one, so that the verdict stands even where nothing more is told.
        self.changes.extend(told.take(room.max(1)));
    }
}

/// How a type is encoded.
enum Kind<'a> {
    Scalar(Scalar),
    /// A message; `None` if nothing declares the name.
    Message(Option<(String, Known<'a>)>),
}

/// Scalars that are encoded alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scalar {
    Number,
    Signed,
    Text,
    Fixed32,
    Fixed64,
    Float,
    Double,
}

fn kind<'a>(side: &Side<'a>, scope: &[String], name: &str) -> Kind<'a> {
    if is_scalar(name) {
        return Kind::Scalar(match name {
            "sint32" | "sint64" => Scalar::Signed,
            "string" | "bytes" => Scalar::Text,
            "fixed32" | "sfixed32" => Scalar::Fixed32,
            "fixed64" | "sfixed64" => Scalar::Fixed64,
            "float" => Scalar::Float,
            "double" => Scalar::Double,
            _ => Scalar::Number,
        });
    }
    match side.find(scope, name) {
        Some((_, Known { declared: Declared::Enum, .. })) => Kind::Scalar(Scalar::Number),
        found => Kind::Message(found),
    }
}

/// A full name without its package.
fn local_name<'n>(full: &'n str, package: &str) -> &'n str {
    full.strip_prefix(package).and_then(|rest| rest.strip_prefix('.')).unwrap_or(full)
}
