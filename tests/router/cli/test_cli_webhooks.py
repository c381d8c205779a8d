"""`torpor webhook`, as an operator types it."""

from __future__ import annotations

import json
import re
import shlex
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from noticekit.receiver import Receiver, answer

from torpor_router.access.audit import Audit
from torpor_router.notices.deliverer import Deliverer
from torpor_router.notices.outbox import Outbox
from torpor_router.notices.reach import Reach
from torpor_router.notices.sealing import Seal
from torpor_router.notices.sender import Sender
from torpor_router.notices.signing import headers, mint

URL = "https://hooks.example/secret-path"


@pytest.fixture
async def key(torpor, tmp_path: Path) -> list[str]:
    file = tmp_path / "webhook.key"
    done = await torpor("webhook", "key", str(file))
    assert done.exit_code == 0
    await torpor("org", "create", "acme")
    return ["--webhook-key", str(file)]


@pytest.fixture
async def receiver(database, key) -> AsyncIterator[Receiver]:
    """And a router that delivers to it."""
    seal = Seal.read(Path(key[1]))
    async with (
        Receiver().running() as receiver,
        Deliverer(Outbox(database), seal, Sender(Reach()), living=lambda: 1, poll=0.05),
    ):
        yield receiver


async def test_a_webhook_from_its_beginning_to_its_end(torpor, key, receiver, database) -> None:
    added = await torpor("webhook", "add", "ops", receiver.url, "--kind", "capacity", *key)
    assert (added.exit_code, added.stdout[:6], len(added.stdout.splitlines())) == (0, "whsec_", 1)
    tested = await torpor("webhook", "test", "ops")
    assert (tested.exit_code, tested.stdout) == (0, "Delivered: 204.\n")
    [got] = receiver.received
    assert got.headers["webhook-signature"] == got.signatures(added.stdout.strip())
    rotated = await torpor("webhook", "rotate", "ops", *key)
    assert rotated.stdout.startswith("whsec_")
    assert rotated.stdout != added.stdout
    listed = await torpor("webhook", "ls")
    assert f"127.0.0.1:{receiver.port}" in listed.stdout
    assert max(map(len, listed.stdout.splitlines())) <= 80
    history = await torpor("webhook", "history", "ops")
    assert "TPR-5529" in history.stdout
    assert "delivered" in history.stdout
    assert max(map(len, history.stdout.splitlines())) <= 80
    assert (await torpor("webhook", "rm", "ops")).stdout == "Removed ops.\n"
    assert (await torpor("webhook", "ls")).stderr.startswith("There are no webhooks")
    acts = [(act.action, act.target) for act in await Audit(database).read()][1:]
    assert acts == [("webhook add", "ops"), ("webhook rotate", "ops"), ("webhook rm", "ops")]


async def test_a_test_says_how_the_receiver_has_taken_it(torpor, key, receiver) -> None:
    receiver.always = answer(404)
    await torpor("webhook", "add", "ops", receiver.url, *key)
    done = await torpor("webhook", "test", "ops")
    assert done.exit_code == 4
    assert "TPR-5527" in done.stderr
    assert "HTTP 404" in done.stderr


async def test_where_no_router_delivers(torpor, key, monkeypatch) -> None:
    monkeypatch.setattr("torpor_router.cli.webhooks.TEST_TAKES", 0.0)
    await torpor("webhook", "add", "ops", URL, *key)
    assert "TPR-5528" in (await torpor("webhook", "test", "ops")).stderr


async def test_its_address_is_not_shown(torpor, key) -> None:
    added = await torpor("webhook", "add", "ops", URL, "--org", "acme", "--slack", "--json", *key)
    made = json.loads(added.stdout)
    assert (made["org"], made["format"], made["host"]) == ("acme", "slack", "hooks.example")
    shown = [await torpor("webhook", "ls", "--json"), await torpor("audit", "--json")]
    text = "".join(each.stdout for each in shown)
    assert "secret-path" not in text
    assert made["secret"] not in text


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("add", "ops", URL), "TPR-5520"),
        (("add", "ops", URL, "--webhook-key", "/none"), "TPR-5521"),
        (("rm", "ops"), "TPR-5523"),
        (("history", "ops", "--org", "nobody"), "TPR-1112"),
    ],
)
async def test_what_cannot_be_done(torpor, key, arguments, code: str) -> None:
    done = await torpor("webhook", *arguments)
    assert done.exit_code != 0
    assert code in done.stderr


async def test_the_commands_of_the_page_run(torpor, key, database, monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[3] / "docs/notices.md").read_text()
    lines = [shlex.split(line) for line in re.findall(r"(?m)^\$ torpor (webhook .*)$", page)]
    named = {line[1] for line in lines}
    assert named == {"key", "add", "test", "ls", "history", "rotate", "rm"}
    monkeypatch.setenv("TORPOR_WEBHOOK_KEY", key[1])
    for line in lines:
        if line[1] in ("key", "test"):  # there is a key, and no router here
            continue
        done = await torpor(*line)
        assert done.exit_code == 0, (line, done.stderr)


def test_the_pages_way_to_check_a_signature() -> None:
    page = (Path(__file__).parents[3] / "docs/notices.md").read_text()
    [text] = re.findall(r"(?s)```python\n(.*?)```", page)
    there: dict[str, Any] = {}
    exec(text, there)
    secret, old = mint(), mint()
    signed = headers("id", int(time.time()), b"{}", [secret, old])
    for one in (secret, old):
        assert there["is_from_torpor"](one, signed, b"{}")
    assert not there["is_from_torpor"](mint(), signed, b"{}")
    assert not there["is_from_torpor"](secret, signed, b"{ }")
    late = headers("id", int(time.time()) - 3_600, b"{}", [secret])
    assert not there["is_from_torpor"](secret, late, b"{}")
