"""`satellite token`, `member`, `trust` and `audit`, as an org's admin and an operator use them."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from documented import as_documented

from torpor_router.access.audit import Entry
from torpor_router.access.members import Member, Members
from torpor_router.access.oidc.rules import TrustRule
from torpor_router.access.roles import Role
from torpor_router.access.store import Store, Token
from torpor_router.control.access_views import ActView, MemberView, TokenView, TrustRuleView

DOCS = Path(__file__).parents[3] / "docs"
TOKEN = re.compile(r"tpr_[\w-]{43}")
RULE = ("--issuer", "https://ci.example.com", "--audience", "torpor", "--subject", "repo:acme/*")


@pytest.fixture
def run(house: Any) -> Any:
    return house[0]


@pytest.fixture
def told(run: Any) -> Any:
    async def told(*arguments: str, **options: Any) -> Any:
        done = await run(*arguments, "--json", **options)
        assert (done.exit_code, done.stderr) == (0, ""), done.stderr
        return json.loads(done.stdout)

    return told


async def test_a_token_from_its_making_to_its_end(run, told) -> None:
    made = await run("token", "create", "deploy", "--role", "ci", "--satellite", "one")
    assert made.exit_code == 0, made.stderr
    text = made.stdout.removesuffix("\n")
    assert TOKEN.fullmatch(text), "alone on standard output"
    assert made.stderr.startswith("Keep it now, it is not shown again.")
    assert "everything" not in made.stderr
    seen = await told("whoami", token=text)
    assert (seen["caller"], seen["satellites"]) == ("token:deploy", ["one"])

    listed = await run("token", "ls")
    rows = {line.split()[1]: line.split() for line in listed.stdout.splitlines()}
    assert rows["deploy"][:5] == ["acme", "deploy", "ci:", "one", "valid"]
    assert text not in listed.stdout

    narrowed = await run("token", "narrow", "deploy", "--role", "viewer")
    assert narrowed.stdout == "acme/deploy may now: viewer.\n"
    assert (await run("token", "revoke", "deploy")).stdout == "Revoked acme/deploy.\n"
    assert [each["name"] for each in await told("token", "ls")] == ["ci"]
    everything = {each["name"]: each["state"] for each in await told("token", "ls", "--revoked")}
    assert everything == {"ci": "valid", "deploy": "revoked"}


async def test_a_token_of_no_chosen_role_is_an_admins_and_says_so(run, told) -> None:
    made = await run("token", "create", "all", "--expires", "90d")
    assert "It may do everything in the org: give --role ci to CI jobs." in made.stderr
    [token] = [each for each in await told("token", "ls") if each["name"] == "all"]
    assert token["role"] == "admin"
    lives = datetime.fromisoformat(token["expires_at"]) - datetime.fromisoformat(
        token["created_at"]
    )
    assert lives.days == 90


async def test_members_and_their_tokens(run, told) -> None:
    empty = await run("member", "ls")
    assert (empty.stdout, "satellite member add NAME --role ROLE" in empty.stderr) == ("", True)
    added = await run("member", "add", "ann", "--role", "member")
    assert added.stdout == "Added ann. Next: satellite token create TOKEN --member ann\n"
    service = await told("member", "add", "bot", "--role", "ci", "--service")
    assert (service["kind"], service["role"], service["tokens"]) == ("service", "ci", 0)

    text = (await run("token", "create", "laptop", "--member", "ann")).stdout.strip()
    assert (await told("whoami", token=text))["caller"] == "user:ann/laptop"
    shown = (await run("member", "ls")).stdout.splitlines()
    assert [line.split()[:4] for line in shown] == [
        ["MEMBER", "KIND", "ROLE", "TOKENS"],
        ["ann", "user", "member", "1"],
        ["bot", "service", "ci", "0"],
    ]
    changed = await run("member", "set", "ann", "--role", "viewer")
    assert changed.stdout == "ann is now viewer.\n"
    assert (await run("member", "rm", "ann")).stdout == "Removed ann.\n"
    assert [each["name"] for each in await told("member", "ls")] == ["bot"]


async def test_trust_rules(run, told) -> None:
    assert "Nobody is trusted yet: satellite trust add" in (await run("trust", "ls")).stderr
    limits = ("--claim", "ref=main", "--satellite", "one", "--lifetime", "30m", "--once")
    added = await run("trust", "add", "app", *RULE, *limits)
    assert (added.exit_code, added.stdout) == (0, "Added acme/app.\n"), added.stderr
    [rule] = await told("trust", "ls")
    assert {key: rule[key] for key in set(rule) - {"id", "org_id"}} == {
        "org": "acme",
        "name": "app",
        "issuer": "https://ci.example.com",
        "audience": "torpor",
        "subject": "repo:acme/*",
        "claims": {"ref": "main"},
        "role": "ci",
        "satellites": ["one"],
        "lifetime": 1800,
        "once": True,
    }
    shown = (await run("trust", "ls")).stdout.splitlines()[1]
    assert shown.split() == ["app", "https://ci.example.com", "repo:acme/*", "ci"]
    assert (await run("trust", "rm", "app")).stdout == "Removed acme/app.\n"
    assert await told("trust", "ls") == []


async def test_the_audit_log_is_of_the_org_alone(run, told, database, monkeypatch) -> None:
    monkeypatch.setattr("torpor_router.cli.access_client._PAGE", 2)
    assert "Nothing was changed" in (await run("audit")).stderr
    await Store(database).create_org("globex")
    _, other = await Store(database).create_token("globex", "theirs")
    await told("member", "add", "spy", "--role", "viewer", token=other)
    for name in ("a", "b", "c"):
        await told("member", "add", name, "--role", "viewer")
    await told("member", "set", "a", "--role", "ci")
    shown = await run("audit")
    rows = [line.split()[2:] for line in shown.stdout.splitlines()[1:]]
    assert rows == [
        *(["acme", "token:ci", "Access.AddMember", each, "ok"] for each in ("a", "b", "c")),
        ["acme", "token:ci", "Access.ChangeMember", "a", "ok"],
    ]
    lines = (await run("audit", "--since", "1h", "--json")).stdout.splitlines()
    acts = [json.loads(line) for line in lines]
    assert [act["target"] for act in acts] == ["a", "b", "c", "a"]
    assert (acts[0]["before"], acts[0]["after"]["role"]) == (None, "viewer")
    assert (acts[3]["before"]["role"], acts[3]["after"]["role"]) == ("viewer", "ci")
    assert datetime.fromisoformat(acts[0]["at"]).tzinfo is not None


STORY = """
member add ann --role member
member ls
token create ann --member ann
token ls
token narrow ann --role ci
token revoke ann
member set ann --role ci
member rm ann
trust add app --issuer https://ci.example.com --audience a --subject s --claim ref=main
trust ls
trust rm app
audit
""".strip().splitlines()


async def test_json_is_as_the_schema_of_the_operators_command_says(run) -> None:
    for line in STORY:
        words = line.split()
        command = "audit" if words == ["audit"] else " ".join(words[:2])
        done = await run(*words, "--json")
        assert (done.exit_code, done.stderr) == (0, ""), (line, done.stderr)
        answers = done.stdout.splitlines() if command == "audit" else [done.stdout]
        rows = []
        for answer in map(json.loads, answers):
            as_documented(answer, "torpor", command)
            rows += answer if isinstance(answer, list) else [answer]
        assert rows, line
        assert {row["org"] for row in rows} == {"acme"}, line
        assert all(row["id"] for row in rows), line


@pytest.mark.parametrize(
    ("view", "kept"),
    [(TokenView, Token), (MemberView, Member), (TrustRuleView, TrustRule), (ActView, Entry)],
)
def test_a_client_is_told_all_that_a_router_reads(view: type, kept: type) -> None:
    """So that the keys of --json are the operators'."""
    assert [field.name for field in fields(view)] == [field.name for field in fields(kept)]


