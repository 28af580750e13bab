"""Commits, the state that they add up to, and checkpoints (FORMAT.md, sections 4 and 6 to 8).

Two ways lead to the state: `replay` from commit 1, and `from_checkpoint`. They must agree. Not here: segments' bytes.
"""

import re

import digests
from documents import I64, NO_HASH, Damaged, Fields, Refused, read_document

LINEAGE = INCARNATION = "[0-9a-f]{16}"
TOPIC = r"(?!\.{1,2}$)[a-zA-Z0-9._-]{1,249}"
UUID = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
OBJECT = r"([0-9a-f]{16})-([0-9]{6}|[1-9][0-9]{6,})\.(seg|pack)"
I32_MAX = 2**31 - 1
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
LINEAGE_REASONS = ("first", "recreated", "truncated")
GAP_REASONS = ("retention", "vanished", "compacted", "pruned")


def commit_key(seq):
    return f"commits/{seq:020}"


def segment_key(place, first, object):
    """The key of the object of a segment of `place`: topic, partition, lineage."""
    if object.endswith(".pack"):
        return f"packs/{object}"
    topic, partition, lineage = place
    return f"kafka/{topic}/{partition}/{lineage}/{first:020}-{object}"


def read_place(fields):
    return fields.match("topic", TOPIC), fields.int("partition", low=-(2**31), high=I32_MAX), fields.match("lineage", LINEAGE)


def read_last(fields):
    last = fields.fields("last", None)
    return last and {"offset": last.int("offset", low=I64[0]), "epoch": last.int("epoch", low=-(2**31), high=I32_MAX), "crc": last.int("crc", high=2**32 - 1)}


def read_open(fields):
    return [
        {
            "producer_id": item.int("producer_id", low=I64[0]),
            "producer_epoch": item.int("producer_epoch", low=-(2**15), high=2**15 - 1),
            "first_offset": item.int("first_offset", low=I64[0]),
        }
        for item in fields.list("open", [])
    ]


def read_reference(fields, name):
    object = fields.fields(name)
    return {"key": object.str("key"), "length": object.int("length"), "blake3": object.hash("blake3")}


def read_removed(fields, name="removed", default=None):
    items = fields.list(name) if default is None else fields.list(name, default)
    return [(item.int("first", low=I64[0]), item.int("end", low=I64[0]), item.match("object", OBJECT)) for item in items]


class Entry:
    """What a commit says about a segment."""

    def __init__(self, fields):
        self.raw = fields.value
        self.where = fields.where
        self.first, self.end = fields.int("first", low=I64[0]), fields.int("end", low=I64[0])
        self.object = fields.match("object", OBJECT)
        self.position, self.length = fields.int("position", 0, high=2**64 - 1), fields.int("length", high=2**64 - 1)
        self.blake3 = fields.hash("blake3")
        self.counts = {name: fields.int(name, *default) for name, default in ENTRY_COUNTS.items()}
        bytes = fields.fields("bytes")
        self.bytes = {codec: n for codec in CODECS if (n := bytes.int(codec, 0))}
        self.min_timestamp, self.max_timestamp = fields.int("min_timestamp", low=I64[0]), fields.int("max_timestamp", low=I64[0])
        self.min_exact = fields.get("min_exact", bool, False)
        self.batch_digest = digests.parse(fields.str("batch_digest"), fields.where)
        content = fields.str("content_digest", None)
        self.content_digest = content and digests.parse(content, fields.where)
        self.last, self.open = read_last(fields), read_open(fields)

    @property
    def reference(self):
        return self.first, self.end, self.object

    def check(self, state, commit, place):
        """Rule 6."""
        key = segment_key(place, self.first, self.object)
        refuse = lambda why: Refused(f"{self.where}: segment {key} {why}")
        if not 0 <= self.first < self.end:
            raise refuse(f"has the range {self.first} to {self.end}")
        if self.counts["records"] + self.counts["missing"] != self.end - self.first:
            raise refuse("has records and missing offsets that are not its range")
        if self.last and not self.first <= self.last["offset"] < self.end:
            raise refuse("ends with a batch outside of its range")
        if self.length == 0 or self.position + self.length >= 2**64:
            raise refuse("is empty or too long")
        if re.fullmatch(OBJECT, self.object)[1] != commit.incarnation:
            raise refuse("is of another incarnation than the commit")
        if self.object.endswith(".seg") and key in state.dropped:
            raise refuse("was dropped")


