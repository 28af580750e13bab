//! What there is: versions, schemas by id and GUID, lists.

use super::{Registry, contract, latest};
use crate::error::{Error, Result};
use crate::names::{ALL_CONTEXTS, Context, Subject};
use crate::parse::Parsed;
use crate::schema::{Reference, SchemaType};
use crate::state::{ContextState, Version};
use crate::store::{SchemaId, Texts};
use std::sync::Arc;
use uuid::Uuid;

/// A version of a subject with its schema.
#[derive(Debug, Clone)]
pub struct Entity {
    /// Where it is.
    pub subject: Subject,
    /// Its number, and what belongs to it.
    pub version: Version,
    /// Its GUID.
    pub guid: Uuid,
    /// Its type.
    pub schema_type: SchemaType,
    /// What it refers to.
    pub references: Arc<[Reference]>,
    /// Its texts.
    pub texts: Texts,
}

/// Which part of a list is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// Entries left out before it.
    pub offset: usize,
    /// Entries at most.
    pub limit: usize,
}

impl Page {
    fn cut<T>(self, list: impl Iterator<Item = T>) -> Vec<T> {
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
    fn has(self, deleted: bool) -> bool {
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

/// A schema by its id.
#[derive(Debug, Clone)]
pub struct ById {
    /// Where it was found.
    pub context: Context,
    /// Its id there.
    pub id: SchemaId,
    /// The version, where a subject was named.
    pub of: Option<(Subject, Version)>,
    /// The version that it was found by, whether or not a subject was named.
    pub of_any: Option<Version>,
    /// Its GUID.
    pub guid: Uuid,
    /// Its type.
    pub schema_type: SchemaType,
    /// What it refers to.
    pub references: Arc<[Reference]>,
    /// Its texts.
    pub texts: Texts,
}

/// Splits a prefix into the contexts that it means and what names begin with there.
fn split(prefix: &str) -> (Option<Context>, &str) {
    if let Some(rest) = prefix.strip_prefix(ALL_CONTEXTS) {
        return (None, rest);
    }
    match prefix.strip_prefix(":.").map(|rest| rest.split_once(':').unwrap_or((rest, ""))) {
        Some((name, rest)) => (Context::named(&format!(".{name}")), rest),
        None => (Some(Context::default_context()), prefix),
    }
}

impl Registry {
    /// The contexts that a prefix means, and what is left of it.
    fn scope<'a>(&self, prefix: &'a str) -> (Vec<Context>, &'a str) {
        let (context, rest) = split(prefix);
        (context.map_or_else(|| self.live().contexts(), |context| vec![context]), rest)
    }

    pub(super) async fn entity(&self, subject: &Subject, version: Version) -> Result<Option<Entity>> {
        let row = self.live().read(&subject.context, |state| state.schema(version.id).cloned());
        let texts = self.live().texts(&subject.context, version.id).await?;
        Ok(row.zip(texts).map(|(row, texts)| Entity {
            subject: subject.clone(),
            version,
            guid: row.guid,
            schema_type: row.schema_type,
            references: row.references,
            texts,
        }))
    }

    /// An unqualified subject means the same name in every context where the default one has no hit.
    fn anywhere<T>(
        &self,
        subject: &Subject,
        find: impl Fn(&ContextState) -> Option<T>,
    ) -> Option<(Context, T)> {
        let own = self.live().read(&subject.context, &find).map(|found| (subject.context.clone(), found));
        if own.is_some() || !subject.context.is_default() {
            return own;
        }
        let others = self.live().contexts().into_iter().filter(|context| !context.is_default());
        others.filter_map(|context| self.live().read(&context, &find).map(|found| (context, found))).next()
    }

    /// A version of a subject; -1 is the latest.
    pub async fn version(&self, subject: &Subject, number: i32, deleted: bool) -> Result<Entity> {
        let find = |state: &ContextState| {
            let versions = state.versions(&subject.name);
            match number {
                -1 => latest(versions).copied(),
                number => versions
                    .iter()
                    .find(|version| version.version == number && (deleted || !version.deleted))
                    .copied(),
            }
        };
        let found = self.live().find(|_| self.anywhere(subject, find)).await?;
        if let Some((context, version)) = found {
            let at = Subject { context, name: Arc::clone(&subject.name) };
            if let Some(entity) = self.entity(&at, version).await? {
                return Ok(entity);
            }
        }
        let exists = self.live().read(&subject.context, |state| {
            state.versions(&subject.name).iter().any(|version| deleted || !version.deleted)
        });
        Err(if exists {
            Error::version_not_found(subject, number)
        } else {
            Error::subject_not_found(subject)
        })
    }

    /// The numbers of a subject's versions. Deleted ones are negative where that is asked for.
    pub async fn versions(
        &self,
        subject: &Subject,
        listed: Listed,
        negative: bool,
        page: Page,
    ) -> Result<Vec<i32>> {
        let all = if negative { Listed::All } else { listed };
        let find = |live: &crate::live::Live| {
            live.read(&subject.context, |state| {
                let versions = state.versions(&subject.name);
                let exists = versions.iter().any(|version| all != Listed::Live || !version.deleted);
                let sign = |version: &Version| if negative && version.deleted { -1 } else { 1 };
                let wanted = versions.iter().filter(|version| all.has(version.deleted));
                exists.then(|| page.cut(wanted.map(|version| version.version * sign(version))))
            })
        };
        self.live().find(find).await?.ok_or_else(|| Error::subject_not_found(subject))
    }

    /// The versions of a subject with the types of their schemas.
    pub async fn history(
        &self,
        subject: &Subject,
        listed: Listed,
        page: Page,
    ) -> Result<Vec<(Version, SchemaType)>> {
        let find = |live: &crate::live::Live| {
            live.read(&subject.context, |state| {
                let wanted =
                    state.versions(&subject.name).iter().filter(|version| listed.has(version.deleted));
                let typed =
                    wanted.filter_map(|version| Some((*version, state.schema(version.id)?.schema_type)));
                let typed: Vec<_> = typed.collect();
                (!typed.is_empty()).then(|| page.cut(typed.into_iter()))
            })
        };
        self.live().find(find).await?.ok_or_else(|| Error::subject_not_found(subject))
    }

    /// Subjects by name. A subject counts as deleted where all its versions are.
    pub async fn subjects(&self, prefix: &str, listed: Listed, page: Page) -> Result<Vec<String>> {
        self.live().fresh().await?;
        let (contexts, rest) = self.scope(prefix);
        let mut names = Vec::new();
        for context in contexts {
            self.live().read(&context, |state| {
                for (name, versions) in state.subjects() {
                    let deleted = versions.iter().all(|version| version.deleted);
                    if name.starts_with(rest) && listed.has(deleted) {
                        names.push(Subject { context: context.clone(), name: Arc::clone(name) }.to_string());
                    }
                }
            });
        }
        names.sort_unstable();
        Ok(page.cut(names.into_iter()))
    }

    /// The ids of schemas that refer to a version.
    pub async fn referenced_by(
        &self,
        subject: &Subject,
        number: i32,
        deleted: bool,
        page: Page,
    ) -> Result<Vec<SchemaId>> {
        let target = self.version(subject, number, deleted).await?;
        let mut found = Vec::new();
        for context in self.live().contexts() {
            self.live().read(&context, |state| {
                let ids = state.referrers(&target.subject, target.version.version);
                found.extend(
                    ids.filter(|id| state.users(*id).any(|(_, version)| deleted || !version.deleted)),
                );
            });
        }
        Ok(page.cut(found.into_iter()))
    }

    /// The newest version whose metadata has all these properties.
    pub async fn by_metadata(
        &self,
        subject: &Subject,
        pairs: &[(String, String)],
        deleted: bool,
    ) -> Result<Entity> {
        self.live().fresh().await?;
        let versions = self.live().read(&subject.context, |state| state.versions(&subject.name).to_vec());
        let mut exists = false;
        for version in versions.into_iter().rev().filter(|version| deleted || !version.deleted) {
            exists = true;
            let Some(entity) = self.entity(subject, version).await? else { continue };
            let Some(metadata) = &entity.texts.metadata else { continue };
            let has =
                |(name, value): &(String, String)| contract::property(Some(metadata), name) == Some(value);
            if pairs.iter().all(has) {
                return Ok(entity);
            }
        }
        Err(if exists { Error::schema_not_found(None) } else { Error::subject_not_found(subject) })
    }

    /// Schemas by subject and version, with their aliases where that is asked for.
    pub async fn schemas(&self, query: &SchemaQuery, page: Page) -> Result<Vec<(Entity, Vec<String>)>> {
        self.live().fresh().await?;
        let (contexts, rest) = self.scope(&query.prefix);
        let mut wanted: Vec<(Subject, Version, Vec<String>)> = Vec::new();
        for context in contexts {
            self.live().read(&context, |state| {
                let mut aliases: std::collections::BTreeMap<String, Vec<String>> = Default::default();
                for (name, target) in state.aliases().filter(|_| query.aliases) {
                    let alias = Subject { context: context.clone(), name: Arc::clone(name) }.to_string();
                    let target = Subject::parse_in(target, &context);
                    if target.context == context {
                        aliases.entry(target.name.to_string()).or_default().push(alias);
                    }
                }
                for (name, versions) in state.subjects() {
                    let names = aliases.get(&**name).cloned().unwrap_or_default();
                    let prefix = format!("{}{rest}", context.prefix());
                    if !name.starts_with(rest) && !names.iter().any(|alias| alias.starts_with(&prefix)) {
                        continue;
                    }
                    let subject = Subject { context: context.clone(), name: Arc::clone(name) };
                    let versions = versions.iter().filter(|version| query.deleted || !version.deleted);
                    let skip = if query.latest_only { versions.clone().count().saturating_sub(1) } else { 0 };
                    wanted.extend(
                        versions.skip(skip).map(|version| (subject.clone(), *version, names.clone())),
                    );
                }
            });
        }
        wanted.sort_by_cached_key(|(subject, version, _)| (subject.to_string(), version.version));
        let filtered = query.rule_type.is_some();
        let (mut skipped, mut found) = (0, Vec::new());
        for (subject, version, aliases) in wanted {
            if !filtered && skipped < page.offset {
                skipped += 1;
                continue;
            }
            if found.len() >= page.limit {
                break;
            }
            let Some(entity) = self.entity(&subject, version).await? else { continue };
            if query.rule_type.as_ref().is_some_and(|wanted| !has_rule(&entity, wanted)) {
                continue;
            }
            if skipped < page.offset {
                skipped += 1;
                continue;
            }
            found.push((entity, aliases));
        }
        Ok(found)
    }

    /// A schema by its id, softly deleted ones too. Without a subject in the default context; with one in its context; with an
    /// unqualified one wherever the subject has this id, else in the default context.
    pub async fn schema(&self, id: SchemaId, subject: Option<&Subject>) -> Result<ById> {
        let of_subject = |state: &ContextState, name: &str| {
            let mut versions = state.versions(name).iter().rev();
            versions.find(|version| version.id == id).copied()
        };
        let any = |state: &ContextState| {
            state.schema(id)?;
            state.users(id).last().map(|(name, version)| (Arc::clone(name), version))
        };
        let look = |live: &crate::live::Live| {
            let Some(subject) = subject.filter(|subject| !subject.is_root()) else {
                let context =
                    subject.map_or_else(Context::default_context, |subject| subject.context.clone());
                let of = live.read(&context, any)?;
                return Some((context, of, subject.is_some()));
            };
            let named = self.anywhere(subject, |state| of_subject(state, &subject.name));
            if let Some((context, version)) = named {
                return Some((context, (Arc::clone(&subject.name), version), true));
            }
            if !subject.context.is_default() {
                return None;
            }
            let of = live.read(&subject.context, any)?;
            Some((subject.context.clone(), of, true))
        };
        let not_found = || Error::schema_not_found(Some(&id));
        let (context, (name, version), is_named) = self.live().find(look).await?.ok_or_else(not_found)?;
        let row = self.live().read(&context, |state| state.schema(id).cloned()).ok_or_else(not_found)?;
        let texts = self.live().texts(&context, id).await?.ok_or_else(not_found)?;
        let of = is_named.then(|| (Subject { context: context.clone(), name }, version));
        let (guid, schema_type, references) = (row.guid, row.schema_type, row.references);
        Ok(ById { context, id, of, of_any: Some(version), guid, schema_type, references, texts })
    }

    /// The versions that are a schema, by subject.
    pub async fn users(
        &self,
        id: SchemaId,
        subject: Option<&Subject>,
        deleted: bool,
        page: Page,
    ) -> Result<Vec<(String, i32)>> {
        let context = subject.map_or_else(Context::default_context, |subject| subject.context.clone());
        let look = |live: &crate::live::Live| {
            live.read(&context, |state| {
                state.schema(id)?;
                let wanted = state.users(id).filter(|(_, version)| deleted || !version.deleted);
                let named = wanted.map(|(name, version)| {
                    (
                        Subject { context: context.clone(), name: Arc::clone(name) }.to_string(),
                        version.version,
                    )
                });
                Some(page.cut(named))
            })
        };
        self.live().find(look).await?.ok_or_else(|| Error::schema_not_found(None))
    }

    /// The highest id that a context has given.
    pub fn max_id(&self, context: &Context) -> SchemaId {
        self.live().read(context, |state| state.head().next_id.saturating_sub(1))
    }

    /// Where a GUID is: context and id, the default context first.
    pub async fn ids_of_guid(&self, guid: &Uuid) -> Result<Vec<(Context, SchemaId)>> {
        let look = |live: &crate::live::Live| {
            let mut found = Vec::new();
            for context in live.contexts() {
                let ids: Vec<_> = live.read(&context, |state| state.ids_of_guid(guid).collect());
                found.extend(ids.into_iter().map(|id| (context.clone(), id)));
            }
            (!found.is_empty()).then_some(found)
        };
        self.live().find(look).await?.ok_or_else(|| Error::schema_not_found(Some(guid)))
    }

    /// A text in another form, as `format` asks for; the canonical one where the type does not know the format.
    pub async fn formatted(
        &self,
        context: &Context,
        id: SchemaId,
        format: Option<&str>,
    ) -> Result<Option<String>> {
        let Some(format) = format.filter(|format| !format.is_empty()) else { return Ok(None) };
        let parsed: Arc<Parsed> = self.parsed(context, id).await?;
        let problem = |problem| Error::invalid_schema(&parsed.schema_type(), &problem);
        parsed.formatted(format).map_err(problem)
    }
}

fn has_rule(entity: &Entity, wanted: &str) -> bool {
    let Some(rules) = &entity.texts.rule_set else { return false };
    let lists = [&rules.migration_rules, &rules.domain_rules, &rules.encoding_rules];
    lists.into_iter().flatten().flatten().any(|rule| rule.rule_type.as_deref() == Some(wanted))
}
