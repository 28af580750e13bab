"""The reader on the golden backup, on damaged copies of it, and on histories that must be refused.

REPLEVIN_READER_BACKUP=PATH verifies and dumps that backup as well.
"""

import binascii
import contextlib
import gzip
import io
import json
import os
import shutil
import struct
import tempfile
import unittest
from pathlib import Path

import blake3
import cramjam
import google_crc32c
import lz4.frame
import zstandard

import digests
import replevin_reader
import segment as segments
from documents import NO_HASH, TRAILER, Damaged, Refused, Store, Unsupported, digest_of, read_document, read_repository
from replevin_reader import Backup, Verify
from segment import Segment
from state import State, find_tail, from_checkpoint, read_checkpoint, replay

GOLDEN = Path(__file__).resolve().parents[2] / "formats" / "testdata"
OWN, OTHER = "00000000000000aa", "00000000000000bb"
L1, L2, L3 = "1" * 16, "2" * 16, "3" * 16
TOPIC_ID = "00000000-0000-0000-0000-000000000001"


def seal(kind, value, version=1, flags=0, length=None):
    """A sealed document."""
    text = json.dumps(value).encode()
    body = zstandard.compress(text)
    head = body + TRAILER.pack(0x184D2A5E, 48, b"RPLV", kind, version, flags, len(text) if length is None else length, b"")[:24]
    return head + blake3.blake3(head).digest()


def repository(**members):
    line = json.dumps({"format": "replevin", "version": 1, "backup_id": "b", "cluster_id": "c", "created_ms": 0} | members).encode()
    return line + b'\n{"blake3":"%s"}\n' % digest_of(line).encode()


class Folder(unittest.TestCase):
    """A test with a folder for one backup."""

    def setUp(self):
        self.path = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.store = Store(self.path)

    def put(self, key, data):
        (self.path / key).parent.mkdir(parents=True, exist_ok=True)
        (self.path / key).write_bytes(data)

    def put_commits(self, *commits):
        """Only these commits, with the given ops or with whole members; each follows the one before. Gives their hashes."""
        if not (self.path / "repository.json").exists():
            self.put("repository.json", repository())
        shutil.rmtree(self.path / "commits", ignore_errors=True)
        hashes = [NO_HASH]
        for seq, members in enumerate(commits, 1):
            members = members if isinstance(members, dict) else {"ops": members}
            base = {"seq": seq, "previous": hashes[-1], "incarnation": OWN, "time_ms": 0, "software": "test", "ops": []}
            data = seal(b"CMIT", base | members)
            self.put(f"commits/{seq:020}", data)
            hashes.append(digest_of(data))
        return hashes[1:]

    def replayed(self):
        state = State()
        for state, _ in replay(self.store, find_tail(self.store)):
            pass
        return state


def begin(lineage=L1, partition=0, **members):
    op = {"op": "lineage", "topic": "t", "partition": partition, "lineage": lineage, "cluster_id": "c", "topic_id": TOPIC_ID}
    # Histories after the first one follow L1, the one that BASE begins.
    after = {} if members.get("reason", "first") == "first" else {"after": L1}
    return op | {"start": 0, "reason": "first"} | after | members


def entry(first, end, object=f"{OWN}-000001.seg", **members):
    n = end - first
    base = {"first": first, "end": end, "object": object, "length": 9, "blake3": NO_HASH, "batches": n, "records": n, "bytes": {"none": 7}}
    # The digest of n items in a row, each the same, so that merged segments have the combined one.
    digest = digests.show(digests.combine([(1, 5)] * n))
    return base | {"largest_batch": 7, "min_timestamp": 1, "max_timestamp": 2, "batch_digest": digest} | members


def on(op, lineage=L1, **members):
    return {"op": op, "topic": "t", "partition": 0, "lineage": lineage} | members


def reference(first, end, object=f"{OWN}-000001.seg"):
    return {"first": first, "end": end, "object": object}


SEG2, SEG3, PACK = f"{OWN}-000002.seg", f"{OWN}-000003.seg", f"{OWN}-000004.pack"
SNAPSHOT = {"key": f"cluster/{2:020}-{OWN}.json", "length": 1, "blake3": NO_HASH}
# What every refused commit below comes after: segments 0-2 and 2-4, and position 4.
BASE = [begin(), on("add", segments=[entry(0, 2), entry(2, 4, SEG2)])]