ENTRY_COUNTS = {"batches": (), "control": (0,), "records": (), "missing": (0,), "log_append_time": (0,), "holes": (0,), "largest_batch": ()}


class Lineage:
    """One lineage: its head, and its live segments by first offset."""

    def __init__(self, fields, id_member="lineage"):
        self.id = fields.match(id_member, LINEAGE)
        self.cluster_id, self.topic_id = fields.str("cluster_id"), fields.match("topic_id", UUID)
        self.reason = fields.word("reason", LINEAGE_REASONS)
        self.start = fields.int("start", low=I64[0])
        fork = fields.fields("fork", None)
        self.fork = fork and {
            "parent": fork.match("parent", LINEAGE),
            "offset": fork.int("offset", low=I64[0]),
            "epoch": fork.int("epoch", low=-(2**31), high=I32_MAX),
        }
        self.next, self.last, self.open, self.gaps, self.live = self.start, None, [], [], {}

    def segments(self):
        return [self.live[first] for first in sorted(self.live)]

    def take(self, removed, where):
        """Rule 8: the live segments that `removed` refers to."""
        if not removed:
            raise Refused(f"{where}: removes nothing")
        for before, after in zip(removed, removed[1:]):
            if before[0] >= after[0]:
                raise Refused(f"{where}: references are not in offset order")
        for reference in removed:
            if (entry := self.live.get(reference[0])) is None or entry.reference != reference:
                raise Refused(f"{where}: {reference} is not a live segment")
        return [self.live.pop(first) for first, _, _ in removed]

    def add_gap(self, first, end, reason):
        """Gaps stay in offset order; those of one reason that touch are one."""
        self.gaps = sorted(self.gaps + [{"first": first, "end": end, "reason": reason}], key=lambda gap: gap["first"])
        joined = []
        for gap in self.gaps:
            if joined and gap["reason"] == joined[-1]["reason"] and joined[-1]["end"] == gap["first"]:
                joined[-1] = {**joined[-1], "end": gap["end"]}
            else:
                joined.append(gap)
        self.gaps = joined

    def totals(self):
        segments = self.segments()
        data = [entry for entry in segments if entry.counts["batches"] > entry.counts["control"]]
        sums = {name: sum(entry.counts[name] for entry in segments) for name in ENTRY_COUNTS}
        sums["largest_batch"] = max((entry.counts["largest_batch"] for entry in segments), default=0)
        bytes = {codec: n for codec in CODECS if (n := sum(entry.bytes.get(codec, 0) for entry in segments))}
        return sums | {
            "segments": len(segments),
            "stored": sum(entry.length for entry in segments),
            "bytes": bytes,
            "min_timestamp": min((entry.min_timestamp for entry in data), default=None),
            "max_timestamp": max((entry.max_timestamp for entry in data), default=None),
            "first_offset": segments[0].first if segments else None,
        }

    def as_json(self):
        value = {"id": self.id, "cluster_id": self.cluster_id, "topic_id": self.topic_id, "reason": self.reason, "start": self.start}
        value |= {"next": self.next, "totals": self.totals()}
        optional = {"fork": self.fork, "last": self.last, "open": self.open, "gaps": self.gaps}
        return value | {name: member for name, member in optional.items() if member}


