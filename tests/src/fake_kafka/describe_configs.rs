//! DescribeConfigs (API key 32): a topic's own configs, and a few that every topic has.

use super::cluster::{Cluster, Topic};
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult,
};
use kafka_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};
use kafka_protocol::protocol::StrBytes;
use std::collections::BTreeMap;

const TOPIC: i8 = 2;
/// Set on the topic itself; Kafka's own default.
const SOURCES: (i8, i8) = (1, 5);
const DEFAULTS: [(&str, &str); 3] =
    [("cleanup.policy", "delete"), ("retention.ms", "604800000"), ("max.message.bytes", "1048588")];

pub(super) fn answer(cluster: &Cluster, request: &DescribeConfigsRequest) -> DescribeConfigsResponse {
    let results = request.resources.iter().map(|resource| {
        let result = DescribeConfigsResult::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone());
        if resource.resource_type != TOPIC {
            return result.with_error_code(super::INVALID_REQUEST);
        }
        let Some(topic) = cluster.topics.get(resource.resource_name.as_str()) else {
            return result.with_error_code(super::UNKNOWN_TOPIC_OR_PARTITION);
        };
        let is_asked = |name: &str| {
            let keys = resource.configuration_keys.as_ref();
            keys.is_none_or(|keys| keys.iter().any(|key| key.as_str() == name))
        };
        result.with_configs(configs(topic).into_iter().filter(|config| is_asked(&config.name)).collect())
    });
    DescribeConfigsResponse::default().with_results(results.collect())
}

fn configs(topic: &Topic) -> Vec<DescribeConfigsResourceResult> {
    let mut all: BTreeMap<&str, (&str, i8)> = BTreeMap::new();
    all.extend(DEFAULTS.map(|(name, value)| (name, (value, SOURCES.1))));
    all.extend(topic.configs.iter().map(|(name, value)| (name.as_str(), (value.as_str(), SOURCES.0))));
    let config = |(name, (value, source)): (&str, (&str, i8))| {
        DescribeConfigsResourceResult::default()
            .with_name(StrBytes::from_string(name.to_owned()))
            .with_value(Some(StrBytes::from_string(value.to_owned())))
            .with_config_source(source)
    };
    all.into_iter().map(config).collect()
}
