//! One blocking connection to a broker, on the message codecs of `kafka-protocol`.

use std::io::{IoSlice, Read as _, Write as _};
use std::net::TcpStream;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};

use crate::Result;

/// A connection; answers come in the order of the requests.
pub(crate) struct Wire {
    stream: TcpStream,
    correlation: i32,
    /// The buffer that answers are read into, again and again: fresh memory would cost a page fault every 4 KiB.
    room: BytesMut,
}

impl Wire {
    /// Connects.
    pub(crate) fn connect(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, correlation: 0, room: BytesMut::new() })
    }

    /// Sends a request.
    pub(crate) fn send<R: Request>(&mut self, request: &R, version: i16) -> Result<()> {
        let mut frame = self.header(R::KEY, version, R::header_version(version))?;
        request.encode(&mut frame, version)?;
        self.finish(frame, &[])
    }

    /// The start of a request: room for its length, and its header.
    pub(crate) fn header(&mut self, key: i16, version: i16, header_version: i16) -> Result<BytesMut> {
        self.correlation += 1;
        let header = RequestHeader::default()
            .with_request_api_key(key)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation)
            .with_client_id(Some(StrBytes::from_static_str("minimal")));
        let mut frame = BytesMut::zeroed(4);
        header.encode(&mut frame, header_version)?;
        Ok(frame)
    }

    /// Sends a request that goes on with other pieces of memory behind its first.
    pub(crate) fn finish(&mut self, mut frame: BytesMut, rest: &[&[u8]]) -> Result<()> {
        let length = frame.len() - 4 + rest.iter().map(|piece| piece.len()).sum::<usize>();
        frame[..4].copy_from_slice(&i32::try_from(length)?.to_be_bytes());
        let first = [&frame[..]];
        let mut slices: Vec<IoSlice<'_>> =
            first.iter().chain(rest).map(|piece| IoSlice::new(piece)).collect();
        let mut slices = slices.as_mut_slice();
        while !slices.is_empty() {
            let written = self.stream.write_vectored(slices)?;
            IoSlice::advance_slices(&mut slices, written);
        }
        Ok(())
    }

    /// Reads the next answer as bytes. Give them back with [`Wire::recycle`].
    pub(crate) fn receive(&mut self) -> Result<Bytes> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let length = usize::try_from(i32::from_be_bytes(length))?;
        if self.room.len() < length {
            self.room = BytesMut::zeroed(length.next_power_of_two());
        }
        self.stream.read_exact(&mut self.room[..length])?;
        Ok(std::mem::take(&mut self.room).freeze())
    }

    /// Understands an answer. Record bytes are slices of it.
    pub(crate) fn decode<R: Request>(frame: &Bytes, version: i16) -> Result<R::Response> {
        let mut frame = frame.clone();
        ResponseHeader::decode(&mut frame, R::Response::header_version(version))?;
        Ok(R::Response::decode(&mut frame, version)?)
    }

    /// Takes an answer's memory back once no slice of it is held any more.
    pub(crate) fn recycle(&mut self, frame: Bytes) {
        self.room = frame.try_into_mut().unwrap_or_default();
    }

    /// Asks and waits.
    pub(crate) fn call<R: Request>(&mut self, request: &R, version: i16) -> Result<R::Response> {
        self.send(request, version)?;
        let frame = self.receive()?;
        let response = Self::decode::<R>(&frame, version);
        self.recycle(frame);
        response
    }
}