class Commit:
    """One commit, parsed as far as its own members; ops are parsed when they are applied."""

    def __init__(self, fields, hash):
        self.where, self.hash = fields.where, hash
        self.seq, self.previous = fields.int("seq"), fields.hash("previous")
        self.incarnation = fields.match("incarnation", INCARNATION)
        fields.int("time_ms", low=I64[0]), fields.str("software")
        checkpoint = fields.fields("checkpoint", None)
        self.checkpoint = checkpoint and {"seq": checkpoint.int("seq"), "blake3": checkpoint.hash("blake3")}
        self.ops = fields.list("ops")


def read_commit(store, seq):
    commit = Commit(*read_document(store, commit_key(seq), b"CMIT"))
    if commit.seq != seq:
        raise Damaged(f"{commit.where}: says that it is commit {commit.seq}")
    return commit


class State:
    """What all commits up to `seq` add up to."""

    def __init__(self):
        self.seq, self.head, self.checkpoint, self.writer = 0, NO_HASH, None, None
        self.retired, self.dropped, self.partitions = set(), {}, {}
        self.schemas = self.groups = self.cluster = None

    def lineages(self):
        """Every lineage with its place, in the order of topic, partition and age."""
        for (topic, partition), lineages in sorted(self.partitions.items()):
            for lineage in lineages:
                yield (topic, partition, lineage.id), lineage

    def apply(self, commit):
        """Makes true what a commit says, or raises Refused, after which the state is not to be used."""
        if commit.seq != self.seq + 1 or commit.previous != self.head:
            raise Refused(f"{commit.where}: does not follow commit {self.seq} with hash {self.head}")
        if commit.incarnation in self.retired:
            raise Refused(f"{commit.where}: by the retired incarnation {commit.incarnation}")
        if commit.checkpoint:
            if commit.checkpoint["seq"] >= commit.seq:
                raise Refused(f"{commit.where}: names checkpoint {commit.checkpoint['seq']}")
            if self.checkpoint is None or commit.checkpoint["seq"] >= self.checkpoint["seq"]:
                self.checkpoint = commit.checkpoint
        for fields in commit.ops:
            OPS[fields.word("op", OPS)](self, commit, fields)
        self.seq, self.head = commit.seq, commit.hash

    def _lineage(self, fields, current):
        """Rules 5 and 8: the lineage that an op is about."""
        topic, partition, id = place = read_place(fields)
        found = [lineage for lineage in self.partitions.get((topic, partition), []) if lineage.id == id]
        if not found:
            raise Refused(f"{fields.where}: lineage {id} of {topic}-{partition} is not known")
        if current and self.partitions[topic, partition][-1] is not found[0]:
            raise Refused(f"{fields.where}: lineage {id} of {topic}-{partition} is superseded")
        return place, found[0]

    def _entries(self, commit, fields, name, place):
        entries = [Entry(item) for item in fields.list(name)]
        for entry in entries:
            entry.check(self, commit, place)
        return entries

    def _op_writer(self, commit, fields):
        self.writer = commit.incarnation

    def _op_lineage(self, commit, fields):
        topic, partition, id = read_place(fields)
        known = self.partitions.get((topic, partition), [])
        new = Lineage(fields)
        refuse = lambda why: Refused(f"{fields.where}: lineage {id} of {topic}-{partition} {why}")
        if partition < 0 or new.start < 0:
            raise refuse("has a negative partition or start")
        if any(lineage.id == id for lineage in known):
            raise refuse("is there already")
        current = known[-1].id if known else None
        if (after := fields.match("after", LINEAGE, None)) != current:
            raise refuse(f"follows {after}, but the partition has {current}")
        if (new.reason == "first") != (not known):
            raise refuse(f"begins for the reason {new.reason!r} after {len(known)} others")
        if new.fork and new.reason != "truncated":
            raise refuse("has a fork without truncation")
        if new.fork:
            parent = next((lineage for lineage in known if lineage.id == new.fork["parent"]), None)
            if parent is None:
                raise refuse("has an unknown parent")
            if not parent.start <= new.fork["offset"] <= parent.next or new.fork["offset"] != new.start:
                raise refuse("leaves its parent where it does not begin, or where the parent was not")
        self.partitions.setdefault((topic, partition), []).append(new)

    def _op_add(self, commit, fields):
        place, lineage = self._lineage(fields, current=True)
        entries = self._entries(commit, fields, "segments", place)
        if not entries:
            raise Refused(f"{fields.where}: adds nothing")
        for entry in entries:
            if entry.first != lineage.next:
                raise Refused(f"{fields.where}: a segment begins at {entry.first}, the position is {lineage.next}")
            lineage.live[entry.first] = entry
            lineage.next, lineage.open, lineage.last = entry.end, entry.open, entry.last or lineage.last

    def _op_gap(self, commit, fields):
        _, lineage = self._lineage(fields, current=True)
        gap = fields.fields("gap")
        first, end, reason = gap.int("first", low=I64[0]), gap.int("end", low=I64[0]), gap.word("reason", GAP_REASONS)
        if first != lineage.next or end <= first or reason == "pruned":
            raise Refused(f"{fields.where}: gap {first} to {end}, {reason}, where the position is {lineage.next}")
        lineage.add_gap(first, end, reason)
        lineage.next = end

    def _drop(self, commit, place, entries):
        for entry in entries:
            self.dropped[segment_key(place, entry.first, entry.object)] = commit.seq

    def _op_replace(self, commit, fields):
        place, lineage = self._lineage(fields, current=False)
        added = self._entries(commit, fields, "added", place)
        removed = lineage.take(read_removed(fields), fields.where)
        for side in (removed, added):
            if any(before.end != after.first for before, after in zip(side, side[1:])):
                raise Refused(f"{fields.where}: segments do not continue each other")
        if not added or (removed[0].first, removed[-1].end) != (added[0].first, added[-1].end):
            raise Refused(f"{fields.where}: other ranges than those of the removed segments")
        if sum(entry.counts["records"] for entry in removed) != sum(entry.counts["records"] for entry in added):
            raise Refused(f"{fields.where}: other numbers of records than those of the removed segments")
        same = digests.combine(e.batch_digest for e in removed) == digests.combine(e.batch_digest for e in added)
        if not same and all(entry.content_digest for entry in removed + added):
            same = digests.combine(e.content_digest for e in removed) == digests.combine(e.content_digest for e in added)
        if not same:
            raise Refused(f"{fields.where}: digests other than those of the removed segments")
        self._drop(commit, place, removed)
        lineage.live |= {entry.first: entry for entry in added}

    def _op_drop(self, commit, fields):
        place, lineage = self._lineage(fields, current=False)
        removed = lineage.take(read_removed(fields), fields.where)
        self._drop(commit, place, removed)
        for entry in removed:
            lineage.add_gap(entry.first, entry.end, "pruned")

    def _op_retire(self, commit, fields):
        if (incarnation := fields.match("incarnation", INCARNATION)) == commit.incarnation:
            raise Refused(f"{fields.where}: an incarnation retires itself")
        self.retired.add(incarnation)

    def _op_deleted(self, commit, fields):
        for key in fields.strings("objects"):
            if self.dropped.get(key, commit.seq) == commit.seq:
                raise Refused(f"{fields.where}: {key!r} was not dropped before this commit")
            if key.startswith("packs/") and key.removeprefix("packs/").split("-")[0] not in self.retired:
                raise Refused(f"{fields.where}: the writer of {key!r} is not retired")
            del self.dropped[key]

    def _op_schemas(self, commit, fields):
        object, covers = read_reference(fields, "object"), fields.int("covers")
        if covers >= commit.seq or not object["key"].startswith("schema-registry/"):
            raise Refused(f"{fields.where}: {object['key']!r} cannot cover commit {covers}")
        if self.schemas and covers < self.schemas[1]:
            raise Refused(f"{fields.where}: covers commit {covers}, and {self.schemas[1]} was covered before")
        self.schemas = [object, covers]

    def _snapshot(self, kind, commit, fields):
        object = read_reference(fields, "object")
        if not re.fullmatch(rf"{kind}/[0-9]{{20}}-{commit.incarnation}\.json", object["key"]):
            raise Refused(f"{fields.where}: {object['key']!r} is no snapshot of {kind} by this incarnation")
        setattr(self, kind, object)

    def _op_groups(self, commit, fields):
        self._snapshot("groups", commit, fields)

    def _op_cluster(self, commit, fields):
        self._snapshot("cluster", commit, fields)

    def as_json(self):
        """The state as the golden archive writes it: without what is absent, and each lineage's live segments apart."""
        value = {"seq": self.seq, "head": self.head}
        for name in ("checkpoint", "writer", "schemas", "groups", "cluster", "dropped"):
            if member := getattr(self, name):
                value[name] = member
        if self.retired:
            value["retired"] = sorted(self.retired)
        partitions, segments = {}, {}
        for (topic, partition, id), lineage in self.lineages():
            partitions.setdefault(f"{topic}-{partition}", {"lineages": []})["lineages"].append(lineage.as_json())
            segments[f"{topic}-{partition}/{id}"] = [entry.raw for entry in lineage.segments()]
        return value | {"partitions": partitions, "segments": segments}


