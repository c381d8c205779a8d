"""Which deployment `torpor` is about: a router that is named, a database, or who is logged in."""

from __future__ import annotations

import os
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from torpor_router.cli.contexts.book import Context, Contexts, written
from torpor_router.cli.deployment import Deployment, with_deployment
from torpor_router.cli.torpor import main

SET = {"TORPOR_TOKEN": "tpr_x"}


@click.command()
@with_deployment
def _where(deployment: Deployment) -> None:
    if deployment.target is not None:
        click.echo(f"{deployment.target.address.host} {deployment.target.token}")
    else:
        click.echo(deployment.storage.url or f"{deployment.storage.data}")


@pytest.fixture
def contexts(tmp_path: Path) -> None:
    """`prod` is selected, `lab` is there too."""
    file = Path(os.environ["XDG_CONFIG_HOME"]) / "torpor" / "contexts.json"
    file.parent.mkdir(parents=True)
    known = {"prod": Context("prod.example", "tpr_prod"), "lab": Context("lab.example", "tpr_lab")}
    file.write_text(written(Contexts("prod", known)))
    file.chmod(0o600)


@pytest.mark.parametrize(
    ("arguments", "environment", "where"),
    [
        (["--address", "a.example"], SET, "a.example tpr_x"),
        (["--address", "a.example"], {**SET, "TORPOR_DATABASE_URL": "u"}, "a.example tpr_x"),
        (["--context", "lab"], {"TORPOR_DATABASE_URL": "u"}, "lab.example tpr_lab"),
        (["--database-url", "u"], {**SET, "TORPOR_ADDRESS": "a.example"}, "u"),
        ([], {**SET, "TORPOR_ADDRESS": "a.example", "TORPOR_DATABASE_URL": "u"}, "u"),
        ([], {**SET, "TORPOR_ADDRESS": "a.example"}, "a.example tpr_x"),
        ([], {"TORPOR_CONTEXT": "lab"}, "lab.example tpr_lab"),
        ([], {}, "prod.example tpr_prod"),
        (["--data", "d"], {}, "d"),
        ([], {"TORPOR_DATA": "d", "TORPOR_CONTEXT": "lab"}, "d"),
    ],
)
def test_the_router_or_the_database(
    contexts: None, arguments: list[str], environment: dict[str, str], where: str
) -> None:
    done = CliRunner().invoke(_where, arguments, env=environment)
    assert (done.exit_code, done.stdout) == (0, f"{where}\n"), done.output


def test_an_embedded_database_that_lies_here_goes_before_who_is_logged_in(
    contexts: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(".torpor/postgres").mkdir(parents=True)
    assert CliRunner().invoke(_where, env=SET | {"TORPOR_ADDRESS": "a"}).stdout == ".torpor\n"
    assert CliRunner().invoke(_where, ["--context", "lab"]).stdout == "lab.example tpr_lab\n"


def test_the_help_says_which_way_it_goes() -> None:
    shown = CliRunner().invoke(main, ["nodes", "ls", "--help"], terminal_width=80).stdout
    assert "It works by the router of --address or --context" in shown
    assert "--org" not in shown
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["org", "ls", "--address", "a", "--database-url", "u"], "not both"),
        (["token", "create", "-", "ops", "--address", "a", "--token", "x"], "on the database"),
        (["token", "revoke", "-", "ops", "--address", "a", "--token", "x"], "on the database"),
        (["org", "ls", "--address", "a"], "TPR-1401"),
        (["org", "ls"], "TPR-5102"),
    ],
)
def test_what_is_not_told(
    arguments: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code in (2, 3)
    assert told in done.stderr
