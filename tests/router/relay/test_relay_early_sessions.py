"""A session that the door begins in its worker's name."""

from __future__ import annotations

import pytest
from doorkit.core import REQUEST
from doorkit.early import OK, Build, framed

from torpor_router.dialects.messages.buildkit_status_pb2 import BytesMessage
from torpor_router.h2 import wire
from torpor_router.h2.wire import ErrorCode, Kind

SESSION = tuple(
    (name, b"/moby.buildkit.v1.Control/Session" if name == b":path" else value)
    for name, value in REQUEST
)


def octets_message(data):
    return framed(BytesMessage(data=data).SerializeToString())


SETTINGS = wire.settings([(4, 70_000)])


@pytest.fixture
def session():
    made = Build(request=SESSION)
    made.wait(2)
    assert not made.came(), "a short wake needs nothing of it"
    made.wait(8)
    return made


def test_a_session_lives_over_a_long_wake(session):
    said = octets_message(wire.PREFACE + wire.settings(()))
    assert session.data == said
    session.wake()
    session.bench.from_worker(wire.headers(1, OK, end_stream=False))
    sent = octets_message(wire.PREFACE) + octets_message(SETTINGS)
    session.bench.from_worker(wire.frame(Kind.DATA, 0, 1, sent))
    assert session.data == said + octets_message(SETTINGS)
    assert session.updates_at_worker() == len(octets_message(wire.PREFACE))
    session.finish()
    assert session.trailers[b"grpc-status"] == b"0"
    session.over()


@pytest.mark.parametrize("piece", [1, 3, 20, 32])
def test_a_workers_first_message_may_come_in_pieces(session, piece):
    said = session.data
    session.wake()
    session.bench.from_worker(wire.headers(1, OK, end_stream=False))
    sent = octets_message(wire.PREFACE + SETTINGS) + octets_message(b"more")
    for at in range(0, len(sent), piece):
        session.bench.from_worker(wire.frame(Kind.DATA, 0, 1, sent[at : at + piece]))
    assert session.data == said + octets_message(SETTINGS) + octets_message(b"more")
    assert session.updates_at_worker() == len(wire.PREFACE)
    session.over()


@pytest.mark.parametrize(
    "first",
    [
        octets_message(b"no preface"),
        framed(b"\xff" * 9),
        b"\1" + octets_message(wire.PREFACE)[1:],
        b"\0" + (1 << 20).to_bytes(4, "big"),
    ],
)
def test_a_worker_that_goes_on_otherwise_ends_it_with_a_code(session, first):
    session.wake()
    session.bench.from_worker(wire.headers(1, OK, end_stream=False))
    session.bench.from_worker(wire.frame(Kind.DATA, 0, 1, first))
    assert session.trailers[b"x-torpor-code"] == b"TPR-4006"
    assert session.resets_at_worker() == [ErrorCode.CANCEL]
    session.over()


def test_a_short_wake_leaves_a_session_to_its_worker():
    session = Build(request=SESSION)
    session.wait(1)
    session.wake()
    sent = octets_message(wire.PREFACE)
    session.bench.from_worker(wire.headers(1, OK, end_stream=False))
    session.bench.from_worker(wire.frame(Kind.DATA, 0, 1, sent))
    assert session.data == sent
    session.over()
