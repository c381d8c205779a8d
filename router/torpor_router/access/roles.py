"""Roles, the rights that each has, and what one caller may do: pure, without I/O.

A caller's rights are those that everything it showed has in common: its token's role, its member's,
and, for a certificate that was got with a token, that token's too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from torpor_router.access.errors import RoleForbids, TokenForOthers, UnknownRole


class Right(StrEnum):
    """What may be done to an org's satellites, to the org itself, or to the deployment."""

    BUILD = "build"
    WAKE = "wake"
    SLEEP = "put to sleep"
    LAUNCH = "launch"
    REPAIR = "repair"
    LOOK = "look at"
    CHANGE = "change"
    END = "remove"
    MANAGE = "manage who may use"
    OPERATE = "operate every org's"


class Role(StrEnum):
    """OPERATOR is the platform team's, over every org; the others are of one org."""

    OPERATOR = "operator"
    ADMIN = "admin"
    MEMBER = "member"
    CI = "ci"
    VIEWER = "viewer"


Rights = frozenset[Right]

# that anyone may do in an org
EVERYTHING: Rights = frozenset(Right) - {Right.OPERATE}
RIGHTS: dict[Role, Rights] = {
    # not BUILD: what a build sees and leaves behind is the org's own
    Role.OPERATOR: frozenset(Right) - {Right.BUILD},
    Role.ADMIN: EVERYTHING,
    Role.MEMBER: EVERYTHING - {Right.CHANGE, Right.END, Right.MANAGE},
    Role.CI: frozenset({Right.BUILD, Right.WAKE}),
    Role.VIEWER: frozenset({Right.LOOK}),
}
OF_AN_ORG = tuple(role for role in Role if role is not Role.OPERATOR)


@dataclass(frozen=True, slots=True)
class Grant:
    """What a caller may do, and on which satellites: `satellites` is None for all of its org's."""

    rights: Rights
    satellites: frozenset[str] | None = None

    def check(self, right: Right) -> None:
        """
        Raises:
            RoleForbids: it may not do that to any satellite.
        """
        if right not in self.rights:
            raise RoleForbids(f"to {right} {'them' if right is Right.MANAGE else 'satellites'}")

    def check_satellite(self, name: str) -> None:
        """
        Raises:
            TokenForOthers: it may do nothing to this satellite.
        """
        if self.satellites is not None and name not in self.satellites:
            raise TokenForOthers(name)

    def covers(self, other: Grant) -> bool:
        """Whether the other may do nothing that this one may not."""
        within = self.satellites is None or (
            other.satellites is not None and other.satellites <= self.satellites
        )
        return within and other.rights <= self.rights


UNLIMITED = Grant(EVERYTHING)
NOTHING = Grant(frozenset())


def granted(roles: Iterable[str | None], satellites: Iterable[str] | None = None) -> Grant:
    """What is allowed by every one of `roles`; None is a token's from before there were roles."""
    limits = [RIGHTS[Role(role)] for role in roles if role is not None]
    rights = limits[0].intersection(*limits) if limits else EVERYTHING
    return Grant(rights, frozenset(satellites) if satellites is not None else None)


def role_of_an_org(text: str) -> Role:
    """Read a role that an org can give.

    Raises:
        UnknownRole: it is none.
    """
    if text not in OF_AN_ORG:
        raise UnknownRole(f"{text[:40]!r}")
    return Role(text)