class Golden(unittest.TestCase):
    def test_state_is_the_same_by_replay_and_from_the_checkpoint(self):
        store = Store(GOLDEN / "v1")
        expected = json.loads((GOLDEN / "v1.state.json").read_text())
        tail = find_tail(store)
        by_replay = [state for state, _ in replay(store, tail)][-1].as_json()
        self.assertEqual(by_replay, from_checkpoint(store, tail).as_json())
        self.assertEqual({name: by_replay[name] for name in expected}, expected)

    def test_records_fates_and_content_digests_are_the_expected_ones(self):
        backup, lines = Backup(GOLDEN / "v1"), []
        hex_or_null = lambda value: None if value is None else value.hex()
        for (topic, partition, id), lineage in backup.state.lineages():
            name, digest = {"partition": f"{topic}-{partition}", "lineage": id}, digests.NOTHING
            for fate, record in backup.records(topic, partition, id):
                if record.offset < lineage.start:
                    continue
                if fate in replevin_reader.DELIVERED["read_committed"]:
                    digest = segments.content_digest(digest, record)
                headers = [[hex_or_null(key), hex_or_null(value)] for key, value in record.headers]
                bytes = {"key": hex_or_null(record.key), "value": hex_or_null(record.value), "headers": headers}
                lines.append(name | {"offset": record.offset, "timestamp": record.timestamp, "fate": fate} | bytes)
            lines.append(name | {"content_digest": digests.show(digest)})
        expected = [json.loads(line) for line in (GOLDEN / "v1.records.jsonl").read_text().splitlines()]
        # A long value stands there as its length and hash.
        for line, other in zip(lines, expected):
            if isinstance(other.get("value"), dict):
                value = binascii.unhexlify(line["value"])
                line["value"] = {"length": len(value), "blake3": blake3.blake3(value).hexdigest()}
        self.assertEqual(lines, expected)

    def test_verify_finds_nothing_and_takes_anchors(self):
        verify = Verify(GOLDEN / "v1")
        self.assertEqual((verify.problems, verify.notes, verify.segments), ([], [], 7))
        head = Backup(GOLDEN / "v1").state.head
        self.assertEqual(Verify(GOLDEN / "v1", f"4:{head}").problems, [])
        self.assertTrue(Verify(GOLDEN / "v1", f"5:{head}").problems)
        self.assertTrue(Verify(GOLDEN / "v1", f"4:{NO_HASH}").problems)

    def test_lineage_ids_follow_from_the_facts(self):
        for (topic, partition, id), lineage in Backup(GOLDEN / "v1").state.lineages():
            cluster, name = lineage.cluster_id.encode(), topic.encode()
            facts = struct.pack("<Q", len(cluster)) + cluster + struct.pack("<Q", len(name)) + name
            facts += bytes.fromhex(lineage.topic_id.replace("-", "")) + struct.pack("<i", partition)
            if fork := lineage.fork:
                facts += struct.pack("<Qqi", int(fork["parent"], 16), fork["offset"], fork["epoch"])
            self.assertEqual(blake3.blake3(facts, derive_key_context="replevin 2026 lineage id").hexdigest()[:16], id)

    def run_command(self, *arguments):
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()):
            status = replevin_reader.main(list(map(str, arguments)))
        return status, out.getvalue()

    def test_commands_print_json(self):
        golden = GOLDEN / "v1"
        self.assertEqual(json.loads(self.run_command("list", GOLDEN)[1])["tail"], 4)
        self.assertEqual(json.loads(self.run_command("describe", golden)[1])["live_segments"][f"orders-0/10a5b4496530439a"], 1)
        self.assertEqual(self.run_command("verify", golden)[0], 0)
        dump = lambda *arguments: [json.loads(line)["offset"] for line in self.run_command("dump", golden, *arguments)[1].splitlines()]
        self.assertEqual(dump("audit", 0), [1])
        self.assertEqual(dump("audit", 0, "--isolation", "read_uncommitted"), [0, 1, 4])
        # The current lineage left its parent at offset 7; what the parent held before belongs to both.
        self.assertEqual(dump("orders", 1), [5, 6, 7, 8])
        values = lambda *more: [json.loads(line)["value"] for line in self.run_command("dump", golden, "orders", 1, *more)[1].splitlines()]
        child, parent = values(), values("--lineage", "cb46925d8f8d8760")
        self.assertEqual(child[:2], parent[:2])
        self.assertNotEqual(child[2], parent[2])
        self.assertEqual(self.run_command("dump", golden, "nothing", 0)[0], 1)


