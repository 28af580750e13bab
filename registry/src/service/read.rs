//! What there is: versions, and schemas by id and GUID.

use super::{Listed, Page, Registry, contract, latest};
use crate::error::{Error, Result};
use crate::names::{Context, Subject};
use crate::schema::{Reference, SchemaType};
use crate::state::{ContextState, Version};
use crate::store::{SchemaId, SchemaKey, SchemaRow, Texts};
use std::collections::BTreeSet;
use std::sync::Arc;
use uuid::Uuid;

/// Versions whose texts are asked for at once.
const CHUNK: usize = 32;

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

impl Entity {
    pub(super) fn new(subject: Subject, version: Version, row: SchemaRow, texts: Texts) -> Self {
        let SchemaRow { guid, schema_type, references, .. } = row;
        Self { subject, version, guid, schema_type, references, texts }
    }

    pub(super) fn has_rule(&self, wanted: &str) -> bool {
        let Some(rules) = &self.texts.rule_set else { return false };
        let lists = [&rules.migration_rules, &rules.domain_rules, &rules.encoding_rules];
        lists.into_iter().flatten().flatten().any(|rule| rule.rule_type.as_deref() == Some(wanted))
    }
}

/// A schema by its id.
#[derive(Debug, Clone)]
pub struct ById {
    /// Where it was found.
    pub context: Context,
    /// What it is there.
    pub schema: SchemaKey,
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

impl Registry {
    pub(super) async fn entity(&self, subject: &Subject, version: Version) -> Result<Option<Entity>> {
        let found = self.live.schema(&subject.context, version.schema).await?;
        Ok(found.map(|(row, texts)| Entity::new(subject.clone(), version, row, texts)))
    }

    /// An unqualified subject means the same name in every context where the default one has no hit.
    fn anywhere<T>(
        &self,
        subject: &Subject,
        find: impl Fn(&ContextState) -> Option<T>,
    ) -> Option<(Context, T)> {
        let own = self.live.read(&subject.context, &find).map(|found| (subject.context.clone(), found));
        if own.is_some() || !subject.context.is_default() {
            return own;
        }
        let others = self.live.contexts().into_iter().filter(|context| !context.is_default());
        others.filter_map(|context| self.live.read(&context, &find).map(|found| (context, found))).next()
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
        let found = self.live.find(|_| self.anywhere(subject, find)).await?;
        if let Some((context, version)) = found {
            let at = Subject { context, name: Arc::clone(&subject.name) };
            if let Some(entity) = self.entity(&at, version).await? {
                return Ok(entity);
            }
        }
        Err(match self.has_versions(subject, deleted) {
            true => Error::version_not_found(subject, number),
            false => Error::subject_not_found(subject),
        })
    }

    pub(super) fn has_versions(&self, subject: &Subject, deleted: bool) -> bool {
        self.live.read(&subject.context, |state| {
            state.versions(&subject.name).iter().any(|version| deleted || !version.deleted)
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
        self.live.find(find).await?.ok_or_else(|| Error::subject_not_found(subject))
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
                    wanted.filter_map(|version| Some((*version, state.schema(version.schema)?.schema_type)));
                let typed: Vec<_> = typed.collect();
                (!typed.is_empty()).then(|| page.cut(typed.into_iter()))
            })
        };
        self.live().find(find).await?.ok_or_else(|| Error::subject_not_found(subject))
    }

