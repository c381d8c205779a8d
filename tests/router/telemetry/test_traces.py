"""Spans: whose children they are, how many there may be, and a collector that is not there."""

from __future__ import annotations

import json
import logging
import socket
import subprocess
import sys
from uuid import UUID

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tracekit.receiver import receiving

from torpor_router.errors import WorkerLost
from torpor_router.h2.fields import Field
from torpor_router.routing import Route
from torpor_router.serve.logs import JsonLines
from torpor_router.telemetry.telemetry import Telemetry
from torpor_router.telemetry.trace_ids import trace_id
from torpor_router.telemetry.traces import contexts, holds, outbox
from torpor_router.telemetry.traces.tracing import Tracing
from torpor_statemachine.lifecycle.states import WakeKind

ROUTE = Route(UUID(int=1), "acme", "one", "token:ci")
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Request:
    def __init__(self, *fields: tuple[bytes, bytes]) -> None:
        self.fields = [Field(name, value, b"") for name, value in fields]


def a_request(flags: str = "01") -> Request:
    return Request((b":path", b"/a.B/C"), (b"traceparent", f"00-{TRACE}-{SPAN}-{flags}".encode()))


@pytest.fixture
async def nowhere() -> str:
    """A URL at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
async def tracing(nowhere: str):
    made = Tracing(nowhere)
    yield made
    await made.aclose()


@pytest.fixture
def ended(tracing, monkeypatch) -> InMemorySpanExporter:
    """What would be sent."""
    kept = InMemorySpanExporter()
    monkeypatch.setattr(tracing.outbox, "on_end", lambda span: kept.export([span]))
    return kept


def names(kept: InMemorySpanExporter) -> list[str]:
    return [span.name for span in kept.get_finished_spans()]


def test_without_a_collector_nothing_of_it_is_loaded() -> None:
    said = "import sys, torpor_router.serve.run; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", said], check=True, capture_output=True, text=True
    ).stdout.split()
    assert "torpor_router.telemetry.telemetry" in loaded
    for name in loaded:
        assert not name.startswith(("torpor_router.telemetry.traces", "opentelemetry.sdk.trace"))
        assert not name.startswith("opentelemetry.exporter.otlp")


async def test_a_request_to_an_awake_satellite_has_no_span(tracing, ended) -> None:
    request = a_request()
    tracing.holds.held(request, ROUTE, 0.1)
    tracing.holds.released(request, 0.2, WakeKind.HOT)
    assert names(ended) == []
    assert not tracing.holds._waiting


async def test_unless_that_is_wanted(nowhere) -> None:
    tracing = Tracing(nowhere, hot=True)
    request = a_request()
    tracing.holds.held(request, ROUTE, 0.1)
    tracing.holds.released(request, 0.2, WakeKind.HOT)
    await tracing.aclose()
    assert tracing.outbox.refused == 3, "decide, wait, and the request"


async def test_whom_the_caller_does_not_sample_has_none(tracing, ended) -> None:
    request = a_request("00")
    tracing.holds.held(request, ROUTE, 0.1)
    assert tracing.holds.for_worker(request, WakeKind.RESUMED) == request.fields
    tracing.holds.gave_up(request, 0.2, WorkerLost())
    assert names(ended) == []


async def test_one_that_is_refused_and_one_that_is_cancelled(tracing, ended) -> None:
    for error in (WorkerLost("it ended"), None):
        request = a_request()
        tracing.holds.held(request, ROUTE, 0.1)
        tracing.holds.gave_up(request, 0.2, error)
    refused, cancelled = [
        span for span in ended.get_finished_spans() if span.name == "held request"
    ]
    assert refused.attributes["torpor.code"] == "TPR-4002"
    assert not refused.status.is_ok
    assert "it ended" in refused.status.description
    assert cancelled.attributes["torpor.outcome"] == "cancelled"
    assert cancelled.status.is_unset


async def test_so_many_at_once(tracing, ended, monkeypatch) -> None:
    monkeypatch.setattr(holds, "MOST", 3)
    requests = [a_request() for _ in range(5)]
    for request in requests:
        tracing.holds.held(request, ROUTE, 0.0)
    assert len(tracing.holds.links(ROUTE.satellite_id)) == 3
    for request in requests:
        tracing.holds.released(request, 0.1, WakeKind.RESUMED)
    assert names(ended).count("held request") == 3
    assert tracing.outbox.dropped == 2


@pytest.mark.parametrize(
    "parents",
    [
        (b"",),
        (b"\xff" * 55,),
        (b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-01",),
        (f"00-{TRACE}-{SPAN}".encode(),),
        (f"00-{TRACE.upper()}-{SPAN}-01".encode(),),
        (f"00-{TRACE}-{SPAN}-01".encode(),) * 2,
        (b"x" * 100_000,),
    ],
)
async def test_a_context_that_cannot_be_read_is_none(tracing, ended, parents) -> None:
    request = Request(*((b"traceparent", each) for each in parents))
    tracing.holds.held(request, ROUTE, 0.0)
    tracing.holds.gave_up(request, 0.1, None)
    [span] = [each for each in ended.get_finished_spans() if each.name == "held request"]
    assert span.parent is None


def test_the_trace_for_a_log_line() -> None:
    assert trace_id(a_request().fields) == TRACE
    assert trace_id([]) == ""
    assert trace_id(Request((b"traceparent", b"00-" + b"z" * 32 + b"-1-01")).fields) == ""
    assert trace_id([*a_request().fields, *a_request().fields]) == ""


def test_every_node_can_tell_a_wakes_context() -> None:
    one = contexts.of_wake(UUID(int=1), 7)
    assert one == contexts.of_wake(UUID(int=1), 7)
    others = [contexts.of_wake(UUID(int=1), 8), contexts.of_wake(UUID(int=2), 7)]
    assert len({each.trace_id for each in (one, *others)}) == 3
    assert one.is_valid


async def test_a_collector_that_is_away_costs_spans_and_nothing_else(nowhere, monkeypatch) -> None:
    monkeypatch.setattr(outbox, "MOST", 20)
    monkeypatch.setattr(outbox, "_FAREWELL", 0.05)
    async with Telemetry(Tracing(nowhere)) as telemetry:
        box = telemetry._tracing.outbox
        for _ in range(20):
            request = a_request()
            telemetry.relay_observer.held(request, ROUTE, 0.0)
            telemetry.relay_observer.released(request, ROUTE, 0.1, WakeKind.RESUMED)
        assert box.dropped == 3 * 20 - 20
    assert (box.sent, box.refused) == (0, 20)


async def test_one_that_never_answers_does_not_keep_the_process(monkeypatch) -> None:
    monkeypatch.setattr(outbox, "_FAREWELL", 0.05)
    async with receiving() as receiver:
        receiver.answers.clear()
        tracing = Tracing(receiver.url)
        request = a_request()
        tracing.holds.held(request, ROUTE, 0.0)
        tracing.holds.gave_up(request, 0.1, None)
        await tracing.aclose()
    assert tracing.outbox.sent == 0
    assert tracing.outbox.refused == 3


async def test_log_lines_have_numbers_and_the_trace(caplog) -> None:
    caplog.set_level(logging.DEBUG)
    async with Telemetry() as telemetry:
        observer, request = telemetry.relay_observer, a_request()
        observer.held(request, ROUTE, 0.0)
        observer.released(request, ROUTE, 3.14159, WakeKind.RESUMED)
        observer.gave_up(Request(), ROUTE, 0.5, WorkerLost())
    lines = [json.loads(JsonLines().format(each)) for each in caplog.records]
    held, released, refused = [each for each in lines if each["logger"] == "torpor.door"]
    for line in (held, released, refused):
        assert (line["org"], line["satellite"], line["caller"]) == ("acme", "acme/one", "token:ci")
    assert held["trace_id"] == released["trace_id"] == TRACE
    assert "trace_id" not in refused
    assert (released["waited"], released["kind"]) == (3.142, "resumed")
    assert (refused["message"], refused["code"]) == ("refused", "TPR-4002")
