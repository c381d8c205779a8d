"""SETTINGS, request rules, the preface: pure functions and their bad cases."""

from __future__ import annotations

import pytest
from doorkit.core import frames
from hypothesis import given
from hypothesis import strategies as st

from torpor_router.errors import NotHttp2
from torpor_router.h2 import settings, wire
from torpor_router.h2.faults import ConnectionFault, StreamFault
from torpor_router.h2.fields import Field, flaw
from torpor_router.h2.preface import Http1, Preface
from torpor_router.h2.requests import check_request, check_trailers
from torpor_router.h2.wire import PREFACE, ErrorCode, Setting


def fields(*pairs):
    return [Field(name, value, b"", flaw(name, value)) for name, value in pairs]


GOOD = (
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", b"/t.T/M"),
    (b":authority", b"x"),
    (b"te", b"trailers"),
    (b"raw-bin", b"\x00\xff\r\n"),
)


def test_a_request_as_grpc_sends_it():
    check_request(fields(*GOOD))


def test_connect_has_no_path():
    check_request(fields((b":method", b"CONNECT"), (b":authority", b"x:1")))


@pytest.mark.parametrize(
    "pairs",
    [
        GOOD[1:],
        GOOD[:1] + GOOD[2:],
        GOOD[:2] + GOOD[3:],
        (*GOOD[:2], (b":path", b"")),
        (*GOOD, (b":path", b"/late")),
        (*GOOD[:4], (b":method", b"POST")),
        (*GOOD[:4], (b":status", b"200")),
        (*GOOD, (b"Upper", b"x")),
        (*GOOD, (b"", b"x")),
        (*GOOD, (b"spa ce", b"x")),
        (*GOOD, (b"x", b"a\r\nb")),
        (*GOOD, (b"x", b"\x00")),
        (*GOOD, (b"x", b" lead")),
        (*GOOD, (b"x", b"trail\t")),
        (*GOOD, (b"connection", b"close")),
        (*GOOD, (b"transfer-encoding", b"chunked")),
        (*GOOD, (b"te", b"gzip")),
        ((b":method", b"CONNECT"), (b":authority", b"x:1"), (b":path", b"/")),
        ((b":method", b"CONNECT"),),
        ((b":method", b"GET\n"), *GOOD[1:]),
    ],
)
def test_malformed_requests(pairs):
    with pytest.raises(StreamFault) as refused:
        check_request(fields(*pairs))
    assert refused.value.code is ErrorCode.PROTOCOL_ERROR


def test_trailers_have_no_pseudo_fields():
    check_trailers(fields((b"x-checksum", b"1")))
    with pytest.raises(StreamFault):
        check_trailers(fields((b":path", b"/")))


@given(st.dictionaries(st.integers(10, 65_535), st.integers(0, 2**32 - 1), max_size=5))
def test_settings_that_nobody_knows_are_not_kept(values):
    known = {Setting.INITIAL_WINDOW_SIZE: 7, 8: 1, 0xFE03: 1}
    frame = wire.settings({**values, **known}.items())
    assert settings.parse(frame[9:]) == {
        **{key: value for key, value in values.items() if 0xFE03 <= key <= 0xFE05},
        **known,
    }


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"\x00", ErrorCode.FRAME_SIZE_ERROR),
        (b"\x00\x02\x00\x00\x00\x02", ErrorCode.PROTOCOL_ERROR),
        (b"\x00\x04\x80\x00\x00\x00", ErrorCode.FLOW_CONTROL_ERROR),
        (b"\x00\x05\x00\x00\x3f\xff", ErrorCode.PROTOCOL_ERROR),
        (b"\x00\x05\x01\x00\x00\x00", ErrorCode.PROTOCOL_ERROR),
    ],
)
def test_settings_out_of_range(payload, code):
    with pytest.raises(ConnectionFault) as refused:
        settings.parse(payload)
    assert refused.value.code is code


@given(st.binary(max_size=30), st.lists(st.integers(1, 60), max_size=20))
def test_the_preface_in_any_cutting(rest, cuts):
    data = PREFACE + rest
    preface, seen = Preface(), None
    at = 0
    for size in [*cuts, len(data)]:
        if seen is not None:
            seen += data[at : at + size]
        else:
            seen = preface.feed(data[at : at + size])
        at += size
        if at >= len(data):
            break
    assert seen == rest


@pytest.mark.parametrize(
    "line",
    [
        b"GET / HTTP/1.1\r\n",
        b"POST /x HTTP/1.0\n",
        b"PRI * HTTP/1.1\r\n",
        b"OPTIONS * HTTP/1.1\r\n",
    ],
)
def test_http_1_is_told_by_its_request_line(line):
    preface = Preface()
    for octet in line[:-1]:
        assert preface.feed(bytes((octet,))) is None
    with pytest.raises(Http1) as refused:
        preface.feed(line[-1:])
    assert b"TPR-1005" in refused.value.response(over_tls=False)
    assert b"\r\nUpgrade: h2c\r\n" in refused.value.response(over_tls=False)
    assert b"Upgrade:" not in refused.value.response(over_tls=True)


def test_without_alpn_the_preface_speaks_for_itself():
    preface = Preface(agreed=False)
    assert preface.feed(PREFACE[:1]) is None
    assert preface.feed(PREFACE[1:] + b"and") == b"and"
    with pytest.raises(Http1, match="ALPN"):
        Preface(agreed=False).feed(b"GET / HTTP/1.1\r\n")


@pytest.mark.parametrize(
    "noise", [b"\x16\x03\x01", b"PRI * HTTP/2.0\r\n\r\nXX", b"get /", b"A" * 9_000]
)
def test_anything_else_is_no_http(noise):
    with pytest.raises(NotHttp2) as refused:
        Preface().feed(noise)
    assert not isinstance(refused.value, Http1)


@given(st.integers(0, 50_000), st.sampled_from([16_384, 20_000]))
def test_long_blocks_go_on_in_continuations(size, most):
    made = frames(wire.headers(1, b"b" * size, end_stream=True, max_frame=most))
    assert {each.stream for each in made} == {1}
    assert max(len(each.payload) for each in made) <= most
    assert b"".join(each.payload for each in made) == b"b" * size
    assert [each.kind for each in made] == [1] + [9] * (len(made) - 1)
    ends = [bool(each.flags & wire.END_HEADERS) for each in made]
    assert ends == [False] * (len(ends) - 1) + [True]
