"""Trust rules: what they match, and which cannot be made."""

from __future__ import annotations

import fnmatch
import re
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torpor_router.access.oidc.errors import BadTrustRule
from torpor_router.access.oidc.rules import NewTrustRule, TrustRule, fits
from torpor_router.access.roles import Role

USABLE: dict[str, Any] = {
    "name": "app",
    "issuer": "https://ci.example.com",
    "audience": "torpor",
    "subject": "repo:acme/app:*",
    "role": Role.CI,
    "claims": {},
}
CLAIMS = {"iss": "https://ci.example.com", "aud": "torpor", "sub": "repo:acme/app:main"}


def rule(**changed: Any) -> TrustRule:
    whole = {**USABLE, "satellites": None, "lifetime": timedelta(hours=1), "once": False, **changed}
    return TrustRule(id=uuid4(), org_id=uuid4(), org="acme", **whole)


@given(
    pattern=st.text("ab*.[\\", max_size=12),
    value=st.text("ab*.[\\\n", max_size=16),
)
def test_a_star_stands_for_anything_and_all_else_for_itself(pattern, value) -> None:
    as_glob = "".join(f"[{c}]" if c in "?[" else c for c in pattern)
    expected = re.fullmatch(fnmatch.translate(as_glob), value) is not None
    assert fits(pattern, value) is expected


def test_no_pattern_takes_long() -> None:
    assert not fits("*a" * 200 + "*b", "a" * 500)


@pytest.mark.parametrize(
    ("pattern", "value", "expected"),
    [
        ("true", True, True),
        ("true", False, False),
        ("7", 7, True),
        ("7", 7.0, False),
        ("*", None, False),
        ("*", ["a"], False),
        ("*", "x" * 501, False),
    ],
)
def test_values_that_are_no_texts(pattern, value, expected) -> None:
    assert fits(pattern, value) is expected


@pytest.mark.parametrize(
    ("changed", "claims", "expected"),
    [
        ({}, {}, True),
        ({}, {"iss": "https://ci.example.com/"}, False),
        ({}, {"aud": "other"}, False),
        ({}, {"aud": ["other", "torpor"]}, True),
        ({}, {"aud": []}, False),
        ({}, {"aud": None}, False),
        ({}, {"sub": "repo:acme/app2:main"}, False),
        ({}, {"sub": 5}, False),
        ({"claims": {"env": "prod"}}, {}, False),
        ({"claims": {"env": "prod"}}, {"env": "prod"}, True),
        ({"claims": {"env": "prod", "n": "1*"}}, {"env": "prod", "n": 12}, True),
        ({"claims": {"env": "prod", "n": "1*"}}, {"env": "prod", "n": 2}, False),
    ],
)
def test_what_a_rule_matches(changed, claims, expected) -> None:
    assert rule(**changed).matches({**CLAIMS, **claims}) is expected


@given(claims=st.dictionaries(st.sampled_from(["iss", "aud", "sub", "env"]), st.text(max_size=5)))
def test_a_claim_more_in_the_rule_never_lets_in_more(claims) -> None:
    assert not rule(claims={"env": "prod"}).matches(claims) or rule().matches(claims)


@pytest.mark.parametrize(
    "changed",
    [
        *(
            {"issuer": issuer}
            for issuer in (
                *(
                    "",
                    "http://ci.example.com",
                    "https://",
                    "ci.example.com",
                    "https://*.example.com",
                ),
                *(
                    "https://a@ci.example.com",
                    "https://ci.example.com?a",
                    "https://[",
                    "https://a\n",
                ),
            )
        ),
        {"name": "A"},
        {"name": "x" * 41},
        {"audience": ""},
        {"subject": ""},
        {"subject": "*"},
        {"subject": "x" * 501},
        {"claims": {"": "x"}},
        {"claims": {"x": ""}},
        {"claims": {str(n): "x" for n in range(21)}},
        {"lifetime": timedelta(seconds=59)},
        {"lifetime": timedelta(days=1, seconds=1)},
    ],
    ids=str,
)
def test_what_is_no_rule(changed) -> None:
    with pytest.raises(BadTrustRule):
        NewTrustRule(**{**USABLE, **changed})


def test_a_subject_of_anybody_is_one_beside_a_claim() -> None:
    NewTrustRule(**{**USABLE, "subject": "*", "claims": {"repository": "acme/app"}})
