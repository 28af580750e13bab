"""Segments, Kafka's record batches and the fates of transactions (FORMAT.md, sections 5 and 8).

Everything that has a checksum is checked where it is read. Not here: which segments are live (state.py).
"""

import bisect
import struct
import zlib
from collections import namedtuple

import cramjam
import google_crc32c
import lz4.frame

import digests
from documents import Damaged, Unsupported, unzstd

MAX_INDEX = 64 << 20
MAX_RECORDS = 1 << 30
HEADER = struct.Struct("<8sHHIQqqiB")
TAIL = struct.Struct("<QIIQHHI8s")
FRAME = struct.Struct("<qqqqQIIIIIBBH")
BATCH = struct.Struct(">qiibIhiqqqhii")
EXACT, CONTROL, TRANSACTIONAL, LOG_APPEND_TIME, HOLES = 1, 2, 4, 8, 16

Frame = namedtuple("Frame", "first end min_timestamp max_timestamp position stored raw batches records crc codec flags zero")
Marker = namedtuple("Marker", "producer_id offset timestamp producer_epoch commit")
Aborted = namedtuple("Aborted", "producer_id first_offset")
Open = namedtuple("Open", "producer_id first_offset producer_epoch")
Epoch = namedtuple("Epoch", "offset epoch")
Record = namedtuple("Record", "offset timestamp key value headers")
SECTIONS = {
    1: (FRAME, Frame),
    2: (struct.Struct("<qqqhB5x"), Marker),
    3: (struct.Struct("<qq"), Aborted),
    4: (struct.Struct("<qqh6x"), Open),
    5: (struct.Struct("<qi4x"), Epoch),
}
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")


def signed64(value):
    return (value + 2**63) % 2**64 - 2**63


def read_varint(data, at, longest, where):
    """A zig-zag varint of at most `longest` bytes, and where it ends."""
    value = shift = 0
    for at in range(at, min(at + longest, len(data))):
        value |= (data[at] & 0x7F) << shift
        if data[at] < 0x80:
            if value >= 1 << (32 if longest == 5 else 64):
                break
            return (value >> 1) ^ -(value & 1), at + 1
        shift += 7
    raise Damaged(f"{where}: a varint is too long or cut off")


class Batch:
    """One Kafka record batch; its CRC is right."""

    def __init__(self, data, where):
        self.where = where
        if len(data) < BATCH.size:
            raise Damaged(f"{where}: a batch is cut off")
        (self.base, length, self.epoch, magic, self.crc, attributes, self.last_delta, self.base_timestamp, self.max_timestamp,
         self.producer_id, self.producer_epoch, _, self.count) = BATCH.unpack_from(data)  # fmt: skip
        self.size = 12 + length
        if magic != 2:
            raise Damaged(f"{where}: a batch of magic {magic}")
        if not BATCH.size <= self.size <= len(data):
            raise Damaged(f"{where}: a batch of {self.size} bytes where {len(data)} are left")
        self.payload = bytes(data[BATCH.size : self.size])
        if google_crc32c.value(bytes(data[21 : self.size])) != self.crc:
            raise Damaged(f"{where}: the CRC of the batch at {self.base} is wrong")
        if self.last_delta < 0 or self.count < 0 or self.count > self.last_delta + 1 or not 0 <= self.base <= 2**63 - 2 - self.last_delta:
            raise Damaged(f"{where}: a batch at {self.base} with {self.count} records up to {self.last_delta} behind it")
        self.last, self.end = self.base + self.last_delta, self.base + self.last_delta + 1
        self.codec, self.log_append_time = attributes & 7, bool(attributes & 8)
        self.transactional, self.control = bool(attributes & 16), bool(attributes & 32)
        if self.codec >= len(CODECS):
            raise Damaged(f"{where}: the batch at {self.base} has the codec {self.codec}")

    @property
    def holes(self):
        return self.count > 0 and self.count != self.last_delta + 1

    def encoding(self):
        """What the batch digest is made of."""
        return struct.pack("<qqII", self.base, self.end, self.crc, self.size)

    def records(self):
        """The records, all checked before the first is given."""
        where = f"{self.where}, batch at {self.base}"
        if not self.count:
            if self.payload:
                raise Damaged(f"{where}: has a payload without records")
            return []
        data, at, records = inflate(self.codec, self.payload, where), 0, []

        def blob(length):
            nonlocal at
            if length == -1:
                return None
            if length < -1 or at + length > end:
                raise Damaged(f"{where}: a length of {length} in a record")
            at += length
            return data[at - length : at]

        def varint(longest=5):
            nonlocal at
            value, at = read_varint(data, at, longest, where)
            return value

        before = -1
        for _ in range(self.count):
            length = varint()
            end = at + length
            if length < 0 or end > len(data):
                raise Damaged(f"{where}: a record of {length} bytes")
            at += 1
            timestamp, delta = varint(10), varint()
            if not before < delta <= self.last_delta:
                raise Damaged(f"{where}: offset delta {delta} behind {before}")
            before = delta
            key, value, headers = blob(varint()), blob(varint()), []
            if (count := varint()) < 0:
                raise Damaged(f"{where}: {count} headers")
            for _ in range(count):
                if (name := blob(varint())) is None:
                    raise Damaged(f"{where}: a header without a key")
                headers.append((name, blob(varint())))
            if at != end:
                raise Damaged(f"{where}: a record of {length} bytes ends elsewhere")
            timestamp = self.max_timestamp if self.log_append_time else signed64(self.base_timestamp + timestamp)
            records.append(Record(self.base + delta, timestamp, key, value, headers))
        if at != len(data):
            raise Damaged(f"{where}: {len(data) - at} bytes behind the last record")
        return records

    def marker(self):
        """What a control batch says, or None where it is no marker: of another type, or emptied by compaction."""
        records = self.records()
        if not records:
            return None
        if len(records) != 1 or self.codec:
            raise Damaged(f"{self.where}: the control batch at {self.base} holds {len(records)} records of codec {self.codec}")
        record = records[0]
        kind = int.from_bytes(record.key[2:4], "big") if record.key and len(record.key) >= 4 else None
        return Marker(self.producer_id, record.offset, record.timestamp, self.producer_epoch, kind) if kind in (0, 1) else None


