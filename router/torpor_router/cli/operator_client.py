"""The client of torpor.v1.Operators behind `torpor`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta

import grpc

from torpor_provisioner.contract import Arch
from torpor_router.access.removal import Belongings
from torpor_router.access.store import Org
from torpor_router.cli.client import ANSWER_WITHIN, Client
from torpor_router.cli.connection import Target
from torpor_router.control.messages import ARCHS, STATES, duration_message
from torpor_router.control.operator_messages import (
    read_belongings,
    read_entry,
    read_limits,
    read_node,
    read_org,
    read_pause,
    read_stray,
)
from torpor_router.control.v1 import operators_pb2 as pb
from torpor_router.control.v1 import operators_pb2_grpc as rpc
from torpor_statemachine.lifecycle.states import State
from torpor_statemachine.store.limits import OrgLimits
from torpor_statemachine.store.listing import Listed
from torpor_statemachine.store.node_list import NodeSeen
from torpor_statemachine.store.pauses import Pause
from torpor_statemachine.store.strays import Stray

_PAGE = 1_000  # satellites


class OperatorClient(Client):
    """For operators. Fails as `Client` does."""

    def __init__(
        self,
        target: Target,
        *,
        within: float = ANSWER_WITHIN,
        channel: grpc.Channel | None = None,
    ) -> None:
        super().__init__(target, within=within, channel=channel)
        self._operators = rpc.OperatorsStub(self._channel)

    def create_org(self, org: str) -> Org:
        reply = self._ask(self._operators.CreateOrg, pb.CreateOrgRequest(org=org))
        return read_org(reply.org)

    def orgs(self) -> list[Org]:
        return [
            read_org(each)
            for each in self._ask(self._operators.ListOrgs, pb.ListOrgsRequest()).orgs
        ]

    def belongings(self, org: str) -> Belongings:
        reply = self._ask(self._operators.GetBelongings, pb.GetBelongingsRequest(org=org))
        return read_belongings(reply.belongings)

    def remove_org(self, org: str) -> Iterator[int]:
        """How many satellites are left, until none is."""
        request = pb.RemoveOrgRequest(org=org)
        call = self._operators.RemoveOrg(request, metadata=self._metadata)
        try:
            for reply in call:
                yield reply.left
        except grpc.RpcError as error:
            self._fail(error)
        finally:
            call.cancel()

    def fleet(self, *, org: str = "", state: State | None = None, all_: bool) -> list[Listed]:
        """All of them, or those of one org or in one state; `all_`: the terminated ones too."""
        request = pb.ListFleetRequest(
            org=org, state=STATES.number(state), terminated=all_, page_size=_PAGE
        )
        found: list[Listed] = []
        while True:
            reply = self._ask(self._operators.ListFleet, request)
            found += map(read_entry, reply.satellites)
            if not reply.next_page_token:
                return found
            request.page_token = reply.next_page_token

    def nodes(self) -> list[NodeSeen]:
        reply = self._ask(self._operators.ListNodes, pb.ListNodesRequest())
        return [read_node(each) for each in reply.nodes]

    def drain(self, node: str, *, end: bool) -> NodeSeen:
        """`node` is the beginning of its id."""
        reply = self._ask(self._operators.DrainNode, pb.DrainNodeRequest(id=node, end=end))
        return read_node(reply.node)

    def pause_sleep(self, org: str, lasts: timedelta, reason: str) -> Pause:
        request = pb.PauseSleepRequest(org=org, lifetime=duration_message(lasts), reason=reason)
        return read_pause(self._ask(self._operators.PauseSleep, request).pause)

    def resume_sleep(self, org: str) -> bool:
        """Whether there was a pause."""
        return self._ask(self._operators.ResumeSleep, pb.ResumeSleepRequest(org=org)).ended

    def pauses(self) -> list[Pause]:
        reply = self._ask(self._operators.ListSleepPauses, pb.ListSleepPausesRequest())
        return [read_pause(each) for each in reply.pauses]

    def set_limits(self, org: str, changed: Mapping[str, int | None]) -> OrgLimits:
        """None takes a limit away; those that are not named stay."""
        request = pb.SetLimitsRequest(org=org)
        for name, most in changed.items():
            request.update_mask.paths.append(name)
            if most is not None:
                setattr(request, name, most)
        return read_limits(self._ask(self._operators.SetLimits, request).limits)

    def remove_limits(self, org: str) -> bool:
        """Whether there were any."""
        return self._ask(self._operators.RemoveLimits, pb.RemoveLimitsRequest(org=org)).removed

    def limits(self) -> list[OrgLimits]:
        reply = self._ask(self._operators.ListLimits, pb.ListLimitsRequest())
        return [read_limits(each) for each in reply.limits]

    def strays(self) -> list[Stray]:
        reply = self._ask(self._operators.ListStrays, pb.ListStraysRequest())
        return [read_stray(each) for each in reply.strays]

    def adopt(self, ref: str, org: str, name: str, arch: Arch) -> None:
        request = pb.AdoptStrayRequest(ref=ref, org=org, name=name, arch=ARCHS.number(arch))
        self._ask(self._operators.AdoptStray, request)

    def end_stray(self, ref: str) -> None:
        self._ask(self._operators.EndStray, pb.EndStrayRequest(ref=ref))
