//! Settings of subjects, contexts and all of them.

use super::{Registry, config_in_scope, contract, filled, require_writable};
use crate::error::{Error, Result};
use crate::live::Scope;
use crate::names::{Context, Subject};
use crate::schema::{Metadata, RuleSet};
use crate::settings::{CompatibilityPolicy, Config, Level};
use crate::store::Change;
use std::sync::Arc;

/// A field of a request: not named, null, or a value.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Field<T> {
    /// What is there stays.
    #[default]
    Kept,
    /// It is cleared.
    Cleared,
    /// It becomes this.
    Set(T),
}

impl<T: Clone> Field<T> {
    fn apply(&self, to: &mut Option<T>) {
        match self {
            Self::Kept => {}
            Self::Cleared => *to = None,
            Self::Set(value) => *to = Some(value.clone()),
        }
    }

    fn value(&self) -> Option<&T> {
        if let Self::Set(value) = self { Some(value) } else { None }
    }
}

/// What a request changes of the settings.
#[derive(Debug, Clone, Default, PartialEq)]
#[allow(missing_docs, reason = "the fields are those of Config, and documented there")]
pub struct ConfigUpdate {
    pub alias: Field<String>,
    pub alias_for_deks: Field<String>,
    pub normalize: Field<bool>,
    pub validate_fields: Field<bool>,
    pub validate_new_schemas: Field<bool>,
    pub validate_rules: Field<bool>,
    pub compatibility: Field<String>,
    pub compatibility_policy: Field<CompatibilityPolicy>,
    pub compatibility_group: Field<String>,
    pub default_metadata: Field<Metadata>,
    pub override_metadata: Field<Metadata>,
    pub default_rule_set: Field<RuleSet>,
    pub override_rule_set: Field<RuleSet>,
}

impl ConfigUpdate {
    fn level(&self) -> Result<Field<Level>> {
        Ok(match &self.compatibility {
            Field::Kept => Field::Kept,
            Field::Cleared => Field::Cleared,
            Field::Set(name) => Field::Set(name.parse().map_err(|_| Error::invalid_level())?),
        })
    }

    fn apply(&self, level: &Field<Level>, config: &mut Config) {
        self.alias.apply(&mut config.alias);
        self.alias_for_deks.apply(&mut config.alias_for_deks);
        self.normalize.apply(&mut config.normalize);
        self.validate_fields.apply(&mut config.validate_fields);
        self.validate_new_schemas.apply(&mut config.validate_new_schemas);
        self.validate_rules.apply(&mut config.validate_rules);
        level.apply(&mut config.compatibility_level);
        self.compatibility_policy.apply(&mut config.compatibility_policy);
        self.compatibility_group.apply(&mut config.compatibility_group);
        self.default_metadata.apply(&mut config.default_metadata);
        self.override_metadata.apply(&mut config.override_metadata);
        self.default_rule_set.apply(&mut config.default_rule_set);
        self.override_rule_set.apply(&mut config.override_rule_set);
    }
}

impl Registry {
    /// What a subject, a context (its root) or everything (the default context's root) is set to. `in_scope`: what counts for it,
    /// wherever that is set.
    pub async fn config(&self, subject: &Subject, in_scope: bool) -> Result<Config> {
        let root = Subject::new(Context::global(), "");
        let subject = match subject.is_reserved() {
            true if !in_scope => return Err(Error::no_config(subject)),
            true => &root,
            false => subject,
        };
        let is_top = subject.is_root() && subject.context.is_default();
        let own = |live: &crate::live::Live| {
            live.read(&subject.context, |state| {
                let own = state.config(&subject.name)?.clone();
                let root = state.config("").filter(|_| !subject.is_root()).cloned();
                Some(filled(own, root))
            })
        };
        if let Some(mut own) = self.live().find(own).await? {
            own.compatibility_level.get_or_insert(self.settings.default_level);
            return Ok(own);
        }
        if is_top || in_scope {
            return Ok(config_in_scope(&**self.live(), subject, self.settings.default_level));
        }
        Err(Error::no_config(subject))
    }

    /// Changes what a request names; answers the record as it is then.
    pub async fn set_config(
        &self,
        subject: &Subject,
        received: &str,
        update: ConfigUpdate,
    ) -> Result<Config> {
        let level = update.level()?;
        contract::require_valid_rules(update.default_rule_set.value())?;
        contract::require_valid_rules(update.override_rule_set.value())?;
        self.require_settable(subject, received)?;
        self.require_small(update.default_metadata.value(), update.default_rule_set.value())?;
        self.require_small(update.override_metadata.value(), update.override_rule_set.value())?;
        // What changes nothing is not committed, so it must be decided against what is so now.
        self.live().confirm().await?;
        let (subject, context) = (subject.clone(), subject.context.clone());
        let default = self.settings.default_level;
        self.live()
            .write(&context, Scope::Context, 0, move |draft| {
                let mut config = draft.state().config(&subject.name).cloned().unwrap_or_default();
                let before = config.clone();
                update.apply(&level, &mut config);
                require_combinable(&config, config_in_scope(&mut *draft, &subject, default))?;
                require_writable(&mut *draft, &subject)?;
                if config != before || draft.state().config(&subject.name).is_none() {
                    draft.put(Change::Config(Arc::clone(&subject.name), Some(Box::new(config.clone()))));
                }
                Ok(config)
            })
            .await
    }

    /// Removes what is set; answers what that was.
    pub async fn delete_config(&self, subject: &Subject) -> Result<Config> {
        if subject.is_reserved() {
            return Err(Error::subject_not_found(subject));
        }
        self.live().confirm().await?;
        let is_top = subject.is_root() && subject.context.is_default();
        let (subject, context) = (subject.clone(), subject.context.clone());
        let default = self.settings.default_level;
        self.live()
            .write(&context, Scope::Context, 0, move |draft| {
                let own = draft.state().config(&subject.name).cloned();
                if own.is_none() && !is_top {
                    return Err(Error::subject_not_found(&subject));
                }
                require_writable(&mut *draft, &subject)?;
                let before = config_in_scope(&mut *draft, &subject, default);
                if own.is_some() {
                    draft.put(Change::Config(Arc::clone(&subject.name), None));
                }
                Ok(before)
            })
            .await
    }

    /// As for registering, but the context of all contexts is settable.
    pub(crate) fn require_settable(&self, subject: &Subject, received: &str) -> Result<()> {
        if subject.context.is_global() && subject.is_root() {
            return Ok(());
        }
        if subject.context == Context::default_context() && subject.is_root() {
            return Ok(());
        }
        self.require_valid(subject, received)
    }
}

fn require_combinable(config: &Config, scope: Config) -> Result<()> {
    let policy = config.compatibility_policy.or(scope.compatibility_policy);
    let level = config.compatibility_level.or(scope.compatibility_level);
    match (policy, level) {
        (Some(CompatibilityPolicy::Logical), Some(level @ (Level::Forward | Level::ForwardTransitive))) => {
            Err(Error::new(
                42203,
                format!(
                    "compatibilityPolicy=LOGICAL cannot be combined with compatibilityLevel={level}: \
                     Iceberg only supports backward-compatible schema evolution"
                ),
            ))
        }
        _ => Ok(()),
    }
}