OPS = {name[4:]: function for name, function in vars(State).items() if name.startswith("_op_")}


def find_tail(store):
    """The newest commit's seq, 0 where there is none: found by probes, then compared with what is listed."""
    known, probe = 0, 1
    while store.exists(commit_key(probe)):
        known, probe = probe, probe * 4
    while probe - known > 1:
        middle = (known + probe) // 2
        known, probe = (middle, probe) if store.exists(commit_key(middle)) else (known, middle)
    while store.exists(commit_key(known + 1)):
        known += 1
    later = [name for name in store.names("commits") if re.fullmatch("[0-9]{20}", name) and int(name) > known]
    if later:
        raise Damaged(f"commits/{min(later)} is there, {commit_key(known + 1)} is not")
    return known


def replay(store, tail, state=None):
    """The states after each commit up to `tail`, each with its commit; one object, which changes."""
    state = state or State()
    while state.seq < tail:
        commit = read_commit(store, state.seq + 1)
        state.apply(commit)
        yield state, commit


def read_page(store, fields, name):
    reference = fields.fields(name)
    seq, hash = reference.int("seq"), reference.hash("blake3")
    return read_document(store, f"checkpoints/{seq:020}/{hash[:32]}", b"PAGE", hash)[0]


def read_checkpoint(store, seq, hash):
    """The state that a checkpoint holds, with the segments of every lineage."""
    root = read_document(store, f"checkpoints/{seq:020}/root", b"CKPT", hash)[0]
    state = State()
    if root.int("seq") != seq:
        raise Damaged(f"{root.where}: says that it is of commit {root.int('seq')}")
    state.seq, state.head, state.writer = seq, root.hash("head"), root.match("writer", INCARNATION, None)
    checkpoint = root.fields("checkpoint", None)
    state.checkpoint = checkpoint and {"seq": checkpoint.int("seq"), "blake3": checkpoint.hash("blake3")}
    state.retired = set(root.strings("retired", []))
    if pair := root.get("schemas", list, None):
        both = Fields(dict(zip(("object", "covers"), pair)), f"{root.where}.schemas")
        state.schemas = [read_reference(both, "object"), both.int("covers")]
    for kind in ("groups", "cluster"):
        if root.fields(kind, None):
            setattr(state, kind, read_reference(root, kind))
    dropped = root.fields("dropped", None)
    state.dropped = {key: dropped.int(key) for key in dropped.value} if dropped else {}
    totals = {}
    for item in root.list("positions"):
        read_positions(item, read_page(store, item, "page"), state, totals)
    for run in root.list("runs"):
        read_run(store, run, state)
    for place, lineage in state.lineages():
        if lineage.totals() != totals[place]:
            raise Damaged(f"{root.where}: segments of {place} do not add up: {lineage.totals()} is not {totals[place]}")
        segments = lineage.segments()
        if any(before.end > after.first for before, after in zip(segments, segments[1:])):
            raise Damaged(f"{root.where}: segments of {place} overlap")
    return state


