"""Objects of a backup on a filesystem, repository.json and sealed documents (FORMAT.md, sections 2 and 3).

Not here: what the documents say (state.py) and segments (segment.py).
"""

import json
import os
import re
import struct

import blake3
import zstandard

MAX_DOCUMENT = 64 << 20
MAX_REPOSITORY = 1 << 20
I64 = (-(2**63), 2**63 - 1)
NO_HASH = "0" * 64
REQUIRED = object()


class ReaderError(Exception):
    """Why a backup, or a part of it, cannot be read."""


class Damaged(ReaderError):
    """Bytes are missing, or are not what some checksum, hash or rule of the format says."""


class Unsupported(ReaderError):
    """Whole, but written by something newer or something else: nobody can say what it means."""


class Refused(ReaderError):
    """A commit that the rules of section 8 do not admit: nothing after it is known to be true."""


def digest_of(data):
    return blake3.blake3(data).hexdigest()


class Store:
    """The folder of one backup. Keys are relative to it; none leads out of it."""

    def __init__(self, path):
        self.path = path

    def _file(self, key):
        if any(part in ("", ".", "..") for part in key.split("/")) or "\0" in key or "\\" in key:
            raise Damaged(f"{key!r} is no key of a backup")
        return os.path.join(self.path, *key.split("/"))

    def exists(self, key):
        return os.path.isfile(self._file(key))

    def get(self, key, limit=MAX_DOCUMENT):
        """The whole object, which may hold `limit` bytes at most."""
        try:
            with open(self._file(key), "rb") as file:
                data = file.read(limit + 1)
        except FileNotFoundError:
            raise Damaged(f"{key} is missing") from None
        except OSError as error:
            raise ReaderError(f"{key} cannot be read: {error}") from None
        if len(data) > limit:
            raise Damaged(f"{key} is larger than {limit} bytes")
        return data

    def get_range(self, key, position, length):
        """`length` bytes of the object from `position` on."""
        try:
            with open(self._file(key), "rb") as file:
                size = os.fstat(file.fileno()).st_size
                if position + length > size:
                    raise Damaged(f"{key} ends at {size}, but a segment in it at {position + length}")
                file.seek(position)
                data = file.read(length)
        except FileNotFoundError:
            raise Damaged(f"{key} is missing") from None
        except OSError as error:
            raise ReaderError(f"{key} cannot be read: {error}") from None
        if len(data) != length:
            raise Damaged(f"{key} was cut off while it was read")
        return data

    def size(self, key):
        try:
            return os.path.getsize(self._file(key))
        except OSError:
            raise Damaged(f"{key} is missing") from None

    def names(self, folder):
        try:
            return os.listdir(self._file(folder))
        except FileNotFoundError:
            return []


class Fields:
    """A JSON object whose members are taken out with their types; unknown members do not matter."""

    def __init__(self, value, where):
        if not isinstance(value, dict):
            raise Unsupported(f"{where}: not a JSON object")
        self.value, self.where = value, where

    def get(self, name, kind, default=REQUIRED):
        if name not in self.value:
            if default is REQUIRED:
                raise Unsupported(f"{self.where}: {name!r} is missing")
            return default
        value = self.value[name]
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise Unsupported(f"{self.where}: {name!r} is not of type {kind.__name__}")
        return value

    def int(self, name, default=REQUIRED, low=0, high=I64[1]):
        value = self.get(name, int, default)
        if value is not None and not low <= value <= high:
            raise Unsupported(f"{self.where}: {name!r} is {value}, outside of {low} to {high}")
        return value

    def str(self, name, default=REQUIRED):
        return self.get(name, str, default)

    def match(self, name, pattern, default=REQUIRED):
        """A string of the form `pattern`, a regular expression for all of it."""
        value = self.str(name, default)
        if value is not default and not re.fullmatch(pattern, value):
            raise Unsupported(f"{self.where}: {name!r} is {value!r}, which is not of the form {pattern}")
        return value

    def hash(self, name):
        return self.match(name, "[0-9a-f]{64}")

    def word(self, name, words):
        value = self.str(name)
        if value not in words:
            raise Unsupported(f"{self.where}: {name!r} is {value!r}, which this reader does not know")
        return value

    def fields(self, name, default=REQUIRED):
        value = self.get(name, dict, default)
        return value if value is default else Fields(value, f"{self.where}.{name}")

    def strings(self, name, default=REQUIRED):
        value = self.get(name, list, default)
        if not all(isinstance(item, str) for item in value):
            raise Unsupported(f"{self.where}: {name!r} holds something that is no string")
        return value

    def list(self, name, default=REQUIRED):
        """The member's elements, each a JSON object."""
        value = self.get(name, list, default)
        return [Fields(item, f"{self.where}.{name}[{i}]") for i, item in enumerate(value)]