    /// The ids of schemas that refer to a version, which may itself be deleted. `deleted`: those that only deleted versions are,
    /// too.
    pub async fn referenced_by(
        &self,
        subject: &Subject,
        number: i32,
        deleted: bool,
        page: Page,
    ) -> Result<Vec<SchemaId>> {
        let target = self.version(subject, number, true).await?;
        let mut found = BTreeSet::new();
        for context in self.live.contexts() {
            self.live.read(&context, |state| {
                let keys = state.referrers(&target.subject, target.version.version);
                let counted =
                    keys.filter(|key| state.users(*key).any(|(_, version)| deleted || !version.deleted));
                found.extend(counted.map(|key| key.id));
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
        self.live.fresh().await?;
        if let Some(found) = self.with_metadata(subject, pairs, deleted).await? {
            return Ok(found);
        }
        let seen = self.live.moves();
        if self.live.confirm().await?
            && self.live.moves() != seen
            && let Some(found) = self.with_metadata(subject, pairs, deleted).await?
        {
            return Ok(found);
        }
        Err(match self.has_versions(subject, deleted) {
            true => Error::schema_not_found(None),
            false => Error::subject_not_found(subject),
        })
    }

    async fn with_metadata(
        &self,
        subject: &Subject,
        pairs: &[(String, String)],
        deleted: bool,
    ) -> Result<Option<Entity>> {
        let versions = self.live.read(&subject.context, |state| state.versions(&subject.name).to_vec());
        let wanted = versions.into_iter().rev().filter(|version| deleted || !version.deleted);
        let wanted: Vec<_> = wanted.map(|version| (subject.clone(), version)).collect();
        for chunk in wanted.chunks(CHUNK) {
            for entity in self.entities(chunk).await? {
                let metadata =
                    entity.texts.metadata.as_ref().filter(|metadata| metadata.properties.is_some());
                let Some(metadata) = metadata else { continue };
                let has = |(name, value): &(String, String)| {
                    contract::property(Some(metadata), name) == Some(value)
                };
                if pairs.iter().all(has) {
                    return Ok(Some(entity));
                }
            }
        }
        Ok(None)
    }

    /// A schema by its id, softly deleted ones too. Without a subject in the default context; with one in its context; with an
    /// unqualified one wherever the subject has this id, else in the default context. What no version is any more, in a store that
    /// keeps such schemas, is anybody's in its context.
    ///
    /// Nothing is asked of the store about what is known, because an id does not change: consumers go on while it is away.
    pub async fn schema(&self, id: SchemaId, subject: Option<&Subject>) -> Result<ById> {
        let not_found = || Error::schema_not_found(Some(&id));
        let any = |state: &ContextState| {
            state.schema(SchemaKey::of(id))?;
            Some(state.last_user(id).map(|(name, version)| (Arc::clone(name), version)))
        };
        let found = match subject.filter(|subject| !subject.is_root()) {
            None => {
                let context =
                    subject.map_or_else(Context::default_context, |subject| subject.context.clone());
                let of = self.live.find_kept(|live| live.read(&context, any)).await?;
                of.map(|of| (context, of, subject.is_some(), SchemaKey::of(id)))
            }
            Some(named) => {
                let look = |live: &crate::live::Live| {
                    let target = self.alias(named);
                    let named = target.as_ref().unwrap_or(named);
                    let of_subject = |state: &ContextState| {
                        let mut versions = state.versions(&named.name).iter().rev();
                        versions.find(|version| version.schema.id == id).copied()
                    };
                    if let Some((context, version)) = self.anywhere(named, of_subject) {
                        let of = Some((Arc::clone(&named.name), version));
                        return Some((context, of, true, version.schema));
                    }
                    let of = live.read(&named.context, any);
                    let of = of.filter(|of| named.context.is_default() || of.is_none())?;
                    Some((named.context.clone(), of, true, SchemaKey::of(id)))
                };
                self.live.find_kept(look).await?
            }
        };
        let (context, user, is_named, schema) = found.ok_or_else(not_found)?;
        let found = self.by_key(&context, schema).await?.ok_or_else(not_found)?;
        let of_any = user.as_ref().map(|(_, version)| *version);
        let of = user.filter(|_| is_named);
        let of = of.map(|(name, version)| (Subject { context, name }, version));
        Ok(ById { of, of_any, ..found })
    }

    async fn by_key(&self, context: &Context, schema: SchemaKey) -> Result<Option<ById>> {
        let found = self.live.schema(context, schema).await?;
        Ok(found.map(|(SchemaRow { guid, schema_type, references, .. }, texts)| ById {
            context: context.clone(),
            schema,
            of: None,
            of_any: None,
            guid,
            schema_type,
            references,
            texts,
        }))
    }

    /// A schema by its GUID, of the first context that has it.
    pub async fn schema_of_guid(&self, guid: &Uuid) -> Result<ById> {
        let places = self.keys_of_guid(guid).await?;
        let not_found = || Error::schema_not_found(Some(guid));
        let (context, schema) = places.into_iter().next().ok_or_else(not_found)?;
        let of_any = self.live.read(&context, |state| state.users(schema).last().map(|(_, version)| version));
        let found = self.by_key(&context, schema).await?.ok_or_else(not_found)?;
        Ok(ById { of_any, ..found })
    }

    /// The versions that are a schema, by subject. `subject` says which context is meant, as in [`Self::schema`].
    pub async fn users(
        &self,
        id: SchemaId,
        subject: Option<&Subject>,
        deleted: bool,
        page: Page,
    ) -> Result<Vec<(String, i32)>> {
        let target = match subject.filter(|subject| !subject.is_root()) {
            Some(named) => self.target(named).await?,
            None => None,
        };
        let subject = target.as_ref().or(subject);
        let look = |live: &crate::live::Live| {
            let context = match subject {
                None => Context::default_context(),
                Some(named) if named.is_root() => named.context.clone(),
                Some(named) => {
                    let has = |state: &ContextState| {
                        state
                            .versions(&named.name)
                            .iter()
                            .any(|version| version.schema.id == id)
                            .then_some(())
                    };
                    match self.anywhere(named, has) {
                        Some((context, ())) => context,
                        None if named.context.is_default() => Context::default_context(),
                        None => return None,
                    }
                }
            };
            live.read(&context, |state| {
                state.schema(SchemaKey::of(id))?;
                let users = state.users_of_id(id).into_iter();
                let named =
                    users.filter(|(_, version)| deleted || !version.deleted).map(|(name, version)| {
                        (
                            Subject { context: context.clone(), name: Arc::clone(name) }.to_string(),
                            version.version,
                        )
                    });
                Some(page.cut(named))
            })
        };
        self.live.find(look).await?.ok_or_else(|| Error::schema_not_found(None))
    }

    /// The highest id that a context has given.
    pub fn max_id(&self, context: &Context) -> SchemaId {
        self.live.read(context, |state| state.head().next_id.saturating_sub(1))
    }

    /// Where a GUID is: context and id, the default context first.
    pub async fn ids_of_guid(&self, guid: &Uuid) -> Result<Vec<(Context, SchemaId)>> {
        let places = self.keys_of_guid(guid).await?;
        Ok(places.into_iter().map(|(context, schema)| (context, schema.id)).collect())
    }

    async fn keys_of_guid(&self, guid: &Uuid) -> Result<Vec<(Context, SchemaKey)>> {
        let look = |live: &crate::live::Live| {
            let mut found = Vec::new();
            for context in live.contexts() {
                let keys: Vec<_> = live.read(&context, |state| state.keys_of_guid(guid).collect());
                found.extend(keys.into_iter().map(|key| (context.clone(), key)));
            }
            (!found.is_empty()).then_some(found)
        };
        self.live.find_kept(look).await?.ok_or_else(|| Error::schema_not_found(Some(guid)))
    }

    /// A text in another form, as `format` asks for; the canonical one where the type does not know the format.
    pub async fn formatted(
        &self,
        context: &Context,
        schema: SchemaKey,
        format: Option<&str>,
    ) -> Result<Option<String>> {
        let Some(format) = format.filter(|format| !format.is_empty()) else { return Ok(None) };
        let budget = self.work.budget();
        let parsed = self.parsed(context, schema, &budget).await?;
        let (schema_type, format) = (parsed.schema_type(), format.to_owned());
        let made = self.work.run(&budget, None, move || parsed.formatted(&format)).await?;
        made.map_err(|problem| Error::invalid_schema(&schema_type, &problem))
    }
}
