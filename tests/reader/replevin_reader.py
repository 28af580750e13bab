#!/usr/bin/env python3
"""Reads backups made by Replevin, from the page FORMAT.md alone: a check that the page suffices.

    replevin_reader.py list PATH
    replevin_reader.py describe PATH
    replevin_reader.py dump PATH TOPIC PARTITION [--lineage L] [--isolation read_committed|read_uncommitted]
    replevin_reader.py verify PATH [--expect SEQ:HASH]

PATH is the folder of one backup; `list` also takes a folder of several. `dump` writes a line of JSON for each record: offset,
timestamp, key and value in base64 or null, headers as pairs. The exit status is 0, or 1 where something is wrong, which stderr
then tells. It is meant to be short and strict, not fast: a segment is held in memory as a whole.
"""

import argparse
import base64
import json
import os
import re
import sys

import digests
import segment as segments
from documents import Damaged, ReaderError, Store, digest_of, read_repository
from segment import Fates, Open, Segment
from state import CODECS, OBJECT, State, commit_key, find_tail, from_checkpoint, read_checkpoint, replay, segment_key


class Backup:
    """One backup, with the state that its newest checkpoint and the commits behind it give."""

    def __init__(self, path):
        self.store = Store(path)
        self.repository = read_repository(self.store)
        self.tail = find_tail(self.store)
        self.state = from_checkpoint(self.store, self.tail)

    def load(self, place, entry):
        """The segment of an entry, compared with the entry's hash and with where it stands."""
        key = segment_key(place, entry.first, entry.object)
        where = f"{key} at {entry.position}"
        data = self.store.get_range(key, entry.position, entry.length)
        if digest_of(data) != entry.blake3:
            raise Damaged(f"{where}: is not what was committed: its BLAKE3 is another")
        segment = Segment(data, where)
        if (segment.topic, segment.partition, segment.lineage) != (place[0], place[1], int(place[2], 16)):
            raise Damaged(f"{where}: is of {segment.topic}-{segment.partition} {segment.lineage:016x}")
        if (segment.first, segment.end) != (entry.first, entry.end):
            raise Damaged(f"{where}: holds {segment.first} to {segment.end}, not {entry.first} to {entry.end}")
        return segment

    def history(self, topic, partition, lineage=None):
        """Places and entries of a lineage, its parents' first, each with the offset at which its child leaves it, or None."""
        lineages = self.state.partitions.get((topic, partition))
        if not lineages:
            raise ReaderError(f"{topic}-{partition} is not in the backup")
        by_id = {one.id: one for one in lineages}
        current = by_id.get(lineage or lineages[-1].id)
        if current is None:
            raise ReaderError(f"{topic}-{partition} has no lineage {lineage}, but {', '.join(by_id)}")
        parts, limit = [], None
        while current:
            place = (topic, partition, current.id)
            parts.append([(place, entry, limit) for entry in current.segments() if limit is None or entry.first < limit])
            fork = current.fork
            if fork:
                limit = fork["offset"] if limit is None else min(limit, fork["offset"])
            current = fork and by_id[fork["parent"]]
        return [part for parts in reversed(parts) for part in parts]

    def records(self, topic, partition, lineage=None):
        """Every record of a lineage with its fate: plain, committed, aborted, open or control."""
        history = self.history(topic, partition, lineage)
        # Markers of later segments decide: their indexes are read first. Segments are read again, so that one is held at a time.
        fates = Fates((Index(self.load(place, entry)), limit) for place, entry, limit in history)
        for place, entry, limit in history:
            segment = self.load(place, entry)
            fate = fates.of(segment)
            for batch in segment.batches():
                if limit is not None and batch.base >= limit:
                    break
                what = fate(batch)
                for record in batch.records():
                    if limit is None or record.offset < limit:
                        yield what, record


class Index:
    """Of a segment, what fates need."""

    def __init__(self, segment):
        self.markers = segment.markers


def list_backups(path):
    """The backups at a path: itself, or the folders in it."""
    if os.path.isfile(os.path.join(path, "repository.json")):
        return [path]
    try:
        names = sorted(os.listdir(path))
    except OSError as error:
        raise ReaderError(f"{path} cannot be read: {error}") from None
    return [inner for name in names if os.path.isfile(os.path.join(inner := os.path.join(path, name), "repository.json"))]


def describe(backup):
    """The state, lineage by lineage."""
    state = backup.state.as_json()
    counts = {name: len(entries) for name, entries in state.pop("segments").items()}
    return {"repository": backup.repository} | state | {"live_segments": counts}


