"""Encodes random messages with an old schema, decodes them with a new one, and compares: Google's own implementation.

Reads one JSON object a line: {"id", "old": [[name, base64 descriptor]...], "new": ..., "old_text": [[name, text]...],
"new_text"}; the last file of a list is the schema, what it imports stands before it. Writes one JSON object with the
counts, and the first violations of each kind. A sample also goes through protoc, as text: it must be accepted, mean
the same, and decode the same bytes.
"""

import base64
import json
import os
import random
import subprocess
import sys
import tempfile

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import FieldDescriptor as F
from google.protobuf.message import DecodeError

PER_PAIR = 4
# Not a change of the field: the reader's enum of proto2 has no such value, so that a required field stays unset.
CLOSED = "a required enum has a value that the reader does not know"
VARINT = {F.TYPE_INT32, F.TYPE_INT64, F.TYPE_UINT32, F.TYPE_UINT64, F.TYPE_BOOL, F.TYPE_ENUM}
TEXT = {F.TYPE_STRING, F.TYPE_BYTES}
WORDS = ["", "a", "grün", "x" * 200, "0", "\n"]


def pool(files):
    made = descriptor_pool.DescriptorPool()
    for name, encoded in files:
        file = descriptor_pb2.FileDescriptorProto.FromString(base64.b64decode(encoded))
        file.name = name
        made.Add(file)
    return made


def signed(value, bits):
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def scalar(field, rng):
    kind = field.type
    edge = rng.choice([0, 1, 2, 127, 128, 300, (1 << 31) - 1])
    if kind in (F.TYPE_INT32, F.TYPE_SINT32, F.TYPE_SFIXED32):
        return rng.choice([edge, -edge, signed(rng.getrandbits(32), 32)])
    if kind in (F.TYPE_INT64, F.TYPE_SINT64, F.TYPE_SFIXED64):
        return rng.choice([edge, -edge, signed(rng.getrandbits(64), 64)])
    if kind in (F.TYPE_UINT32, F.TYPE_FIXED32):
        return rng.choice([edge, rng.getrandbits(32)])
    if kind in (F.TYPE_UINT64, F.TYPE_FIXED64):
        return rng.choice([edge, rng.getrandbits(64)])
    if kind == F.TYPE_BOOL:
        return rng.random() < 0.5
    if kind == F.TYPE_ENUM:
        return rng.choice(field.enum_type.values).number
    if kind == F.TYPE_STRING:
        return rng.choice(WORDS)
    if kind == F.TYPE_BYTES:
        return rng.choice(WORDS).encode()
    return rng.choice([0.0, 1.5, -2.25, 1e30])


def is_map(field):
    return field.type == F.TYPE_MESSAGE and field.message_type.GetOptions().map_entry


def fill(message, rng, depth):
    chosen = {oneof.name: rng.choice(oneof.fields) for oneof in message.DESCRIPTOR.oneofs}
    for field in message.DESCRIPTOR.fields:
        oneof = field.containing_oneof
        if oneof is not None and chosen[oneof.name] is not field:
            continue
        nested = field.message_type is not None
        if not field.is_required and (rng.random() < 0.3 or (nested and depth > 3)):
            continue
        if is_map(field):
            key, value = field.message_type.fields_by_name["key"], field.message_type.fields_by_name["value"]
            for _ in range(rng.randrange(3)):
                if value.message_type is None:
                    getattr(message, field.name)[scalar(key, rng)] = scalar(value, rng)
                else:
                    fill(getattr(message, field.name)[scalar(key, rng)], rng, depth + 1)
        elif field.is_repeated:
            for _ in range(rng.randrange(4)):
                if nested:
                    fill(getattr(message, field.name).add(), rng, depth + 1)
                else:
                    getattr(message, field.name).append(scalar(field, rng))
        elif nested:
            getattr(message, field.name).SetInParent()
            fill(getattr(message, field.name), rng, depth + 1)
        else:
            setattr(message, field.name, scalar(field, rng))


class Unknown(Exception):
    """The new type has no value for this one, by the language's rules."""