async def test_what_is_refused_has_its_code_and_changes_nothing(run, database) -> None:
    store = Store(database)
    _, viewer = await store.create_token("acme", "looks", role=Role.VIEWER)
    _, some = await store.create_token("acme", "some", role=Role.ADMIN, satellites=["one"])
    _, operator = await store.create_token("", "ops", role=Role.OPERATOR)
    await Members(database).add("acme", "ann", Role.VIEWER)
    ci = ("--role", "ci")
    refused = [
        *((each, viewer, 3, "TPR-1130") for each in _ONE_OF_EACH),
        *((each, operator, 2, "TPR-1135") for each in _ONE_OF_EACH if each not in _OF_ANY_ORG),
        (("token", "create", "new", *ci), some, 3, "TPR-1136"),
        (("token", "narrow", "ci", *ci), some, 3, "TPR-1136"),
        (("token", "rotate", "ci"), some, 3, "TPR-1136"),
        (("token", "revoke", "ci"), some, 3, "TPR-1136"),
        (("member", "add", "bob", *ci), some, 3, "TPR-1136"),
        (("member", "rm", "ann"), some, 3, "TPR-1136"),
        (("trust", "add", "app", *RULE), some, 3, "TPR-1136"),
        (("token", "create", "ci"), None, 3, "TPR-1114"),
        (("token", "create", "C I"), None, 2, "TPR-1111"),
        (("token", "create", "new", "--member", "bob"), None, 3, "TPR-1133"),
        (("token", "create", "new", "--expires", "4000d"), None, 2, "TPR-1116"),
        (("token", "narrow", "new", *ci), None, 3, "TPR-1115"),
        (("token", "revoke", "new"), None, 3, "TPR-1115"),
        (("token", "rotate", "new"), None, 3, "TPR-1115"),
        (("token", "rotate", "ci", "--expires", "4000d"), None, 2, "TPR-1116"),
        (("member", "add", "ann", *ci), None, 3, "TPR-1134"),
        (("member", "set", "bob", *ci), None, 3, "TPR-1133"),
        (("member", "rm", "bob"), None, 3, "TPR-1133"),
        (("trust", "add", "app", *RULE, "--lifetime", "2d"), None, 2, "TPR-1141"),
        (("trust", "rm", "app"), None, 3, "TPR-1143"),
    ]
    for arguments, token, code, first in refused:
        done = await run(*arguments, **({} if token is None else {"token": token}))
        assert (done.exit_code, done.stderr[:8]) == (code, first), (arguments, done.stderr)
        assert done.stdout == "", arguments
    names = [each.name for each in await store.tokens("acme", revoked=True)]
    assert sorted(names) == ["ci", "looks", "some"]
    assert [each.role for each in await Members(database).all("acme")] == ["viewer"]
    asked = await run("token", "ls", "--org", "acme", token=operator)
    assert asked.exit_code == 0, asked.stderr


_OF_ANY_ORG = (("token", "ls"), ("audit",))
_ONE_OF_EACH = (
    ("token", "create", "new"),
    ("token", "ls"),
    ("token", "narrow", "ci", "--role", "ci"),
    ("token", "rotate", "ci"),
    ("token", "revoke", "ci"),
    ("member", "add", "bob", "--role", "ci"),
    ("member", "ls"),
    ("member", "set", "ann", "--role", "ci"),
    ("member", "rm", "ann"),
    ("trust", "add", "app", *RULE),
    ("trust", "ls"),
    ("trust", "rm", "app"),
    ("audit",),
)


@pytest.mark.parametrize("page", ["access.md", "ci.md"])
async def test_the_commands_of_the_pages_run(run, page: str) -> None:
    commands = re.findall(r"(?m)^\$ satellite (.*)$", (DOCS / page).read_text(encoding="utf-8"))
    assert len(commands) >= 3
    for command in commands:
        done = await run(*shlex.split(command))
        assert done.exit_code == 0, (command, done.stderr)
