"""What `torpor ... --json` prints is as docs/schemas/torpor.json says, and nothing besides."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from uuid import uuid4

import jsonschema  # type: ignore[import-untyped]
import pytest

from torpor_router.cli.torpor import _COMMANDS

DOCS = Path(__file__).parents[3] / "docs"
SCHEMAS = json.loads((DOCS / "schemas/torpor.json").read_text())
STORY = """
org create acme
org create globex
org ls
token create acme ci --expires 1d
token narrow acme ci --role ci
token rotate acme ci
token ls acme
token revoke acme ci
member add acme ann --role member
member ls acme
member set acme ann --role ci
member rm acme ann
trust add acme app --issuer https://ci.example.com --audience a --subject s --claim ref=main
trust ls acme
trust rm acme app
audit --org acme
ca init
ca issue acme/one --for 1h
ca ls
ca revoke acme-one.pem
nodes ls
drain 1111 --no-wait
pause-sleep on --for 1h --reason work
pause-sleep ls
pause-sleep off
doctor
fleet ls
fleet strays
fleet adopt vm-1 acme two
fleet end vm-2 --yes
org rm globex --yes
""".strip().splitlines()


def command_of(line: str) -> str:
    words = line.split()
    return words[0] if words[0] in ("drain", "doctor", "audit") else " ".join(words[:2])


@pytest.fixture
async def fleet(database: Any) -> None:
    await database.execute(
        """
        insert into nodes (id, expires_at, leases_until, version, listens, phase, streams, lag)
        values ('11111111-0000-0000-0000-000000000000', now() + '1 hour', now(), '1', 'a:1',
            'serving', 0, 0.5)
        """
    )
    for ref in ("vm-1", "vm-2"):
        await database.execute(
            "insert into strays (provisioner, ref, satellite_id, generation)"
            " values ('local', $1, $2, 1)",
            *(ref, uuid4()),
        )


async def test_each_answer_is_as_its_schema_says(
    torpor: Any, fleet: None, database: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORPOR_LOCAL_ACCOUNTS", "router")
    for line in STORY:
        if line == "fleet ls":
            await database.execute(
                "insert into satellites (org_id, name, provisioner, arch, state)"
                " select id, 'one', 'local', 'x86_64', 'failed' from orgs where name = 'acme'"
            )
        done = await torpor(*line.split(), "--json")
        assert done.exit_code == 0, (line, done.output)
        schema = SCHEMAS["properties"][command_of(line)]
        answers = done.stdout.splitlines() if command_of(line) == "audit" else [done.stdout]
        rows = []
        for answer in map(json.loads, answers):
            jsonschema.validate(answer, {**schema, "$defs": SCHEMAS["$defs"]})
            rows += answer if isinstance(answer, list) else [answer]
        assert rows, line
        for each in rows:
            assert set(each) == _keys(schema.get("items", schema)), line
    assert {command_of(line) for line in STORY} == set(SCHEMAS["properties"])


def _keys(schema: Any) -> set[str]:
    if "$ref" in schema:
        return _keys(SCHEMAS["$defs"][schema["$ref"].rpartition("/")[2]])
    own = set(schema.get("properties", ()))
    return own.union(*(_keys(each) for each in schema.get("allOf", ())))


def test_the_page_has_every_command() -> None:
    table = (DOCS / "operate.md").read_text().split("## The `torpor` command")[1].split("\n## ")[0]
    named = {
        name
        for cell in re.findall(r"(?m)^\| (`[^|]*`) \|", table)
        for name in re.findall(r"`([a-z-]+)`", cell)
    }
    assert named == set(_COMMANDS)
