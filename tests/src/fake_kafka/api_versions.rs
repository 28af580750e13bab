//! ApiVersions (API key 18): what is offered. The oldest and newest versions are those of Kafka 4.0.

use super::cluster::Cluster;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest, ApiVersionsResponse};

/// What is spoken, but for a Fetch that a test makes older.
const OFFERED: [(ApiKey, i16, i16); 6] = [
    (ApiKey::Fetch, 4, 17),
    (ApiKey::ListOffsets, 1, 10),
    (ApiKey::Metadata, 0, 13),
    (ApiKey::ApiVersions, 0, 4),
    (ApiKey::OffsetForLeaderEpoch, 2, 4),
    (ApiKey::DescribeConfigs, 1, 4),
];

/// The versions of a request that are spoken.
pub(super) fn offered(cluster: &Cluster, key: i16) -> Option<(i16, i16)> {
    let (api, min, max) = OFFERED.into_iter().find(|(api, _, _)| *api as i16 == key)?;
    let max = if api == ApiKey::Fetch { max.min(cluster.max_fetch_version) } else { max };
    Some((min, max))
}

pub(super) fn answer(cluster: &Cluster, request: &ApiVersionsRequest, version: i16) -> ApiVersionsResponse {
    let names = [&request.client_software_name, &request.client_software_version];
    if version >= 3 && !names.into_iter().all(|name| is_name(name)) {
        return ApiVersionsResponse::default().with_error_code(super::INVALID_REQUEST);
    }
    let keys = OFFERED.into_iter().filter_map(|(api, _, _)| {
        let (min, max) = offered(cluster, api as i16)?;
        Some(ApiVersion::default().with_api_key(api as i16).with_min_version(min).with_max_version(max))
    });
    ApiVersionsResponse::default().with_api_keys(keys.collect())
}

/// The answer to a version that is not spoken, in version 0.
pub(super) fn unsupported() -> ApiVersionsResponse {
    let own = ApiVersion::default().with_api_key(ApiKey::ApiVersions as i16).with_max_version(4);
    ApiVersionsResponse::default().with_error_code(super::UNSUPPORTED_VERSION).with_api_keys(vec![own])
}

/// Whether a client may call its software that (KIP-511).
fn is_name(name: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let inner = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    edge(name.chars().next()) && edge(name.chars().last()) && name.chars().all(inner)
}
