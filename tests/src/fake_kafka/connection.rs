//! One connection to one broker: frames in, answers out, one after the other as a broker serves them.

use super::cluster::Cluster;
use super::faults::Cut;
use super::fetch::Fetch;
use super::{Shared, api_versions, describe_configs, list_offsets, metadata, offset_for_leader_epoch};
use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, DescribeConfigsRequest, FetchRequest, FetchResponse, ListOffsetsRequest,
    MetadataRequest, OffsetForLeaderEpochRequest, RequestHeader, ResponseHeader,
};
use kafka_protocol::protocol::{Decodable, Encodable};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// The largest request that a broker reads (`socket.request.max.bytes`).
const MAX_REQUEST: usize = 104_857_600;
/// How soon a connection notices that the cluster has stopped or thawed.
const LOOK_UP: Duration = Duration::from_millis(100);

/// What becomes of a request: an answer and how it is lost, or the end of the connection.
type Outcome = Option<(Bytes, Option<Cut>)>;

/// Serves a connection until it ends.
pub(super) fn serve(shared: &Shared, broker: i32, mut stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let _ = stream.set_read_timeout(Some(LOOK_UP));
    while let Some(frame) = read(shared, broker, &mut stream) {
        let Some((answer, cut)) = answer(shared, broker, frame) else { return };
        if send(&mut stream, &answer, cut).is_err() {
            return;
        }
        match cut {
            None => {}
            Some(Cut::Silence | Cut::Oversize) => {
                while !is_over(shared, broker) && is_open(&mut stream) {}
                return;
            }
            Some(Cut::Half) => return,
            Some(Cut::Reset) => {
                let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
                return;
            }
        }
    }
}

fn is_over(shared: &Shared, broker: i32) -> bool {
    shared.is_stopped.load(Ordering::SeqCst)
        || !shared.lock().brokers.get(&broker).is_some_and(|broker| broker.is_up)
}

/// Whether the other side is still there; what it says meanwhile is lost.
#[expect(clippy::disallowed_methods, reason = "whatever has come is as good")]
fn is_open(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0; 1024]) {
        Ok(read) => read > 0,
        Err(error) => is_pause(&error),
    }
}

fn is_pause(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}

fn send(stream: &mut TcpStream, answer: &Bytes, cut: Option<Cut>) -> std::io::Result<()> {
    let length = u32::try_from(answer.len()).unwrap_or(u32::MAX).to_be_bytes();
    match cut {
        None => {
            stream.write_all(&length)?;
            stream.write_all(answer)
        }
        Some(Cut::Silence) => Ok(()),
        Some(Cut::Half | Cut::Reset) => {
            stream.write_all(&length)?;
            stream.write_all(&answer[..answer.len() / 2])
        }
        Some(Cut::Oversize) => {
            stream.write_all(&i32::MAX.to_be_bytes())?;
            stream.write_all(answer)
        }
    }
}

/// The next request; none at the end of the connection.
fn read(shared: &Shared, broker: i32, stream: &mut TcpStream) -> Option<Bytes> {
    let mut length = [0; 4];
    fill(shared, broker, stream, &mut length)?;
    let length = usize::try_from(i32::from_be_bytes(length)).ok().filter(|length| *length <= MAX_REQUEST);
    let Some(length) = length else {
        shared.lock().violations.push("a request of a length that no broker reads".to_owned());
        return None;
    };
    let mut frame = vec![0; length];
    fill(shared, broker, stream, &mut frame)?;
    Some(frame.into())
}

#[expect(clippy::disallowed_methods, reason = "what came before a pause is kept")]
fn fill(shared: &Shared, broker: i32, stream: &mut TcpStream, mut rest: &mut [u8]) -> Option<()> {
    while !rest.is_empty() {
        if is_over(shared, broker) {
            return None;
        }
        if shared.lock().brokers.get(&broker).is_some_and(|broker| broker.is_frozen) {
            std::thread::sleep(LOOK_UP);
            continue;
        }
        match stream.read(rest) {
            Ok(0) => return None,
            Ok(read) => rest = &mut rest[read..],
            Err(error) if is_pause(&error) => {}
            Err(_) => return None,
        }
    }
    Some(())
}