def inflate(codec, data, where):
    """The records of a batch, decompressed."""
    try:
        if codec == 1:
            return gunzip(data, where)
        if codec == 2:
            return unsnappy(data, where)
        if codec == 3:
            return unlz4(data, MAX_RECORDS, where, frames=True)
    except (zlib.error, RuntimeError, ValueError, cramjam.DecompressionError) as error:
        raise Damaged(f"{where}: does not decompress: {error}") from None
    return unzstd(data, MAX_RECORDS, where) if codec == 4 else data


def gunzip(data, where):
    parts, left = [], MAX_RECORDS + 1
    while data and left:
        stream = zlib.decompressobj(zlib.MAX_WBITS | 16)
        parts.append(stream.decompress(data, left))
        left -= len(parts[-1])
        if left and not stream.eof:
            raise Damaged(f"{where}: gzip is cut off")
        data = stream.unused_data
    if not left:
        raise Damaged(f"{where}: holds more than {MAX_RECORDS} bytes")
    return b"".join(parts)


def unlz4(data, limit, where, frames=False):
    """One LZ4 frame, or with `frames` several."""
    parts, left = [], limit + 1
    while data and left:
        stream = lz4.frame.LZ4FrameDecompressor()
        parts.append(stream.decompress(data, left))
        left -= len(parts[-1])
        if left and not stream.eof:
            raise Damaged(f"{where}: an LZ4 frame is cut off")
        data = stream.unused_data
        if data and not frames:
            raise Damaged(f"{where}: is not one LZ4 frame")
    if not left:
        raise Damaged(f"{where}: holds more than {limit} bytes")
    return b"".join(parts)


XERIAL = b"\x82SNAPPY\0"


def unsnappy(data, where):
    """One raw block, or xerial's framing of several."""
    if not data.startswith(XERIAL):
        return snappy_block(data, MAX_RECORDS, where)
    parts, at, left = [], 0, MAX_RECORDS
    while at < len(data):
        if data.startswith(XERIAL, at):
            at += 16
            continue
        length = int.from_bytes(data[at : at + 4], "big")
        if at + 4 + length > len(data):
            raise Damaged(f"{where}: a snappy block of {length} bytes is cut off")
        parts.append(snappy_block(data[at + 4 : at + 4 + length], left, where))
        left -= len(parts[-1])
        at += 4 + length
    return b"".join(parts)


