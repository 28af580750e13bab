//! `/config`: settings.

use super::{Call, Made, json};
use crate::error::{Error, Result};
use crate::service::{ConfigUpdate, Field};
use crate::settings::{CompatibilityPolicy, Config};
use serde_json::Value;

pub(super) async fn get(call: &Call<'_>) -> Result<Made> {
    json(&call.registry().config(&call.subject, call.query.flag("defaultToGlobal")).await?)
}

pub(super) async fn put(call: &Call<'_>) -> Result<Made> {
    let top = call.subject.is_root() && call.subject.context.is_default();
    let body = call.body(if top { "updateTopLevelConfig.arg1" } else { "updateSubjectLevelConfig.arg2" })?;
    let policy = match body.text_field("compatibilityPolicy")? {
        Field::Kept => Field::Kept,
        Field::Cleared => Field::Cleared,
        Field::Set(name) => Field::Set(self::policy(&name)?),
    };
    let update = ConfigUpdate {
        alias: body.text_field("alias")?,
        alias_for_deks: body.text_field("aliasForDeks")?,
        normalize: body.flag_field("normalize")?,
        validate_fields: body.flag_field("validateFields")?,
        validate_new_schemas: body.flag_field("validateNewSchemas")?,
        validate_rules: body.flag_field("validateRules")?,
        compatibility: body.text_field("compatibility")?,
        compatibility_policy: policy,
        compatibility_group: body.text_field("compatibilityGroup")?,
        default_metadata: body.metadata_field("defaultMetadata")?,
        override_metadata: body.metadata_field("overrideMetadata")?,
        default_rule_set: body.rules_field("defaultRuleSet")?,
        override_rule_set: body.rules_field("overrideRuleSet")?,
    };
    let config = call.registry().set_config(&call.subject, &call.received, update).await?;
    json(&as_request(&config)?)
}

pub(super) async fn delete(call: &Call<'_>) -> Result<Made> {
    json(&call.registry().delete_config(&call.subject).await?)
}

fn policy(name: &str) -> Result<CompatibilityPolicy> {
    let known = [CompatibilityPolicy::Strict, CompatibilityPolicy::Lenient, CompatibilityPolicy::Logical];
    let named = |policy: &CompatibilityPolicy| format!("{policy:?}").eq_ignore_ascii_case(name);
    known.into_iter().find(named).ok_or_else(|| {
        Error::new(42203, "Invalid compatibility policy. Valid values are strict, lenient, and logical")
    })
}

/// Requests say `compatibility` where answers say `compatibilityLevel`; so does the answer to a request.
fn as_request(config: &Config) -> Result<Value> {
    let value = serde_json::to_value(config);
    let value =
        value.map_err(|error| Error::new(500, format!("The answer could not be written: {error}")))?;
    let Value::Object(members) = value else { return Ok(value) };
    let renamed = members.into_iter().map(|(name, value)| {
        let name = if name == "compatibilityLevel" { "compatibility".to_owned() } else { name };
        (name, value)
    });
    Ok(Value::Object(renamed.collect()))
}
