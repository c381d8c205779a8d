"""`torpor` org, token, fleet and migrate, as an administrator types them."""

from __future__ import annotations

import json
import os
import re
import shlex
import ssl
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

import pytest
import trustme

from torpor_router.access.audit import Audit
from torpor_router.access.ca.requests import new_request
from torpor_router.access.issued import IssuedCertificates
from torpor_router.tokens import digest
from torpor_statemachine.postgres.embedded import EmbeddedPostgres

TOKEN = re.compile(r"tpr_[A-Za-z0-9_-]{43}")


async def test_an_org_and_its_tokens(either_way, database) -> None:
    made = await either_way("org", "create", "acme")
    assert (made.exit_code, made.stdout) == (0, "Made acme. Next: torpor token create acme NAME\n")

    created = await either_way("token", "create", "acme", "ci", "--expires", "90d")
    assert created.exit_code == 0
    assert TOKEN.fullmatch(created.stdout.strip()), "nothing else, so that scripts can take it"
    hashed = await database.fetchval("select hash from tokens where name = 'ci'")
    assert hashed == digest(created.stdout.strip())

    listed = await either_way("token", "ls", "acme")
    assert listed.stdout.splitlines()[1].split()[:5] == ["acme", "ci", "admin", "valid", "never"]
    assert not TOKEN.search(listed.output)

    revoked = await either_way("token", "revoke", "acme", "ci")
    assert (revoked.exit_code, revoked.stdout) == (0, "Revoked acme/ci.\n")
    assert (await either_way("token", "ls", "acme")).stdout == ""
    [token] = json.loads((await either_way("token", "ls", "--revoked", "--json")).stdout)
    assert token["state"] == "revoked"


async def test_roles_members_and_what_the_audit_log_says_of_them(torpor, database) -> None:
    for command in (
        "org create acme",
        "member add acme ann --role member",
        "member add acme deploy --role ci --service",
        "token create acme laptop --member ann --role admin",
        "token create acme ci --role ci --satellite one --satellite two",
        "token create - ops",
        "token narrow acme laptop --role viewer",
        "member set acme ann --role viewer",
        "member rm acme deploy",
        "token revoke - ops",
    ):
        done = await torpor(*command.split())
        assert done.exit_code == 0, (command, done.output)
    members = (await torpor("member", "ls", "acme")).stdout.splitlines()
    assert [line.split()[:4] for line in members[1:]] == [["ann", "user", "viewer", "1"]]
    tokens = json.loads((await torpor("token", "ls", "acme", "--json")).stdout)
    assert [(t["name"], t["role"], t["satellites"], t["member"]) for t in tokens] == [
        ("ci", "ci", ["one", "two"], None),
        ("laptop", "viewer", None, "ann"),
    ]
    await database.execute("update tokens set role = null where name = 'laptop'")
    old = await torpor("token", "ls", "acme")
    assert "admin (old)" in old.stdout
    assert "torpor token narrow" in old.stderr
    lines = (await torpor("audit", "--org", "acme", "--json")).stdout.splitlines()
    acts = [json.loads(line) for line in lines]
    assert [(act["action"], act["target"]) for act in acts] == [
        ("Operators.CreateOrg", ""),
        ("Access.AddMember", "ann"),
        ("Access.AddMember", "deploy"),
        ("Access.CreateToken", "laptop"),
        ("Access.CreateToken", "ci"),
        ("Access.NarrowToken", "laptop"),
        ("Access.ChangeMember", "ann"),
        ("Access.RemoveMember", "deploy"),
    ]
    assert {act["actor"].partition(":")[0] for act in acts} == {"shell"}
    assert len((await torpor("audit")).stdout.splitlines()) == 1 + 10
    assert "Nothing was changed" in (await torpor("audit", "--org", "globex")).stderr


