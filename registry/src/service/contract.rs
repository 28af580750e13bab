//! Data contracts: rules that are valid, and how metadata and rules of a request, of the version before and of the settings
//! become those of a new version.

use crate::error::{Error, Result};
use crate::schema::{Metadata, Rule, RuleMode, RuleSet};
use crate::settings::Config;
use std::collections::HashSet;

/// The property that says which version the metadata belongs to.
pub(super) const VERSION: &str = "confluent:version";

/// The property that names fields which must not be used.
const RESERVED: &str = "confluent:reserved";

/// Characters of a rule's name at most.
const MAX_NAME: usize = 64;

/// Refuses rules that no client could run, with 42210.
pub(super) fn require_valid_rules(rules: Option<&RuleSet>) -> Result<()> {
    let Some(rules) = rules else { return Ok(()) };
    let both = [RuleMode::Upgrade, RuleMode::Downgrade, RuleMode::Updown];
    let data = [RuleMode::Write, RuleMode::Read, RuleMode::Writeread];
    let lists = [
        (&rules.migration_rules, &both, "Migration rules can only be UPGRADE, DOWNGRADE, UPDOWN"),
        (&rules.domain_rules, &data, "Domain rules can only be WRITE, READ, WRITEREAD"),
        (&rules.encoding_rules, &data, "Encoding rules can only be WRITE, READ, WRITEREAD"),
    ];
    let mut names = HashSet::new();
    for (list, modes, wrong) in lists {
        for rule in list.iter().flatten() {
            if !names.insert(rule.name.as_str()) {
                return Err(Error::invalid_rules(format!("Found rule with duplicate name '{}'", rule.name)));
            }
            require_valid_rule(rule)?;
            if !modes.contains(&rule.mode.unwrap_or(RuleMode::Writeread)) {
                return Err(Error::invalid_rules(wrong));
            }
        }
    }
    Ok(())
}

fn require_valid_rule(rule: &Rule) -> Result<()> {
    let name = &rule.name;
    let is_letter = |c: char| c.is_alphabetic() || c == '_';
    if name.is_empty() {
        return Err(Error::invalid_rules("Missing or empty rule name"));
    }
    if !name.starts_with(is_letter) {
        return Err(Error::invalid_rules(format!("Illegal initial character in rule name: {name}")));
    }
    if name.contains(|c: char| !is_letter(c) && !c.is_ascii_digit() && c != '-') {
        return Err(Error::invalid_rules(format!("Illegal character in rule name: {name}")));
    }
    if name.chars().count() > MAX_NAME {
        return Err(Error::invalid_rules("Rule name too long"));
    }
    if rule.rule_type.as_ref().is_none_or(String::is_empty) {
        return Err(Error::invalid_rules(format!("Missing rule type of rule '{name}'")));
    }
    let several = |action: &Option<String>| action.as_ref().is_some_and(|action| action.contains(','));
    let is_double =
        matches!(rule.mode.unwrap_or(RuleMode::Writeread), RuleMode::Writeread | RuleMode::Updown);
    if (several(&rule.on_success) || several(&rule.on_failure)) && !is_double {
        return Err(Error::invalid_rules("Multiple actions only valid with WRITEREAD and UPDOWN"));
    }
    Ok(())
}

/// Metadata and rules of a version.
pub(super) type Labels = (Option<Metadata>, Option<RuleSet>);

/// What a request brings, or else the version before, between the defaults and the overrides of the settings. The version is
/// noted where it was asked for, or where one was noted already.
pub(super) fn completed(given: Labels, before: Labels, config: &Config, asked: bool, number: i32) -> Labels {
    let metadata = merged(config.default_metadata.clone(), given.0.or(before.0));
    let mut metadata = merged(metadata, config.override_metadata.clone());
    let rules = merged_rules(config.default_rule_set.clone(), given.1.or(before.1));
    let rules = merged_rules(rules, config.override_rule_set.clone());
    let noted = metadata.as_ref().is_some_and(|metadata| version_of(metadata).is_some());
    if asked || noted {
        let properties = metadata.get_or_insert_default().properties.get_or_insert_default();
        properties.insert(VERSION.to_owned(), number.to_string());
    }
    (metadata, rules)
}

/// The settings say something about metadata or rules.
pub(super) fn is_governed(config: &Config) -> bool {
    config.default_metadata.is_some()
        || config.override_metadata.is_some()
        || config.default_rule_set.is_some()
        || config.override_rule_set.is_some()
}

/// The version that metadata names.
pub(super) fn version_of(metadata: &Metadata) -> Option<&str> {
    property(Some(metadata), VERSION)
}

/// The value of a property.
pub(super) fn property<'a>(metadata: Option<&'a Metadata>, name: &str) -> Option<&'a str> {
    metadata?.properties.as_ref()?.get(name).map(String::as_str)
}

/// The metadata without the version; nothing where nothing else is in it.
pub(super) fn unversioned(metadata: Option<&Metadata>) -> Option<Metadata> {
    let mut metadata = metadata?.clone();
    if let Some(properties) = &mut metadata.properties {
        properties.remove(VERSION);
        if properties.is_empty() {
            metadata.properties = None;
        }
    }
    (metadata != Metadata::default()).then_some(metadata)
}

/// The fields that metadata reserves.
pub(super) fn reserved(metadata: Option<&Metadata>) -> Vec<&str> {
    let names = property(metadata, RESERVED).unwrap_or_default().split(',');
    names.map(str::trim).filter(|name| !name.is_empty()).collect()
}

fn merged(old: Option<Metadata>, new: Option<Metadata>) -> Option<Metadata> {
    let (mut old, new) = match (old, new) {
        (old, None) => return old,
        (None, new) => return new,
        (Some(old), Some(new)) => (old, new),
    };
    if let Some(tags) = new.tags {
        old.tags.get_or_insert_default().extend(tags);
    }
    if let Some(properties) = new.properties {
        old.properties.get_or_insert_default().extend(properties);
    }
    if let Some(sensitive) = new.sensitive {
        old.sensitive.get_or_insert_default().extend(sensitive);
    }
    Some(old)
}

fn merged_rules(old: Option<RuleSet>, new: Option<RuleSet>) -> Option<RuleSet> {
    let (old, new) = match (old, new) {
        (old, None) => return old,
        (None, new) => return new,
        (Some(old), Some(new)) => (old, new),
    };
    Some(RuleSet {
        migration_rules: merged_list(old.migration_rules, new.migration_rules),
        domain_rules: merged_list(old.domain_rules, new.domain_rules),
        encoding_rules: merged_list(old.encoding_rules, new.encoding_rules),
        enable_at: new.enable_at.or(old.enable_at),
    })
}

/// Old rules whose name is not among the new ones, then the new ones.
fn merged_list(old: Option<Vec<Rule>>, new: Option<Vec<Rule>>) -> Option<Vec<Rule>> {
    let (old, new) = match (old, new) {
        (old, None) => return old,
        (None, new) => return new,
        (Some(old), Some(new)) => (old, new),
    };
    let kept = old.into_iter().filter(|rule| new.iter().all(|other| other.name != rule.name));
    Some(kept.collect::<Vec<_>>().into_iter().chain(new.iter().cloned()).collect())
}
