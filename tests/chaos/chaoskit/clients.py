"""Clients that keep building, with gRPC's own Python client, and write down what became of it."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Callable, Sequence

import grpc
from clientkit.untyped import untyped

from chaoskit.nodes import Node
from chaoskit.records import Attempt, Records, Request
from chaoskit.worker import TICK
from torpor_statemachine.clock import Retry

PATIENCE = 30.0  # seconds without a word until a client tries another node
RETRIED = (grpc.StatusCode.UNAVAILABLE,)
TURNED_AWAY = "Stream removed (GOAWAY received"  # gRPC's words for a call that nobody took up
_OPTIONS = [
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
    # gRPC repeats a call that nobody took up by itself. Where its connection has just ended, 1.85
    # picks it again before it hears of that, without end and without a pause: gigabytes in seconds,
    # and a process that stands still. So clients repeat such calls themselves.
    ("grpc.enable_retries", 0),
]
_counter = itertools.count()


class Client:
    """Builds on one satellite, through one node after another."""

    def __init__(
        self,
        ref: str,
        metadata: Sequence[tuple[str, str]],
        nodes: Sequence[Node],
        rng: random.Random,
        records: Records,
        budget: float,
    ) -> None:
        self.ref = ref
        self._metadata = metadata
        self._nodes = nodes
        self._rng = rng
        self._records = records
        self._budget = budget
        self._node = rng.choice(nodes)
        self._channel: grpc.aio.Channel | None = None

    def __repr__(self) -> str:
        return f"<Client of {self.ref} by {self._node}>"

    async def build_for_ever(self, stop: asyncio.Event) -> None:
        """Think, build, and think again; a satellite falls asleep meanwhile, mostly."""
        while not stop.is_set():
            try:
                async with asyncio.timeout(self._rng.expovariate(1 / 6)):
                    await stop.wait()
            except TimeoutError:
                await self.build()

    async def build(self) -> None:
        if self._rng.random() < 0.25:
            await self._move()
        if self._rng.random() < 0.3:
            long = self._rng.random() < 0.2
            await self.stream(self._rng.uniform(5, 15) if long else self._rng.uniform(0.2, 4))
        else:
            many = self._rng.choice((1, 1, 2, 4))
            await asyncio.gather(*(self.unary(self._rng.uniform(0, 0.2)) for _ in range(many)))

    async def unary(self, work: float) -> Request:
        async def attempt(channel: grpc.aio.Channel, noted: Attempt) -> None:
            call = untyped(channel).unary_unary("/chaos.Build/Unary")(
                b"%.3f" % work, metadata=self._named(noted)
            )
            try:
                async with asyncio.timeout(PATIENCE):
                    noted.held = _held(await call.initial_metadata())
                    answer = await call
            finally:
                call.cancel()
            if answer != b"0":
                raise WrongAnswer(answer)

        return await self._until_done("unary", attempt)

    async def stream(self, seconds: float) -> Request:
        messages = max(1, round(seconds / TICK))

        async def attempt(channel: grpc.aio.Channel, noted: Attempt) -> None:
            call = untyped(channel).unary_stream("/chaos.Build/Stream")(
                b"%d" % messages, metadata=self._named(noted)
            )
            try:
                async with asyncio.timeout(PATIENCE) as patience:
                    noted.held = _held(await call.initial_metadata())
                    expected = messages
                    async for answer in call:
                        expected -= 1
                        if answer != b"%d" % expected:
                            raise WrongAnswer(answer)
                        patience.reschedule(asyncio.get_running_loop().time() + PATIENCE)
                    if expected:
                        raise WrongAnswer(b"%d are missing" % expected)
            finally:
                call.cancel()

        return await self._until_done("stream", attempt)

    async def _until_done(
        self, shape: str, attempt: Callable[[grpc.aio.Channel, Attempt], object]
    ) -> Request:
        pauses = Retry(0.1, 2.0)
        request = Request(f"r{next(_counter)}", self.ref, shape, self._budget, time.monotonic())
        self._records.requests.append(request)
        while not request.done and time.monotonic() < request.began + request.budget:
            noted = Attempt(
                f"{request.id}.{len(request.attempts)}", self._node.number, time.monotonic()
            )
            request.attempts.append(noted)
            channel = self._open()
            again = await self._try(attempt, channel, noted)
            noted.ended = time.monotonic()
            request.done = noted.status == "OK"
            if request.done or not again:
                break
            if channel is self._channel and not noted.turned_away:
                await self._move()
            await asyncio.sleep(pauses.pause())
        request.ended = time.monotonic()
        return request

    async def _try(self, attempt: Callable[..., object], channel: object, noted: Attempt) -> bool:
        """Whether to try again, if it was no success."""
        try:
            await attempt(channel, noted)  # type: ignore[misc]
        except grpc.aio.AioRpcError as error:
            noted.status, noted.detail = error.code().name, error.details() or ""
            noted.turned_away = noted.detail.startswith(TURNED_AWAY)
            return error.code() in RETRIED
        except TimeoutError:
            noted.status, noted.abandoned = "ABANDONED", True
            return True
        except grpc.aio.UsageError:  # another call of this client's has closed the channel
            noted.status, noted.abandoned = "CLOSED", True
            return True
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if current is not None and current.cancelling():
                raise
            noted.status, noted.abandoned = "CLOSED", True
            return True
        except WrongAnswer as error:
            noted.status, noted.detail = "WRONG", str(error)
            return False
        noted.status = "OK"
        return True

    def _named(self, noted: Attempt) -> list[tuple[str, str]]:
        return [*self._metadata, ("chaos-call", noted.call)]

    def _open(self) -> grpc.aio.Channel:
        if self._channel is None:
            self._channel = grpc.aio.insecure_channel(self._node.target, options=_OPTIONS)
        return self._channel

    async def _move(self) -> None:
        """To another node, perhaps."""
        channel, self._channel = self._channel, None
        self._node = self._rng.choice(self._nodes)
        if channel is not None:
            await channel.close()

    async def aclose(self) -> None:
        if self._channel is not None:
            await self._channel.close()


class WrongAnswer(Exception):
    """Not what the worker was asked for."""


def _held(metadata: object) -> bool:
    return any(key == "x-torpor-wake" for key, _ in metadata)  # type: ignore[attr-defined]
