"""satellite connect: what each client is given, and that docs/clients.md says the same."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml
from click.testing import CliRunner
from controlkit.fakes import asleep
from doorkit.authority import Authority

from torpor_provisioner.contract import Address
from torpor_router.cli.connect import command as connecting
from torpor_router.cli.connect.jobs import JOBS, github_actions, gitlab
from torpor_router.cli.connect.recipes import BY_CERTIFICATE, CLIENTS, bazel, buildx, grpcurl
from torpor_router.cli.connect.way import Recipe, Way
from torpor_router.cli.contexts import file
from torpor_router.cli.contexts.book import Context
from torpor_router.cli.satellite import main

DOCS = Path(__file__).parents[3] / "docs"
WAY = Way("acme", "one", Address("door.example.com", 8372), "example.com", ca="ca.pem")
SNI = "one--acme.example.com"


def words(text: str) -> list[str]:
    """As a shell reads them."""
    return shlex.split(text.replace("\\\n", " "))


@pytest.mark.parametrize("client", CLIENTS)
def test_every_recipe_names_the_satellite_and_the_ca_and_no_token(client: str) -> None:
    recipe = CLIENTS[client](WAY)
    assert (recipe.client, recipe.satellite) == (client, "acme/one")
    assert recipe.address in recipe.commands
    assert "ca.pem" in recipe.commands
    named = SNI in recipe.commands if client in BY_CERTIFICATE else "acme/one" in recipe.commands
    assert named
    assert recipe.commands.count("$TORPOR_TOKEN") == (client not in BY_CERTIFICATE)


@pytest.mark.parametrize("client", BY_CERTIFICATE)
def test_a_client_without_headers_shows_a_certificate(client: str) -> None:
    recipe = CLIENTS[client](WAY)
    assert recipe.headers == {}
    assert (recipe.certificate, recipe.key, recipe.ca) == ("client.pem", "client.key", "ca.pem")
    assert recipe.server_name == SNI
    assert recipe.commands.startswith("satellite certificate one\n")
    assert "/etc/ssl/certs/" in CLIENTS[client](Way("acme", "one", WAY.address, "example.com")).ca


def test_a_host_name_of_too_many_octets_is_left_out() -> None:
    """A label has 63 at most; the certificate names the satellite as well."""
    assert (
        Way("o" * 21, "n" * 40, WAY.address, "d.test").server_name
        == f"{'n' * 40}--{'o' * 21}.d.test"
    )
    assert Way("o" * 22, "n" * 40, WAY.address, "d.test").server_name == "d.test"


def test_plaintext_is_said_to_who_can_speak_it() -> None:
    plain = Way("acme", "one", Address("::1", 80), "", tls=False, ca="ca.pem")
    assert "--remote_executor=grpc://[::1]:80" in words(bazel(plain).commands)
    assert words(grpcurl(plain).commands)[1] == "-plaintext"
    assert not {bazel(plain).ca, grpcurl(plain).server_name} - {""}


def test_what_a_shell_would_read_is_quoted() -> None:
    odd = Way("acme", "one", WAY.address, "example.com", ca='/a $(b) "c"/ca.pem', prefix="my key")
    text = buildx(odd).commands.replace("$PWD", "/here")
    assert 'cacert=/a $(b) "c"/ca.pem' in words(text.replace(r"\$", "$"))
    assert r"\$(b)" in text
    assert "key=/here/my key.key" in words(text)
    assert words(text)[:5] == ["satellite", "certificate", "one", "--out", "my key"]
    assert '--tls_certificate=/a $(b) "c"/ca.pem' in words(bazel(odd).commands)


@pytest.mark.parametrize("client", CLIENTS)
def test_a_job_has_a_token_and_then_does_as_the_client(client: str) -> None:
    recipe = CLIENTS[client](WAY)
    github = yaml.safe_load(github_actions(WAY, recipe).commands)
    assert github["permissions"]["id-token"] == "write"
    assert "audience=torpor" in github["steps"][0]["run"]
    assert github["steps"][1]["run"] == recipe.commands
    job = yaml.safe_load(gitlab(WAY, recipe).commands)["build"]
    assert job["id_tokens"] == {"TORPOR_TOKEN": {"aud": "torpor"}}
    assert job["script"] == [recipe.commands]
    told = {"TORPOR_ADDRESS": "door.example.com:8372", "TORPOR_CA": "ca.pem"}
    for variables in (github.get("env"), job.get("variables")):
        assert variables == (told if client in BY_CERTIFICATE else None)


async def test_the_command_asks_the_router_whose_it_is(commands: Any) -> None:
    house = await commands(asleep("one"))
    address = house.environment["TORPOR_ADDRESS"]
    done = await house.run("connect", "one", "--for", "bazel", TORPOR_TOKEN="acme")
    assert done.code == 0
    assert f"--remote_executor=grpc://{address}" in done.out
    assert "--remote_header=satellite=acme/one" in done.out
    assert max(map(len, done.out.splitlines())) <= 80
    assert not house.fleet.asked
    assert "TPR-2009" in (await house.run("connect", "two", "--for", "bazel")).err


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("one", "--for", "buildx"), "needs TLS"),
        (("one", "--for", "gitlab", "--client", "buildctl"), "needs TLS"),
        (("one", "--for", "buildx", "--tls"), "127.0.0.1, is none"),
        (("one", "--for", "buildx", "--tls", "--domain", "a b"), "'a b' is no domain"),
        (("one", "--for", "buildx", "--tls", "--domain", "127.0.0.1"), "is no domain"),
        (("$(id)", "--for", "bazel"), "no name of a satellite"),
        (("one", "--for", "maven"), "maven"),
        (("one",), "--for"),
    ],
)
async def test_what_cannot_be_is_said(
    commands: Any, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], why: str
) -> None:
    house = await commands(asleep("one"))
    if "--tls" in arguments:  # this router has none
        monkeypatch.setattr(connecting, "_found", lambda _, name: ("acme", name, ""))
    done = await house.run("connect", *arguments)
    assert (done.code, done.out) == (2, "")
    assert why in done.err


@pytest.mark.parametrize(
    ("router", "given", "name"),
    [
        ("", (), "one--acme.door.test"),
        ("own.test", (), "one--acme.own.test"),
        ("own.test", ("--domain", "other.test"), "one--acme.other.test"),
    ],
)
def test_the_domain_is_the_one_given_or_the_routers_or_its_host(
    monkeypatch: pytest.MonkeyPatch, router: str, given: tuple[str, ...], name: str
) -> None:
    monkeypatch.setattr(connecting, "_found", lambda *_: ("acme", "one", router))
    environment = {"TORPOR_ADDRESS": "door.test", "TORPOR_TOKEN": "secret"}
    line = ["connect", "one", "--for", "buildctl", "--json", *given]
    done = CliRunner().invoke(main, line, env=environment)
    assert json.loads(done.stdout)["server_name"] == name


def test_the_ca_is_the_one_that_the_command_itself_believes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A context that is named goes before the environment, with all that it keeps."""
    monkeypatch.setattr(connecting, "_found", lambda *_: ("acme", "one", ""))
    files = [Authority(tmp_path, name).path for name in ("kept", "other")]
    kept = Context("door.test:8372", token="secret", ca=str(files[0]))
    with file.changing() as contexts:
        contexts.by_name["work"] = kept
    line = ["connect", "one", "--for", "buildctl", "--json"]
    environment = {"TORPOR_ADDRESS": "b.test", "TORPOR_TOKEN": "t", "TORPOR_CA": str(files[1])}
    for options, ca in ((["--context", "work"], files[0]), ([], files[1])):
        done = CliRunner().invoke(main, [*line, *options], env=environment)
        assert json.loads(done.stdout)["ca"] == str(ca)


