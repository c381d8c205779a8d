"""What the router itself answers: in gRPC's words (its protocol over HTTP/2), or in HTTP's."""

from __future__ import annotations

from typing import Final

from torpor_provisioner.errors import TorporError
from torpor_router.errors import NotGrpc
from torpor_router.h2 import wire
from torpor_router.h2.blocks import TABLE_SIZE_ZERO, encode
from torpor_router.h2.replies import RESPONSE, answer, status, stop
from torpor_router.relay.binding import Binding
from torpor_router.relay.events import Observer
from torpor_router.relay.exchange import SettingsExchange
from torpor_router.relay.streams import CLIENT_ENDED, RESPONDED, TELLS, WORKER_ENDED, Streams
from torpor_router.relay.windows import ClientWindow
from torpor_router.routing import Route

Frames = list[tuple[bytes, int]]  # each with its octets of DATA

_OK: Final = encode(((b"grpc-status", b"0"),))
_EMPTY_MESSAGE: Final = bytes(5)  # not compressed, 0 octets long


def refusal(stream: int, error: TorporError, window: int, *, ended: bool) -> Frames:
    """A whole response, in the words that the request's sender understands.

    `window` is that of a new stream, in octets.
    """
    if isinstance(error, NotGrpc):
        return _in_http(stream, error, window, ended=ended)
    return [(answer(stream, error, ended=ended), 0)]


def begun(stream: int) -> bytes:
    """The HEADERS of a response whose messages are to follow."""
    return wire.headers(stream, RESPONSE, end_stream=False)


def _in_http(stream: int, error: NotGrpc, window: int, *, ended: bool) -> Frames:
    """The error in plain text, if the stream's window has room for it."""
    body = f"{error}\n".encode()
    code = (b"x-torpor-code", error.code.encode())
    fields = ((b":status", error.http_status), code, *error.http_fields)
    end = b"" if ended else stop(stream)
    if window < len(body):
        block = TABLE_SIZE_ZERO + encode(fields)
        return [(wire.headers(stream, block, end_stream=True) + end, 0)]
    about = (b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(body))
    head = wire.headers(stream, TABLE_SIZE_ZERO + encode((*fields, *about)), end_stream=False)
    data = wire.frame(wire.Kind.DATA, wire.END_STREAM, stream, body)
    return [(head, 0), (data + end, len(body))]


def cut_short(stream: int, state: int, error: TorporError) -> bytes:
    """The end of a stream whose worker is gone, whatever has passed of it before."""
    ended = bool(state & CLIENT_ENDED)
    if state & WORKER_ENDED:
        return stop(stream)
    if not state & RESPONDED:
        return answer(stream, error, ended=ended)
    trailers = wire.headers(stream, TABLE_SIZE_ZERO + status(error), end_stream=True)
    return trailers + (b"" if ended else stop(stream))


def thanks(stream: int, *, ended: bool) -> Frames:
    """A whole response with an empty message."""
    trailers = wire.headers(stream, TABLE_SIZE_ZERO + _OK, end_stream=True)
    return [
        (wire.headers(stream, RESPONSE, end_stream=False), 0),
        (wire.frame(wire.Kind.DATA, 0, stream, _EMPTY_MESSAGE), len(_EMPTY_MESSAGE)),
        (trailers + (b"" if ended else stop(stream)), 0),
    ]


def last_words(stream: int, state: int, error: TorporError, window: int) -> Frames:
    """How a stream ends whose worker is gone, or is to go: as `cut_short`, unless it only tells."""
    if state & (TELLS | RESPONDED | WORKER_ENDED) == TELLS and window >= len(_EMPTY_MESSAGE):
        return thanks(stream, ended=bool(state & CLIENT_ENDED))
    return [(cut_short(stream, state, error), 0)]


class Answerer:
    """Refuses requests of one connection, and tells telemetry."""

    __slots__ = ("_binding", "_exchange", "_observer", "_peer", "_streams", "_window")

    def __init__(
        self,
        observer: Observer,
        peer: str,
        *,
        binding: Binding,
        streams: Streams,
        exchange: SettingsExchange,
        window: ClientWindow,
    ) -> None:
        self._observer = observer
        self._peer = peer
        self._binding = binding
        self._streams = streams
        self._exchange = exchange
        self._window = window

    def end(self, stream: int, *, ended: bool) -> None:
        """All is well at the end of an answer that has begun."""
        self._streams.remember(stream, CLIENT_ENDED if ended else 0)
        trailers = wire.headers(stream, TABLE_SIZE_ZERO + _OK, end_stream=True)
        self._window.send(trailers + (b"" if ended else stop(stream)))

    def refuse(
        self,
        stream: int,
        error: TorporError,
        *,
        ended: bool,
        begun: bool = False,
        route: Route | None = None,
        report: bool = True,
    ) -> None:
        """Answer a request with a code; its client has `ended` it, or may go on for a while.

        An answer that has `begun` ends with it. `route` is the request's own, if it has one: the
        connection may belong to nobody again. Telemetry counts it if `report`.
        """
        self._streams.remember(stream, CLIENT_ENDED if ended else 0)
        if report:
            self._observer.refused(error, route or self._binding.route, self._peer)
        if begun:
            state = RESPONDED | (CLIENT_ENDED if ended else 0)
            self._window.send(cut_short(stream, state, error))
            return
        for frame, octets in refusal(stream, error, self._exchange.client_window, ended=ended):
            self._window.send(frame, octets)
