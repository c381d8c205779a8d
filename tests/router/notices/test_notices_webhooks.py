"""Webhooks as they are made, listed, changed and removed; and how their secrets are kept."""

from __future__ import annotations

import stat
from pathlib import Path
from uuid import uuid4

import pytest
from cryptography.fernet import Fernet

from torpor_router.access.errors import UnknownOrg, UnusableName
from torpor_router.notices.errors import (
    BadWebhook,
    BadWebhookKey,
    NoWebhookKey,
    TooManyWebhooks,
    UnknownWebhook,
    WebhookExists,
)
from torpor_router.notices.kinds import MEANINGS, Kind
from torpor_router.notices.sealing import Seal, Target, keep_new_key
from torpor_router.notices.webhooks import MOST, Webhooks

URL = "https://hooks.example/x"


async def test_one_is_made_listed_and_removed(webhooks: Webhooks, tell) -> None:
    made, secret = await webhooks.add("acme", "ops", URL, kinds=["capacity", "capacity"])
    assert (made.org, made.name, made.host, made.kinds) == (
        *("acme", "ops", "hooks.example"),
        ["capacity"],
    )
    assert secret.startswith("whsec_")
    await webhooks.add("", "ops", URL)
    assert [(each.org, each.name) for each in await webhooks.all()] == [
        ("", "ops"),
        ("acme", "ops"),
    ]
    assert await webhooks.all("acme") == [made]
    assert await webhooks.all("globex") == []
    await tell()
    assert (await webhooks.all(""))[0].waiting == 1
    assert (await webhooks.remove("", "ops")).name == "ops"
    assert await webhooks.all() == [made]
    assert await webhooks.find("", "ops") is None


async def test_what_was_to_be_told_to_one_that_is_removed_is_forgotten(
    webhooks: Webhooks, tell, database
) -> None:
    await webhooks.add("acme", "ops", URL)
    await tell()
    await webhooks.remove("acme", "ops")
    assert await database.fetchval("select count(*) from notice_deliveries") == 0


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"name": "Ops"}, UnusableName),
        ({"url": "ftp://x"}, BadWebhook),
        ({"form": "xml"}, BadWebhook),
        ({"kinds": ["nonsense"]}, BadWebhook),
        ({"kinds": ["machine.stray"]}, BadWebhook),
        ({"org": "nobody"}, UnknownOrg),
        ({"name": "taken"}, WebhookExists),
    ],
)
async def test_what_cannot_be_made(webhooks: Webhooks, options: dict, error: type) -> None:
    await webhooks.add("acme", "taken", URL)
    with pytest.raises(error):
        await webhooks.add(**{"org": "acme", "name": "ops", "url": URL, **options})


async def test_an_org_has_a_few_and_no_more(webhooks: Webhooks) -> None:
    for number in range(MOST):
        await webhooks.add("acme", f"ops{number}", URL)
    with pytest.raises(TooManyWebhooks, match="TPR-5525"):
        await webhooks.add("acme", "ops", URL)
    await webhooks.add("globex", "ops", URL)


async def test_of_one_that_is_not_there(webhooks: Webhooks) -> None:
    for org, error in (("acme", UnknownWebhook), ("", UnknownWebhook), ("nobody", UnknownOrg)):
        for call in (webhooks.remove, webhooks.rotate, webhooks.test, webhooks.deliveries):
            with pytest.raises(error):
                await call(org, "ops")


async def test_without_a_key_nothing_is_kept(database, webhooks: Webhooks) -> None:
    await webhooks.add("acme", "ops", URL)
    keyless = Webhooks(database, None)
    with pytest.raises(NoWebhookKey, match="TPR-5520"):
        await keyless.add("acme", "two", URL)
    with pytest.raises(NoWebhookKey):
        await keyless.rotate("acme", "ops")
    assert len(await keyless.all("acme")) == 1


async def test_an_org_that_is_gone_takes_its_webhooks_along(webhooks: Webhooks, database) -> None:
    await webhooks.add("globex", "ops", URL)
    await database.execute("delete from orgs where name = 'globex'")
    assert await webhooks.all() == []


# --- How they are kept


def test_what_is_sealed_opens_with_any_of_the_keys_for_its_own_webhook() -> None:
    old, new, one = Fernet.generate_key(), Fernet.generate_key(), uuid4()
    target = Target(URL, "whsec_a", "whsec_b", 5.0)
    sealed = Seal([old]).seal(one, target)
    assert Seal([new, old]).open(one, sealed) == target
    with pytest.raises(BadWebhookKey, match="none of the keys"):
        Seal([new]).open(one, sealed)
    with pytest.raises(BadWebhookKey, match="for another"):
        Seal([old]).open(uuid4(), sealed)
    assert (target.secrets(4.9), target.secrets(5.0)) == (["whsec_a", "whsec_b"], ["whsec_a"])
    assert "whsec" not in repr(target)


def test_a_key_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "webhook.key"
    keep_new_key(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    Seal.read(file)
    with pytest.raises(BadWebhookKey, match="File exists"):
        keep_new_key(file)


@pytest.mark.parametrize("content", ["", "\n\n", "no key", "aGVsbG8="])
def test_what_is_no_key(tmp_path: Path, content: str) -> None:
    file = tmp_path / "webhook.key"
    file.write_text(content)
    with pytest.raises(BadWebhookKey, match="TPR-5521"):
        Seal.read(file)
    with pytest.raises(BadWebhookKey, match="none"):
        Seal.read(tmp_path / "none")


def test_every_kind_says_what_it_is() -> None:
    assert set(MEANINGS) == set(Kind)
