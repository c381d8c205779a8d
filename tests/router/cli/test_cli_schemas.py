"""What `torpor ... --json` prints is as docs/schemas/torpor.json says, and nothing besides."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from documented import as_documented, schema

from torpor_router.cli.torpor import _COMMANDS

DOCS = Path(__file__).parents[3] / "docs"
STORY = """
org create acme
org create globex
migrate
org ls
member add acme ann --role admin
member set acme ann --role ci
member ls acme
member rm acme ann
token create acme ci --expires 1d
token narrow acme ci --role ci
token rotate acme ci
token ls acme
token revoke acme ci
token revived
trust add acme gh --issuer https://ci.example --audience torpor --subject repo:* --claim ref=main
trust ls acme
trust rm acme gh
ca init
ca issue acme/one --for 1h
ca ls
cert set acme-one.pem --org acme --role ci
ca revoke acme-one.pem
cert restore acme-one.pem
cert revoke acme-one.pem --reason lost
cert ls
usage
nodes ls
drain 1111 --no-wait
limit set acme --awake 5
limit ls
limit rm acme
pause-sleep on --for 1h --reason work
pause-sleep ls
pause-sleep off
budget set acme 250 --refuse
budget ls
budget rm acme
runaway ls
runaway set --org acme --suspend
runaway allow acme/running
webhook key webhook.key
webhook add ops https://hooks.example/x --webhook-key webhook.key
webhook ls
webhook rotate ops --webhook-key webhook.key
webhook test ops
webhook history ops
webhook rm ops
doctor
fleet ls
fleet inspect acme/running
fleet why acme/running
fleet wake acme/asleep --no-wait
fleet history acme/asleep
fleet sleep acme/running --no-wait
fleet rm acme/failed --yes --no-wait
fleet strays
fleet adopt vm-1 acme two
fleet end vm-2 --yes
org rm globex --yes
audit
""".strip().splitlines()


EMPTY = ("token revived",)
ALONE = ("audit", "doctor", "drain", "migrate", "usage")


def command_of(line: str) -> str:
    words = line.split()
    return words[0] if words[0] in ALONE else " ".join(words[:2])


_SATELLITES = """
insert into satellites (org_id, name, provisioner, arch, state, sleep_kind, idle_since, sleep_due)
select id, state, 'local', 'x86_64', state, kind, since, since from orgs, (values
    ('failed', null, null), ('asleep', 'stopped', null), ('running', null, now())
) as each (state, kind, since) where orgs.name = 'acme'
"""


_RUNAWAY = """
insert into runaways (satellite_id, day, detail, suspended)
select id, now()::date, 'long', true from satellites where name = 'running'
"""


@pytest.fixture
async def fleet(database: Any) -> None:
    await database.execute(
        """
        insert into nodes (id, expires_at, leases_until, version, listens, phase, streams, lag,
            provisioners)
        values ('11111111-0000-0000-0000-000000000000', now() + '1 hour', now(), '1', 'a:1',
            'serving', 0, 0.5, '{local}')
        """
    )
    for ref in ("vm-1", "vm-2"):
        await database.execute(
            "insert into strays (provisioner, ref, satellite_id, generation)"
            " values ('local', $1, $2, 1)",
            *(ref, uuid4()),
        )


async def _deliver(database: Any) -> None:
    """As a router does, to a receiver that answers 204."""
    while True:
        await database.execute(
            "update notice_deliveries set state = 'delivered', tries = 1, result = '204'"
        )
        await asyncio.sleep(0.05)


async def test_each_answer_is_as_its_schema_says(
    either_way: Any, fleet: None, database: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORPOR_LOCAL_ACCOUNTS", "router")
    for line in STORY:
        if line == "usage":
            await database.execute(_SATELLITES)
            await database.execute(_RUNAWAY)
        routers = asyncio.create_task(_deliver(database))
        done = await either_way(*line.split(), "--json")
        routers.cancel()
        assert done.exit_code == 0, (line, done.output)
        command = command_of(line)
        if command == "audit":
            answers = [json.loads(each) for each in done.stdout.splitlines()]
            assert answers
        else:
            answers = [json.loads(done.stdout)]
        assert answers[0] or command in EMPTY, line
        for each in answers:
            as_documented(each, "torpor", command)
    assert {command_of(line) for line in STORY} == set(schema("torpor")["properties"])


def test_the_page_has_every_command() -> None:
    table = (DOCS / "operate.md").read_text().split("## The `torpor` command")[1].split("\n## ")[0]
    named = {
        name
        for cell in re.findall(r"(?m)^\| (`[^|]*`) \|", table)
        for name in re.findall(r"`([a-z-]+)`", cell)
    }
    assert named == set(_COMMANDS)
