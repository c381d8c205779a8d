"""The commands of docs/cli.md, run as they stand there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from controlkit.fakes import asleep

PAGE = (Path(__file__).parents[3] / "docs/cli.md").read_text(encoding="utf-8")
COMMANDS = [shlex.split(line) for line in re.findall(r"(?m)^\$ satellite (.*)$", PAGE)]


async def test_the_commands_of_the_page_run(commands) -> None:
    owner = await commands(asleep("two"))
    assert {words[0] for words in COMMANDS} >= {"launch", "ls", "login", "select", "doctor"}
    for words in COMMANDS:
        if words[0] == "login":  # at this router, and from here on by its context
            address = owner.environment["TORPOR_ADDRESS"]
            assert (await owner.run("login", "--address", address)).code == 0
            owner.environment = {}
            continue
        done = await owner.run(*words)
        if words[0] == "doctor":  # there is no door here, and so no worker
            assert "ok  route" in done.out
            continue
        assert done.code == 0, (words, done.err)


async def test_the_page_has_every_command_and_no_other(commands) -> None:
    owner = await commands()
    shown = (await owner.run("--help")).out.split("Commands:")[1]
    named = re.findall(
        r"(?m)^\| `([a-z]+)(?: NAME| \[NAME\]| NAME SIZE| NAME \"[^`]+| \[CONTEXT\])?` \|", PAGE
    )
    assert set(named) == set(re.findall(r"(?m)^  ([a-z]+) ", shown))
