"""`torpor budget` and `torpor runaway`, as an operator types them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from torpor_router.access.audit import Audit

DOCS = Path(__file__).parents[3] / "docs"
_SATELLITE = """
with one as (
    insert into satellites (org_id, name, provisioner, arch, state, sleep_kind)
    select id, 'web', 'local', 'x86_64', 'asleep', 'stopped' from orgs where name = 'acme'
    returning id
)
insert into runaways (satellite_id, day, detail, suspended)
select id, '2026-11-20', 'awake for 22.0 h of a day, with 3 streams begun; it is new', true from one
"""


@pytest.fixture
async def acme(torpor: Any, database: Any) -> None:
    await torpor("org", "create", "acme")
    await database.execute(_SATELLITE)


async def test_a_budget_is_set_listed_and_removed(torpor, acme, database) -> None:
    done = await torpor("budget", "set", "acme", "99.50", "--refuse")
    assert done.stdout == "acme may spend 99.50 a month; then nothing is woken.\n"
    listed = (await torpor("budget", "ls")).stdout.splitlines()
    assert listed[1].split()[:2] == ["acme", "99.50"]
    assert max(map(len, listed)) <= 80
    assert (await torpor("budget", "rm", "acme")).stdout == "acme has no budget any more.\n"
    assert (await torpor("budget", "rm", "acme")).stdout == "acme had no budget.\n"
    acts = [(act.action, act.org) for act in await Audit(database).read()][1:]
    assert acts == [("budget set", "acme"), ("budget rm", "acme")]


@pytest.mark.parametrize("amount", ["0", "-1", "much", "nan", "inf", "1e12", ""])
async def test_what_is_no_budget(torpor, acme, amount: str) -> None:
    done = await torpor("budget", "set", "acme", "--", amount)
    assert done.exit_code == 2


async def test_alarms_are_listed_and_allowed(torpor, acme, database) -> None:
    listed = (await torpor("runaway", "ls")).stdout.splitlines()
    assert listed[1].split()[:4] == ["acme/web", "asleep", "2026-11-20", "yes"]
    assert (await torpor("runaway", "allow", "acme/web", "--for", "2d")).exit_code == 0
    assert "TPR-2009" in (await torpor("runaway", "allow", "acme/none")).stderr
    assert not await database.fetchval("select suspended from runaways")
    done = await torpor("runaway", "set", "--org", "acme", "--suspend")
    assert done.stdout == "Runaways of acme are suspended.\n"
    done = await torpor("runaway", "set", "--notice")
    assert done.stdout == "Runaways of every other org are told in a notice.\n"
    acts = [act.action for act in await Audit(database).read()][1:]
    assert acts == ["runaway allow", "runaway set", "runaway set"]


async def test_the_commands_of_the_page_run(torpor, acme) -> None:
    page = (DOCS / "spending.md").read_text()
    lines = [shlex.split(each) for each in re.findall(r"(?m)^\$ torpor (.*)$", page)]
    assert {" ".join(line[:2]) for line in lines} == {
        *("budget set", "budget ls", "budget rm"),
        *("runaway ls", "runaway set", "runaway allow"),
    }
    for line in lines:
        done = await torpor(*line)
        assert done.exit_code == 0, (line, done.stderr)