class Verify:
    """Reads everything and compares. `problems` says what is wrong, `notes` what is merely worth a word."""

    def __init__(self, path, expect=None):
        self.store, self.problems, self.notes = Store(path), [], []
        self.segments = self.records = 0
        self.named, self.snapshots = set(), []
        try:
            self.backup = Backup(path)
            self.replayed(expect)
        except ReaderError as error:
            # Without a state nobody can say what the backup should hold.
            self.problems.append(str(error))
            return
        for (topic, partition, id), lineage in self.backup.state.lineages():
            self.lineage((topic, partition, id), lineage)
        for object in self.snapshots:
            self.attempt(self.snapshot, object)
        self.orphans()

    def attempt(self, function, *arguments):
        try:
            return function(*arguments)
        except ReaderError as error:
            self.problems.append(str(error))

    def replayed(self, expect):
        """Replays from commit 1 and compares with every checkpoint that a commit names, and with the state reached from one."""
        checkpoints, states, anchors, state = [], {}, {}, State()
        for state, commit in replay(self.store, self.backup.tail, state):
            anchors[state.seq] = state.head
            if commit.checkpoint and commit.checkpoint not in checkpoints:
                checkpoints.append(commit.checkpoint)
            for op in commit.ops:
                if op.value["op"] in ("schemas", "groups", "cluster") and op.value["object"] not in self.snapshots:
                    self.snapshots.append(op.value["object"])
                for entry in op.value.get("segments", []) + op.value.get("added", []):
                    self.named.add(entry["object"])
            if self.store.exists(f"checkpoints/{state.seq:020}/root"):
                states[state.seq] = state.as_json()
        if state.as_json() != self.backup.state.as_json():
            raise Damaged("the checkpoint and the commits give different states")
        for checkpoint in checkpoints:
            seq = checkpoint["seq"]
            if read_checkpoint(self.store, seq, checkpoint["blake3"]).as_json() != states.get(seq):
                raise Damaged(f"checkpoints/{seq:020}/root: is not the state that the commits add up to")
        if expect and (anchors.get(int(expect.split(":")[0])) != expect.split(":")[1]):
            raise Damaged(f"the commit {expect} is not in this backup: it was put back to an older moment, or is another one")

    def lineage(self, place, lineage):
        """Every live segment; transactions and epochs are followed from one segment into the next."""
        before = Follow(lineage.start)
        for entry in lineage.segments():
            segment = self.attempt(self.segment, place, entry, before)
            if segment is None:
                before = Follow(None)
        gaps, at = sorted([(g["first"], g["end"]) for g in lineage.gaps] + [e.reference[:2] for e in lineage.segments()]), lineage.start
        for first, end in gaps:
            if first != at:
                self.problems.append(f"{place}: offsets {at} to {first} are in no segment and in no gap, or in two")
            at = end
        if at != lineage.next:
            self.problems.append(f"{place}: ends at {at}, its position is {lineage.next}")

    def segment(self, place, entry, before):
        segment = self.backup.load(place, entry)
        tally = Tally()
        epochs, opened = [], before.open_at(segment.first)
        for batch in segment.batches(exact=True):
            tally.add(batch)
            if not epochs or epochs[-1][1] != batch.epoch:
                epochs.append((batch.base, batch.epoch))
            if opened is not None:
                follow(opened, batch, tally.marker)
        compare = lambda name, found, said: found == said or self.problems.append(f"{segment.where}: {name} is {found}, not {said}")
        for name, found in tally.entry(entry).items():
            compare(name, found, {**entry.counts, **vars(entry)}[name])
        compare("markers", tally.markers, segment.markers)
        compare("leader epochs", epochs, [tuple(epoch) for epoch in segment.epochs])
        said = [Open(one["producer_id"], one["first_offset"], one["producer_epoch"]) for one in entry.open]
        compare("open transactions in the index", sorted(segment.open), sorted(said))
        if opened is not None:
            compare("open transactions", sorted(opened.values()), sorted(said))
        before.at, before.open = segment.end, {one.producer_id: one for one in said}
        self.segments += 1
        self.records += tally.data_records
        return segment

    def snapshot(self, object):
        data = self.store.get(object["key"])
        if len(data) != object["length"] or digest_of(data) != object["blake3"]:
            raise Damaged(f"{object['key']}: is not what was committed")

    def orphans(self):
        for folder, _, names in os.walk(self.store.path):
            for name in names:
                found = re.search(f"(?:^|^[0-9]{{20}}-){OBJECT}$", name)
                if found and name[found.start(1) :] not in self.named:
                    self.notes.append(f"{os.path.relpath(os.path.join(folder, name), self.store.path)}: named by no commit")


class Follow:
    """The transactions open where a segment ended, unknown where something before the next one is gone."""

    def __init__(self, at):
        self.at, self.open = at, {}

    def open_at(self, offset):
        return dict(self.open) if self.at == offset else None


