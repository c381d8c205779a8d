"""Which Postgres programs are found where the wheel is missing."""

from __future__ import annotations

from pathlib import Path

from pgkit.owners import refused

from torpor_statemachine.postgres.embedded import binaries as wheel
from torpor_statemachine.postgres.embedded.account import Account
from torpor_statemachine.postgres.embedded.errors import NoPostgres


async def test_without_any_postgres_it_says_what_to_do(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(wheel, "WHEEL", "no_such_package")
    monkeypatch.setattr(wheel, "_DEBIAN", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "TORPOR_DATABASE_URL" in await refused(tmp_path / "data", NoPostgres)


async def test_the_systems_newest_postgres_serves_where_there_is_no_wheel(
    open_folder: Path, monkeypatch
) -> None:
    for version in ("9.6", "16", "17", "nonsense"):
        programs = open_folder / version / "bin"
        programs.mkdir(parents=True)
        for name in ("postgres", "initdb"):
            (programs / name).write_text(f"#!/bin/sh\necho 'postgres (PostgreSQL) {version}'\n")
            (programs / name).chmod(0o755)
    monkeypatch.setattr(wheel, "WHEEL", "no_such_package")
    monkeypatch.setattr(wheel, "_DEBIAN", open_folder)
    monkeypatch.setenv("PATH", str(open_folder))
    found = wheel.find(Account.for_this_process())
    assert (found.major, found.folder) == (17, open_folder / "17" / "bin")
    (open_folder / "17" / "bin" / "initdb").chmod(0o600)
    assert wheel.find(Account.for_this_process()).major == 16
