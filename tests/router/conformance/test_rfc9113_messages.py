"""RFC 9113 section 8: what a request may be. A malformed one never reaches a worker."""

from __future__ import annotations

import pytest
from doorkit.frames import fields, message

from torpor_router.h2 import wire
from torpor_router.h2.wire import END_STREAM, ErrorCode, Kind, frame

NEW = 3  # the stream that the fixture leaves as the next one
SERVED = pytest.mark.parametrize("stage", ["waiting", "paired"])
PSEUDO = 4  # of the fields of a request, the first so many are pseudo-header fields
METHOD, SCHEME, PATH, AUTHORITY = fields()[:PSEUDO]


def case(section, what, *pairs):
    return pytest.param(pairs, id=f"{section} {what}")


def with_(*more):
    return (*fields(), *more)


def but(name, *instead, of=None):
    """A request with another field, or none, in a field's place."""
    of = of or fields()
    return tuple(each for pair in of for each in (instead if pair[0] == name else (pair,)))


MALFORMED = [
    case("8.2", "an upper-case name", *with_((b"X-Mixed", b"1"))),
    case("8.2.1", "a space in a name", *with_((b"x y", b"1"))),
    case("8.2.1", "an empty name", *with_((b"", b"1"))),
    case("8.2.1", "a colon in a name", *with_((b"x:y", b"1"))),
    case("8.2.1", "an octet over ASCII in a name", *with_((b"x\xc3", b"1"))),
    case("8.2.1", "NUL in a value", *with_((b"x", b"a\0b"))),
    case("8.2.1", "LF in a value", *with_((b"x", b"a\nb"))),
    case("8.2.1", "CR in a value", *with_((b"x", b"a\rb"))),
    case("8.2.1", "a space before a value", *with_((b"x", b" a"))),
    case("8.2.1", "a tab behind a value", *with_((b"x", b"a\t"))),
    case("8.2.2", "connection", *with_((b"connection", b"keep-alive"))),
    case("8.2.2", "keep-alive", *with_((b"keep-alive", b"1"))),
    case("8.2.2", "proxy-connection", *with_((b"proxy-connection", b"close"))),
    case("8.2.2", "transfer-encoding", *with_((b"transfer-encoding", b"chunked"))),
    case("8.2.2", "upgrade", *with_((b"upgrade", b"h2c"))),
    case("8.2.2", "te of anything but trailers", *but(b"te", (b"te", b"trailers, deflate"))),
    case("8.3", "a pseudo-header behind a field", *fields()[1:], METHOD),
    case("8.3", "an unknown pseudo-header", (b":x", b"1"), *fields()),
    case("8.3", "a response's pseudo-header", (b":status", b"200"), *fields()),
    case("8.3.1", "no :method", *but(b":method")),
    case("8.3.1", "no :scheme", *but(b":scheme")),
    case("8.3.1", "no :path", *but(b":path")),
    case("8.3.1", "an empty :path", *but(b":path", (b":path", b""))),
    case("8.3.1", ":method twice", METHOD, *fields()),
    case("8.3.1", ":scheme twice", SCHEME, *fields()),
    case("8.3.1", ":path twice", PATH, *fields()),
    case("8.3.1", ":authority twice", AUTHORITY, *fields()),
    case("8.5", "CONNECT with a :path", *but(b":method", (b":method", b"CONNECT"))),
]


@pytest.mark.parametrize("pairs", MALFORMED)
async def test_is_malformed(client, worker, pairs):
    before = len(worker.calls)
    client.send(client.request(NEW, pairs, end=True))
    assert await client.stream_error(NEW) == ErrorCode.PROTOCOL_ERROR
    await client.alive()
    assert len(worker.calls) == before


@SERVED
async def test_section_8_1_headers_between_without_end_stream(client):
    client.send(client.request(NEW, end=False), client.request(NEW, end=False))
    assert await client.stream_error(NEW) == ErrorCode.PROTOCOL_ERROR
    await client.alive()


@SERVED
async def test_section_8_1_trailers_with_a_pseudo_header(client):
    trailers = wire.headers(NEW, client.block((METHOD,)), end_stream=True)
    client.send(client.request(NEW, end=False), trailers)
    assert await client.stream_error(NEW) == ErrorCode.PROTOCOL_ERROR
    await client.alive()


@pytest.mark.parametrize("stage", ["paired"])
async def test_section_8_1_requests_may_have_trailers(client):
    client.send(client.request(NEW, end=False), frame(Kind.DATA, 0, NEW, message(b"ab")))
    client.send(wire.headers(NEW, client.block(((b"x-checksum", b"1"),)), end_stream=True))
    assert (await client.response(NEW))[b"grpc-status"] == b"0"


@pytest.mark.parametrize("length", [b"0", b"7", b"10000", b"seven"])
@pytest.mark.parametrize("stage", ["paired"])
async def test_section_8_1_1_content_length_is_the_workers_to_check(client, worker, until, length):
    """docs/data-path.md says why. Nothing of it is changed on the way."""
    pairs = (*fields(path=b"/t.T/Up"), (b"content-length", length), (b"x-case", length))
    client.send(client.request(NEW, pairs, end=False))
    client.send(frame(Kind.DATA, END_STREAM, NEW, message(b"ab")))
    await until(lambda: len(worker.calls) == 2)
    assert worker.metadata[-1]["x-case"] == length.decode()


@pytest.mark.parametrize("stage", ["paired"])
async def test_section_8_2_3_cookies_in_pieces_pass_in_pieces(client, worker, until):
    pairs = (*fields(path=b"/t.T/Up"), (b"cookie", b"a=1"), (b"cookie", b"b=2"))
    client.send(client.request(NEW, pairs, end=True))
    await until(lambda: len(worker.calls) == 2)
    assert worker.metadata[-1]["cookie"] in ("b=2", "a=1; b=2")


@SERVED
@pytest.mark.parametrize("value", [b"trailers", b""], ids=["trailers", "none"])
async def test_section_8_2_2_te_may_be_trailers_or_left_out(client, value):
    of = fields(client.satellite)
    pairs = but(b"te", (b"te", value), of=of) if value else but(b"te", of=of)
    client.send(client.request(NEW, pairs, end=False))
    await client.alive()
    assert not client.of(Kind.RST_STREAM)


async def test_section_8_4_the_door_never_pushes(client):
    """Neither side is told that it may, and nobody is told of a server that can."""
    first = client.of(Kind.SETTINGS)[0].payload
    assert b"\0\x02\0\0\0\x01" not in [first[at : at + 6] for at in range(0, len(first), 6)]
    assert not client.of(Kind.PUSH_PROMISE)


async def test_section_8_7_what_was_not_processed_is_marked_so(house, client, worker, stage):
    """A drain: GOAWAY's last stream tells what is safe to send again."""
    drained = house.door.drain(0.2)
    client.send(client.request(NEW, end=True))
    await drained
    said = client.of(Kind.GOAWAY)[0]
    assert wire.u32(said.payload, 4) == ErrorCode.NO_ERROR
    assert wire.u32(said.payload, 0) in ({0} if stage == "waiting" else {1, NEW})