fn answer(shared: &Shared, broker: i32, mut frame: Bytes) -> Outcome {
    if frame.len() < 8 {
        shared.lock().violations.push("a request without a header".to_owned());
        return None;
    }
    let (key, version) = ((&frame[..2]).get_i16(), (&frame[2..4]).get_i16());
    let correlation = (&frame[4..8]).get_i32();
    let mut cluster = shared.lock();
    *cluster.requests.entry(key).or_default() += 1;
    let Ok(api) = ApiKey::try_from(key) else {
        cluster.violations.push(format!("a request of API key {key}, which there is not"));
        return None;
    };
    let Some((min, max)) = api_versions::offered(&cluster, key) else {
        cluster.violations.push(format!("{api:?} v{version}, which is not offered"));
        return None;
    };
    if version < min || version > max {
        if api == ApiKey::ApiVersions {
            // What a broker says to a client that is newer than itself.
            return Some((encode(correlation, 0, 0, &api_versions::unsupported()), None));
        }
        cluster.violations.push(format!("{api:?} v{version}, which is not offered: v{min} to v{max} are"));
        return None;
    }
    if let Err(error) = RequestHeader::decode(&mut frame, api.request_header_version(version)) {
        cluster.violations.push(format!("{api:?} v{version}: header: {error}"));
        return None;
    }
    let header = api.response_header_version(version);
    let reply = |response: Bytes| Some((response, None));
    match api {
        ApiKey::Fetch => {
            let request: FetchRequest = decode(&mut cluster, api, version, frame)?;
            drop(cluster);
            let (response, cut) = fetch(shared, broker, request, version)?;
            Some((encode(correlation, header, version, &response), cut))
        }
        ApiKey::ApiVersions => {
            let request: ApiVersionsRequest = decode(&mut cluster, api, version, frame)?;
            let response = api_versions::answer(&cluster, &request, version);
            reply(encode(correlation, header, version, &response))
        }
        ApiKey::Metadata => {
            let request: MetadataRequest = decode(&mut cluster, api, version, frame)?;
            reply(encode(correlation, header, version, &metadata::answer(&cluster, &request, version)))
        }
        ApiKey::ListOffsets => {
            let request: ListOffsetsRequest = decode(&mut cluster, api, version, frame)?;
            let response = list_offsets::answer(&cluster, broker, &request, version);
            reply(encode(correlation, header, version, &response))
        }
        ApiKey::OffsetForLeaderEpoch => {
            let request: OffsetForLeaderEpochRequest = decode(&mut cluster, api, version, frame)?;
            let response = offset_for_leader_epoch::answer(&cluster, broker, &request);
            reply(encode(correlation, header, version, &response))
        }
        ApiKey::DescribeConfigs => {
            let request: DescribeConfigsRequest = decode(&mut cluster, api, version, frame)?;
            reply(encode(correlation, header, version, &describe_configs::answer(&cluster, &request)))
        }
        _ => None,
    }
}

/// A request that fills its frame exactly.
fn decode<R: Decodable>(cluster: &mut Cluster, api: ApiKey, version: i16, mut frame: Bytes) -> Option<R> {
    match R::decode(&mut frame, version) {
        Ok(request) if frame.is_empty() => Some(request),
        Ok(_) => {
            cluster.violations.push(format!("{api:?} v{version}: {} bytes too many", frame.len()));
            None
        }
        Err(error) => {
            cluster.violations.push(format!("{api:?} v{version}: {error}"));
            None
        }
    }
}

/// An answer without its length. One that cannot be encoded is a fault of the fake's own, which its thread dies of.
fn encode<R: Encodable>(correlation: i32, header: i16, version: i16, response: &R) -> Bytes {
    let mut bytes = BytesMut::new();
    let head = ResponseHeader::default().with_correlation_id(correlation);
    let done = head.encode(&mut bytes, header).and_then(|()| response.encode(&mut bytes, version));
    done.unwrap_or_else(|error| panic!("an answer of version {version} cannot be encoded: {error}"));
    bytes.freeze()
}

/// Waits for bytes as a broker does, and lets happen what is scripted.
fn fetch(
    shared: &Shared,
    broker: i32,
    request: FetchRequest,
    version: i16,
) -> Option<(FetchResponse, Option<Cut>)> {
    let mut cluster = shared.lock();
    let fetch = Fetch::begin(&mut cluster, broker, request, version);
    let deadline = Instant::now() + Duration::from_millis(fetch.max_wait_ms());
    let wants = fetch.wants(&cluster);
    let changes = cluster.faults.changes(&wants);
    if !changes.is_empty() {
        changes.into_iter().for_each(|change| change(&mut cluster));
        shared.notify(&mut cluster);
    }
    let look = loop {
        let look = fetch.look(&cluster);
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || fetch.is_due(&look) {
            break look;
        }
        if shared.is_stopped.load(Ordering::SeqCst) {
            return None;
        }
        let waited = shared.changed.wait_timeout(cluster, left.min(LOOK_UP));
        cluster = waited.unwrap_or_else(std::sync::PoisonError::into_inner).0;
    };
    let cut = cluster.faults.cut_of(&wants);
    let mut response = fetch.end(&mut cluster, look);
    for topic in &mut response.responses {
        let name = match cluster.name_of(topic.topic_id) {
            Some(name) => name.to_owned(),
            None => topic.topic.to_string(),
        };
        for data in &mut topic.partitions {
            cluster.faults.lie_about(&wants, &name, data);
        }
    }
    Some((response, cut))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BufMut;
    use kafka_protocol::messages::MetadataResponse;

    #[test]
    fn an_answer_begins_with_its_correlation_id() {
        let mut bytes = encode(77, 1, 12, &MetadataResponse::default());
        assert_eq!(bytes.get_i32(), 77);
        let mut expected = BytesMut::new();
        expected.put_u8(0);
        MetadataResponse::default().encode(&mut expected, 12).expect("it encodes");
        assert_eq!(bytes, expected);
    }
}
