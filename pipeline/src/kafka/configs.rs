//! Configs of topics and brokers: DescribeConfigs and IncrementalAlterConfigs.

use std::collections::BTreeMap;
use std::fmt;

use formats::ids::Topic;
use futures::FutureExt;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::DescribeConfigsResourceResult;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::{DescribeConfigsRequest, IncrementalAlterConfigsRequest};
use kafka_protocol::protocol::StrBytes;

use super::admin::Target;
use super::client::Client;
use super::error::Refusal;
use crate::{Error, Result};

/// What has configs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConfigResource {
    /// A topic.
    Topic(Topic),
    /// A broker.
    Broker(i32),
}

/// Where a value comes from. Kafka looks in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigSource {
    /// Set on the topic itself.
    Topic,
    /// Set on the broker while it runs.
    Broker,
    /// Set on all brokers while they run.
    AllBrokers,
    /// Set in the broker's file.
    File,
    /// Kafka's own default.
    Default,
    /// Something else.
    Other(i8),
}

/// One config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigEntry {
    /// Its name.
    pub name: String,
    /// Its value; none where it has none or where it is a secret.
    pub value: Option<String>,
    /// Where the value comes from.
    pub source: ConfigSource,
    /// Whether it cannot be changed.
    pub read_only: bool,
    /// Whether it is a secret.
    pub is_sensitive: bool,
}

/// What to do with a config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigChange {
    /// Give it a value.
    Set(String),
    /// Let it fall back to what the broker says.
    Delete,
}

impl ConfigResource {
    const TOPIC: i8 = 2;
    const BROKER: i8 = 4;

    fn on_the_wire(&self) -> (i8, StrBytes) {
        match self {
            Self::Topic(topic) => (Self::TOPIC, StrBytes::from_string(topic.as_str().to_owned())),
            Self::Broker(broker) => (Self::BROKER, StrBytes::from_string(broker.to_string())),
        }
    }

    fn read(kind: i8, name: &str) -> Result<Self> {
        match (kind, name.parse()) {
            (Self::TOPIC, _) => Ok(Self::Topic(Topic::new(name)?)),
            (Self::BROKER, Ok(broker)) => Ok(Self::Broker(broker)),
            _ => Err(Error::permanent(format!(
                "the broker answered for config resource {name:?} of type {kind}"
            ))),
        }
    }
}

impl fmt::Display for ConfigResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Topic(topic) => write!(f, "topic {topic}"),
            Self::Broker(broker) => write!(f, "broker {broker}"),
        }
    }
}

impl ConfigSource {
    fn read(source: i8) -> Self {
        match source {
            1 => Self::Topic,
            2 => Self::Broker,
            3 => Self::AllBrokers,
            4 => Self::File,
            5 => Self::Default,
            other => Self::Other(other),
        }
    }
}

impl Client {
    /// The configs of topics and brokers. With `names`, only those.
    ///
    /// # Errors
    /// No broker can be asked. A resource that is refused is in the result.
    pub async fn describe_configs(
        &self,
        resources: &[ConfigResource],
        names: Option<&[&str]>,
    ) -> Result<BTreeMap<ConfigResource, Result<Vec<ConfigEntry>, Refusal>>> {
        let mut all = BTreeMap::new();
        for (target, resources) in by_target(resources.iter().cloned()) {
            let asked = self.ask_items("DescribeConfigs", target, resources, |connection, resources| {
                async move {
                    let keys: Option<Vec<StrBytes>> = names.map(|names| {
                        names.iter().map(|name| StrBytes::from_string((*name).to_owned())).collect()
                    });
                    let resource = |resource: &ConfigResource| {
                        let (kind, name) = resource.on_the_wire();
                        DescribeConfigsResource::default()
                            .with_resource_type(kind)
                            .with_resource_name(name)
                            .with_configuration_keys(keys.clone())
                    };
                    let request = DescribeConfigsRequest::default()
                        .with_resources(resources.iter().map(resource).collect());
                    let response = connection.call(&request).await?;
                    let results = response.results.iter().map(|result| {
                        let refusal = Refusal::check(result.error_code, result.error_message.as_deref());
                        let resource = ConfigResource::read(result.resource_type, &result.resource_name)?;
                        Ok((resource, refusal.map(|()| result.configs.iter().map(entry).collect())))
                    });
                    results.collect()
                }
                .boxed()
            });
            all.extend(asked.await?);
        }
        Ok(all)
    }

    /// Changes single configs and leaves the others alone (KIP-339), or with `validate_only` asks whether that is allowed.
    ///
    /// # Errors
    /// No broker can be asked. A resource that is refused is in the result.
    pub async fn alter_configs(
        &self,
        changes: &BTreeMap<ConfigResource, BTreeMap<String, ConfigChange>>,
        validate_only: bool,
    ) -> Result<BTreeMap<ConfigResource, Result<(), Refusal>>> {
        let mut all = BTreeMap::new();
        for (target, resources) in by_target(changes.keys().cloned()) {
            let asked =
                self.ask_items("IncrementalAlterConfigs", target, resources, |connection, resources| {
                    async move {
                        let resource = |resource: &ConfigResource| {
                            let (kind, name) = resource.on_the_wire();
                            AlterConfigsResource::default()
                                .with_resource_type(kind)
                                .with_resource_name(name)
                                .with_configs(
                                    changes.get(resource).into_iter().flatten().map(alterable).collect(),
                                )
                        };
                        let request = IncrementalAlterConfigsRequest::default()
                            .with_resources(resources.iter().map(resource).collect())
                            .with_validate_only(validate_only);
                        let response = connection.call(&request).await?;
                        let results = response.responses.iter().map(|result| {
                            let refusal = Refusal::check(result.error_code, result.error_message.as_deref());
                            Ok((ConfigResource::read(result.resource_type, &result.resource_name)?, refusal))
                        });
                        results.collect()
                    }
                    .boxed()
                });
            all.extend(asked.await?);
        }
        Ok(all)
    }
}

/// A broker's own configs are asked of that broker, those of topics of any.
fn by_target(resources: impl Iterator<Item = ConfigResource>) -> Vec<(Target, Vec<ConfigResource>)> {
    let mut topics = Vec::new();
    let mut requests = Vec::new();
    for resource in resources {
        match resource {
            ConfigResource::Topic(_) => topics.push(resource),
            ConfigResource::Broker(broker) => requests.push((Target::Broker(broker), vec![resource])),
        }
    }
    if !topics.is_empty() {
        requests.push((Target::Any, topics));
    }
    requests
}

fn entry(config: &DescribeConfigsResourceResult) -> ConfigEntry {
    ConfigEntry {
        name: config.name.to_string(),
        value: config.value.as_ref().map(ToString::to_string),
        source: ConfigSource::read(config.config_source),
        read_only: config.read_only,
        is_sensitive: config.is_sensitive,
    }
}

fn alterable((name, change): (&String, &ConfigChange)) -> AlterableConfig {
    let (operation, value) = match change {
        ConfigChange::Set(value) => (0, Some(StrBytes::from_string(value.clone()))),
        ConfigChange::Delete => (1, None),
    };
    AlterableConfig::default()
        .with_name(StrBytes::from_string(name.clone()))
        .with_config_operation(operation)
        .with_value(value)
}
