"""One account and Region at work: its calls, what is seen there, what its machines are made of."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torpor_provisioner.contract import SleepKind
from torpor_provisioner.ec2.actions import Action
from torpor_provisioner.ec2.api import Api
from torpor_provisioner.ec2.batches import Batches
from torpor_provisioner.ec2.faults import UNREADABLE, Fault, no_answer
from torpor_provisioner.ec2.kinds import Image, InstanceType
from torpor_provisioner.ec2.observer import Observer
from torpor_provisioner.ec2.settings import PACE
from torpor_provisioner.errors import Invalid

# "Eventual consistency in the Amazon EC2 API" (Amazon EC2 Developer Guide): a new machine may not
# be found for a while. AWS gives no bound; it is seconds as a rule.
APPEARS_WITHIN = 120.0  # seconds


class Site:
    def __init__(self, api: Api, pace: float = PACE) -> None:
        self.api = api
        self.observer = Observer(api, pace)
        self.starts = Batches(api, Action.START_INSTANCES)
        self.stops = {
            SleepKind.STOPPED: Batches(api, Action.STOP_INSTANCES),
            SleepKind.HIBERNATED: Batches(api, Action.STOP_INSTANCES, {"Hibernate": True}),
        }
        self.notes: dict[str, str] = {}  # why a machine sleeps otherwise than was asked
        self._launched: dict[str, float] = {}
        self._kinds: dict[str, InstanceType] = {}
        self._images: dict[str, Image] = {}

    def __repr__(self) -> str:
        return f"<Site {self.api.account}/{self.api.region}>"

    def launched(self, instance: str) -> None:
        """This node has just launched it."""
        now = time.monotonic()
        self._launched = {n: at for n, at in self._launched.items() if now - at < APPEARS_WITHIN}
        self._launched[instance] = now

    def may_appear(self, instance: str) -> bool:
        """Whether "not found" means no more than "not yet"."""
        at = self._launched.get(instance)
        return at is not None and time.monotonic() - at < APPEARS_WITHIN

    async def kinds(self, names: Iterable[str]) -> dict[str, InstanceType]:
        """The facts of instance types; they never change, so each is asked for once.

        Raises:
            Invalid: there is no such type here.
            Fault: AWS refused, or no answer came several times.
        """
        wanted = sorted(set(names))
        missing = [name for name in wanted if name not in self._kinds]
        if missing:
            try:
                answer = await self.api.call(Action.DESCRIBE_INSTANCE_TYPES, InstanceTypes=missing)
            except Fault as failed:
                if failed.code != "InvalidInstanceType":
                    raise
                raise Invalid(f"{failed.message} ({self.api.region})") from failed
            with _read(Action.DESCRIBE_INSTANCE_TYPES):
                for described in answer["InstanceTypes"]:
                    kind = InstanceType.read(described)
                    self._kinds[kind.name] = kind
        absent = [name for name in wanted if name not in self._kinds]
        if absent:
            raise Invalid(f"there is no instance type {absent} in {self.api.region}")
        return {name: self._kinds[name] for name in wanted}

    async def image(self, name: str) -> Image:
        """The facts of an image, which never change either.

        Raises:
            Invalid: there is none, or it is not ours to use.
            Fault: AWS refused, or no answer came several times.
        """
        if name not in self._images:
            try:
                answer = await self.api.call(Action.DESCRIBE_IMAGES, ImageIds=[name])
            except Fault as failed:
                if not failed.code.startswith("InvalidAMIID"):
                    raise
                raise Invalid(f"{failed.message} ({self.api.region})") from failed
            if not answer.get("Images"):
                raise Invalid(f"there is no image {name} in {self.api.region}")
            with _read(Action.DESCRIBE_IMAGES):
                self._images[name] = Image.read(answer["Images"][0])
        return self._images[name]

    async def aclose(self) -> None:
        batches = (self.starts, *self.stops.values())
        await asyncio.gather(self.observer.aclose(), *(one.aclose() for one in batches))


@contextmanager
def _read(action: Action) -> Iterator[None]:
    """Raise Fault where an answer cannot be read."""
    try:
        yield
    except UNREADABLE as error:
        raise no_answer(action, f"cannot be read: {error!r}") from error
