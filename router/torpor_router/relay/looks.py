"""Keeps workers' answers to calls that only look, for when the satellite sleeps."""

from __future__ import annotations

from collections.abc import Iterable

from torpor_router.dialects.purpose import Purpose
from torpor_router.h2.fields import Field
from torpor_router.relay.binding import Binding
from torpor_router.relay.context import Relay
from torpor_router.relay.held import Held
from torpor_router.relay.streams import Streams
from torpor_router.relay.watched import Watched


class Looks:
    """Those of one client connection."""

    __slots__ = ("_binding", "_relay", "_streams")

    def __init__(self, relay: Relay, binding: Binding, streams: Streams) -> None:
        self._relay = relay
        self._binding = binding
        self._streams = streams

    def watch(self, held: Held) -> None:
        """Gather the worker's answer to `held`, if it only looks and one is wanted."""
        answers, route, method = self._relay.answers, held.route, held.target.path.decode("latin-1")
        looks = held.target.purpose is Purpose.LOOKS
        if looks and answers and route and answers.wanted(route.satellite_id, method):
            self._streams.watch(held.stream, method)

    def answered(self, watched: Watched, trailers: Iterable[Field]) -> None:
        """The answer is whole."""
        answers, route, epoch = self._relay.answers, self._binding.route, self._binding.epoch
        message = watched.message(trailers)
        if message is not None and answers and route and epoch is not None:
            answers.keep(route.satellite_id, epoch, watched.method, message)
