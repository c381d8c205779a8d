"""What `torpor serve` makes of its options and of the environment."""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path
from types import ModuleType

import click
import pytest
from click.testing import CliRunner

from torpor_provisioner.contract import Address
from torpor_router.cli.torpor import main
from torpor_router.limits import Limits
from torpor_router.names import stays_here
from torpor_router.serve.config import ServeConfig, Tls, Traces, WorkerTls
from torpor_router.usage.groups import Groups
from torpor_statemachine.config import SETTINGS, FleetConfig


@pytest.fixture
def serve(monkeypatch, tmp_path):
    """Run the command; the configuration that it would serve with, or how it ended."""
    for name in ("cert", "key", "ca"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    asked: list[ServeConfig] = []
    run = ModuleType("torpor_router.serve.run")
    run.run = asked.append  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, run.__name__, run)
    monkeypatch.setattr("torpor_router.serve.command.set_up", lambda *_: None)

    def call(*options: str, **environment: str):
        asked.clear()
        result = CliRunner().invoke(
            main, ["serve", *options], env={f"TORPOR_{k}": v for k, v in environment.items()}
        )
        return asked[0] if asked else result

    return call


def test_without_options_it_serves_this_machine_only(serve) -> None:
    config = serve()
    assert config == ServeConfig(data=Path(".torpor"))
    assert stays_here(config.listen.host)
    assert stays_here(config.metrics.host)


def test_every_option_reaches_the_configuration(serve) -> None:
    config = serve(
        *("--listen", "[::]:443", "--metrics", "off", "--processes", "4", "--drain", "5"),
        *("--tls-cert", "cert", "--tls-key", "key", "--client-ca", "ca", "--domain", "door.test"),
        *("--worker-ca", "ca", "--worker-cert", "cert", "--worker-key", "key"),
        *("--provisioner", "ec2", "--provisioner", "local", "--poll-only", "--proxy-protocol"),
        "--share-port",
        *("--database-url", "postgresql://db/torpor", "--data", "elsewhere", "--resets", "7"),
        "--hibernate-arm64",
        "--no-wake-progress",
        *("--metrics-by", "org", "--metrics-by", "label:team", "--metrics-groups", "9"),
        *("--traces-to", "https://otlp.test:4317", "--traces-to-workers"),
        *("--status", ":8000"),
    )
    assert config == ServeConfig(
        listen=Address("::", 443),
        metrics=None,
        processes=4,
        drain=5.0,
        fleet=FleetConfig(hibernate_arm64=True),
        wake_progress=False,
        metrics_by=Groups(("org", "label:team"), 9),
        traces=Traces("https://otlp.test:4317", to_workers=True),
        status=Address("0.0.0.0", 8000),
        tls=Tls(Path("cert"), Path("key"), Path("ca")),
        domain="door.test",
        worker_tls=WorkerTls(Path("ca"), Path("cert"), Path("key")),
        provisioners=("ec2", "local"),
        poll_only=True,
        share_port=True,
        proxy_protocol=True,
        database_url="postgresql://db/torpor",
        data=Path("elsewhere"),
        limits=Limits(resets=7),
    )


def test_the_environment_says_the_same(serve) -> None:
    config = serve(
        LISTEN="127.0.0.1:1",
        DATABASE_URL="postgresql://db/torpor",
        PROVISIONERS="ec2 local",
        HOLD_BUDGET="3",
        METRICS=":9000",
    )
    assert config.listen == Address("127.0.0.1", 1)
    assert config.database_url == "postgresql://db/torpor"
    assert config.provisioners == ("ec2", "local")
    assert config.limits == Limits(hold_budget=3.0)
    assert config.metrics == Address("0.0.0.0", 9000)