class Damage(Folder):
    def setUp(self):
        super().setUp()
        shutil.copytree(GOLDEN / "v1", self.path, dirs_exist_ok=True)
        dropped = Backup(self.path).state.dropped
        files = [file for file in self.path.rglob("*") if file.is_file()]
        # Of what was dropped, only the pack still holds live segments: 0 to 397, and 704 to its end.
        self.live = {file: range(file.stat().st_size) for file in files if str(file.relative_to(self.path)) not in dropped}
        pack = self.path / "packs/5eed000000000001-000005.pack"
        self.live[pack] = [*range(397), *range(704, pack.stat().st_size)]

    def test_flipped_bits_are_found_in_every_object(self):
        self.assertEqual(len(self.live), 15)
        for file, positions in self.live.items():
            data = file.read_bytes()
            step = max(1, len(positions) // 24)
            for position in {*positions[::step], positions[-1]}:
                flipped = bytearray(data)
                flipped[position] ^= 1 << position % 8
                file.write_bytes(flipped)
                with self.subTest(file=file.name, position=position):
                    self.assertTrue(Verify(self.path).problems)
            file.write_bytes(data)
        self.assertEqual(Verify(self.path).problems, [])

    def test_missing_cut_off_and_grown_objects_are_found(self):
        for file in self.live:
            data = file.read_bytes()
            for name, bytes in {"cut off": data[:-1], "empty": b"", "grown": data + b"\0"}.items():
                # What follows the last segment of an object is no part of the backup.
                if name == "grown" and file.suffix in (".seg", ".pack"):
                    continue
                file.write_bytes(bytes)
                with self.subTest(file=file.name, damage=name):
                    self.assertTrue(Verify(self.path).problems)
            file.unlink()
            # The newest commit's absence is only seen by an anchor: the backup is then an older one.
            if file.name != f"{4:020}":
                self.assertTrue(Verify(self.path).problems, file.name)
            else:
                self.assertEqual(Verify(self.path).problems, [])
            file.write_bytes(data)

    def test_objects_in_the_place_of_others_are_found(self):
        files = [file for file in self.live if file.suffix in ("", ".seg") and file.name != "repository.json"]
        for file, other in zip(files, files[1:] + files[:1]):
            data = file.read_bytes()
            file.write_bytes(other.read_bytes())
            self.assertTrue(Verify(self.path).problems, file.name)
            file.write_bytes(data)

    def test_every_flip_in_a_segment_is_found_without_its_hash(self):
        for file in self.live:
            if file.suffix == ".seg":
                data = bytearray(file.read_bytes())
                for position in range(len(data)):
                    data[position] ^= 0x10
                    # The epoch of a batch is outside of its CRC, so it is the frame's that counts: nothing is exempt.
                    with self.assertRaises((Damaged, Unsupported), msg=f"{file.name} at {position}"):
                        list(Segment(bytes(data), "copy").batches())
                    data[position] ^= 0x10

    def test_damage_elsewhere_leaves_other_segments_readable(self):
        file = next(file for file in self.live if "orders/0" in str(file))
        file.write_bytes(b"")
        verify = Verify(self.path)
        self.assertEqual((len(verify.problems), verify.segments), (1, 6))

    def test_foreign_and_orphaned_objects_do_no_harm(self):
        self.put("commits/5", b"not spelt as a commit")
        self.put("manifest.json", b"{")
        self.put(f"restores/{32 * '7'}/000001.json", b"no business of a reader")
        self.put(f"probes/{32 * 'a'}", b"what time is it")
        # A checkpoint that no commit names, perhaps half of one.
        self.put("checkpoints/00000000000000000004/root", b"?")
        self.put(f"checkpoints/00000000000000000002/{32 * '0'}", b"?")
        self.put(f"packs/{OWN}-000001.pack", b"?")
        verify = Verify(self.path)
        self.assertEqual((verify.problems, len(verify.notes)), ([], 1))

    def test_a_hole_in_the_commits_is_no_short_log(self):
        shutil.rmtree(self.path / "checkpoints")
        self.put_commits(*[[]] * 6)
        for gone, tail in ((4, "is there"), (3, None), (1, "is there")):
            file = self.path / f"commits/{gone:020}"
            data = file.read_bytes()
            file.unlink()
            if tail:
                with self.assertRaisesRegex(Damaged, tail):
                    find_tail(self.store)
            # Probes may step over a hole; then it is the chain that ends there.
            self.assertTrue(Verify(self.path).problems)
            file.write_bytes(data)


class Newer(Folder):
    """What a reader does not know it must refuse, as unsupported and not as damaged."""

    def golden_segment(self):
        return next((GOLDEN / "v1/kafka/events").rglob("*-000003.seg")).read_bytes()

    def rebuilt(self, header=lambda head: head, index=lambda index: index, tail=lambda tail: tail):
        """A golden segment with another header, index or tail, and right checksums."""
        data = self.golden_segment()
        length, (position, size) = int.from_bytes(data[10:12], "little"), struct.unpack("<QI", data[-40:-28])
        crc = lambda bytes: bytes + struct.pack("<I", google_crc32c.value(bytes))
        head, inner = crc(header(data[: length - 4])), crc(index(data[position : position + size - 4]))
        body = head + data[length:position] + inner
        end = struct.pack("<QIIQHH", position, len(inner), 0, len(body) + 40, 1, 0)
        return body + tail(crc(end) + b"RPLVSEND")

    def unsupported(self, data):
        with self.assertRaises(Unsupported):
            list(Segment(data, "copy").batches())

    def test_segments(self):
        self.assertEqual(self.rebuilt(), self.golden_segment())
        splice = lambda at, new: lambda bytes: bytes[:at] + new + bytes[at + len(new) :]
        self.unsupported(self.rebuilt(header=splice(8, b"\2")))
        self.unsupported(self.rebuilt(header=splice(12, b"\3")))
        self.unsupported(self.rebuilt(header=splice(7, b"2")))
        again = lambda tail: tail[:28] + struct.pack("<I", google_crc32c.value(tail[:28])) + tail[32:]
        self.unsupported(self.rebuilt(tail=lambda tail: again(splice(24, b"\2")(tail))))
        self.unsupported(self.rebuilt(tail=lambda tail: again(splice(26, b"\1")(tail))))

    def test_sections_and_frames(self):
        def section(flags, kind=77):
            return lambda index: struct.pack("<I", index[0] + 1) + index[4:] + struct.pack("<HHII", kind, flags, 3, 1) + b"new"

        self.unsupported(self.rebuilt(index=section(1)))
        known = len(list(Segment(self.golden_segment(), "copy").batches()))
        self.assertEqual(len(list(Segment(self.rebuilt(index=section(0)), "copy").batches())), known)
        with self.assertRaises(Damaged):
            Segment(self.rebuilt(index=section(0, kind=1)), "copy")
        # The first frame's entry begins at 16; its codec is at 60 of it, its flags at 61.
        self.unsupported(self.rebuilt(index=lambda index: index[:76] + b"\x09" + index[77:]))
        flagged = self.rebuilt(index=lambda index: index[:77] + bytes([index[77] | 0x80]) + index[78:])
        self.assertEqual(len(list(Segment(flagged, "copy").batches())), known)

    def test_longer_entries_of_known_sections_are_read_as_far_as_known(self):
        def grow(index):
            kind, flags, size, count = struct.unpack_from("<HHII", index, 4)
            entries = b"".join(index[16 + i * size : 16 + (i + 1) * size] + b"more" for i in range(count))
            return index[:4] + struct.pack("<HHII", kind, flags, size + 4, count) + entries + index[16 + size * count :]

        known = [batch.base for batch in Segment(self.golden_segment(), "copy").batches()]
        self.assertEqual([batch.base for batch in Segment(self.rebuilt(index=grow), "copy").batches()], known)

    def test_repositories(self):
        for members in ({"version": 2}, {"reader_features": ["x"]}, {"format": "other"}):
            self.put("repository.json", repository(**members))
            with self.assertRaises(Unsupported):
                read_repository(self.store)
        self.put("repository.json", repository(writer_features=["x"], new_member=1.5))
        self.assertEqual(read_repository(self.store)["backup_id"], "b")
        for data in (repository() + b"\n", repository()[:-1], repository().replace(b"replevin", b"replevim")):
            self.put("repository.json", data)
            with self.assertRaises(Damaged):
                read_repository(self.store)

    def test_documents(self):
        for sealed in (seal(b"CMIT", {}, version=2), seal(b"CMIT", {}, flags=1)):
            self.put("x", sealed)
            with self.assertRaises(Unsupported):
                read_document(self.store, "x", b"CMIT")
        for sealed in (seal(b"CMIT", {}, length=1), seal(b"CMIT", {}, length=3), seal(b"PAGE", {}), seal(b"CMIT", {})[8:], b""):
            self.put("x", sealed)
            with self.assertRaises(Damaged):
                read_document(self.store, "x", b"CMIT")

    def test_commits(self):
        for op in ({"op": "new"}, begin(reason="new"), on("gap", gap={"first": 4, "end": 5, "reason": "new"})):
            self.put_commits(BASE if op["op"] == "gap" else [], [op])
            with self.assertRaises(Unsupported):
                self.replayed()
        self.put_commits({"ops": [{"op": "writer", "new": 1}], "new": {}})
        self.assertEqual(self.replayed().writer, OWN)


class Rules(Folder):
    """Applying a commit (FORMAT.md, section 8), rule by rule."""

    def refused(self, *commits):
        self.put_commits(BASE, *commits)
        with self.assertRaises(Refused):
            self.replayed()

    def admitted(self, *commits):
        self.put_commits(BASE, *commits)
        return self.replayed()

    def test_rule_1_chain(self):
        self.refused({"previous": NO_HASH})
        self.put_commits(BASE, {"seq": 3})
        with self.assertRaises(Damaged):
            self.replayed()

    def test_rules_2_and_10_retired_incarnations(self):
        retire = [{"op": "retire", "incarnation": OTHER}]
        self.refused(retire, {"incarnation": OTHER})
        self.refused([{"op": "retire", "incarnation": OWN}])
        self.assertEqual(self.admitted(retire).retired, {OTHER})

    def test_rule_3_checkpoints(self):
        self.refused({"checkpoint": {"seq": 2, "blake3": NO_HASH}})
        state = self.admitted({"checkpoint": {"seq": 1, "blake3": NO_HASH}}, {"checkpoint": {"seq": 0, "blake3": NO_HASH}})
        self.assertEqual(state.checkpoint["seq"], 1)

    def test_rule_4_lineages(self):
        fork = {"parent": L1, "offset": 3, "epoch": 1}
        truncated = begin(L2, reason="truncated", start=3, fork=fork)
        self.refused([begin(partition=-1)])
        self.refused([begin(L2, reason="recreated", start=-1)])
        self.refused([begin(L1, reason="recreated")])
        self.refused([begin(L2, reason="first")])
        self.refused([begin(L2, partition=1, reason="recreated")])
        self.refused([begin(L2, reason="recreated", after=L3)])
        self.refused([{k: v for k, v in begin(L2, reason="recreated").items() if k != "after"}])
        self.admitted([begin(L2, reason="truncated", start=3)])
        self.refused([begin(L2, reason="recreated", start=3, fork=fork)])
        self.refused([truncated | {"fork": fork | {"parent": L3}}])
        self.refused([truncated | {"start": 5, "fork": fork | {"offset": 5}}])
        self.refused([truncated | {"start": 2}])
        self.assertEqual(len(self.admitted([truncated]).partitions["t", 0]), 2)
        self.admitted([truncated | {"start": 4, "fork": fork | {"offset": 4}}])

    def test_rules_5_and_7_positions(self):
        gap = lambda first, end, reason="retention": {"first": first, "end": end, "reason": reason}
        recreated = begin(L2, reason="recreated")
        self.refused([recreated, on("add", segments=[entry(4, 5, SEG3)])])
        self.refused([recreated, on("gap", gap=gap(4, 5))])
        self.refused([on("add", segments=[])])
        self.refused([on("add", lineage=L3, segments=[entry(4, 5, SEG3)])])
        self.refused([on("add", segments=[entry(5, 6, SEG3)])])
        self.refused([on("add", segments=[entry(4, 5, SEG3), entry(6, 7, SEG3)])])
        self.refused([on("gap", gap=gap(5, 6))])
        self.refused([on("gap", gap=gap(4, 4))])
        self.refused([on("gap", gap=gap(4, 5, "pruned"))])
        self.assertEqual(self.admitted([on("gap", gap=gap(4, 6)), on("add", segments=[entry(6, 8, SEG3)])]).partitions["t", 0][0].next, 8)

    def test_rule_6_entries(self):
        add = lambda segment: [on("add", segments=[segment])]
        last = {"offset": 5, "epoch": 0, "crc": 0}
        self.refused(add(entry(4, 4, SEG3)))
        self.refused([begin(L2, reason="recreated"), on("add", L2, segments=[entry(-1, 0, SEG3)])])
        self.refused(add(entry(4, 6, SEG3, records=1)))
        self.refused(add(entry(4, 5, SEG3, last=last)))
        self.refused(add(entry(4, 6, SEG3, length=0)))
        self.refused(add(entry(4, 6, SEG3, length=2**63, position=2**63)))
        self.refused(add(entry(4, 6, f"{OTHER}-000001.seg")))
        self.admitted(add(entry(4, 6, SEG3, last=last, records=1, missing=1)))
        merged = entry(0, 2, SEG3)
        replace = on("replace", removed=[reference(0, 2)], added=[merged])
        self.refused([replace, on("replace", removed=[reference(0, 2, SEG3)], added=[entry(0, 2)])])

    def test_rules_8_and_9_replacing_and_dropping(self):
        both = [reference(0, 2), reference(2, 4, SEG2)]
        replace = lambda removed, added, lineage=L1: [on("replace", lineage, removed=removed, added=added)]
        drop = lambda removed, lineage=L1: [on("drop", lineage, removed=removed)]
        self.refused(drop([]))
        self.refused(drop(both[::-1]))
        self.refused(drop(both, L3))
        self.refused(drop([reference(0, 1)]))
        self.refused(drop([reference(0, 2, SEG2)]))
        self.refused(drop(both[:1] + both[:1]))
        self.refused(replace([], [entry(0, 4, SEG3)]))
        self.refused(replace(both, []))
        self.refused(replace(both, [entry(0, 2, SEG3)]))
        self.refused(replace(both, [entry(0, 2, SEG3), entry(3, 4, SEG3)]))
        self.refused(replace(both, [entry(0, 4, SEG3, records=3, missing=1)]))
        other = {"batch_digest": "1:" + "0" * 32}
        self.refused(replace(both, [entry(0, 4, SEG3, **other)]))
        self.refused(replace(both, [entry(0, 4, SEG3, content_digest="4:" + "0" * 32, **other)]))
        state = self.admitted(replace(both, [entry(0, 4, SEG3)]), drop([reference(0, 4, SEG3)]))
        lineage = state.partitions["t", 0][0]
        self.assertEqual((lineage.gaps, lineage.live, len(state.dropped)), ([{"first": 0, "end": 4, "reason": "pruned"}], {}, 3))
        self.assertEqual(len(self.admitted(drop(both[:1]), drop(both[1:])).partitions["t", 0][0].gaps), 1)
        self.admitted([begin(L2, reason="recreated"), *drop(both)])

    def test_rule_9_content_digests_suffice(self):
        digest = lambda n: {"content_digest": digests.show(digests.combine([(1, 9)] * n))}
        added = entry(0, 2, SEG2, batch_digest="1:" + "0" * 32, **digest(2))
        for content in ({}, digest(2)):
            self.put_commits([begin(), on("add", segments=[entry(0, 2, **content)])], [on("replace", removed=[reference(0, 2)], added=[added])])
            if content:
                self.replayed()
            else:
                self.assertRaises(Refused, self.replayed)

    def test_rule_11_deleted_objects(self):
        key = f"kafka/t/0/{L1}/{0:020}-{OWN}-000001.seg"
        drop, deleted = on("drop", removed=[reference(0, 2)]), {"op": "deleted", "objects": [key]}
        self.refused([deleted])
        self.refused([drop, deleted])
        self.refused([drop], [deleted, deleted])
        self.assertEqual(self.admitted([drop], [deleted]).dropped, {})
        pack, gone = entry(4, 5, PACK), {"op": "deleted", "objects": [f"packs/{PACK}"]}
        packed = [[on("add", segments=[pack])], [on("drop", removed=[reference(4, 5, PACK)])]]
        self.refused(*packed, [gone])
        retired = {"ops": [{"op": "retire", "incarnation": OWN}, gone], "incarnation": OTHER}
        self.assertEqual(self.admitted(*packed, retired).dropped, {})

    def test_rule_12_snapshots(self):
        schemas = {"op": "schemas", "object": SNAPSHOT | {"key": "schema-registry/x"}, "covers": 1}
        self.refused([schemas | {"covers": 2}])
        self.refused([schemas], [schemas | {"covers": 0}])
        self.refused([schemas | {"object": SNAPSHOT}])
        self.refused([{"op": "groups", "object": SNAPSHOT}])
        self.refused([{"op": "cluster", "object": SNAPSHOT | {"key": f"cluster/{2:020}-{OTHER}.json"}}])
        self.assertEqual(self.admitted([schemas, {"op": "cluster", "object": SNAPSHOT}]).cluster, SNAPSHOT)

    def test_documents_with_other_members_are_unsupported(self):
        for op in (
            {},
            {"op": 1},
            begin(topic=".."),
            begin(lineage="F" * 16),
            begin(start=1.0),
            begin(start=2**63),
            begin(start=True),
            on("add", segments=[{}]),
            on("add", segments=entry(4, 5)),
            on("add", segments=[entry(4, 5, "../x.seg")]),
            {"op": "deleted", "objects": [[]]},
        ):
            self.put_commits([begin()], [op])
            with self.assertRaises(Unsupported, msg=op):
                self.replayed()


class Checkpoints(Folder):
    def page(self, value, seq=2):
        data = seal(b"PAGE", value)
        self.put(f"checkpoints/{seq:020}/{digest_of(data)[:32]}", data)
        return {"seq": seq, "blake3": digest_of(data)}

    def run_of(self, level, *pages):
        """Pages are lists of changes; the run's reference."""
        place = lambda change: {"topic": change["topic"], "partition": change["partition"]}
        index = [{"first": place(changes[0]), "last": place(changes[-1]), "page": self.page({"changes": changes})} for changes in pages]
        added = sum(len(change.get("added", [])) for changes in pages for change in changes)
        return {"level": level, "segments": added, "index": self.page({"pages": index})}

    def put_backup(self, edit=lambda root: None):
        """Three commits with a checkpoint of two runs after the second."""
        merged = entry(0, 4, SEG3)
        change = lambda **members: {"topic": "t", "partition": 0, "lineage": L1} | members
        second = [on("replace", removed=[reference(0, 2), reference(2, 4, SEG2)], added=[merged]), {"op": "retire", "incarnation": OTHER}]
        hashes = self.put_commits(BASE, second)
        runs = [
            self.run_of(1, [change(added=[entry(0, 2)])], [change(added=[entry(2, 4, SEG2)])]),
            self.run_of(0, [change(removed=[reference(0, 2)]), change(removed=[reference(2, 4, SEG2)], added=[merged])]),
        ]
        [(_, lineage)] = self.replayed().lineages()
        positions = self.page({"topics": [{"topic": "t", "partitions": {"0": {"lineages": [lineage.as_json()]}}}]})
        dropped = {f"kafka/t/0/{L1}/{0:020}-{OWN}-000001.seg": 2, f"kafka/t/0/{L1}/{2:020}-{SEG2}": 2}
        root = {"seq": 2, "head": hashes[1], "retired": [OTHER], "dropped": dropped, "runs": runs}
        root["positions"] = [{"first": "t", "last": "t", "partitions": 1, "page": positions}]
        edit(root)
        data = seal(b"CKPT", root)
        self.put(f"checkpoints/{2:020}/root", data)
        third = {"checkpoint": {"seq": 2, "blake3": digest_of(data)}, "ops": [on("add", segments=[entry(4, 6, PACK)])]}
        self.put_commits(BASE, second, third)

    def test_runs_add_up_to_what_the_commits_do(self):
        self.put_backup()
        state = from_checkpoint(self.store, 3)
        self.assertEqual(state.as_json(), self.replayed().as_json())
        self.assertEqual([one.reference[:2] for one in state.partitions["t", 0][0].segments()], [(0, 4), (4, 6)])

    def test_a_checkpoint_that_says_something_else_is_found(self):
        for edit in (
            lambda root: root.update(retired=[]),
            lambda root: root.update(dropped={}),
            lambda root: root.update(runs=root["runs"][:1]),
            lambda root: root.update(runs=root["runs"][::-1]),
            lambda root: root.update(head=NO_HASH),
            lambda root: root.update(seq=1),
            lambda root: root.update(positions=[]),
            lambda root: root["positions"][0].update(partitions=2),
        ):
            self.put_backup(edit)
            problems = Verify(self.path).problems
            self.assertEqual(len(problems), 1, problems)
            self.assertNotIn("is missing", problems[0])

    def test_an_empty_history_is_a_state(self):
        self.put("repository.json", repository())
        self.assertEqual(Backup(self.path).state.seq, 0)
        self.put_commits(*[[]] * 21)
        self.assertEqual(find_tail(self.store), 21)

    def test_a_root_that_was_not_named_is_not_read(self):
        self.put_backup()
        data = (self.path / f"checkpoints/{2:020}/root").read_bytes()
        with self.assertRaises(Damaged):
            read_checkpoint(self.store, 2, NO_HASH)
        read_checkpoint(self.store, 2, digest_of(data))


class Batches(unittest.TestCase):
    def test_varints(self):
        for bytes, value in ((b"\0", 0), (b"\1", -1), (b"\x80\1", 64), (b"\xff\xff\xff\xff\x0f", -(2**31))):
            self.assertEqual(segments.read_varint(bytes, 0, 5, "")[0], value)
        for bytes in (b"", b"\x80", b"\xff\xff\xff\xff\x1f", b"\x80\x80\x80\x80\x80\1"):
            self.assertRaises(Damaged, segments.read_varint, bytes, 0, 5, "")

    def test_snappy_in_both_forms(self):
        block = lambda data: bytes(cramjam.snappy.compress_raw(data))
        framed = lambda data: struct.pack(">i", len(block(data))) + block(data)
        header = segments.XERIAL + struct.pack(">ii", 1, 1)
        self.assertEqual(segments.inflate(2, block(b"abc"), ""), b"abc")
        self.assertEqual(segments.inflate(2, header + framed(b"abc") + header + framed(b"def"), ""), b"abcdef")
        for data in (header + framed(b"abc")[:-1], header + b"\0", b"\xff\xff\xff\xff\x0f", block(b"abc")[:-1], b""):
            self.assertRaises(Damaged, segments.inflate, 2, data, "")

    def batch(self, attributes, count=0, payload=b""):
        """A batch at offset 5 whose last offset is 6, of producer 3."""
        body = struct.pack(">hiqqqhii", attributes, 1, 100, 110, 3, 1, -1, count) + payload
        data = struct.pack(">qiibI", 5, len(body) + 9, 0, 2, google_crc32c.value(body)) + body
        return segments.Batch(data, "here")

    def test_batches_that_compaction_emptied_hold_no_records_and_no_marker(self):
        self.assertEqual(self.batch(0).records(), [])
        self.assertIsNone(self.batch(0x30).marker())
        self.assertRaises(Damaged, self.batch(0, 0, b"?").records)

    def test_streams_may_be_several_frames_in_a_row(self):
        two = {1: gzip.compress(b"ab") + gzip.compress(b"c"), 3: lz4.frame.compress(b"ab") + lz4.frame.compress(b"c")}
        two[4] = zstandard.compress(b"ab") + zstandard.compress(b"c")
        for codec, data in two.items():
            self.assertEqual(segments.inflate(codec, data, ""), b"abc")
            for damaged in (data[:-1], data + b"?"):
                self.assertRaises(Damaged, segments.inflate, codec, damaged, "")
        self.assertRaises(Damaged, segments.unlz4, two[3], 3, "")
        self.assertRaises(Damaged, segments.unlz4, two[3], 2, "", frames=True)

    def test_records_are_read_with_both_kinds_of_timestamp(self):
        # Two records, offset deltas 0 and 1, timestamp deltas 0 and 5; no key, value "x", one header "h" without value.
        record = lambda timestamp, delta: bytes([0, timestamp * 2, delta * 2, 1, 2, 120, 2, 2, 104, 1])
        payload = b"".join(bytes([20]) + record(*pair) for pair in ((0, 0), (5, 1)))
        expected = lambda *times: [(5 + i, time, None, b"x", [(b"h", None)]) for i, time in enumerate(times)]
        self.assertEqual([tuple(record) for record in self.batch(0, 2, payload).records()], expected(100, 105))
        self.assertEqual([tuple(record) for record in self.batch(8, 2, payload).records()], expected(110, 110))
        for damaged in (payload[:-1], payload + b"?", payload[:11] * 2, b"\x12" + payload[1:], b"\xff" * 9):
            self.assertRaises(Damaged, self.batch(0, 2, damaged).records)

    def test_digests_of_parts_combine(self):
        one = lambda items: digests.NOTHING if not items else digests.add(one(items[:-1]), items[-1])
        items = [bytes([n]) for n in range(7)]
        self.assertEqual(digests.combine([one(items[:3]), digests.NOTHING, one(items[3:])]), one(items))
        self.assertEqual(digests.R, 0x7D93F11E1BB20D916FE6B6C46A431C27)
        self.assertEqual(digests.parse(digests.show(one(items)), ""), one(items))
        self.assertEqual(google_crc32c.value(b"123456789"), 0xE3069283)


@unittest.skipUnless(os.environ.get("REPLEVIN_READER_BACKUP"), "REPLEVIN_READER_BACKUP names no backup")
class Given(unittest.TestCase):
    def test_a_given_backup_is_whole_and_can_be_dumped(self):
        path = os.environ["REPLEVIN_READER_BACKUP"]
        self.assertEqual(Verify(path).problems, [])
        backup = Backup(path)
        for (topic, partition), lineages in backup.state.partitions.items():
            before = -1
            for fate, record in backup.records(topic, partition):
                self.assertGreater(record.offset, before)
                before = record.offset
                replevin_reader.show_record(record)
            self.assertLess(before, lineages[-1].next)


if __name__ == "__main__":
    unittest.main()
