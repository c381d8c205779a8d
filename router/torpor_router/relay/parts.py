"""What a pair is made of, and how the parts are put together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torpor_router.h2 import wire
from torpor_router.h2.wire import ErrorCode
from torpor_router.limits import Limits
from torpor_router.relay.answers import Answerer
from torpor_router.relay.binding import Binding
from torpor_router.relay.context import Relay
from torpor_router.relay.driver import Driver
from torpor_router.relay.early import EarlyAnswers
from torpor_router.relay.exchange import SettingsExchange
from torpor_router.relay.holding import Holding, HoldingCallbacks
from torpor_router.relay.node_calls import NodeCallbacks, NodeCalls
from torpor_router.relay.streams import Streams
from torpor_router.relay.windows import ClientWindow, Credit, Uploads


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """One pair's parts, as its legs see them."""

    limits: Limits
    clock: Callable[[], float]  # in seconds
    binding: Binding
    streams: Streams
    exchange: SettingsExchange
    window: ClientWindow
    credit: Credit  # for DATA of the client's
    worker_credit: Credit
    uploads: Uploads
    holding: Holding
    node: NodeCalls
    early: EarlyAnswers
    answerer: Answerer


class PairCallbacks(HoldingCallbacks, NodeCallbacks, Protocol):
    """What the parts tell: the pair."""

    def to_worker(self, data: bytes) -> None: ...


def assemble(pair: PairCallbacks, relay: Relay, driver: Driver, peer: str) -> Parts:
    """Make the parts for one pair, whose client has the address `peer`."""
    binding = Binding(relay)
    exchange = SettingsExchange(relay.limits)

    def cut_upload(stream: int) -> None:
        """A stream is over, and the worker will not get the rest of its request."""
        if uploads.drop(stream):
            pair.to_worker(wire.rst_stream(stream, ErrorCode.CANCEL))

    streams = Streams(binding.leave, cut_upload)
    window = ClientWindow(pair.to_client)
    credit = Credit(streams, pair.to_client)
    uploads = Uploads(streams.states, credit, pair.to_worker)
    answerer = Answerer(
        relay.observer, peer, binding=binding, streams=streams, exchange=exchange, window=window
    )
    worker_credit = Credit(streams, pair.to_worker)
    early = EarlyAnswers(
        relay,
        pair.to_client,
        binding=binding,
        streams=streams,
        exchange=exchange,
        window=window,
        worker_credit=worker_credit,
    )
    return Parts(
        limits=relay.limits,
        clock=relay.clock,
        binding=binding,
        streams=streams,
        exchange=exchange,
        window=window,
        credit=credit,
        worker_credit=worker_credit,
        uploads=uploads,
        holding=Holding(
            pair,
            relay,
            driver,
            binding=binding,
            streams=streams,
            credit=credit,
            answerer=answerer,
            early=early,
        ),
        node=NodeCalls(
            pair,
            driver,
            streams=streams,
            window=window,
            credit=credit,
            exchange=exchange,
            limits=relay.limits,
        ),
        early=early,
        answerer=answerer,
    )
