"""A recording as older versions would have it: the same calls, with the fields that they know.

From BuildKit 0.9 (2021) to 0.32 the messages that the door reads or keeps have only grown, no field
has changed its number: `WorkerRecord` (of `ListWorkers`, and of `LLBBridge/Ping`) got its
`BuildkitVersion` (5) in 0.11 and its `CDIDevices` (6) in 0.20; `BuildkitVersion`, which is also all
that `Info` answers (1), its `dockerfileVersion` (4) later; `Info` itself came in 0.11.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from replaykit.recording import Event, Recording

CONTROL = "/moby.buildkit.v1.Control/"
LIST, INFO = f"{CONTROL}ListWorkers", f"{CONTROL}Info"
PING = "/moby.buildkit.v1.frontend.LLBBridge/Ping"

Place = tuple[int, ...]  # numbers of fields, from the message inwards
Known = Mapping[str, tuple[Place, ...]]  # of a method: the fields that its answer does not have

VERSIONS: Mapping[str, Known] = {
    "0.12": {LIST: ((1, 5, 4), (1, 6)), INFO: ((1, 4),), PING: ((3, 5, 4), (3, 6))},
    "0.9": {LIST: ((1, 5), (1, 6)), PING: ((3, 5), (3, 6))},
}
_PREFIX = 5  # octets of a gRPC message before protobuf's


def as_of(version: str, recording: Recording) -> Recording:
    """All that the worker answers, without what it did not know then."""
    methods = {(each.connection, each.stream): each.path for each in recording.calls()}

    def older(event: Event) -> Event:
        absent = VERSIONS[version].get(methods.get((event.connection, event.stream), ""))
        if event.kind != "message" or event.by != "worker" or absent is None:
            return event
        left = without(event.octets[_PREFIX:], *absent)
        return replace(event, octets=b"\0" + len(left).to_bytes(4, "big") + left)

    return Recording(tuple(map(older, recording.events)))


def without(message: bytes, *absent: Place) -> bytes:
    """A protobuf message without these fields."""
    left = bytearray()
    for number, field, value in _fields(message):
        if (number,) in absent:
            continue
        inner = tuple(path[1:] for path in absent if path[0] == number)
        if inner:
            assert value is not None, "a message lies there"
            shorter = without(value, *inner)
            left += _number(number << 3 | 2) + _number(len(shorter)) + shorter
        else:
            left += field
    return bytes(left)


def fields(message: bytes) -> set[int]:
    """The numbers of those that it has."""
    return {number for number, *_ in _fields(message)}


def inner(message: bytes, number: int) -> list[bytes]:
    """The messages in it under this number."""
    return [value for found, _, value in _fields(message) if found == number and value is not None]


def _fields(message: bytes) -> Iterator[tuple[int, bytes, bytes | None]]:
    """Of each: its number, all its octets, and its value where that has a length."""
    at = 0
    while at < len(message):
        begin = at
        key, at = _read(message, at)
        value = None
        if key & 7 == 2:
            size, at = _read(message, at)
            value = message[at : at + size]
            at += size
        elif key & 7 == 0:
            _, at = _read(message, at)
        else:
            at += {1: 8, 5: 4}[key & 7]
        yield key >> 3, message[begin:at], value


def _read(message: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        octet = message[at]
        number |= (octet & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if octet < 0x80:
            return number, at


def _number(value: int) -> bytes:
    octets = bytearray()
    while value > 0x7F:
        octets.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*octets, value))