def read_positions(item, page, state, totals):
    topics = page.list("topics")
    names = [topic.match("topic", TOPIC) for topic in topics]
    if names != sorted(set(names)) or not names or (names[0], names[-1]) != (item.str("first"), item.str("last")):
        raise Damaged(f"{page.where}: topics are out of order, or others than the root says")
    count = 0
    for name, topic in zip(names, topics):
        partitions = topic.fields("partitions")
        for number in partitions.value:
            if not re.fullmatch("0|[1-9][0-9]*", number) or (name, int(number)) in state.partitions:
                raise Damaged(f"{page.where}: partition {number!r} of {name} is no number or occurs twice")
            lineages = []
            for fields in partitions.fields(number).list("lineages"):
                lineage = Lineage(fields, "id")
                lineage.next, lineage.last, lineage.open = fields.int("next"), read_last(fields), read_open(fields)
                lineage.gaps = [
                    {"first": gap.int("first"), "end": gap.int("end"), "reason": gap.word("reason", GAP_REASONS)}
                    for gap in fields.list("gaps", [])
                ]
                lineages.append(lineage)
                totals[name, int(number), lineage.id] = read_totals(fields.fields("totals"))
            state.partitions[name, int(number)] = lineages
            count += 1
    if count != item.int("partitions"):
        raise Damaged(f"{page.where}: {count} partitions, not the {item.int('partitions')} that the root says")