def parse_json(data, where):
    def members(pairs):
        value = dict(pairs)
        if len(value) != len(pairs):
            raise Unsupported(f"{where}: a member occurs twice")
        return value

    try:
        return Fields(json.loads(data.decode("utf-8"), object_pairs_hook=members), where)
    except (ValueError, RecursionError) as error:
        raise Unsupported(f"{where}: not JSON: {error}") from None


def unzstd(data, limit, where):
    """What one or more whole zstd frames hold, `limit` bytes at most."""
    parts, left, at = [], limit, 0
    while at < len(data):
        # A window of 128 MiB is what zstd itself allows unasked. Input goes in by small pieces, because each piece's
        # output is made before it can be counted.
        frame = zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj()
        while not frame.eof:
            if at == len(data):
                raise Damaged(f"{where}: zstd is cut off")
            piece = data[at : at + 1024]
            try:
                parts.append(frame.decompress(piece))
            except zstandard.ZstdError as error:
                raise Damaged(f"{where}: not zstd: {error}") from None
            at, left = at + len(piece), left - len(parts[-1])
            if left < 0:
                raise Damaged(f"{where}: holds more than {limit} bytes")
        at -= len(frame.unused_data)
    return b"".join(parts)


TRAILER = struct.Struct("<II4s4sHHI32s")


def unseal(data, kind, where):
    """The JSON text of a sealed document of the given kind."""
    if not TRAILER.size <= len(data) <= MAX_DOCUMENT:
        raise Damaged(f"{where}: {len(data)} bytes are no sealed document")
    magic, rest, name, found, version, flags, length, stored = TRAILER.unpack(data[-TRAILER.size :])
    if (magic, rest, name) != (0x184D2A5E, 48, b"RPLV"):
        raise Damaged(f"{where}: has no trailer: cut off, or no sealed document")
    if blake3.blake3(data[:-32]).digest() != stored:
        raise Damaged(f"{where}: the hash in its trailer is wrong")
    if found != kind:
        raise Damaged(f"{where}: is of kind {found!r}, not {kind!r}")
    if version != 1:
        raise Unsupported(f"{where}: version {version} of {kind.decode()} is not known to this reader")
    if flags:
        raise Unsupported(f"{where}: flags {flags:#x} are not known to this reader")
    if length > MAX_DOCUMENT:
        raise Damaged(f"{where}: announces {length} bytes of text, more than are allowed")
    text = unzstd(data[: -TRAILER.size], length, where)
    if len(text) != length:
        raise Damaged(f"{where}: {len(text)} bytes of text, not the {length} announced")
    return text


def read_document(store, key, kind, expected=None):
    """A sealed document and the hash of its stored bytes, which must be `expected` where that is known."""
    data = store.get(key)
    found = digest_of(data)
    text = unseal(data, kind, key)
    if expected is not None and found != expected:
        raise Damaged(f"{key}: is not the object that was named: its hash is {found}, not {expected}")
    return parse_json(text, key), found


def read_repository(store):
    """The members of repository.json. Refuses a layout or a feature that this reader does not know."""
    data = store.get("repository.json", MAX_REPOSITORY)
    line, feed, second = data.partition(b"\n")
    if not feed or second != b'{"blake3":"%s"}\n' % digest_of(line).encode():
        raise Damaged("repository.json: its second line does not have the hash of the first")
    fields = parse_json(line, "repository.json")
    fields.word("format", ("replevin",))
    if (version := fields.int("version")) != 1:
        raise Unsupported(f"repository.json: version {version} of the layout is not known to this reader")
    if unknown := fields.strings("reader_features", []):
        raise Unsupported(f"repository.json: features {unknown} are not known to this reader")
    return {
        "backup_id": fields.match("backup_id", r"(?!\.)[a-zA-Z0-9._-]{1,200}"),
        "cluster_id": fields.str("cluster_id"),
        "created_ms": fields.int("created_ms", low=I64[0]),
    }
