"""Whose streams are open: looked at now and then, from the connections themselves.

A stream's state says which method it is of, and its connection whose it is. When it was opened is
kept nowhere: it is when a look has first seen it.
"""

from __future__ import annotations

from collections.abc import Iterable

from torpor_router.relay.sockets import ClientConnection
from torpor_router.relay.streams import HELD, LIGHT, NODE
from torpor_statemachine import clock
from torpor_statemachine.node.stream_reports import Open

GROUPS = 8  # of one satellite: by caller, method and address
STREAMS = 2_000  # of one satellite that are looked at; the rest counts in the total alone
_REMEMBERED = 64  # of a connection's streams: the oldest
_NOT_KEEPING = HELD | NODE | LIGHT


class OpenStreams:
    """Remembers when streams were first seen, of connections that are not yet forgotten."""

    def __init__(self) -> None:
        self._seen: dict[ClientConnection, dict[int, float]] = {}

    def __repr__(self) -> str:
        return f"<OpenStreams of {len(self._seen)} connections>"

    def look(self, connections: Iterable[ClientConnection]) -> tuple[Open, ...]:
        """The streams that keep a satellite awake through these, the oldest first."""
        now, left = clock.now(), STREAMS
        groups: dict[tuple[str, str, str], tuple[int, float]] = {}
        for connection in connections:
            pair = connection.pair
            if pair.binding.route is None or left <= 0:
                continue
            before, seen = self._seen.get(connection, {}), dict[int, float]()
            for stream, state in pair.streams.states.items():
                if state & _NOT_KEEPING:
                    continue
                if (left := left - 1) < 0:
                    break
                since = before.get(stream, now)
                if len(seen) < _REMEMBERED:
                    seen[stream] = since
                method = pair.streams.methods.name(state)
                key = pair.binding.route.caller, method, _host(pair.peer.address)
                count, oldest = groups.get(key, (0, now))
                groups[key] = count + 1, min(oldest, since)
            self._seen[connection] = seen
        found = [Open(*key, count, since) for key, (count, since) in groups.items()]
        return tuple(
            sorted(found, key=lambda each: (each.since, each.caller, each.method))[:GROUPS]
        )

    def forget(self, connection: ClientConnection) -> None:
        self._seen.pop(connection, None)


def _host(address: str) -> str:
    return address.rpartition(":")[0] or address
