"""Each call of torpor.v1.Operators, apart from gRPC: a caller and a request in, a reply out.

`torpor` makes them on the database itself, too, where there is no router to ask.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any
from uuid import UUID

from torpor_provisioner.contract import Arch
from torpor_router.access.audit import State as Kept
from torpor_router.access.errors import UnknownOrg
from torpor_router.access.removal import Removal
from torpor_router.access.store import Store
from torpor_router.control import parse
from torpor_router.control.detached import DetachedTasks
from torpor_router.control.errors import BadMask, BadPage
from torpor_router.control.operator_messages import (
    belongings_message,
    entry_message,
    limits_message,
    limits_of,
    node_message,
    org_message,
    pause_message,
    stray_message,
)
from torpor_router.control.ports import Caller
from torpor_router.control.v1 import operators_pb2 as pb
from torpor_router.names import is_name
from torpor_statemachine.errors import (
    BadPause,
    BadSatellite,
    SatelliteBusy,
    UnknownSatellite,
    WrongState,
)
from torpor_statemachine.postgres.pool import Database
from torpor_statemachine.shell import Shell
from torpor_statemachine.store.limits import Limits, LimitStore
from torpor_statemachine.store.listing import Listed, listed
from torpor_statemachine.store.node_list import NodeList
from torpor_statemachine.store.pauses import Pauses
from torpor_statemachine.store.strays import Strays

_LIMITS = {each.name for each in dataclasses.fields(Limits)}
_LOOK = 0.5  # seconds between two looks at satellites that end
_NOT_KEPT = ("read_at", "made_at", "first_seen", "satellite_ids", "created_at", "id")


class OperatorCalls:
    """Named as in the .proto, in lower case. All raise TorporError."""

    def __init__(self, database: Database) -> None:
        self.detached = DetachedTasks()
        self._database = database
        self._store = Store(database)
        self._removal = Removal(database)
        self._nodes = NodeList(database)
        self._pauses = Pauses(database)
        self._limits = LimitStore(database)
        self._strays = Strays(database)
        self._shell = Shell(database)

    async def createorg(self, _: Caller, request: pb.CreateOrgRequest) -> pb.CreateOrgReply:
        return pb.CreateOrgReply(org=org_message(await self._store.create_org(request.org)))

    async def listorgs(self, _: Caller, __: pb.ListOrgsRequest) -> pb.ListOrgsReply:
        return pb.ListOrgsReply(orgs=map(org_message, await self._store.orgs()))

    async def getbelongings(
        self, _: Caller, request: pb.GetBelongingsRequest
    ) -> pb.GetBelongingsReply:
        has = await self._removal.belongings(request.org)
        return pb.GetBelongingsReply(belongings=belongings_message(has))

    async def removeorg(
        self, caller: Caller, request: pb.RemoveOrgRequest
    ) -> AsyncGenerator[pb.RemoveOrgReply, None]:
        has = await self._removal.belongings(request.org)
        await self.detached.run(self._removal.close(has.id))
        yield pb.RemoveOrgReply(left=len(has.satellites))
        while not await self._removal.free(has.id):
            has = await self._removal.belongings(request.org)
            await self.detached.run(self._end(has.satellite_ids, caller.name))
            await asyncio.sleep(_LOOK)
            yield pb.RemoveOrgReply(left=len(has.satellites))

    async def _end(self, satellite_ids: Iterable[UUID], actor: str) -> None:
        """Those that can be ended now; the others are in the midst of something."""
        for satellite_id in satellite_ids:
            with suppress(WrongState, UnknownSatellite, SatelliteBusy):
                await self._shell.terminate(satellite_id, actor, force=True)

    async def listfleet(self, _: Caller, request: pb.ListFleetRequest) -> pb.ListFleetReply:
        state = parse.state(request.state)
        found = await listed(
            self._database, org=request.org or None, state=state, terminated=request.terminated
        )
        page, more = _page(found, request)
        return pb.ListFleetReply(satellites=map(entry_message, page), next_page_token=more)

    async def listnodes(self, _: Caller, request: pb.ListNodesRequest) -> pb.ListNodesReply:
        nodes = [await self._nodes.one(request.id)] if request.id else await self._nodes.all()
        return pb.ListNodesReply(nodes=map(node_message, nodes))

    async def drainnode(self, _: Caller, request: pb.DrainNodeRequest) -> pb.DrainNodeReply:
        seen = await self._nodes.one(request.id)
        await self._nodes.drain(seen.id, end=request.end)
        return pb.DrainNodeReply(node=node_message(await self._nodes.one(str(seen.id))))

    async def pausesleep(self, caller: Caller, request: pb.PauseSleepRequest) -> pb.PauseSleepReply:
        lasts = parse.duration(request.lifetime, BadPause)
        org_id = await self._org_id(request.org)
        await self._pauses.on(org_id, lasts, request.reason, caller.name)
        [made] = [each for each in await self._pauses.all() if each.org == (request.org or None)]
        return pb.PauseSleepReply(pause=pause_message(made))

    async def resumesleep(self, _: Caller, request: pb.ResumeSleepRequest) -> pb.ResumeSleepReply:
        return pb.ResumeSleepReply(ended=await self._pauses.off(await self._org_id(request.org)))

    async def listsleeppauses(
        self, _: Caller, __: pb.ListSleepPausesRequest
    ) -> pb.ListSleepPausesReply:
        return pb.ListSleepPausesReply(pauses=map(pause_message, await self._pauses.all()))

    async def setlimits(self, caller: Caller, request: pb.SetLimitsRequest) -> pb.SetLimitsReply:
        wanted, org_id = limits_of(request), (await self._store.org(request.org)).id
        if request.HasField("update_mask"):
            paths = set(request.update_mask.paths)
            if not paths <= _LIMITS:
                raise BadMask(", ".join(sorted(paths - _LIMITS))[:200])
            before = [each.limits for each in await self._limits.all(org_id)]
            changed = {path: getattr(wanted, path) for path in paths}
            wanted = dataclasses.replace(before[0] if before else Limits(), **changed)
        await self._limits.set(org_id, wanted, caller.name)
        [made] = await self._limits.all(org_id)
        return pb.SetLimitsReply(limits=limits_message(made))

    async def removelimits(
        self, _: Caller, request: pb.RemoveLimitsRequest
    ) -> pb.RemoveLimitsReply:
        org_id = (await self._store.org(request.org)).id
        return pb.RemoveLimitsReply(removed=await self._limits.remove(org_id))

    async def listlimits(self, _: Caller, __: pb.ListLimitsRequest) -> pb.ListLimitsReply:
        return pb.ListLimitsReply(limits=map(limits_message, await self._limits.all()))

    async def liststrays(self, _: Caller, __: pb.ListStraysRequest) -> pb.ListStraysReply:
        return pb.ListStraysReply(strays=map(stray_message, await self._strays.all()))

    async def adoptstray(self, _: Caller, request: pb.AdoptStrayRequest) -> pb.AdoptStrayReply:
        if not is_name(request.name) or "--" in request.name:
            raise BadSatellite(f"name {request.name[:80]!r}")
        arch = parse.arch(request.arch) or Arch.X86_64
        owner = await self._store.org(request.org)
        adopted = await self._strays.adopt(request.ref, owner.id, request.name, arch)
        return pb.AdoptStrayReply(satellite_id=str(adopted))

    async def endstray(self, _: Caller, request: pb.EndStrayRequest) -> pb.EndStrayReply:
        await self._strays.end(request.ref)
        return pb.EndStrayReply()

    async def snapshot(self, _: Caller, request: Any) -> Kept | None:
        """What the audit log keeps of what a request is about."""
        match request:
            case pb.CreateOrgRequest() | pb.RemoveOrgRequest():
                with suppress(UnknownOrg):
                    return _state(await self._removal.belongings(request.org))
            case pb.PauseSleepRequest() | pb.ResumeSleepRequest():
                pauses = await self._pauses.all()
                return _first(each for each in pauses if each.org == (request.org or None))
            case pb.SetLimitsRequest() | pb.RemoveLimitsRequest():
                limits = await self._limits.all()
                return _first(each.limits for each in limits if each.org == request.org)
            case pb.AdoptStrayRequest() | pb.EndStrayRequest():
                strays = await self._strays.all()
                return _first(each for each in strays if each.ref == request.ref)
        return None

    async def _org_id(self, org: str) -> UUID | None:
        return (await self._store.org(org)).id if org else None


def _page(found: Sequence[Listed], request: pb.ListFleetRequest) -> tuple[Sequence[Listed], str]:
    """The satellites of the page that is asked for, and the token of the next one.

    Raises:
        BadPage: it is too large.
    """
    size = request.page_size
    if not 0 <= size <= parse.MOST_LINES:
        raise BadPage(f"a page_size of {size}")
    places = {_place(each): each for each in found}
    wanted = sorted(place for place in places if place > request.page_token)
    page = wanted[:size] if size else wanted
    more = page[-1] if len(page) < len(wanted) else ""
    return [places[place] for place in page], more


def _place(each: Listed) -> str:
    """Several that were terminated may have had one name."""
    return f"{each.name} {each.id}"


def _first(found: Iterable[Any]) -> Kept | None:
    return next(map(_state, found), None)


def _state(found: Any) -> Kept:
    kept = dataclasses.asdict(found)
    return {key: _plain(value) for key, value in kept.items() if key not in _NOT_KEPT}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, UUID) else value
