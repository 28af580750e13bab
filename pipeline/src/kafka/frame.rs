//! Requests to bytes and bytes to responses. No I/O.
//!
//! ```text
//! request   i32 size | i16 api key | i16 version | i32 correlation | i16 length, client id | tags | body
//! response  i32 size | i32 correlation | tags (header v1) | body
//! ```
//!
//! A request is a list of chunks, so that record batches are sent from where they lie. Responses are decoded through
//! [`Guarded`], which keeps slices of the frame instead of copies, and refuses counts that the frame cannot hold.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::ops::Range;

use bytes::{Buf, BufMut, Bytes, BytesMut, TryGetError};
use kafka_protocol::messages::{ApiKey, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::buf::ByteBuf;
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};

/// Counts and string lengths above this are nonsense in any response used here; record bytes alone may be longer.
const MAX_COUNT: u64 = 1 << 20;

/// Where the correlation id lies in a request frame.
const CORRELATION: Range<usize> = 8..12;

/// Why bytes could not be made or understood.
pub(super) type CodecError = Box<dyn std::error::Error + Send + Sync>;

/// The name of an API as Kafka writes it.
pub(super) fn api_name(key: i16) -> String {
    ApiKey::try_from(key).map_or_else(|()| format!("api {key}"), |api| format!("{api:?}"))
}

/// A request that still lacks its correlation id.
#[derive(Debug)]
pub(super) struct Frame {
    first: BytesMut,
    rest: VecDeque<Bytes>,
}

impl Frame {
    /// Encodes a request.
    pub(super) fn encode<R: Request>(request: &R, version: i16, client_id: &str) -> Result<Self, CodecError> {
        let size = request.compute_size(version)?;
        let mut builder = FrameBuilder::new(R::KEY, version, R::header_version(version), client_id, size)?;
        request.encode(builder.buffer(), version)?;
        builder.finish()
    }

    /// Puts the correlation id in. What comes out is ready to be written.
    pub(super) fn stamp(mut self, correlation: i32) -> Chunks {
        self.first[CORRELATION].copy_from_slice(&correlation.to_be_bytes());
        self.rest.push_front(self.first.freeze());
        Chunks(self.rest)
    }
}

/// Builds a frame of fields and borrowed payload.
pub(super) struct FrameBuilder {
    done: Vec<Bytes>,
    first: Option<BytesMut>,
    buffer: BytesMut,
}

impl FrameBuilder {
    /// Starts a frame with its request header; `expected` bytes of body are reserved.
    pub(super) fn new(
        key: i16,
        version: i16,
        header_version: i16,
        client_id: &str,
        expected: usize,
    ) -> Result<Self, CodecError> {
        let header = RequestHeader::default()
            .with_request_api_key(key)
            .with_request_api_version(version)
            .with_client_id(Some(StrBytes::from_string(client_id.to_owned())));
        let mut buffer = BytesMut::with_capacity(4 + header.compute_size(header_version)? + expected);
        buffer.put_i32(0);
        header.encode(&mut buffer, header_version)?;
        Ok(Self { done: Vec::new(), first: None, buffer })
    }

    /// Where fields are written.
    pub(super) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Appends payload without copying it.
    pub(super) fn payload(&mut self, payload: &[Bytes]) {
        let fields = self.buffer.split();
        match self.first {
            None => self.first = Some(fields),
            Some(_) => self.done.push(fields.freeze()),
        }
        self.done.extend(payload.iter().filter(|chunk| !chunk.is_empty()).cloned());
    }

    /// Ends the frame: fills in its size.
    pub(super) fn finish(mut self) -> Result<Frame, CodecError> {
        let tail = self.buffer.split();
        let mut first = match self.first {
            None => tail,
            Some(first) => {
                self.done.push(tail.freeze());
                first
            }
        };
        let size = first.len() - 4 + self.done.iter().map(Bytes::len).sum::<usize>();
        let size =
            i32::try_from(size).map_err(|_| format!("a request of {size} bytes is too large for a frame"))?;
        first[..4].copy_from_slice(&size.to_be_bytes());
        Ok(Frame { first, rest: self.done.into() })
    }
}

