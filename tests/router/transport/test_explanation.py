"""The little HTTP/2 by which a client is told why its certificate is not believed."""

from __future__ import annotations

import random

import h2.config
import h2.connection
import h2.events
import pytest

from torpor_router.errors import CertificateNotBelieved
from torpor_router.h2 import wire
from torpor_router.h2.wire import ErrorCode, Kind
from torpor_router.transport.explanation import MOST_ANSWERS, Explanation

ERROR = CertificateNotBelieved("it is of another CA")
FIELDS = [(":method", "POST"), (":scheme", "https"), (":path", "/a.B/C"), (":authority", "x")]
HELLO = wire.PREFACE + wire.settings(())


def client():
    made = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None))
    made.initiate_connection()
    return made


def kinds(octets):
    found = []
    while octets:
        word, _, stream = wire.unpack_header(octets)
        found.append((word & 0xFF, stream))
        octets = octets[wire.HEADER_SIZE + (word >> 8) :]
    return found


@pytest.mark.parametrize("seed", range(4))
def test_each_request_is_answered_however_it_is_cut(seed):
    cuts = random.Random(seed)
    own, door = client(), Explanation(ERROR, agreed=True)
    for stream in (1, 3, 5):
        own.send_headers(stream, FIELDS, end_stream=stream == 3)
    own.ping(b"12345678")
    sent, events = own.data_to_send(), []
    while sent:
        size = cuts.randint(1, 40)
        if said := door.feed(sent[:size]):
            events += own.receive_data(said)
        sent = sent[size:]
    answers = [each for each in events if isinstance(each, h2.events.ResponseReceived)]
    refused = [dict(each.headers) for each in answers]
    assert [each[b"grpc-status"] for each in refused] == [b"16"] * 3
    assert all(b"TPR-1126" in each[b"grpc-message"] for each in refused)
    assert [type(each) for each in events].count(h2.events.StreamEnded) == 3
    stopped = {each.stream_id for each in events if isinstance(each, h2.events.StreamReset)}
    assert stopped == {1, 5}  # those that might have gone on
    assert any(isinstance(each, h2.events.PingAckReceived) for each in events)
    assert door.decided
    assert not door.over
    [last] = own.receive_data(door.goodbye())
    assert (last.last_stream_id, last.error_code) == (5, ErrorCode.NO_ERROR)
    assert b"TPR-1126" in last.additional_data
    assert door.over
    assert door.goodbye() == b""


def test_without_an_error_no_request_is_taken():
    own, door = client(), Explanation(None, agreed=True)
    for stream in (1, 3):
        own.send_headers(stream, FIELDS)
    events = own.receive_data(door.feed(own.data_to_send()))
    [last] = [each for each in events if isinstance(each, h2.events.ConnectionTerminated)]
    assert (last.last_stream_id, last.error_code) == (0, ErrorCode.NO_ERROR)
    assert not [each for each in events if isinstance(each, h2.events.ResponseReceived)]
    assert door.over


def test_trailers_and_what_it_does_not_know_are_no_request():
    door = Explanation(ERROR, agreed=True)
    door.feed(HELLO)
    request = wire.headers(3, b"\x83", end_stream=False)
    trailers = wire.headers(3, b"\x83", end_stream=True)
    older = wire.headers(1, b"\x83", end_stream=True)
    unknown = wire.frame(0x2A, 0xFF, 9, b"what") + wire.window_update(0, 5) + wire.SETTINGS_ACK
    said = door.feed(request + trailers + older + unknown)
    assert kinds(said) == [(Kind.HEADERS, 3), (Kind.RST_STREAM, 3)]


def test_so_many_are_answered():
    door = Explanation(ERROR, agreed=True)
    door.feed(HELLO)
    many = b"".join(wire.headers(2 * n + 1, b"\x83", end_stream=True) for n in range(1_000))
    said = kinds(door.feed(many))
    assert said.count((Kind.GOAWAY, 0)) == 1
    assert len(said) == MOST_ANSWERS + 1
    assert door.over
    assert door.feed(many) == b""


@pytest.mark.parametrize(
    ("sent", "says"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", b"TPR-1005"),
        (b"\x00\x01\x02\x03", b"TPR-1126"),
        (HELLO + wire.frame(Kind.DATA, 0, 1, bytes(16_385)), b"TPR-1126"),
    ],
    ids=["HTTP/1", "something", "a frame too large"],
)
@pytest.mark.parametrize("error", [ERROR, None])
def test_what_is_no_http2_ends_it(sent, says, error):
    door = Explanation(error, agreed=False)
    said = door.feed(sent)
    assert says in said or error is None
    assert door.over
    assert door.decided
