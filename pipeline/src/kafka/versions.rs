//! Which version of each request is spoken on a connection (ApiVersions, KIP-35 and KIP-511).

use std::collections::BTreeMap;

use bytes::{Buf, Bytes};
use kafka_protocol::messages::{FetchRequest, InitProducerIdRequest, ProduceRequest};
use kafka_protocol::protocol::Request;

use super::frame::api_name;
use crate::{Error, Result};

/// The lowest and highest version of one request, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    /// The lowest.
    pub min: i16,
    /// The highest.
    pub max: i16,
}

/// What a broker offers, by API key.
#[derive(Debug, Clone, Default)]
pub struct ApiVersions {
    ranges: BTreeMap<i16, Versions>,
}

impl ApiVersions {
    /// What a broker offers.
    pub fn new(ranges: impl IntoIterator<Item = (i16, Versions)>) -> Self {
        Self { ranges: ranges.into_iter().collect() }
    }

    /// Reads a version 0 answer, with which a broker also answers a version that it does not know. Gives the error code
    /// and the ranges; nothing where the bytes are no such answer.
    pub(super) fn decode_v0(mut body: Bytes) -> Option<(i16, Self)> {
        let code = body.try_get_i16().ok()?;
        let count = usize::try_from(body.try_get_i32().ok()?).ok()?;
        if count > body.len() / 6 {
            return None;
        }
        let mut ranges = BTreeMap::new();
        for _ in 0..count {
            let (key, min, max) = (body.get_i16(), body.get_i16(), body.get_i16());
            ranges.insert(key, Versions { min, max });
        }
        Some((code, Self { ranges }))
    }

    /// What the broker offers for one API key.
    pub fn offered(&self, key: i16) -> Option<Versions> {
        self.ranges.get(&key).copied()
    }

    /// The highest version of a request that both sides speak.
    ///
    /// # Errors
    /// None in common; the message names the request and both ranges.
    pub fn choose<R: Request>(&self) -> Result<i16> {
        self.choose_within::<R>(ours::<R>())
    }

    /// The highest version in common that also lies within a range.
    ///
    /// # Errors
    /// As [`ApiVersions::choose`].
    pub fn choose_within<R: Request>(&self, ours: Versions) -> Result<i16> {
        let api = api_name(R::KEY);
        let Some(theirs) = self.offered(R::KEY) else {
            return Err(Error::permanent(format!("the broker does not offer {api}")).hint(
                "Kafka 2.8 and later are supported; a proxy or a managed service may leave requests out",
            ));
        };
        let (low, high) = (ours.min.max(theirs.min), ours.max.min(theirs.max));
        if low > high {
            return Err(Error::permanent(format!(
                "the broker offers {api} v{} to v{}, this client speaks v{} to v{}",
                theirs.min, theirs.max, ours.min, ours.max
            ))
            .hint("Kafka 2.8 and later are supported"));
        }
        Ok(high)
    }
}

/// What this client speaks of a request: its flexible versions (all of them offered by Kafka 2.8), up to the codec's newest.
pub fn ours<R: Request>() -> Versions {
    let max = match R::KEY {
        // From v13 produce names topics by id; names are what both old and new brokers take.
        ProduceRequest::KEY => 12,
        // v6 adds two-phase commit, which is not for us.
        InitProducerIdRequest::KEY => 5,
        // v18 adds a field for followers only.
        FetchRequest::KEY => 17,
        _ => R::VERSIONS.max,
    };
    let min =
        (R::VERSIONS.min..=max).find(|version| R::header_version(*version) >= 2).unwrap_or(R::VERSIONS.min);
    Versions { min, max }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::messages::{DescribeClusterRequest, ListOffsetsRequest, MetadataRequest};

    #[test]
    fn the_highest_common_version_is_chosen() {
        let offer = ApiVersions::new([(FetchRequest::KEY, Versions { min: 0, max: 12 })]);
        assert_eq!(offer.choose::<FetchRequest>().expect("in common"), 12);
        let offer = ApiVersions::new([(FetchRequest::KEY, Versions { min: 4, max: 99 })]);
        assert_eq!(offer.choose::<FetchRequest>().expect("in common"), 17);
    }

    #[test]
    fn no_common_version_is_refused_with_both_ranges() {
        let offer = ApiVersions::new([(FetchRequest::KEY, Versions { min: 0, max: 11 })]);
        let error = offer.choose::<FetchRequest>().expect_err("too old");
        assert_eq!(error.message(), "the broker offers Fetch v0 to v11, this client speaks v12 to v17");
        let error = offer.choose::<ProduceRequest>().expect_err("not offered");
        assert_eq!(error.message(), "the broker does not offer Produce");
    }

    #[test]
    fn kafka_2_8_offers_what_is_spoken() {
        // The newest versions of Kafka 2.8.
        assert!(ours::<FetchRequest>().min <= 12 && ours::<ProduceRequest>().min <= 9);
        assert!(ours::<MetadataRequest>().min <= 11 && ours::<ListOffsetsRequest>().min <= 6);
        assert!(ours::<DescribeClusterRequest>().min == 0);
    }

    #[test]
    fn a_version_0_answer_is_read_and_nonsense_is_not() {
        let body = Bytes::from_static(&[0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 3]);
        let (code, offer) = ApiVersions::decode_v0(body).expect("well formed");
        assert_eq!((code, offer.offered(18)), (35, Some(Versions { min: 0, max: 3 })));
        for bytes in [&[][..], &[0, 35], &[0, 35, 0x7f, 0, 0, 0], &[0, 35, 0xff, 0xff, 0xff, 0xff]] {
            assert!(ApiVersions::decode_v0(Bytes::copy_from_slice(bytes)).is_none());
        }
    }
}
