//! Lists: subjects and schemas by name, a page at a time. Names are walked in the order in which they are printed, so nothing behind
//! the page is looked at.

use super::Registry;
use super::read::Entity;
use crate::error::{Error, Result};
use crate::names::{ALL_CONTEXTS, Context, Subject};
use crate::state::Version;
use crate::store::SchemaKey;
use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;

/// Schemas whose texts are asked for at once.
const CHUNK: usize = 32;

/// Bytes of texts that one list may have: it is made in memory.
const LISTED_BYTES: usize = if cfg!(test) { 1 << 20 } else { 64 << 20 };

/// Which part of a list is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// Entries left out before it.
    pub offset: usize,
    /// Entries at most.
    pub limit: usize,
}

impl Page {
    pub(super) fn cut<T>(self, list: impl Iterator<Item = T>) -> Vec<T> {
        list.skip(self.offset).take(self.limit).collect()
    }
}

/// Which entries of a list count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Listed {
    /// Those that are not deleted.
    #[default]
    Live,
    /// The softly deleted ones, too.
    All,
    /// The softly deleted ones only.
    Deleted,
}

impl Listed {
    pub(super) fn has(self, deleted: bool) -> bool {
        match self {
            Self::Live => !deleted,
            Self::All => true,
            Self::Deleted => deleted,
        }
    }
}

/// What `GET /schemas` asks for.
#[derive(Debug, Clone, Default)]
pub struct SchemaQuery {
    /// Names begin with it.
    pub prefix: String,
    /// Deleted versions, too.
    pub deleted: bool,
    /// Only the highest version of each subject.
    pub latest_only: bool,
    /// Only schemas with a rule of this type.
    pub rule_type: Option<String>,
    /// With the names that stand for a subject.
    pub aliases: bool,
}

/// The subjects that a prefix means.
#[derive(Debug, Clone)]
struct Scope<'a> {
    /// Nothing stands for every context.
    context: Option<Context>,
    name: &'a str,
}

impl<'a> Scope<'a> {
    const EVERYTHING: Self = Scope { context: None, name: "" };

    /// Nothing where no context can have such a name.
    fn of(prefix: &'a str) -> Option<Self> {
        if let Some(name) = prefix.strip_prefix(ALL_CONTEXTS) {
            return Some(Self { context: None, name });
        }
        match prefix.strip_prefix(":.").map(|rest| rest.split_once(':').unwrap_or((rest, ""))) {
            Some((context, name)) => {
                Context::named(&format!(".{context}")).map(|context| Self { context: Some(context), name })
            }
            None => Some(Self { context: Some(Context::default_context()), name: prefix }),
        }
    }

    fn has(&self, subject: &Subject) -> bool {
        self.context.as_ref().is_none_or(|context| *context == subject.context)
            && subject.name.starts_with(self.name)
    }
}

/// Names of a context, from one on and up to another.
struct Piece {
    context: Context,
    from: String,
    to: Option<String>,
}

impl Registry {
    /// Where the names of a scope are, in the order in which they are printed: those of a context stand together, and those of
    /// the default context, which are printed plainly, between the others.
    fn pieces(&self, scope: &Scope<'_>) -> Vec<Piece> {
        let whole = |context: Context| Piece { context, from: String::new(), to: None };
        if let Some(context) = &scope.context {
            return vec![whole(context.clone())];
        }
        let others = self.live.contexts().into_iter().filter(|context| !context.is_default());
        let others: BTreeMap<String, Context> = others.map(|context| (context.prefix(), context)).collect();
        let (mut pieces, mut from) = (Vec::with_capacity(2 * others.len() + 1), String::new());
        for (prefix, context) in others {
            let to = Some(prefix.clone());
            pieces.push(Piece { context: Context::default_context(), from, to });
            pieces.push(whole(context));
            from = prefix;
        }
        pieces.push(Piece { context: Context::default_context(), from, to: None });
        pieces
    }

    /// Visits the subjects of a scope in the order of their printed names, until that is enough.
    fn visit(
        &self,
        scope: &Scope<'_>,
        mut each: impl FnMut(&Context, &Arc<str>, &[Version]) -> ControlFlow<()>,
    ) {
        for Piece { context, from, to } in self.pieces(scope) {
            let flow = self.live.read(&context, |state| {
                let from = from.as_str().max(scope.name);
                for (name, versions) in state.subjects_from(from) {
                    if !name.starts_with(scope.name) || to.as_ref().is_some_and(|to| **name >= **to) {
                        break;
                    }
                    each(&context, name, versions)?;
                }
                ControlFlow::Continue(())
            });
            if flow.is_break() {
                return;
            }
        }
    }