def snappy_block(data, limit, where):
    if cramjam.snappy.decompress_raw_len(data) > limit:
        raise Damaged(f"{where}: holds more than {MAX_RECORDS} bytes")
    return bytes(cramjam.snappy.decompress_raw(data))


class Segment:
    """One segment; header, index and tail are checked when it is made, frames and batches when they are read."""

    def __init__(self, data, where):
        self.data, self.where = data, where
        self._tail()
        self._header()
        self._index()

    def fail(self, why):
        return Damaged(f"{self.where}: {why}")

    def _tail(self):
        if len(self.data) < HEADER.size + TAIL.size:
            raise self.fail(f"{len(self.data)} bytes are no segment")
        tail = self.data[-TAIL.size :]
        position, length, zero, whole, version, flags, crc, magic = TAIL.unpack(tail)
        if not magic.startswith(b"RPLVSEN"):
            raise self.fail("has no tail: cut off, or no segment")
        if google_crc32c.value(tail[:28]) != crc:
            raise self.fail("the CRC of its tail is wrong")
        if magic != b"RPLVSEND" or version != 1 or flags:
            raise Unsupported(f"{self.where}: version {version} with flags {flags:#x} is not known to this reader")
        if zero or whole != len(self.data) or length > MAX_INDEX or position + length + TAIL.size != whole:
            raise self.fail("its tail does not fit its length")
        self.index = self.data[position : position + length]
        self.index_at = position

    def _header(self):
        magic, version, length, flags, self.lineage, self.first, self.end, self.partition, n = HEADER.unpack_from(self.data)
        if not magic.startswith(b"RPLVSEG"):
            raise self.fail("has no header")
        if not HEADER.size + n + 4 <= length <= min(320, self.index_at) or length % 8:
            raise self.fail(f"its header cannot be {length} bytes long")
        if google_crc32c.value(self.data[: length - 4]) != int.from_bytes(self.data[length - 4 : length], "little"):
            raise self.fail("the CRC of its header is wrong")
        if magic != b"RPLVSEG1" or version != 1 or flags & ~1:
            raise Unsupported(f"{self.where}: version {version} with flags {flags:#x} is not known to this reader")
        if any(self.data[HEADER.size + n : length - 4]):
            raise self.fail("its header is not padded with zeros")
        try:
            self.topic = self.data[HEADER.size : HEADER.size + n].decode("ascii")
        except UnicodeDecodeError:
            raise self.fail("its topic has no name of Kafka's") from None
        self.broker_list, self.header_length = bool(flags & 1), length

    def _index(self):
        index = self.index
        if len(index) < 8 or google_crc32c.value(index[:-4]) != int.from_bytes(index[-4:], "little"):
            raise self.fail("the CRC of its index is wrong")
        sections, at, end = {}, 4, len(index) - 4
        for _ in range(int.from_bytes(index[:4], "little")):
            if at + 12 > end:
                raise self.fail("its index is cut off")
            kind, flags, size, count = struct.unpack_from("<HHII", index, at)
            at += 12 + size * count
            if at > end:
                raise self.fail(f"section {kind} leaves the index")
            if kind in sections:
                raise self.fail(f"section {kind} occurs twice")
            if kind not in SECTIONS:
                if flags & 1:
                    raise Unsupported(f"{self.where}: section {kind} is not known to this reader, which must know it")
                sections[kind] = []
                continue
            layout, make = SECTIONS[kind]
            if size < layout.size:
                raise self.fail(f"entries of section {kind} have {size} bytes")
            begin = at - size * count
            sections[kind] = [make(*layout.unpack_from(index, begin + i * size)) for i in range(count)]
        if at != end or 1 not in sections:
            raise self.fail("its index has no frames, or something behind its sections")
        self.frames = sections[1]
        self.markers, self.aborted, self.open, self.epochs = (sections.get(kind, []) for kind in (2, 3, 4, 5))
        position, offset = self.header_length, self.first
        for frame in self.frames:
            if frame.position != position or not offset <= frame.first < frame.end <= self.end:
                raise self.fail(f"the frame at {frame.position} does not follow the one before")
            position, offset = position + frame.stored, frame.end
        if position != self.index_at:
            raise self.fail("its index does not begin where the last frame ends")

    def raw(self, frame):
        """The batches of a frame."""
        where = f"{self.where}, frame at {frame.position}"
        stored = self.data[frame.position : frame.position + frame.stored]
        if google_crc32c.value(stored) != frame.crc:
            raise Damaged(f"{where}: its CRC is wrong")
        if frame.codec == 0:
            raw = stored
        elif frame.codec == 3:
            try:
                raw = unlz4(stored, frame.raw, where)
            except RuntimeError as error:
                raise Damaged(f"{where}: not LZ4: {error}") from None
        elif frame.codec == 4:
            raw = unzstd(stored, frame.raw, where)
        else:
            raise Unsupported(f"{where}: codec {frame.codec} is not known to this reader")
        if len(raw) != frame.raw:
            raise Damaged(f"{where}: {len(raw)} bytes, not the {frame.raw} announced")
        return raw

    def batches(self, exact=False):
        """All batches, in order; each frame's entry is compared with what the frame holds, with `exact` its least time too."""
        for frame in self.frames:
            raw, batches, at, offset = memoryview(self.raw(frame)), [], 0, frame.first
            while at < len(raw):
                batch = Batch(raw[at:], f"{self.where}, frame at {frame.position}")
                if batch.base < offset or batch.end > frame.end:
                    raise Damaged(f"{batch.where}: the batch at {batch.base} is out of order")
                at, offset = at + batch.size, batch.end
                batches.append(batch)
            found = (batches and batches[0].base, offset, len(batches), sum(batch.count for batch in batches))
            if not batches or found != (frame.first, frame.end, frame.batches, frame.records):
                raise self.fail(f"the frame at {frame.position} holds other batches than its entry says: {found}")
            flags = HOLES * (frame.end - frame.first > frame.records)
            for batch in batches:
                flags |= CONTROL * batch.control | TRANSACTIONAL * batch.transactional | LOG_APPEND_TIME * batch.log_append_time
            if flags != frame.flags & 0b11110:
                raise self.fail(f"the frame at {frame.position} has the flags {frame.flags:#x}, its batches {flags:#x}")
            times = [record.timestamp for batch in batches for record in batch.records()] if exact else []
            if frame.flags & EXACT and times and min(times) < frame.min_timestamp:
                raise self.fail(f"the frame at {frame.position} has records older than its least timestamp")
            if max(batch.max_timestamp for batch in batches) != frame.max_timestamp:
                raise self.fail(f"the frame at {frame.position} has another greatest timestamp than its batches")
            yield from batches