def read_totals(fields):
    value = {name: fields.int(name, 0) for name in (*ENTRY_COUNTS, "segments", "stored")}
    bytes = fields.fields("bytes", None)
    value["bytes"] = {codec: n for codec in CODECS if bytes and (n := bytes.int(codec, 0))}
    for name in ("min_timestamp", "max_timestamp", "first_offset"):
        value[name] = None if fields.value.get(name) is None else fields.int(name, low=I64[0])
    return value


def read_run(store, run, state):
    index, added = read_page(store, run, "index"), 0
    for item in index.list("pages"):
        page = read_page(store, item, "page")
        bounds = [(b.str("topic"), b.int("partition")) for b in (item.fields("first"), item.fields("last"))]
        before = None
        for change in page.list("changes"):
            topic, partition, id = place = read_place(change)
            if not bounds[0] <= place[:2] <= bounds[1] or (before is not None and place < before):
                raise Damaged(f"{page.where}: changes are out of order, or outside of the page")
            before = place
            lineage = next((one for one in state.partitions.get(place[:2], []) if one.id == id), None)
            if lineage is None:
                raise Damaged(f"{page.where}: lineage {id} of {topic}-{partition} is not in the checkpoint's positions")
            if removed := read_removed(change, default=[]):
                try:
                    lineage.take(removed, page.where)
                except Refused as error:
                    raise Damaged(str(error)) from None
            for entry in map(Entry, change.list("added", [])):
                if entry.first in lineage.live:
                    raise Damaged(f"{page.where}: two segments of {topic}-{partition} begin at {entry.first}")
                lineage.live[entry.first] = entry
                added += 1
    if added != run.int("segments"):
        raise Damaged(f"{index.where}: {added} segments, not the {run.int('segments')} that the root says")


def from_checkpoint(store, tail):
    """The state after commit `tail`, from the checkpoint that it names; from commit 1 where it names none."""
    state = State()
    if tail and (named := read_commit(store, tail).checkpoint):
        state = read_checkpoint(store, named["seq"], named["blake3"])
    for state, _ in replay(store, tail, state):
        pass
    return state