    /// Subjects by name. A subject counts as deleted where all its versions are.
    pub async fn subjects(&self, prefix: &str, listed: Listed, page: Page) -> Result<Vec<String>> {
        self.live.fresh().await?;
        let (mut skipped, mut names) = (0, Vec::new());
        let Some(scope) = Scope::of(prefix).filter(|_| page.limit > 0) else { return Ok(names) };
        self.visit(&scope, |context, name, versions| {
            if !listed.has(versions.iter().all(|version| version.deleted)) {
                return ControlFlow::Continue(());
            }
            if skipped < page.offset {
                skipped += 1;
                return ControlFlow::Continue(());
            }
            names.push(Subject { context: context.clone(), name: Arc::clone(name) }.to_string());
            if names.len() < page.limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        Ok(names)
    }

    /// Schemas by subject and version, with their aliases where that is asked for.
    pub async fn schemas(&self, query: &SchemaQuery, page: Page) -> Result<Vec<(Entity, Vec<String>)>> {
        self.live.fresh().await?;
        let Some(scope) = Scope::of(&query.prefix).filter(|_| page.limit > 0) else { return Ok(Vec::new()) };
        let aliases = if query.aliases { self.aliases() } else { HashMap::new() };
        // A rule is in the texts, so what has none must be looked at to be passed over.
        let passed_over = if query.rule_type.is_some() { 0 } else { page.offset };
        let most = if query.rule_type.is_some() { usize::MAX } else { page.limit };
        let (mut skipped, mut wanted) = (0, Vec::new());
        // A subject is listed for an alias in the scope, wherever it is itself.
        let walked = if query.aliases { Scope::EVERYTHING } else { scope.clone() };
        self.visit(&walked, |context, name, versions| {
            let subject = Subject { context: context.clone(), name: Arc::clone(name) };
            let names = aliases.get(&subject).map_or(&[][..], Vec::as_slice);
            if !scope.has(&subject) && !names.iter().any(|alias| scope.has(alias)) {
                return ControlFlow::Continue(());
            }
            let versions = versions.iter().filter(|version| query.deleted || !version.deleted);
            let first = if query.latest_only { versions.clone().count().saturating_sub(1) } else { 0 };
            for version in versions.skip(first) {
                if skipped < passed_over {
                    skipped += 1;
                    continue;
                }
                wanted.push((subject.clone(), *version));
                if wanted.len() >= most {
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        });
        let (mut found, mut bytes) = (Vec::new(), 0);
        for chunk in wanted.chunks(CHUNK) {
            for entity in self.entities(chunk).await? {
                if query.rule_type.as_ref().is_some_and(|wanted| !entity.has_rule(wanted)) {
                    continue;
                }
                if query.rule_type.is_some() && skipped < page.offset {
                    skipped += 1;
                    continue;
                }
                let names = aliases.get(&entity.subject).into_iter().flatten().map(Subject::to_string);
                let names = names.collect();
                bytes += entity.texts.canonical.len();
                if bytes > LISTED_BYTES {
                    return Err(Error::new(
                        42209,
                        format!(
                            "The first {} schemas of the list have more than {LISTED_BYTES} bytes of text. Ask for fewer at once: limit={}",
                            found.len() + 1,
                            found.len().max(1)
                        ),
                    ));
                }
                found.push((entity, names));
                if found.len() >= page.limit {
                    return Ok(found);
                }
            }
        }
        Ok(found)
    }

    /// What stands for a subject, in every context.
    fn aliases(&self) -> HashMap<Subject, Vec<Subject>> {
        let mut aliases: HashMap<Subject, Vec<Subject>> = HashMap::new();
        for context in self.live.contexts() {
            self.live.read(&context, |state| {
                for (name, target) in state.aliases() {
                    let alias = Subject { context: context.clone(), name: Arc::clone(name) };
                    aliases.entry(Subject::parse_in(target, &context)).or_default().push(alias);
                }
            });
        }
        aliases
    }

    /// Versions with their schemas, in their order; what is gone meanwhile is left out.
    pub(super) async fn entities(&self, wanted: &[(Subject, Version)]) -> Result<Vec<Entity>> {
        let mut keys: HashMap<&Context, Vec<SchemaKey>> = HashMap::new();
        for (subject, version) in wanted {
            keys.entry(&subject.context).or_default().push(version.schema);
        }
        let mut found = HashMap::new();
        for (context, keys) in keys {
            found.insert(context, self.live.schemas(context, &keys).await?);
        }
        let entity = |(subject, version): &(Subject, Version)| {
            let (row, texts) = found.get(&subject.context)?.get(&version.schema)?;
            Some(Entity::new(subject.clone(), *version, row.clone(), texts.clone()))
        };
        Ok(wanted.iter().filter_map(entity).collect())
    }
}
