"""Roles: what each may do, and that showing more credentials never allows more."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torpor_router.access.errors import RoleForbids, TokenForOthers, UnknownRole
from torpor_router.access.roles import (
    EVERYTHING,
    OF_AN_ORG,
    RIGHTS,
    Grant,
    Right,
    Role,
    granted,
    role_of_an_org,
)

ROLES = st.lists(st.sampled_from([None, *(str(role) for role in Role)]), max_size=4)
# an operator's token is of no org, and so of no member
MORE = st.lists(st.sampled_from([None, *map(str, OF_AN_ORG)]), max_size=4)
NAMES = st.none() | st.frozensets(st.sampled_from("abc"), min_size=1)


def test_each_role_has_the_rights_that_the_docs_list() -> None:
    assert {
        Role.OPERATOR: EVERYTHING - {Right.BUILD} | {Right.OPERATE},
        Role.ADMIN: EVERYTHING,
        Role.MEMBER: {
            *(Right.BUILD, Right.WAKE, Right.SLEEP),
            *(Right.LAUNCH, Right.REPAIR, Right.LOOK),
        },
        Role.CI: {Right.BUILD, Right.WAKE},
        Role.VIEWER: {Right.LOOK},
    } == RIGHTS


def test_a_token_from_before_roles_may_do_everything() -> None:
    assert granted([None, None]) == Grant(EVERYTHING)
    assert set(Right) - EVERYTHING == {Right.OPERATE}, "in its org"


@given(roles=ROLES, more=MORE, names=NAMES)
def test_more_credentials_never_allow_more(roles, more, names) -> None:
    fewer, both = granted(roles, names), granted([*roles, *more], names)
    assert fewer.covers(both)
    for right in both.rights:
        fewer.check(right)
    for right in EVERYTHING - both.rights:
        with pytest.raises(RoleForbids):
            both.check(right)


@given(one=st.builds(granted, ROLES, NAMES), other=st.builds(granted, ROLES, NAMES))
def test_a_role_that_covers_another_has_all_its_rights(one, other) -> None:
    every_name = frozenset("abcd")

    def acts(grant: Grant) -> set[tuple[Right, str]]:
        names = every_name if grant.satellites is None else grant.satellites
        return {(right, name) for right in grant.rights for name in names}

    if one.covers(other):
        assert acts(other) <= acts(one)


def test_a_token_for_some_satellites_is_refused_at_others() -> None:
    grant = granted(["ci"], ["one"])
    grant.check_satellite("one")
    with pytest.raises(TokenForOthers):
        grant.check_satellite("two")


@pytest.mark.parametrize("text", ["operator", "owner", "", "Admin", "x" * 1_000])
def test_an_org_gives_its_own_roles_only(text) -> None:
    with pytest.raises(UnknownRole):
        role_of_an_org(text)
    assert [role_of_an_org(str(role)) for role in OF_AN_ORG] == list(OF_AN_ORG)