def converted(value, old, new):
    if old.type in VARINT:
        bits = int(value) & ((1 << 64) - 1)
        if new.type == F.TYPE_BOOL:
            return bits != 0
        if new.type == F.TYPE_ENUM:
            number = signed(bits, 32)
            if new.enum_type.is_closed and number not in new.enum_type.values_by_number:
                raise Unknown
            return number
        if new.type == F.TYPE_INT32:
            return signed(bits, 32)
        if new.type == F.TYPE_INT64:
            return signed(bits, 64)
        return bits & ((1 << 32) - 1) if new.type == F.TYPE_UINT32 else bits
    if old.type in (F.TYPE_SINT32, F.TYPE_SINT64):
        if new.type == F.TYPE_SINT64:
            return value
        zigzag = ((value << 1) ^ (value >> 63)) & 0xFFFFFFFF
        return (zigzag >> 1) ^ -(zigzag & 1)
    if old.type in TEXT:
        text = value if isinstance(value, bytes) else value.encode()
        return text if new.type == F.TYPE_BYTES else text.decode()
    if old.type in (F.TYPE_FIXED32, F.TYPE_SFIXED32):
        return signed(value, 32) if new.type == F.TYPE_SFIXED32 else value & 0xFFFFFFFF
    if old.type in (F.TYPE_FIXED64, F.TYPE_SFIXED64):
        return signed(value, 64) if new.type == F.TYPE_SFIXED64 else value & ((1 << 64) - 1)
    return value


def compare(old, new, lost, weaker):
    """Names every field whose value did not survive."""
    for field, value in old.ListFields():
        other = new.DESCRIPTOR.fields_by_number.get(field.number)
        if other is None:
            continue
        found = getattr(new, other.name)
        where = f"{old.DESCRIPTOR.name}/{field.number}"
        if field.is_repeated != other.is_repeated:
            weaker.append(f"{where}: repeated against single")
        elif is_map(field) or is_map(other):
            if not (is_map(field) and is_map(other)):
                weaker.append(f"{where}: map against repeated message")
            else:
                maps(field, other, value, found, where, lost, weaker)
        elif field.message_type is not None:
            if other.message_type is None:
                lost.append(f"{where}: message against scalar")
            elif not field.is_repeated:
                compare(value, found, lost, weaker)
            elif len(value) != len(found):
                lost.append(f"{where}: {len(value)} messages became {len(found)}")
            else:
                for one, two in zip(value, found):
                    compare(one, two, lost, weaker)
        elif other.message_type is not None:
            lost.append(f"{where}: scalar against message")
        else:
            try:
                expected = [converted(one, field, other) for one in (value if field.is_repeated else [value])]
            except Unknown:
                if other.is_required:
                    weaker.append(f"{where}: {CLOSED}")
                continue
            got = list(found) if field.is_repeated else [found]
            if expected != got:
                lost.append(f"{where}: {value!r} became {found!r}, expected {expected!r}")


def maps(field, other, value, found, where, lost, weaker):
    key, new_key = field.message_type.fields_by_name["key"], other.message_type.fields_by_name["key"]
    item, new_item = field.message_type.fields_by_name["value"], other.message_type.fields_by_name["value"]
    expected = {}
    try:
        for one, two in value.items():
            expected[converted(one, key, new_key)] = two if item.message_type else converted(two, item, new_item)
    except Unknown:
        return
    if len(expected) != len(value):
        return  # two keys became one
    if set(expected) != set(found):
        lost.append(f"{where}: keys {sorted(map(str, expected))} became {sorted(map(str, found))}")
        return
    for one, two in expected.items():
        if item.message_type:
            compare(two, found[one], lost, weaker)
        elif two != found[one]:
            lost.append(f"{where}: {one!r} has {found[one]!r}, expected {two!r}")


def write(folder, texts):
    for name, text in texts:
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            file.write(text)
    return [name for name, _ in texts]