@pytest.mark.parametrize("before", [{"WORKERS": "3"}, {}])
def test_processes_may_still_be_called_workers(serve, monkeypatch, before) -> None:
    printed: list[str] = []
    monkeypatch.setattr(click, "echo", lambda text, err: printed.append(text))
    config = serve(*([] if before else ["--workers", "3"]), **before)
    assert config.processes == 3
    assert "is called --processes" in printed[0]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--listen", "x:y"], "TPR-5101"),
        (["--listen", "0.0.0.0:1"], "--plaintext"),
        (["--status", "0.0.0.0:1"], "0.0.0.0:1 is reached from other machines"),
        (["--status", "x:y"], "TPR-5101"),
        (["--tls-cert", "cert"], "--tls-key go together"),
        (["--client-ca", "ca"], "--client-ca needs"),
        (["--worker-cert", "cert"], "need --worker-ca"),
        (["--worker-ca", "ca"], "--worker-ca needs --domain"),
        (["--worker-ca", "ca", "--worker-key", "key"], "--worker-key go together"),
        (["--tls-cert", "missing"], "does not exist"),
        (["--processes", "0"], "--processes"),
        (["--processes", "2", "--workers", "2"], "give one of them"),
        (["--drain", "nan"], "--drain"),
        (["--drain", "-1"], "--drain"),
        (["--hold-budget", "0"], "--hold-budget"),
        (["--hold-budget", "nan"], "hold_budget"),
        (["--hold-budget", "inf"], "hold_budget"),
        (["--resets", "1.5"], "--resets"),
        (["--traces-to", "collector:4317"], "OTLP receiver's URL"),
        (["--traces-to", "ftp://collector:4317"], "TPR-5101"),
        (["--traces-to", "http://collector:99999"], "TPR-5101"),
        (["--traces-to", "http://user:secret@collector"], "TPR-5101"),
        (["--traces-to", "http://collector/v1/traces"], "TPR-5101"),
        (["--traces-hot"], "need --traces-to"),
        (["--metrics-by", "team"], "label:KEY"),
        (["--metrics-by", "label:a b"], "TPR-5510"),
        (["--metrics-by", "org", "--metrics-groups", "0"], "--metrics-groups"),
        (["--log-format", "xml"], "--log-format"),
        (["--log-level", "loud"], "--log-level"),
        (["surplus"], "surplus"),
    ],
)
def test_what_cannot_be_meant_is_wrong_usage(serve, options: list[str], says: str) -> None:
    result = serve(*options)
    assert result.exit_code == 2, result.output
    assert says in result.output


def test_every_limit_is_an_option_with_its_unit_and_meaning(serve) -> None:
    told = " ".join(serve("--help").output.split())
    for field in fields(Limits):
        option = f"--{field.name.replace('_', '-')}"
        assert f"{option} {field.metadata['unit'].upper()} {field.metadata['says']}" in told
        value = 7.0 if isinstance(field.default, float) else 7
        assert getattr(serve(option, "7").limits, field.name) == value


def test_every_setting_of_the_lifecycle_is_an_option(serve) -> None:
    told = " ".join(serve("--help").output.split())
    for field in SETTINGS:
        option = f"--{field.name.replace('_', '-')}"
        assert f"{option} {field.metadata['unit'].upper()} {field.metadata['says']}" in told
        assert getattr(serve(option, "77").fleet, field.name) == 77


def test_what_the_door_and_the_lifecycle_share_is_one_option(serve) -> None:
    config = serve("--database-budget", "7")
    assert config.limits.database_budget == config.fleet.database_budget == 7.0


def test_a_setting_that_cannot_be_meant_is_wrong_usage(serve) -> None:
    for options in (["--leases-live", "3"], ["--looks", "nan"], ["--history-days", "0"]):
        result = serve(*options)
        assert result.exit_code == 2, result.output


def test_every_setting_is_told_of_to_operators() -> None:
    page = (Path(__file__).parents[3] / "docs" / "running.md").read_text()
    for field in SETTINGS:
        assert f"`--{field.name.replace('_', '-')}`" in page


def test_a_limit_has_the_type_of_its_default() -> None:
    for field in (*fields(Limits), *SETTINGS):
        assert type(field.default).__name__ == field.type


@pytest.mark.parametrize("bad", [0, -1, float("nan"), float("inf")])
def test_a_limit_is_positive_and_finite(bad: float) -> None:
    with pytest.raises(ValueError, match="idle_timeout"):
        Limits(idle_timeout=bad)
