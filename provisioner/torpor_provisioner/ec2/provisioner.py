"""The contract's calls, each in the account and Region that its ref or its org names."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Self
from uuid import UUID

from torpor_provisioner.contract import MachineState, Observed, Rehearsal, SleepKind, Spec
from torpor_provisioner.ec2 import changing, ending, launching, machines, power, rehearsal, tags
from torpor_provisioner.ec2.accounts import Accounts
from torpor_provisioner.ec2.api import Api
from torpor_provisioner.ec2.environment import settings_from
from torpor_provisioner.ec2.faults import Fault
from torpor_provisioner.ec2.feed import Feed
from torpor_provisioner.ec2.observer import Instance
from torpor_provisioner.ec2.plan import Wishes
from torpor_provisioner.ec2.refs import Ref
from torpor_provisioner.ec2.settings import Ec2Settings, Expiry
from torpor_provisioner.ec2.site import Site
from torpor_provisioner.errors import Gone


class Ec2Provisioner:
    """Satellites as EC2 instances, in as many accounts and Regions as the settings name."""

    # AWS keeps a hibernated machine for 60 days: "Prerequisites for EC2 instance hibernation".
    longest_hibernation = timedelta(days=55)

    def __init__(self, settings: Ec2Settings) -> None:
        self._settings = settings
        self._accounts = Accounts(settings)
        self._sites: dict[Api, Site] = {}
        self._feed: asyncio.Task[None] | None = None
        self._fed = False

    @property
    def renews_hibernation(self) -> bool:
        return self._settings.hibernation_expiry is Expiry.RENEW

    def __repr__(self) -> str:
        return f"<Ec2Provisioner {self._settings.deployment} {list(self._sites.values())}>"

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], data: Path) -> Self:  # noqa: ARG003
        """For the registry; see `environment.settings_from`. It keeps nothing in `data`."""
        return cls(settings_from(environ))

    async def launch(self, spec: Spec, token: str) -> str:
        place = self._settings.place_of(spec.org)
        with _in_our_words():
            site = self._site(await self._accounts.of_place(place))
            found = await launching.launch(site, spec, token, place, self._settings)
        return str(Ref(site.api.account, site.api.region, found))

    async def wake(self, ref: str) -> None:
        with _in_our_words():
            site, instance = await self._find(ref)
            await power.wake(site, instance)

    async def sleep(self, ref: str, how: SleepKind) -> None:
        with _in_our_words():
            site, instance = await self._find(ref)
            await power.sleep(site, instance, how, self._settings)

    async def terminate(self, ref: str) -> None:
        try:
            with _in_our_words():
                site, instance = await self._find(ref)
                await ending.terminate(site, instance, self._settings)
        except Gone:
            return

    async def observe(self, refs: Collection[str]) -> Mapping[str, Observed]:
        seen = dict.fromkeys(refs, machines.GONE)
        by_site: dict[Site, dict[str, str]] = defaultdict(dict)
        with _in_our_words():
            for ref in seen:
                try:
                    site, instance = await self._find(ref)
                except Gone:  # it never was one of ours
                    continue
                by_site[site][instance] = ref
            looks = [site.observer.look(names) for site, names in by_site.items()]
            for (site, names), found in zip(
                by_site.items(), await asyncio.gather(*looks), strict=True
            ):
                for name, described in found.items():
                    seen[names[name]] = self._observed(site, name, described)
        return seen

    async def owned(self) -> Mapping[str, tuple[UUID, int]]:
        live = {"Name": "instance-state-name", "Values": machines.LIVE}
        marks = [*tags.filters(deployment=self._settings.deployment), live]
        found: dict[str, tuple[UUID, int]] = {}
        with _in_our_words():
            sites = {self._site(await self._accounts.of_place(p)) for p in self._settings.places}
            for site in sites:
                asked_at = time.monotonic()
                for described in await site.api.instances(marks):
                    site.observer.learned(described, asked_at)
                    owner = tags.owner(tags.read(described))
                    if owner is not None:
                        ref = Ref(site.api.account, site.api.region, described["InstanceId"])
                        found[str(ref)] = owner
        return found

    async def resize(self, ref: str, spec: Spec) -> None:
        place = self._settings.place_of(spec.org)
        with _in_our_words():
            site, instance = await self._find(ref)
            await changing.resize(site, instance, spec, place, self._settings)

    async def update(self, ref: str, spec: Spec) -> None:
        with _in_our_words():
            site, instance = await self._find(ref)
            await changing.update(site, instance, spec, self._settings)

    async def check(self, spec: Spec) -> None:
        wishes = Wishes.read(spec, self._settings)
        with _in_our_words():
            site = self._site(await self._accounts.of_place(self._settings.place_of(spec.org)))
            await launching.check(site, spec, wishes, self._settings)

    async def rehearse(self) -> Mapping[str, Rehearsal]:
        found: dict[str, Rehearsal] = {}
        for place in self._settings.places:
            with _in_our_words():
                site = self._site(await self._accounts.of_place(place))
                name = f"{site.api.account}/{site.api.region} {' '.join(place.subnets)}"
                found[name] = await rehearsal.rehearse(site, place, self._settings)
        return found

    async def aclose(self) -> None:
        if self._feed is not None:
            self._feed.cancel()
            await asyncio.gather(self._feed, return_exceptions=True)
        await asyncio.gather(*(site.aclose() for site in self._sites.values()))
        self._sites.clear()
        await self._accounts.aclose()

    def _observed(self, site: Site, name: str, described: Instance | None) -> Observed:
        if described is not None:
            return machines.observed(
                described,
                self._settings.port,
                site.notes.get(name, ""),
                identity_port=self._settings.identity_port,
            )
        if site.may_appear(name):
            return Observed(MachineState.PENDING)
        return machines.GONE

    async def _find(self, ref: str) -> tuple[Site, str]:
        parsed = Ref.parse(ref)
        return self._site(await self._accounts.of_ref(parsed)), parsed.instance

    def _site(self, api: Api) -> Site:
        if api not in self._sites:
            self._sites[api] = Site(api, self._settings.pace)
            self._sites[api].observer.fed = self._fed
            self._start_feed()
        return self._sites[api]

    def _start_feed(self) -> None:
        if self._settings.feed and self._feed is None:
            feed = Feed(self._settings.feed, self._accounts.queue, self._changed, self._alive)
            self._feed = asyncio.create_task(feed.run())

    def _changed(self, ref: Ref) -> None:
        for api, site in self._sites.items():
            if (api.account, api.region) == (ref.account, ref.region):
                site.observer.changed(ref.instance)

    def _alive(self, alive: bool) -> None:  # noqa: FBT001 - the feed's callback
        self._fed = alive
        for site in self._sites.values():
            site.observer.fed = alive


@contextmanager
def _in_our_words() -> Iterator[None]:
    """What AWS refused leaves this package in the contract's words."""
    try:
        yield
    except Fault as failed:
        raise failed.as_error() from failed
