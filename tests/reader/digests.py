"""Batch and content digests (FORMAT.md, section 9): pairs of a count and a number modulo 2^127 - 1."""

import re

import blake3

from documents import Damaged

P = 2**127 - 1
NOTHING = (0, 0)


def item(encoding):
    return int.from_bytes(blake3.blake3(encoding).digest(length=16), "little") % P


R = item(b"replevin content digest 1")


def add(digest, encoding):
    """The digest of one more item."""
    return digest[0] + 1, (digest[1] * R + item(encoding)) % P


def combine(digests):
    """The digest of several sequences, one after the other."""
    count, value = NOTHING
    for n, other in digests:
        count, value = count + n, (value * pow(R, n, P) + other) % P
    return count, value


def parse(text, where):
    found = re.fullmatch("(0|[1-9][0-9]{0,19}):([0-9a-f]{32})", text)
    if not found or int(found[2], 16) >= P:
        raise Damaged(f"{where}: {text!r} is no digest")
    return int(found[1]), int(found[2], 16)


def show(digest):
    return f"{digest[0]}:{digest[1]:032x}"
