"""The relay's core without sockets: one client connection, its worker, and calls that pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from uuid import UUID

from torpor_provisioner.contract import Address
from torpor_router.h2 import wire
from torpor_router.h2.wire import END_HEADERS, END_STREAM, Kind
from torpor_router.limits import Limits
from torpor_router.relay.context import Relay
from torpor_router.relay.held import Held
from torpor_router.relay.pair import Pair
from torpor_router.relay.worker_leg import WorkerLeg
from torpor_router.routing import Ask, Peer, Route
from torpor_statemachine.gate import Admitted

_MESSAGE = b"\0\0\0\0\x5f" + bytes(95)
# What a gRPC server answers: headers, a message, trailers
_ANSWER = bytes.fromhex("88 5f10") + b"application/grpc"
_TRAILERS = b"\x40\x0bgrpc-status\x010"


class Wire:
    """A peer that takes everything; `octets` counts it."""

    def __init__(self) -> None:
        self.octets = 0

    def write(self, data: bytes | memoryview) -> None:
        self.octets += len(data)

    def writelines(self, parts: Iterable[bytes | memoryview]) -> None:
        for part in parts:
            self.octets += len(part)

    def is_closing(self) -> bool:
        return False


class World:
    """Gate, directory and edge: a satellite that is always awake, for everybody."""

    def __init__(self) -> None:
        self.inside = 0
        self.waiting: list[Held] = []
        self._admitted = Admitted(Address("", 1), epoch=1)
        self._route = Route(UUID(int=1), "acme", "bench", "token:bench")

    def enter(self, satellite: UUID) -> Admitted:
        self.inside += 1
        return self._admitted

    def leave(self, satellite: UUID) -> None:
        self.inside -= 1

    def route_now(self, ask: Ask) -> Route:
        return self._route

    def wait(self, held: Held) -> None:
        self.waiting.append(held)

    def dial(self, address: Address) -> None:
        pass

    def known(self) -> None:
        pass


class Core:
    """Calls by `pass_calls`, so many of them in one read of the client's."""

    def __init__(self) -> None:
        self.world = world = World()
        self.relay = Relay(world, world, Limits(), lambda: 0.0)  # type: ignore[arg-type]
        self.client, self.worker = Wire(), Wire()
        self.pair = Pair(self.relay, world, self.client, Peer("bench"))  # type: ignore[arg-type]
        self._leg: WorkerLeg | None = None
        self._stream = 1

    def begin(self, block: bytes) -> None:
        """SETTINGS both ways, and a first call."""
        self.pair.greet()
        self.pair.client.feed(wire.settings([(4, 1 << 20)]) + wire.SETTINGS_ACK)
        self.pair.client.feed(self._requests([block]))
        self._leg = leg = self.pair.worker_connected(self.worker)
        leg.feed(wire.settings([(3, 100)]) + wire.SETTINGS_ACK)
        self.pair.client.feed(wire.SETTINGS_ACK)
        leg.feed(self._answers(1))

    def reads(
        self, blocks: Iterator[bytes], calls: int, together: int
    ) -> list[tuple[bytes, bytes]]:
        """What client and worker send for so many calls: made before anything is measured."""
        return [
            (self._requests([next(blocks) for _ in range(together)]), self._answers(together))
            for _ in range(calls // together)
        ]

    def pass_calls(self, reads: Iterable[tuple[bytes, bytes]]) -> None:
        assert self._leg is not None, "it has begun"
        client, worker = self.pair.client.feed, self._leg.feed
        for requests, answers in reads:
            client(requests)
            worker(answers)

    def _requests(self, blocks: list[bytes]) -> bytes:
        out = []
        for block in blocks:
            out.append(wire.frame(Kind.HEADERS, END_HEADERS, self._stream, block))
            out.append(wire.frame(Kind.DATA, END_STREAM, self._stream, _MESSAGE))
            self._stream += 2
        return b"".join(out)

    def _answers(self, count: int) -> bytes:
        return b"".join(
            wire.frame(Kind.HEADERS, END_HEADERS, stream, _ANSWER)
            + wire.frame(Kind.DATA, 0, stream, _MESSAGE)
            + wire.frame(Kind.HEADERS, END_HEADERS | END_STREAM, stream, _TRAILERS)
            for stream in range(self._stream - 2 * count, self._stream, 2)
        )
