"""Requests as real clients write them, ever new ones.

`recorded.json` has header blocks, in hex, as they arrived at a door whose clients had acknowledged
HEADER_TABLE_SIZE=0: of h2load 1.52, Bazel 2.1 (a build of 30 actions against a cache), grpc-go
1.33 (the same as BuildKit: Solve, Status) and grpcio 1.85. What such a client changes
from call to call is changed here too: as many characters of the same kind, in the same coding.
"""

from __future__ import annotations

import json
import random
import re
import string
from collections.abc import Iterator
from pathlib import Path

from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH

from torpor_router.h2.blocks import HeaderLimits, split

RECORDED: dict[str, list[str]] = json.loads(Path(__file__).with_name("recorded.json").read_text())
KINDS = tuple(RECORDED)

_VARIES = re.compile(rb"traceparent|grpc-timeout|x-request-id|.*-buildref|.*-bin")
_QUERY = re.compile(rb"\?([0-9]+)")
_ALPHABETS = tuple(
    each.encode()
    for each in (
        string.digits,
        "0123456789abcdef",
        string.ascii_lowercase,
        string.ascii_letters + string.digits,
    )
)
_ENCODER = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)
_LIMITS = HeaderLimits(1 << 20, 1_000)
_KEPT = 40  # characters at a long value's start that stay: a tool's name, an invocation's id


def requests(kind: str, *, differ: bool, seed: int = 1) -> Iterator[bytes]:
    """Header blocks of one client, without end; the same for the same `seed`."""
    dice = random.Random(seed)
    blocks = [bytes.fromhex(each) for each in RECORDED[kind]]
    while True:
        for block in blocks if differ else blocks[:1]:
            yield _another(block, dice) if differ else block


def _another(block: bytes, dice: random.Random) -> bytes:
    parts = []
    for name, value, wire, _ in split(block, _LIMITS, {}):
        if _VARIES.fullmatch(name):
            kept = _KEPT if len(value) > 2 * _KEPT else 3 if name == b"traceparent" else 0
            parts.append(_with(wire, value, value[:kept] + _changed(value[kept:], dice)))
        elif name == b":path" and (query := _QUERY.search(value)):
            parts.append(_with(wire, value, value[: query.start(1)] + _changed(query[1], dice)))
        else:
            parts.append(wire)
    return b"".join(parts)


def _changed(value: bytes, dice: random.Random) -> bytes:
    """Other letters and digits; a unit at the end (of a timeout) stays, as marks do."""
    end = b""
    if value[:-1].isdigit() and not value.isdigit():
        value, end = value[:-1], value[-1:]
    drawn = set(value) - set(b"-+/=._")
    alphabet = next((each for each in _ALPHABETS if drawn <= set(each)), _ALPHABETS[-1])
    return bytes(dice.choice(alphabet) if each in alphabet else each for each in value) + end


def _with(wire: bytes, old: bytes, new: bytes) -> bytes:
    """The field `wire` with another value, coded as the old one was."""
    raw = wire.endswith(old)
    before = _string(old, huffman=not raw)
    assert wire.endswith(before)
    return wire[: -len(before)] + _string(new, huffman=not raw)


def _string(value: bytes, *, huffman: bool) -> bytes:
    octets = _ENCODER.encode(value) if huffman else value
    size, first = len(octets), 0x80 if huffman else 0
    if size < 0x7F:
        return bytes((first | size,)) + octets
    rest = bytearray((first | 0x7F,))
    size -= 0x7F
    while size >= 0x80:
        rest.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes((*rest, size)) + octets
