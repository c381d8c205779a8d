"""From the moment a machine is told to start: does its worker answer, or will it never?"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from torpor_provisioner.contract import Address, Identity, MachineState, Observed, launch_token
from torpor_provisioner.errors import TorporError
from torpor_statemachine import clock
from torpor_statemachine.errors import WorkerSilent, WrongMachine
from torpor_statemachine.work.claimed_work import Work
from torpor_statemachine.work.steps import BOOT, PROBE

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Arrived:
    """A worker that answers, and what its machine says of itself, if it does."""

    address: Address
    identity: Identity | None

    @property
    def boot_id(self) -> str | None:
        return self.identity.boot_id if self.identity is not None else None


class Arrival:
    """Makes the `call` that starts the machine, if there is one to make, and asks the worker and
    the cloud meanwhile: neither a slow answer nor a lost one delays what runs already.

    The address from before the sleep is asked at once, but an answer is believed only where the
    cloud shows that the machine runs there, or the machine itself says which one it is.
    """

    def __init__(self, work: Work, call: Callable[[], Awaitable[None]] | None) -> None:
        self.seen: Observed | None = None  # last
        self.silent = WorkerSilent(f"no answer from {work.satellite.address}")
        self._work = work
        self._call = call
        self._began = clock.now()
        self._accepted_at: float | None = None
        self._up_at: float | None = None  # when the cloud first showed it running
        self._address = work.satellite.address
        self._token = launch_token(work.satellite.id, work.satellite.generation)
        self._located = asyncio.Event()
        self._answered = asyncio.Event()  # something did, and the cloud has yet to say what
        if self._address is not None:
            self._located.set()

    @property
    def unanswered(self) -> bool:
        """Whether the call was made, and given up without an answer."""
        return self._call is not None and self._accepted_at is None

    async def outcome(self) -> Arrived | Observed | None:
        """The worker, answering; or the machine, asleep or gone; None: no time left.

        Raises:
            ProvisionerError, ProvisionerBroke: the call failed.
        """
        asking = asyncio.ensure_future(self._ask())
        looking = asyncio.ensure_future(self._look())
        calling = asyncio.ensure_future(self._make_call())
        begun: tuple[asyncio.Future[Any], ...] = (asking, looking, calling)
        waiting = set(begun)
        try:
            while waiting and (left := self._work.left()) > 0:
                done, waiting = await asyncio.wait(
                    waiting, timeout=left, return_when=asyncio.FIRST_COMPLETED
                )
                if asking in done:
                    return asking.result()
                if looking in done:
                    return looking.result()
                if calling in done:
                    calling.result()
            return None
        finally:
            for task in begun:
                task.cancel()
            await asyncio.gather(*begun, return_exceptions=True)

    async def _make_call(self) -> None:
        if self._call is not None:
            await self._call()
            self._accepted_at = clock.now()

    # --- The worker

    async def _ask(self) -> Arrived:
        await self._located.wait()
        while True:
            address = self._address
            assert address is not None
            began = clock.now()
            answers, identity = await asyncio.gather(self._work.answers(address), self._identity())
            if answers and self._believed(address, identity):
                self._tell(began)
                return Arrived(address, identity)
            if answers:
                self._answered.set()
            await asyncio.sleep(self._work.config.probe)

    def _tell(self, asked_at: float) -> None:
        """Its worker has answered what it was asked then: it has booted until the cloud showed it
        running, or until that, and was probed from there on."""
        up_at = min(asked_at, self._up_at or asked_at)
        self._work.steps.add(BOOT, min(self._accepted_at or self._began, up_at), ended=up_at)
        self._work.steps.add(PROBE, up_at)

    async def _identity(self) -> Identity | None:
        at = self.seen.identity if self.seen is not None else None
        return await self._work.identify(at) if at is not None else None

    def _believed(self, address: Address, identity: Identity | None) -> bool:
        seen = self.seen
        if seen is None or seen.address != address:
            return False
        if identity is None:
            return seen.state is MachineState.RUNNING
        if identity.launch_token != self._token:
            self._wrong(address, identity)
            return False
        return True

    def _wrong(self, address: Address, identity: Identity) -> None:
        if not isinstance(self.silent, WrongMachine):
            self.silent = WrongMachine(address.host)
            whose = identity.launch_token  # may be another org's: for the log alone
            logger.warning("%s: %s (%r)", self._work.satellite.full_name, self.silent, whose)
            self._work.obstacles.met("worker", self.silent)

    # --- The cloud

    async def _look(self) -> Observed:
        config = self._work.config
        pause = config.first_look
        while True:
            seen = await self._look_once()
            if seen is not None and self._is_over(seen):
                return seen
            if seen is not None and seen.address is not None:
                self._address = seen.address
                self._located.set()
            await self._pause(clock.jittered(pause))
            grown = min(pause * 1.5, config.longest_look)
            pause = config.first_look if self._answered.is_set() else grown

    async def _pause(self, seconds: float) -> None:
        """Less, where a worker answers already; no less than between the first looks."""
        if self._answered.is_set():
            await asyncio.sleep(self._work.config.first_look)
            return
        try:
            async with asyncio.timeout(seconds):
                await self._answered.wait()
        except TimeoutError:
            return

    async def _look_once(self) -> Observed | None:
        try:
            self.seen = await self._work.look()
        except TorporError:
            return None  # told to the observer
        if self._up_at is None and self.seen.state is MachineState.RUNNING:
            self._up_at = clock.now()
        return self.seen

    def _is_over(self, seen: Observed) -> bool:
        if seen.state is MachineState.GONE:
            return True
        if seen.state is not MachineState.ASLEEP:
            return False
        # What the cloud has accepted it may show a moment later
        if self._call is None:
            return True
        accepted = self._accepted_at
        return accepted is not None and clock.now() - accepted > self._work.config.patience