async def test_json_is_as_its_schema_says(commands: Any) -> None:
    house = await commands(asleep("one"))
    schema = json.loads((DOCS / "schemas/connect.json").read_text(encoding="utf-8"))
    for client in ("bazel", "grpcurl"):
        told = (await house.run("connect", "one", "--for", client, "--json")).json
        jsonschema.validate(told, schema)
        assert told["headers"]["authorization"] == "Bearer $TORPOR_TOKEN"
    keys = schema["$defs"]["Recipe"]["properties"]
    assert set(keys["client"]["enum"]) == {*CLIENTS, *JOBS}
    assert set(keys) == set(Recipe.__dataclass_fields__)


PAGE = (DOCS / "clients.md").read_text(encoding="utf-8")
RECIPES = re.findall(r"(?ms)^```console\n\$ satellite (connect .*?)\n(.*?)\n```$", PAGE)


def test_the_page_has_every_client() -> None:
    clients = {shlex.split(line)[3] for line, _ in RECIPES}
    assert clients == {*CLIENTS, *JOBS}


@pytest.mark.parametrize(("line", "answer"), RECIPES, ids=[line for line, _ in RECIPES])
def test_the_page_says_what_the_command_prints(
    line: str, answer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connecting, "_found", lambda _, name: ("acme", name, ""))
    environment = {"TORPOR_ADDRESS": "builds.example.com:8372", "TORPOR_TOKEN": "secret"}
    done = CliRunner().invoke(main, shlex.split(line), env=environment)
    assert (done.exit_code, done.stdout) == (0, f"{answer}\n")