def follow(opened, batch, marker):
    if marker:
        opened.pop(marker.producer_id, None)
    elif batch.transactional and not batch.control and batch.producer_id not in opened:
        opened[batch.producer_id] = Open(batch.producer_id, batch.base, batch.producer_epoch)


class Tally:
    """What an entry should say about batches."""

    def __init__(self):
        self.batches = self.control = self.all_records = self.data_records = self.largest = self.stamped = self.holes = 0
        self.bytes, self.markers, self.marker, self.last = {}, [], None, None
        self.least, self.greatest = None, -1
        self.batch_digest = self.content_digest = digests.NOTHING

    def add(self, batch):
        records = batch.records()
        self.marker = batch.marker() if batch.control else None
        self.batches, self.control, self.all_records = self.batches + 1, self.control + batch.control, self.all_records + batch.count
        self.largest = max(self.largest, batch.size)
        self.bytes[CODECS[batch.codec]] = self.bytes.get(CODECS[batch.codec], 0) + batch.size
        self.batch_digest = digests.add(self.batch_digest, batch.encoding())
        self.last = {"offset": batch.base, "epoch": batch.epoch, "crc": batch.crc}
        if self.marker:
            self.markers.append(self.marker)
        if not batch.control and records:
            if batch.log_append_time:
                self.stamped += batch.size
            elif batch.holes:
                self.holes += batch.size
            self.data_records += batch.count
            self.greatest = max(self.greatest, batch.max_timestamp)
            least = min(record.timestamp for record in records)
            self.least = least if self.least is None else min(least, self.least)
            for record in records:
                self.content_digest = segments.content_digest(self.content_digest, record)

    def entry(self, entry):
        found = {
            "batches": self.batches, "control": self.control, "records": self.all_records, "bytes": self.bytes,
            "missing": entry.end - entry.first - self.all_records, "log_append_time": self.stamped, "holes": self.holes,
            "largest_batch": self.largest, "max_timestamp": self.greatest, "batch_digest": self.batch_digest, "last": self.last,
        }  # fmt: skip
        if entry.min_exact:
            found["min_timestamp"] = -1 if self.least is None else self.least
        if entry.content_digest:
            found["content_digest"] = self.content_digest
        return found


def base64_or_null(value):
    return None if value is None else base64.b64encode(value).decode()


def show_record(record):
    headers = [[base64_or_null(name), base64_or_null(value)] for name, value in record.headers]
    return {"offset": record.offset, "timestamp": record.timestamp, "key": base64_or_null(record.key), "value": base64_or_null(record.value), "headers": headers}


DELIVERED = {"read_committed": ("plain", "committed"), "read_uncommitted": ("plain", "committed", "aborted", "open")}


def run(arguments):
    if arguments.command == "list":
        for path in list_backups(arguments.path):
            backup = Backup(path)
            records = sum(lineage.totals()["records"] for _, lineage in backup.state.lineages())
            row = {"path": path} | backup.repository | {"tail": backup.tail, "head": backup.state.head}
            print(json.dumps(row | {"partitions": len(backup.state.partitions), "records": records}))
    elif arguments.command == "describe":
        print(json.dumps(describe(Backup(arguments.path)), indent=2))
    elif arguments.command == "dump":
        delivered = DELIVERED[arguments.isolation]
        for fate, record in Backup(arguments.path).records(arguments.topic, arguments.partition, arguments.lineage):
            if fate in delivered:
                print(json.dumps(show_record(record)))
    else:
        verify = Verify(arguments.path, arguments.expect)
        for note in verify.notes:
            print(f"note: {note}", file=sys.stderr)
        for problem in verify.problems:
            print(f"error: {problem}", file=sys.stderr)
        print(json.dumps({"ok": not verify.problems, "segments": verify.segments, "records": verify.records, "problems": len(verify.problems)}))
        return 1 if verify.problems else 0
    return 0


def anchor(text):
    if not re.fullmatch("[0-9]{1,19}:[0-9a-f]{64}", text):
        raise argparse.ArgumentTypeError("not of the form SEQ:HASH")
    return text


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Reads backups made by Replevin.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("list", "describe", "dump", "verify"):
        command = commands.add_parser(name)
        command.add_argument("path")
        if name == "dump":
            command.add_argument("topic")
            command.add_argument("partition", type=int)
            command.add_argument("--lineage")
            command.add_argument("--isolation", choices=DELIVERED, default="read_committed")
        if name == "verify":
            command.add_argument("--expect", type=anchor)
    try:
        return run(parser.parse_args(arguments))
    except ReaderError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
