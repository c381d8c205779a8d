"""`torpor fleet why` says what `satellite why` says, from the database alone."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest
from documented import as_documented

NODE = UUID("11111111" + "0" * 24)


@pytest.fixture
async def acme(either_way: Any, database: Any) -> None:
    """`one` runs, and 3 streams through a node are open on it; `two` sleeps."""
    await either_way("org", "create", "acme")
    await database.execute(
        """
        insert into satellites (org_id, name, provisioner, arch, state, sleep_kind, usual_wake)
        select id, 'one', 'local', 'x86_64', 'running', null, null::interval from orgs
        union all
        select id, 'two', 'local', 'x86_64', 'asleep', 'hibernated', interval '20 s' from orgs
        """
    )
    await database.execute(
        "insert into nodes (id, expires_at, leases_until)"
        " values ($1, now() + interval '1 hour', now() + interval '1 hour')",
        NODE,
    )
    streams = {"count": 3, "by": [["token:ci", "/build.v1/Solve", "10.0.0.7", 3, 60.0]]}
    await database.execute(
        "insert into leases (satellite_id, node_id, streams, reported_at)"
        " select id, $1, $2::jsonb, now() from satellites where name = 'one'",
        *(NODE, json.dumps(streams)),
    )


async def test_why_says_whose_streams_keep_a_satellite_awake(either_way: Any, acme: None) -> None:
    done = await either_way("fleet", "why", "acme/one")
    assert done.exit_code == 0
    assert done.stdout.startswith("acme/one is running for ")
    assert "kept awake by 3 streams of token:ci /build.v1/Solve from 10.0.0.7" in done.stdout
    told = json.loads((await either_way("fleet", "why", "acme/one", "--json")).stdout)
    as_documented(told, "torpor", "fleet why")
    assert told["satellite"]["keepers"][0]["open"][0]["caller"] == "token:ci"


async def test_why_says_which_wake_comes_next(either_way: Any, acme: None) -> None:
    done = await either_way("fleet", "why", "acme/two")
    assert "resumes its memory and takes up to 20s usually" in done.stdout


async def test_one_that_is_not_there(either_way: Any, acme: None) -> None:
    done = await either_way("fleet", "why", "acme/none")
    assert (done.exit_code, done.stdout) == (3, "")
    assert "TPR-2009" in done.stderr
