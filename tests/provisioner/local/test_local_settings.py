"""What an operator may set, and what is said when it cannot be meant."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from torpor_provisioner.contract import Address
from torpor_provisioner.errors import Invalid
from torpor_provisioner.local import LocalProvisioner
from torpor_provisioner.local.phases import Timing
from torpor_provisioner.local.settings import SAMPLE, LocalSettings, WorkerCommand


def test_a_template_is_split_first_and_filled_then() -> None:
    command = WorkerCommand.parse("serve --at {host}:{port} --config '{{}}' \"{data}/my cache\"")
    filled = command.fill(Address("127.0.0.1", 7), Path("/a b/$(c)"))
    assert filled == ["serve", "--at", "127.0.0.1:7", "--config", "{}", "/a b/$(c)/my cache"]


def test_a_worker_listens_on_a_socket_if_its_command_names_one() -> None:
    command = WorkerCommand.parse("serve --at unix:{socket} --data {data}")
    filled = command.fill(Address("/run/one", 0), Path("/data"))
    assert filled == ["serve", "--at", "unix:/run/one", "--data", "/data"]
    assert command.on_socket
    assert not WorkerCommand.parse("serve {{socket}} {port}").on_socket


def test_workers_that_everyone_on_the_machine_reaches_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    environ = {
        "TORPOR_LOCAL_WORKER_GRID": "grid {port}",
        "TORPOR_LOCAL_WORKER_KIT": "kit {socket}",
        "TORPOR_LOCAL_ACCOUNTS": "router",
    }
    LocalProvisioner.from_environment(environ, tmp_path)
    [line] = [record.getMessage() for record in caplog.records]
    assert "['grid']" in line
    assert "127.0.0.1" in line


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("", "is empty"),
        ("serve {prot}", "names ['prot']"),
        ("serve {}", "names ['']"),
        ("serve {port.real}", "names ['port.real']"),
        ("serve {port", "cannot be read"),
        ("serve 'open", "cannot be read"),
    ],
)
def test_a_template_that_cannot_be_meant(template: str, told: str) -> None:
    with pytest.raises(Invalid) as refused:
        WorkerCommand.parse(template)
    assert told in refused.value.detail
    assert template in refused.value.detail


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(Invalid, match="no-such-program"):
        WorkerCommand.parse("no-such-program {port}").check()


def test_everything_can_be_set_by_environment() -> None:
    settings = LocalSettings.from_environment(
        {
            "TORPOR_LOCAL_WORKER": "serve {port}",
            "TORPOR_LOCAL_WORKER_BUILD_GRID": "grid {port}",
            "TORPOR_LOCAL_HOST": "127.0.0.2",
            "TORPOR_LOCAL_PORTS": "4000-4002",
            "TORPOR_LOCAL_START_DELAY": "1.5",
            "TORPOR_LOCAL_RESUME_DELAY": "0.5",
            "TORPOR_LOCAL_FREEZE_DELAY": "2",
            "TORPOR_LOCAL_STOP_GRACE": "3",
            "TORPOR_LOCAL_NICE": "10",
            "TORPOR_LOCAL_MEMORY": "1000000",
            "TORPOR_LOCALE": "not ours",
        }
    )
    assert settings.worker({}).words == ("serve", "{port}")
    assert settings.worker({"worker": "build-grid"}).words == ("grid", "{port}")
    assert (settings.host, list(settings.ports)) == ("127.0.0.2", [4000, 4001, 4002])
    assert settings.timing == Timing(1.5, 0.5, 2, 3)
    assert (settings.nice, settings.memory) == (10, 1_000_000)


def test_nothing_need_be_set() -> None:
    settings = LocalSettings.from_environment({})
    assert replace(settings, accounts=None) == LocalSettings()
    assert settings.worker({}) == SAMPLE


def test_root_gives_each_satellite_an_account_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def accounts(**environ: str) -> range | None:
        return LocalSettings.from_environment(
            {f"TORPOR_LOCAL_{name}": value for name, value in environ.items()}
        ).accounts

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert accounts() == range(70_000, 80_000)
    assert accounts(ACCOUNTS="2000-2009") == range(2000, 2010)
    assert accounts(ACCOUNTS="router") is None
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert accounts() is None
    assert accounts(ACCOUNTS="router") is None
    with pytest.raises(Invalid, match="only root"):
        accounts(ACCOUNTS="2000-2009")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("START_DELAY", "soon"),
        ("START_DELAY", "-1"),
        ("START_DELAY", "nan"),
        ("STOP_GRACE", "1e9"),
        ("PORTS", "4000"),
        ("PORTS", "4002-4000"),
        ("PORTS", "0-10"),
        ("PORTS", "60000-70000"),
        ("ACCOUNTS", "nobody"),
        ("ACCOUNTS", "0-10"),
        ("ACCOUNTS", "20-10"),
        ("MAX_SATELLITES", "-1"),
        ("MAX_SATELLITES", "0.5"),
        ("NICE", "low"),
        ("NICE", "20"),
        ("MEMORY", "1G"),
    ],
)
def test_a_variable_that_cannot_be_meant_is_named(variable: str, value: str) -> None:
    with pytest.raises(Invalid, match=f"TORPOR_LOCAL_{variable}"):
        LocalSettings.from_environment({f"TORPOR_LOCAL_{variable}": value})


def test_a_satellite_chooses_only_among_the_operators_workers() -> None:
    settings = LocalSettings(workers={"grid": WorkerCommand.parse("grid {port}")})
    with pytest.raises(Invalid, match=r"no worker 'rm -rf /'.*\['default', 'grid'\]"):
        settings.worker({"worker": "rm -rf /"})
    with pytest.raises(Invalid, match=r"not \['command'\]"):
        settings.worker({"command": "rm -rf /"})
