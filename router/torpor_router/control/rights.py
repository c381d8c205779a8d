"""What each call of the control API needs of its caller, and which calls change something."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from torpor_router.access.errors import OrgNotNamed
from torpor_router.access.roles import NOTHING, Grant, Right
from torpor_router.access.verdict import NO_ORG
from torpor_router.control.ports import Caller


@dataclass(frozen=True, slots=True)
class Anyone:
    """The caller of a call that needs no credentials."""

    address: str
    org_id: UUID = NO_ORG
    org: str = ""
    name: str = "anyone"
    grant: Grant = NOTHING
    token_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Need:
    """`right` is None where any credentials will do. What `changes` something is audited."""

    right: Right | None
    changes: bool = True
    of_an_org: bool = True
    credentials: bool = True

    def check(self, caller: Caller) -> None:
        """
        Raises:
            RoleForbids, OrgNotNamed: the call is not the caller's to make.
        """
        if self.of_an_org and not caller.org:
            raise OrgNotNamed
        if self.right is not None:
            caller.grant.check(self.right)


_LOOKS = Need(Right.LOOK, changes=False)
_MANAGES = Need(Right.MANAGE)
_SEES_ACCESS = Need(Right.MANAGE, changes=False)
_OPERATES = Need(Right.OPERATE, of_an_org=False)
_SEES_ALL = Need(Right.OPERATE, changes=False, of_an_org=False)
# an operator who names no org means all of them
_OF_ANY_ORG = Need(Right.MANAGE, changes=False, of_an_org=False)

# Keyed as in the .proto: a method that is missing here fails at start.
NEEDS: dict[str, Need] = {
    "Satellites.Launch": Need(Right.LAUNCH),
    "Satellites.List": _LOOKS,
    "Satellites.Get": _LOOKS,
    "Satellites.Update": Need(Right.CHANGE),
    "Satellites.Repair": Need(Right.REPAIR),
    "Satellites.Terminate": Need(Right.END),
    "Satellites.Wake": Need(Right.WAKE),
    "Satellites.Sleep": Need(Right.SLEEP),
    "Satellites.Follow": _LOOKS,
    "Satellites.Transitions": _LOOKS,
    "Satellites.Explain": _LOOKS,
    "Access.WhoAmI": Need(None, changes=False, of_an_org=False),
    "Access.CreateToken": _MANAGES,
    "Access.ListTokens": _OF_ANY_ORG,
    "Access.NarrowToken": _MANAGES,
    "Access.RotateToken": _MANAGES,
    "Access.RevokeToken": _MANAGES,
    "Access.AddMember": _MANAGES,
    "Access.ListMembers": _SEES_ACCESS,
    "Access.ChangeMember": _MANAGES,
    "Access.RemoveMember": _MANAGES,
    # it has no caller yet, and writes its own line
    "Access.Exchange": Need(None, changes=False, of_an_org=False, credentials=False),
    "Access.AddTrustRule": _MANAGES,
    "Access.ListTrustRules": _SEES_ACCESS,
    "Access.RemoveTrustRule": _MANAGES,
    "Access.IssueCertificate": Need(Right.BUILD),
    "Access.ListAudit": _OF_ANY_ORG,
    "Usage.Report": _LOOKS,
    "Webhooks.AddWebhook": _MANAGES,
    "Webhooks.ListWebhooks": _SEES_ACCESS,
    "Webhooks.RemoveWebhook": _MANAGES,
    "Webhooks.RotateWebhook": _MANAGES,
    "Webhooks.TestWebhook": _MANAGES,
    "Webhooks.ListDeliveries": _SEES_ACCESS,
    "Operators.CreateOrg": _OPERATES,
    "Operators.ListOrgs": _SEES_ALL,
    "Operators.GetBelongings": _SEES_ALL,
    "Operators.RemoveOrg": _OPERATES,
    "Operators.ListFleet": _SEES_ALL,
    "Operators.ListNodes": _SEES_ALL,
    "Operators.DrainNode": _OPERATES,
    "Operators.PauseSleep": _OPERATES,
    "Operators.ResumeSleep": _OPERATES,
    "Operators.ListSleepPauses": _SEES_ALL,
    "Operators.SetLimits": _OPERATES,
    "Operators.RemoveLimits": _OPERATES,
    "Operators.ListLimits": _SEES_ALL,
    "Operators.ListStrays": _SEES_ALL,
    "Operators.AdoptStray": _OPERATES,
    "Operators.EndStray": _OPERATES,
}
