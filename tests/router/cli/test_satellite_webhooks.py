"""`satellite webhook`, as an org's admin types it."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from documented import as_documented
from noticekit.receiver import Receiver

from torpor_router.access.audit import Audit
from torpor_router.access.roles import Role
from torpor_router.access.store import Store
from torpor_router.notices.deliverer import Deliverer
from torpor_router.notices.outbox import Outbox
from torpor_router.notices.reach import Reach, networks
from torpor_router.notices.sealing import Seal
from torpor_router.notices.sender import Sender

URL = "https://hooks.example/secret-path"


@pytest.fixture
def run(house: Any) -> Any:
    return house[0]


@pytest.fixture
async def receiver(database: Any) -> AsyncIterator[Receiver]:
    """And a router that delivers to it."""
    seal, reach = Seal([b"0" * 43 + b"="]), Reach(networks(("127.0.0.0/8",)))
    async with (
        Receiver().running() as receiver,
        Deliverer(Outbox(database), seal, Sender(reach), living=lambda: 1, poll=0.05),
    ):
        yield receiver


async def test_a_webhook_from_its_beginning_to_its_end(run, receiver, database) -> None:
    added = await run("webhook", "add", "ops", receiver.url)
    assert (added.exit_code, added.stdout[:6], len(added.stdout.splitlines())) == (0, "whsec_", 1)
    assert (await run("webhook", "test", "ops")).stdout == "Delivered: 204.\n"
    [got] = receiver.received
    assert got.headers["webhook-signature"] == got.signatures(added.stdout.strip())
    listed = json.loads((await run("webhook", "ls", "--json")).stdout)
    as_documented(listed, "torpor", "webhook ls")
    assert [(each["org"], each["name"], each["result"]) for each in listed] == [
        ("acme", "ops", "204")
    ]
    history = json.loads((await run("webhook", "history", "ops", "--json")).stdout)
    as_documented(history, "torpor", "webhook history")
    assert [each["state"] for each in history] == ["delivered"]
    assert (await run("webhook", "rotate", "ops")).stdout.startswith("whsec_")
    assert (await run("webhook", "rm", "ops")).stdout == "Removed ops.\n"
    acts = [each for each in await Audit(database).read() if each.action.startswith("Webhooks.")]
    assert [(each.action, each.target) for each in acts] == [
        ("Webhooks.AddWebhook", "ops"),
        ("Webhooks.TestWebhook", "ops"),
        ("Webhooks.RotateWebhook", "ops"),
        ("Webhooks.RemoveWebhook", "ops"),
    ]
    assert "/hook" not in repr(acts)
    assert "whsec" not in repr(acts)


async def test_it_is_for_admins(run, database) -> None:
    _, token = await Store(database).create_token("acme", "ann", role=Role.MEMBER)
    for arguments in (("ls",), ("add", "ops", URL), ("rm", "ops")):
        assert "TPR-1130" in (await run("webhook", *arguments, token=token)).stderr


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("add", "ops", "ftp://hooks.example"), "TPR-5522"),
        (("add", "ops", URL, "--kind", "machine.stray"), "TPR-5522"),
        (("add", "Ops", URL), "TPR-1111"),
        (("test", "none"), "TPR-5523"),
        (("history", "none"), "TPR-5523"),
    ],
)
async def test_what_cannot_be_done(run, arguments, code: str) -> None:
    done = await run("webhook", *arguments)
    assert done.exit_code in (2, 3)
    assert code in done.stderr


async def test_the_commands_of_the_page_run(run) -> None:
    page = (Path(__file__).parents[3] / "docs/notices.md").read_text()
    lines = [shlex.split(line) for line in re.findall(r"(?m)^\$ satellite (webhook .*)$", page)]
    assert {line[1] for line in lines} == {"add", "test", "ls", "history", "rotate", "rm"}
    for line in lines:
        if line[1] != "test":  # no router delivers here
            done = await run(*line)
            assert done.exit_code == 0, (line, done.stderr)
