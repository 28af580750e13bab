//! A broker that does what a test says, over a real socket on loopback.

use std::future::Future;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse, ResponseHeader};
use kafka_protocol::protocol::buf::ByteBuf;
use kafka_protocol::protocol::{
    Encodable, HeaderVersion, Message, Request, StrBytes, decode_request_header_from_buffer,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::kafka::config::{ClientConfig, HostPort, RetrySettings};

/// A broker whose connections are each handled by the same script. It ends with the test.
pub(super) struct Scripted {
    pub(super) address: HostPort,
    task: JoinHandle<()>,
}

impl Scripted {
    /// Listens on a free port. The script gets each connection and its number.
    pub(super) async fn start<F>(script: impl Fn(Peer, usize) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let task = tokio::spawn(async move {
            for number in 0.. {
                let (stream, _) = listener.accept().await.expect("accepts");
                tokio::spawn(script(Peer { stream, port }, number));
            }
        });
        Self { address: HostPort::new("127.0.0.1", port), task }
    }

    /// Settings with short limits, so that tests of time limits are quick.
    pub(super) fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new(vec![self.address.clone()]);
        config.connect_timeout = Duration::from_millis(500);
        config.request_timeout = Duration::from_millis(200);
        config.body_timeout = Duration::from_millis(200);
        config.max_frame_bytes = 1 << 20;
        config.retry = RetrySettings {
            deadline: Duration::from_secs(2),
            base: Duration::from_millis(5),
            cap: Duration::from_millis(20),
        };
        config
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A client's connection, seen from the broker.
pub(super) struct Peer {
    pub(super) stream: TcpStream,
    pub(super) port: u16,
}

/// A request as it came.
pub(super) struct Received {
    pub(super) api: i16,
    pub(super) version: i16,
    pub(super) correlation: i32,
    body: Bytes,
}

impl Received {
    pub(super) fn decode<R: Request>(&self) -> R {
        assert_eq!(self.api, R::KEY);
        let mut body = self.body.clone();
        let request = R::decode(&mut body, self.version).expect("a well-formed request");
        assert!(body.is_empty(), "the request has {} bytes too many", body.len());
        request
    }
}

impl Peer {
    /// The next request; none once the client has gone.
    pub(super) async fn request(&mut self) -> Option<Received> {
        let length = self.stream.read_i32().await.ok()?;
        let mut frame = vec![0; usize::try_from(length).expect("a length")];
        self.stream.read_exact(&mut frame).await.ok()?;
        let mut body = Bytes::from(frame);
        let start = body.try_peek_bytes(0..8).expect("a header");
        let header = decode_request_header_from_buffer(&mut body).expect("a good header");
        let correlation = i32::from_be_bytes(start[4..8].try_into().expect("4 bytes"));
        assert_eq!(header.correlation_id, correlation);
        assert_eq!(header.client_id, Some(StrBytes::from_static_str("replevin")));
        Some(Received { api: header.request_api_key, version: header.request_api_version, correlation, body })
    }

    /// Answers a request.
    pub(super) async fn answer<T: Encodable + HeaderVersion>(&mut self, request: &Received, response: &T) {
        let frame = frame(request.correlation, request.version, response);
        self.stream.write_all(&frame).await.expect("the client reads");
    }

    /// Answers ApiVersions with what a recent broker offers.
    pub(super) async fn handshake(&mut self) -> Option<()> {
        let request = self.request().await?;
        assert_eq!((request.api, request.version), (ApiVersionsRequest::KEY, 3));
        self.answer(&request, &offer(i16::MAX)).await;
        Some(())
    }
}

/// A response frame, its length included.
pub(super) fn frame<T: Encodable + HeaderVersion>(correlation: i32, version: i16, response: &T) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_i32(0);
    let header = ResponseHeader::default().with_correlation_id(correlation);
    header.encode(&mut frame, T::header_version(version)).expect("encodes");
    response.encode(&mut frame, version).expect("encodes");
    let length = i32::try_from(frame.len() - 4).expect("small");
    frame[..4].copy_from_slice(&length.to_be_bytes());
    frame.freeze()
}

/// An offer of all APIs of which the codec knows, fetch up to a version.
pub(super) fn offer(max_fetch: i16) -> ApiVersionsResponse {
    use kafka_protocol::messages::*;
    fn api<R: Request>(cap: i16) -> ApiVersion {
        let versions = <R as Message>::VERSIONS;
        ApiVersion::default()
            .with_api_key(R::KEY)
            .with_min_version(versions.min)
            .with_max_version(versions.max.min(cap))
    }
    let keys = vec![
        api::<ApiVersionsRequest>(i16::MAX),
        api::<FetchRequest>(max_fetch),
        api::<ListOffsetsRequest>(i16::MAX),
        api::<MetadataRequest>(i16::MAX),
        api::<ProduceRequest>(i16::MAX),
        api::<CreateTopicsRequest>(i16::MAX),
        api::<DescribeConfigsRequest>(i16::MAX),
        api::<InitProducerIdRequest>(i16::MAX),
    ];
    ApiVersionsResponse::default().with_api_keys(keys)
}