/// Bytes to be written, in order, from where they lie.
#[derive(Debug)]
pub(super) struct Chunks(VecDeque<Bytes>);

impl Buf for Chunks {
    fn remaining(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    fn chunk(&self) -> &[u8] {
        self.0.iter().find(|chunk| !chunk.is_empty()).map_or(&[], |chunk| chunk)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let filled = self.0.iter().filter(|chunk| !chunk.is_empty()).zip(slices.iter_mut());
        filled.map(|(chunk, slice)| *slice = IoSlice::new(chunk)).count()
    }

    fn advance(&mut self, mut count: usize) {
        while let Some(chunk) = self.0.front_mut() {
            if count < chunk.len() {
                chunk.advance(count);
                return;
            }
            count -= chunk.len();
            self.0.pop_front();
        }
        assert!(count == 0, "a writer cannot have written more than there was");
    }
}

/// Decodes a response frame, its correlation id included. Record bytes are slices of the frame.
pub(super) fn decode<R: Request>(frame: Bytes, version: i16) -> Result<R::Response, CodecError> {
    let mut buffer = Guarded::new(frame);
    ResponseHeader::decode(&mut buffer, R::Response::header_version(version))?;
    let response = R::Response::decode(&mut buffer, version)?;
    match buffer.remaining() {
        0 => Ok(response),
        left => Err(format!("{left} bytes are left over").into()),
    }
}

/// A frame being decoded that refuses impossible lengths.
///
/// The codec reserves memory for as many elements as an array claims to have, before it reads the first. A few damaged
/// bytes could thus ask for hundreds of gigabytes and abort the process. In flexible versions every count and length is an
/// unsigned varint, and every varint is read byte by byte through `try_get_u8`: there it is checked. A value may not
/// exceed what is left of the frame, nor [`MAX_COUNT`], unless record bytes follow.
struct Guarded {
    bytes: Bytes,
    value: u64,
    shift: u32,
}

impl Guarded {
    fn new(bytes: Bytes) -> Self {
        Self { bytes, value: 0, shift: 0 }
    }

    fn start_over(&mut self) {
        self.value = 0;
        self.shift = 0;
    }

    fn is_possible(&self, value: u64) -> bool {
        // Compact lengths are written plus one.
        value <= self.bytes.len() as u64 + 1 && (value <= MAX_COUNT || self.records_follow())
    }

    /// Whether what follows has the length field and magic number of a record batch or message (all formats agree on both).
    fn records_follow(&self) -> bool {
        let length = self.bytes.get(8..12).is_some_and(|length| length[0] < 0x80);
        length && self.bytes.get(16).is_some_and(|magic| *magic <= 2)
    }
}

impl Buf for Guarded {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.start_over();
        self.bytes.advance(count);
    }

    fn try_get_u8(&mut self) -> Result<u8, TryGetError> {
        let byte = self.bytes.try_get_u8()?;
        self.value |= u64::from(byte & 0x7f) << self.shift;
        if byte & 0x80 != 0 && self.shift < 28 {
            self.shift += 7;
            return Ok(byte);
        }
        let value = self.value;
        self.start_over();
        if self.is_possible(value) {
            Ok(byte)
        } else {
            let requested = usize::try_from(value).unwrap_or(usize::MAX);
            Err(TryGetError { requested, available: self.bytes.len() })
        }
    }
}

impl ByteBuf for Guarded {
    fn peek_bytes(&mut self, range: Range<usize>) -> Bytes {
        self.bytes.slice(range)
    }

    fn get_bytes(&mut self, size: usize) -> Bytes {
        self.start_over();
        self.bytes.split_to(size)
    }
}