async def test_a_certificate_is_revoked_by_its_file_or_number(torpor, tmp_path) -> None:
    file = tmp_path / "client.pem"
    trustme.CA().cert_pem.write_to_path(str(file))
    revoked = await torpor("cert", "revoke", str(file), "--reason", "laptop lost")
    assert revoked.exit_code == 0
    [told] = re.findall(
        r"^Revoked the certificate with the SHA-256 ([0-9a-f]{64})\.$", revoked.stdout
    )
    assert told == sha256(ssl.PEM_cert_to_DER_cert(file.read_text())).hexdigest()
    assert (await torpor("cert", "revoke", "0A:2B")).stdout == (
        "Revoked the certificate with the serial number a2b.\n"
    )
    listed = await torpor("cert", "ls")
    assert "laptop lost" in listed.stdout
    assert {row["id"] for row in json.loads((await torpor("cert", "ls", "--json")).stdout)} == {
        told,
        "a2b",
    }
    restored = await torpor("cert", "restore", str(file), "--json")
    assert json.loads(restored.stdout)["id"] == told
    assert (await torpor("cert", "restore", "a2b")).exit_code == 0
    assert (await torpor("cert", "ls")).stdout == ""


async def test_a_ca_and_what_it_has_issued(torpor, database, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    await torpor("org", "create", "acme")
    assert (await torpor("ca", "init")).stdout.startswith("Made client-ca.pem, good until ")
    assert "TPR-1154" in (await torpor("ca", "init")).stderr
    issued = await torpor("ca", "issue", "acme/one", "--for", "1h")
    assert re.search(r"certificate:acme-one/[0-9a-f]{1,16}\.$", issued.stdout.strip())
    assert (await torpor("ca", "issue", "acme/one")).exit_code == 2, "the files are there already"
    assert (await torpor("ca", "issue", "acme/one", "--replace")).exit_code == 0
    assert await database.fetchval("select count(*) from issued_certificates") == 2
    _, request = new_request("mine")
    Path("mine.csr").write_bytes(request)
    signed = await torpor("ca", "issue", "acme", "--name", "mine", "--csr", "mine.csr", "--json")
    assert json.loads(signed.stdout)["key"] is None
    assert (Path("mine.pem").exists(), Path("mine.key").exists()) == (True, False)
    await torpor("ca", "revoke", "mine.pem")
    rows = json.loads((await torpor("ca", "ls", "acme", "--json")).stdout)
    assert [(row["satellite"], row["subject"], row["state"]) for row in rows] == [
        (None, "mine", "revoked"),
        ("one", "acme-one", "valid"),
        ("one", "acme-one", "valid"),
    ]
    await database.execute("update issued_certificates set expires_at = now() where role = 'ci'")
    assert (await torpor("ca", "ls")).stderr == "No certificates: torpor ca issue ORG\n"
    assert "expired" in (await torpor("ca", "ls", "--all")).stdout
    acts = [entry.action for entry in await Audit(database).read("acme")]
    assert acts == ["Operators.CreateOrg", "ca issue", "ca issue", "ca issue"]
    await database.execute("update issued_certificates set expires_at = now() - interval '91 d'")
    assert await IssuedCertificates(database).prune() == 3


@pytest.mark.parametrize(
    ("arguments", "code", "exit_code"),
    [
        (["issue", "none"], "TPR-1112", 3),
        (["issue", "Acme"], "TPR-1111", 2),
        (["issue", "acme/"], "TPR-1111", 2),
        (["issue", "acme", "--for", "91d"], "TPR-1151", 2),
        (["issue", "acme", "--csr", "client-ca.pem"], "TPR-1150", 2),
        (["issue", "acme", "--client-ca-key", "none.key"], "TPR-1155", 3),
        (["issue", "acme", "--client-ca", "client-ca.key"], "TPR-1155", 3),
        (["issue", "acme", "--out", "no/such"], "TPR-1402", 2),
        (["ls", "none"], "TPR-1112", 3),
        (["init", "--client-ca", "new.pem"], "TPR-1154", 3),
        (["init", "--client-ca", "new.pem", "--client-ca-key", "x", "--name", ""], "TPR-1111", 2),
    ],
)
async def test_what_a_ca_does_not_do(
    torpor, database, tmp_path, monkeypatch, arguments, code: str, exit_code: int
) -> None:
    monkeypatch.chdir(tmp_path)
    await torpor("org", "create", "acme")
    await torpor("ca", "init")
    before = sorted(tmp_path.iterdir())
    done = await torpor("ca", *arguments)
    assert (done.exit_code, done.stdout) == (exit_code, "")
    assert code in done.stderr
    assert sorted(tmp_path.iterdir()) == before, "no file is left half done"
    assert await database.fetchval("select count(*) from issued_certificates") == 0


@pytest.mark.parametrize("name", ["access.md", "ci.md"])
async def test_the_commands_of_the_pages_on_access(torpor, tmp_path, monkeypatch, name) -> None:
    page = (Path(__file__).parents[3] / "docs" / name).read_text(encoding="utf-8")
    commands = re.findall(r"^\$ torpor (.*)$", page, re.MULTILINE)
    assert len(commands) >= 3
    monkeypatch.chdir(tmp_path)
    trustme.CA().cert_pem.write_to_path("laptop.pem")
    await torpor("org", "create", "acme")
    if "torpor ca " in page:
        Path("ann.csr").write_bytes(new_request("ann")[1])
    for command in commands:
        done = await torpor(*shlex.split(command))
        assert done.exit_code == 0, (command, done.output)


async def test_everything_can_be_had_as_json(torpor) -> None:
    assert json.loads((await torpor("org", "create", "acme", "--json")).stdout)["name"] == "acme"
    created = json.loads((await torpor("token", "create", "acme", "ci", "--json")).stdout)
    assert TOKEN.fullmatch(created["token"])
    assert created["expires_at"] is None
    [org] = json.loads((await torpor("org", "ls", "--json")).stdout)
    assert org["tokens"] == 1
    assert (
        json.loads((await torpor("token", "revoke", "acme", "ci", "--json")).stdout)["name"] == "ci"
    )
    assert json.loads((await torpor("fleet", "ls", "--json")).stdout) == []
    migrated = json.loads((await torpor("migrate", "--json")).stdout)
    assert migrated == {"applied": [], "role_settings": []}


@pytest.mark.parametrize(
    ("arguments", "code", "exit_code"),
    [
        (["org", "create", "Acme"], "TPR-1111", 2),
        (["org", "create", "old"], "TPR-1113", 3),
        (["token", "create", "none", "ci"], "TPR-1112", 3),
        (["token", "create", "old", "ci"], "TPR-1114", 3),
        (["token", "create", "old", "C I"], "TPR-1111", 2),
        (["token", "create", "old", "x", "--expires", "4000d"], "TPR-1116", 2),
        (["token", "create", "old", "x", "--expires", "soon"], "--expires", 2),
        (["token", "revoke", "old", "none"], "TPR-1115", 3),
        (["token", "revoke", "none", "ci"], "TPR-1112", 3),
        (["cert", "restore", "2a"], "TPR-1117", 3),
        (["cert", "revoke", "no/such/file.pem"], "TPR-1119", 2),
        (["cert", "revoke", "2a", "--reason", "x" * 201], "TPR-1119", 2),
        (["token", "ls", "none"], "TPR-1112", 3),
        (["member", "add", "none", "ann", "--role", "ci"], "TPR-1112", 3),
        (["member", "add", "old", "Ann", "--role", "ci"], "TPR-1111", 2),
        (["member", "set", "old", "ann", "--role", "ci"], "TPR-1133", 3),
        (["member", "rm", "old", "ann"], "TPR-1133", 3),
        (["member", "ls", "none"], "TPR-1112", 3),
        (["member", "add", "old", "ann", "--role", "operator"], "--role", 2),
        (["token", "create", "old", "x", "--member", "ann"], "TPR-1133", 3),
        (["token", "create", "old", "x", "--satellite", "A"], "TPR-1111", 2),
        (["token", "create", "-", "x", "--role", "admin"], "--role", 2),
        (["token", "narrow", "old", "none", "--role", "ci"], "TPR-1115", 3),
        (["fleet", "ls", "--state", "tired"], "--state", 2),
        (["org"], "Usage", 2),
        (["nonsense"], "No such command", 2),
    ],
)
async def test_what_cannot_be_done_is_said(
    either_way, arguments, code: str, exit_code: int
) -> None:
    await either_way("org", "create", "old")
    await either_way("token", "create", "old", "ci")
    result = await either_way(*arguments)
    assert result.exit_code == exit_code, result.output
    assert result.stdout == ""
    assert code in result.stderr
    if code.startswith("TPR"):
        as_json = await either_way(*arguments, "--json")
        assert json.loads(as_json.stderr)["error"]["code"] == code


@pytest.mark.parametrize(
    ("url", "code", "exit_code"),
    [
        ("nonsense", "TPR-5203", 2),
        ("postgresql://user:hush@127.0.0.1:1/torpor", "TPR-5205", 4),
    ],
)
async def test_a_database_that_cannot_be_had(torpor, url: str, code: str, exit_code: int) -> None:
    for arguments in (("org", "ls"), ("migrate",), ("fleet", "ls")):
        result = await torpor(*arguments, url=url)
        assert (result.exit_code, result.stdout) == (exit_code, "")
        assert code in result.stderr
        assert "hush" not in result.output


async def test_a_database_without_tables(torpor, empty_database_url) -> None:
    result = await torpor("org", "ls", url=empty_database_url)
    assert result.exit_code == 3
    assert "TPR-5103" in result.stderr
    migrated = await torpor("migrate", url=empty_database_url)
    assert migrated.stdout.startswith("Applied 0001_orgs_tokens, ")
    assert (await torpor("migrate", url=empty_database_url)).stdout == "Up to date.\n"
    assert (await torpor("org", "ls", url=empty_database_url)).exit_code == 0


async def test_the_embedded_database_is_shared_with_the_process_that_runs_it(
    torpor, tmp_path
) -> None:
    here = ("--data", str(tmp_path / "data"))
    missing = await torpor("org", "ls", *here, url="")
    assert missing.exit_code == 3
    assert "TPR-5102" in missing.stderr
    assert not (tmp_path / "data").exists(), "looking makes nothing"
    assert (await torpor("migrate", *here, url="")).exit_code == 0
    assert (await torpor("org", "create", "acme", *here, url="")).exit_code == 0
    async with EmbeddedPostgres(tmp_path / "data" / "postgres").running():
        listed = await torpor("org", "ls", *here, url="")
    assert listed.stdout.splitlines()[1].split()[0] == "acme"


async def test_the_fleet_of_every_org(either_way, database) -> None:
    node, gone = uuid4(), uuid4()
    await database.execute("insert into orgs (name) values ('acme'), ('globex')")
    await database.execute(
        """
        insert into nodes (id, expires_at, leases_until)
        values ($1, now() + '1 minute', now() + '1 minute'), ($2, now(), now())
        """,
        node,
        gone,
    )
    await database.execute(
        """
        insert into satellites (org_id, name, provisioner, arch, state, sleep_kind, failure)
        select orgs.id, made.name, 'local', 'x86_64', made.state, made.kind, made.failure
          from orgs join (values
               ('acme', 'one', 'running', null, null),
               ('acme', 'two', 'asleep', 'hibernated', 'TPR-2202 m7i.large'),
               ('globex', 'old', 'terminated', null, null)
          ) as made (org, name, state, kind, failure) on made.org = orgs.name
        """
    )
    await database.execute(
        "insert into leases select id, unnest($1::uuid[]) from satellites where name = 'one'",
        [node, gone],
    )
    one, two = (await either_way("fleet", "ls")).stdout.splitlines()[1:]
    assert one.split()[:2] == ["acme/one", "running"]
    assert str(node)[:8] in one
    assert str(gone)[:8] not in one, "its leases have ended with it"
    assert "hibernated" in two
    assert "TPR-2202 The cloud has no capacity" in two
    assert "m7i.large" in two

    for options, names in (
        (["--all"], ["acme/one", "acme/two", "globex/old"]),
        (["--org", "acme", "--state", "asleep"], ["acme/two"]),
        (["--state", "terminated"], ["globex/old"]),
    ):
        listed = json.loads((await either_way("fleet", "ls", "--json", *options)).stdout)
        assert [each["name"] for each in listed] == names


async def test_stray_machines_are_listed_adopted_and_ended(either_way, database) -> None:
    assert (await either_way("fleet", "strays")).stdout == ""
    await either_way("org", "create", "acme")
    await database.execute(
        """insert into strays (provisioner, ref, satellite_id, generation)
        select 'ec2', 'i-' || n, gen_random_uuid(), n from generate_series(1, 3) as n"""
    )
    listed = (await either_way("fleet", "strays")).stdout.splitlines()[1:]
    assert [line.split()[:2] for line in listed] == [[f"i-{n}", "ec2"] for n in (1, 2, 3)]

    adopted = await either_way("fleet", "adopt", "i-2", "acme", "one", "--arch", "arm64")
    assert adopted.exit_code == 0, adopted.stderr
    [one] = json.loads((await either_way("fleet", "ls", "--json")).stdout)
    assert (one["name"], one["state"]) == ("acme/one", "asleep")

    ended = await either_way("fleet", "end", "i-1", "--yes")
    assert ended.exit_code == 0, ended.stderr
    strays = json.loads((await either_way("fleet", "strays", "--json")).stdout)
    assert [(each["ref"], each["ending"]) for each in strays] == [("i-1", True), ("i-3", False)]

    for arguments, code in (
        (("adopt", "i-9", "acme", "two"), "TPR-2020"),
        (("adopt", "i-1", "acme", "two"), "TPR-2020"),  # it is being ended
        (("adopt", "i-3", "acme", "one"), "TPR-2003"),
        (("adopt", "i-3", "globex", "one"), "TPR-1112"),
        (("adopt", "i-3", "acme", "No Name"), "TPR-2015"),
        (("end", "i-9", "--yes"), "TPR-2020"),
    ):
        refused = await either_way("fleet", *arguments)
        assert refused.stderr.split()[0] == code, arguments
        assert refused.exit_code in (2, 3)
    asked = await either_way("fleet", "end", "i-3")
    assert (asked.exit_code, "--yes" in asked.stderr) == (2, True), "no terminal to ask on"
    [*_, kept] = json.loads((await either_way("fleet", "strays", "--json")).stdout)
    assert (kept["ref"], kept["ending"]) == ("i-3", False)


def test_help_needs_none_of_the_heavy_parts() -> None:
    heavy = "asyncpg", "grpc", "uvloop", "rich", "opentelemetry", "statemachine"
    script = (
        "import sys; from torpor_router.cli.torpor import main\n"
        "for arguments in (['--help'], ['serve', '--help'], ['token', 'create', '--help']):\n"
        "    main(arguments, standalone_mode=False)\n"
        f"assert not (found := set(sys.modules) & set({heavy!r})), found"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


def test_torpor_runs_as_a_module_as_the_supervisor_starts_it() -> None:
    told = subprocess.run(
        [sys.executable, "-m", "torpor_router.cli.torpor", "--version"],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "NO_COLOR": "1"},
    )
    assert told.stdout.startswith("torpor ")
