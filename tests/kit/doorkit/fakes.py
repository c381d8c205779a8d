"""A gate and a directory in memory, which do as the test says."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Set
from copy import copy
from uuid import UUID, uuid5

from torpor_provisioner.contract import Address
from torpor_provisioner.errors import Capacity, TorporError
from torpor_router.access.errors import CertificateRevoked
from torpor_router.access.verdict import check_time
from torpor_router.errors import NoCredentials
from torpor_router.routing import Ask, Certificate, Route
from torpor_router.tokens import digest
from torpor_statemachine.gate import Admitted, Outlook
from torpor_statemachine.lifecycle.departure import Departure
from torpor_statemachine.lifecycle.states import WakeKind

NOWHERE = Address("127.0.0.1", 1)
SATELLITE = UUID(int=0)


def satellite_id(name: str) -> UUID:
    return uuid5(SATELLITE, name)


class FakeGate:
    """Satellites that are awake or asleep as the test says; counts who is in."""

    def __init__(self) -> None:
        self.addresses: dict[UUID, Address] = {}
        self.epochs: Counter[UUID] = Counter()
        self.awake: dict[UUID, asyncio.Event] = {}
        self.failures: dict[UUID, TorporError] = {}
        self.inside: Counter[UUID] = Counter()
        self.outlooks: dict[UUID, Outlook] = {}  # what is known of those that are waited for
        self.suspected: Counter[UUID] = Counter()
        self.waiting = 0
        self.waited = 0  # so many have ever waited
        self.entered = 0
        self._told: list[Callable[[Departure], None]] = []

    def add(self, name: str, address: Address, *, awake: bool = True) -> UUID:
        satellite = satellite_id(name)
        self.addresses[satellite] = address
        self.epochs[satellite] = 1
        self.awake[satellite] = asyncio.Event()
        if awake:
            self.awake[satellite].set()
        return satellite

    def sleep(self, satellite: UUID, why: TorporError | None = None) -> None:
        self.awake[satellite].clear()
        self.epochs[satellite] += 1
        for told in self._told:
            told(Departure(satellite, self.epochs[satellite], why))

    def enter(self, satellite: UUID) -> Admitted | None:
        if not self.awake[satellite].is_set() or satellite in self.failures:
            return None
        self.inside[satellite] += 1
        self.entered += 1
        return Admitted(self.addresses[satellite], self.epochs[satellite])

    async def admit(self, satellite: UUID, *, actor: str, budget: float) -> Admitted:
        self.waiting += 1
        self.waited += 1
        try:
            async with asyncio.timeout(budget):
                await self.awake[satellite].wait()
        except TimeoutError:
            raise Capacity("the budget is spent") from None
        finally:
            self.waiting -= 1
        if satellite in self.failures:
            raise self.failures[satellite]
        self.inside[satellite] += 1
        self.entered += 1
        return Admitted(self.addresses[satellite], self.epochs[satellite], WakeKind.RESUMED)

    def running_now(self, satellite: UUID) -> Admitted | None:
        return None

    async def running(self, satellite: UUID) -> Admitted | None:
        if not self.awake[satellite].is_set() or satellite in self.failures:
            return None
        return Admitted(self.addresses[satellite], self.epochs[satellite])

    def outlook(self, satellite: UUID) -> Outlook | None:
        return self.outlooks.get(satellite)

    def leave(self, satellite: UUID) -> None:
        self.inside[satellite] -= 1
        assert self.inside[satellite] >= 0, "left more often than entered"

    def suspect(self, satellite: UUID) -> None:
        self.suspected[satellite] += 1

    def on_sleep(self, told: Callable[[Departure], None]) -> None:
        self._told.append(told)


class FakeDirectory:
    """Knows every satellite; tokens are good unless revoked. `cached` asks count as trusted."""

    def __init__(self) -> None:
        self.refused: dict[str, TorporError] = {}  # by token
        self.revoked: set[str] = set()  # serial numbers or SHA-256 of certificates
        self._told: list[Callable[[Set[str]], None]] = []
        self.slow: set[str] = set()
        self.asked: list[Ask] = []

    def route_now(self, ask: Ask) -> Route | None:
        if self._refusal(ask) or ask.token_hash in {digest(each) for each in self.slow}:
            return None
        return self._route(ask)

    async def route(self, ask: Ask, peer: str, token: Callable[[], str]) -> Route:
        if ask.token_hash is not None and token():
            assert digest(token()) == ask.token_hash, "another token than the request's own"
        self.asked.append(ask)
        await asyncio.sleep(0)
        if (refusal := self._refusal(ask)) is not None:
            raise copy(refusal)  # whose traceback would keep the request alive
        return self._route(ask)

    def is_refused(self, certificate: Certificate) -> bool:
        return not self.revoked.isdisjoint((certificate.serial, certificate.fingerprint))

    def on_refused(
        self, told: Callable[[Set[str]], None], needed: Callable[[], bool] = lambda: True
    ) -> None:
        self._told.append(told)

    def revoke(self, id_: str) -> None:
        self.revoked.add(id_)
        for told in self._told:
            told({id_})

    def _refusal(self, ask: Ask) -> TorporError | None:
        if ask.certificate is not None and self.is_refused(ask.certificate):
            return CertificateRevoked()
        if ask.certificate is not None:
            try:
                check_time(ask.certificate, time.time())
            except TorporError as refusal:
                return refusal.with_traceback(None)
        return next(
            (error for token, error in self.refused.items() if ask.token_hash == digest(token)),
            None,
        )

    def _route(self, ask: Ask) -> Route:
        if ask.token_hash is not None:
            caller = f"token:{ask.token_hash.hex()}"
        elif ask.certificate is not None:
            caller = f"certificate:{ask.certificate.org}"
        else:
            raise NoCredentials
        return Route(satellite_id(f"{ask.org}/{ask.satellite}"), ask.org, ask.satellite, caller)