class Fates:
    """Whether batches of the segments of one history, taken in order, are delivered to a read_committed consumer."""

    def __init__(self, segments):
        """`segments` are pairs of a segment and the offset from which on another lineage has taken over, or None."""
        self.decisions = {}
        for segment, limit in segments:
            for marker in segment.markers:
                if limit is None or marker.offset < limit:
                    self.decisions.setdefault(marker.producer_id, []).append((marker.offset, marker.commit))

    def of(self, segment):
        """A function that takes the segment's batches, all and in order, and gives the fate of each."""
        listed, aborted = sorted(segment.aborted, key=lambda one: one.first_offset, reverse=True), set()

        def by_list(batch):
            while listed and listed[-1].first_offset <= batch.last:
                aborted.add(listed.pop().producer_id)
            if batch.control:
                marker = batch.marker()
                if marker and not marker.commit:
                    aborted.discard(batch.producer_id)
                return "control"
            if not batch.transactional:
                return "plain"
            return "aborted" if batch.producer_id in aborted else "committed"

        def by_marker(batch):
            if batch.control:
                return "control"
            if not batch.transactional:
                return "plain"
            decisions = self.decisions.get(batch.producer_id, [])
            at = bisect.bisect_right(decisions, (batch.last, 2))
            return "open" if at == len(decisions) else "committed" if decisions[at][1] else "aborted"

        return by_list if segment.broker_list else by_marker


def content_digest(digest, record):
    """The digest with one more record."""

    def blob(value):
        return struct.pack("<i", -1) if value is None else struct.pack("<i", len(value)) + value

    parts = [struct.pack("<q", record.timestamp), blob(record.key), blob(record.value), struct.pack("<I", len(record.headers))]
    for name, value in record.headers:
        parts += [blob(name), blob(value)]
    return digests.add(digest, b"".join(parts))