def bare(file):
    """A descriptor without what protoc adds for itself or what has no meaning: positions, json names, file name."""
    file.ClearField("source_code_info")
    file.ClearField("name")

    def clean(message):
        fields = sorted(message.field, key=lambda field: field.number)
        fields = [descriptor_pb2.FieldDescriptorProto.FromString(field.SerializeToString()) for field in fields]
        del message.field[:]
        for field in fields:
            field.ClearField("json_name")
            message.field.append(field)
        names = [oneof.name for oneof in message.oneof_decl]
        for field in message.field:
            if field.HasField("oneof_index"):
                field.json_name = "in " + names[field.oneof_index]
                field.ClearField("oneof_index")
        del message.oneof_decl[:]
        nested = sorted(message.nested_type, key=lambda nested: nested.name)
        nested = [descriptor_pb2.DescriptorProto.FromString(one.SerializeToString()) for one in nested]
        del message.nested_type[:]
        for one in nested:
            clean(one)
            message.nested_type.append(one)

    for message in file.message_type:
        clean(message)
    return file


def quiet(call, *arguments):
    """Without protoc's warnings of imports that are not used."""
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        return call(*arguments)
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def through_protoc(pair, data, new_message, counts, bad):
    from grpc_tools import protoc

    with tempfile.TemporaryDirectory() as folder:
        names = write(folder, pair["new_text"])
        out = os.path.join(folder, "out.pb")
        code = quiet(protoc.main, ["protoc", f"-I{folder}", f"--descriptor_set_out={out}", os.path.join(folder, names[-1])])
        if code != 0:
            bad("protoc refuses the canonical text", pair, pair["new_text"][-1][1])
            return
        with open(out, "rb") as file:
            theirs = descriptor_pb2.FileDescriptorSet.FromString(file.read()).file[0]
        ours = descriptor_pb2.FileDescriptorProto.FromString(base64.b64decode(pair["new"][-1][1]))
        if bare(theirs) != bare(ours):
            bad("the descriptor is not protoc's", pair, f"{theirs}\nagainst\n{ours}")
        counts["compiled by protoc"] += 1
        if counts["decoded by protoc"] < 100:
            name = new_message.DESCRIPTOR.full_name
            command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{folder}", f"--decode={name}", names[-1]]
            run = subprocess.run(command, input=data, capture_output=True, cwd=folder)
            if run.returncode != 0:
                bad("protoc cannot decode", pair, run.stderr.decode())
            counts["decoded by protoc"] += 1


def main():
    counts = {"pairs": 0, "messages": 0, "weaker": 0, "compiled by protoc": 0, "decoded by protoc": 0}
    violations, kinds = [], {}

    def bad(what, pair, detail):
        violations.append(what)
        kinds.setdefault(what, [])
        if len(kinds[what]) < 3:
            kinds[what].append({"id": pair["id"], "detail": detail, "old": pair["old_text"], "new": pair["new_text"]})

    weak_kinds = {}
    for line in sys.stdin:
        pair = json.loads(line)
        rng = random.Random(pair["id"])
        old_pool, new_pool = pool(pair["old"]), pool(pair["new"])
        counts["pairs"] += 1
        data, target = b"", None
        for name in pair["messages"]:
            old = message_factory.GetMessageClass(old_pool.FindMessageTypeByName(name))
            new = message_factory.GetMessageClass(new_pool.FindMessageTypeByName(name))
            for _ in range(PER_PAIR):
                one = old()
                fill(one, rng, 0)
                data = one.SerializeToString()
                target = new()
                counts["messages"] += 1
                try:
                    target.ParseFromString(data)
                except DecodeError as error:
                    bad("cannot be decoded", pair, str(error))
                    continue
                lost, weaker = [], []
                compare(one, target, lost, weaker)
                if not target.IsInitialized() and not any(what.endswith(CLOSED) for what in weaker):
                    bad("a required field is missing", pair, target.FindInitializationErrors())
                for what in lost:
                    bad("a value is lost", pair, what)
                for what in weaker:
                    kind = what.split(": ")[1]
                    weak_kinds[kind] = weak_kinds.get(kind, 0) + 1
        if counts["compiled by protoc"] < 500 and target is not None:
            through_protoc(pair, data, target, counts, bad)
    counts["violations"] = len(violations)
    counts["weaker"] = weak_kinds
    json.dump({"counts": counts, "violations": kinds}, sys.stdout)


main()
