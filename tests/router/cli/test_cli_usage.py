"""`torpor usage`, as an operator types it."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import re
import shlex
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from torpor_router.cli.torpor import main

PRICES = """
currency = "USD"
[cloud.large]
awake = 0.5
asleep = 0.02
"""
MONTH = ("--from", "2024-02-01", "--to", "2024-02-29")


@pytest.fixture
async def torpor(database_url, database, tmp_path):
    """Run a command on a database with one satellite of February 2024, gone since."""
    midnight = datetime(2024, 2, 1, tzinfo=UTC)
    await database.execute("insert into orgs (name) values ('acme'), ('globex')")
    made = await database.fetchval(
        """insert into satellites (org_id, name, provisioner, arch, size, state, state_since)
        select id, 'one', 'cloud', 'x86_64', 'large', 'launching', $1 from orgs
        where name = 'acme' returning id""",
        midnight,
    )
    for state, hours in (("running", 0.1), ("sleeping", 9.9), ("asleep", 10), ("terminated", 500)):
        await database.execute(
            """update satellites set state = $2, state_since = $3, wake_kind = 'launched'
            where id = $1""",
            *(made, state, midnight + timedelta(hours=hours)),
        )
    await database.execute("delete from satellites")
    prices = tmp_path / "prices.toml"
    prices.write_text(PRICES)

    async def run(*arguments: str, priced: bool = True) -> Result:
        environment = {"TORPOR_DATABASE_URL": database_url, "COLUMNS": "80"}
        if priced:
            environment["TORPOR_PRICES"] = str(prices)
        command = ("usage", *arguments)
        return await asyncio.to_thread(CliRunner().invoke, main, command, env=environment)

    return run


async def test_hours_and_money_of_one_that_is_gone(torpor) -> None:
    shown = await torpor(*MONTH)
    title, line, total = shown.stdout.splitlines()
    assert title.split() == ["WHAT", "AWAKE", "ASLEEP", "WAKES", "STREAMS", "SPENT", "SAVED", "OF"]
    assert line.split() == ["acme/one", "10.0h", "490.0h", "1", "0", "14.80", "235.20", "250.00"]
    assert total.split()[0] == "total"
    assert "Money in USD" in shown.stderr


async def test_programs_get_it_as_json_and_spreadsheets_as_csv(torpor) -> None:
    told = json.loads((await torpor(*MONTH, "--json", "--by", "org")).stdout)
    assert (told["from"], told["to"], told["currency"]) == ("2024-02-01", "2024-02-29", "USD")
    [line] = told["lines"]
    assert line == {
        "name": "acme",
        "hours_awake": "10.0000",
        "hours_waking": "0.1000",
        "hours_asleep": "490.0000",
        "hours_failed": "0.0000",
        "hours_unpriced": "0.0000",
        "wakes_resumed": 0,
        "wakes_started": 0,
        "wakes_launched": 1,
        "streams": 0,
        "seconds_held": "0.000",
        "spent": "14.80",
        "always_on": "250.00",
        "saved": "235.20",
    }
    assert told["total"] == {**line, "name": "total"}
    rows = csv.DictReader(io.StringIO((await torpor(*MONTH, "--csv", "--by", "day")).stdout))
    days = {row["name"]: row for row in rows}
    assert len(days) == 21  # 500 hours
    assert days["2024-02-02"]["spent"] == "0.48"
    assert days["2024-02-02"]["currency"] == "USD"


async def test_without_prices_it_tells_hours(torpor) -> None:
    shown = await torpor(*MONTH, priced=False)
    assert shown.stdout.splitlines()[1].split() == ["acme/one", "10.0h", "490.0h", "1", "0"]
    assert "--prices" in shown.stderr
    nothing = await torpor("--org", "globex", "--from", "2024-02-01", "--to", "2024-02-29")
    assert (nothing.exit_code, nothing.stdout) == (0, "")
    assert "no satellite in that time" in nothing.stderr


async def test_every_command_of_the_page_runs(torpor, tmp_path, monkeypatch) -> None:
    page = (Path(__file__).parents[3] / "docs/usage.md").read_text()
    [prices] = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "prices.toml").write_text(prices)
    monkeypatch.chdir(tmp_path)
    commands = re.findall(r"(?m)^\$ torpor usage(.*)$", page)
    assert commands
    for command in commands:
        ran = await torpor(*shlex.split(command))
        assert ran.exit_code == 0, (command, ran.output)
    keys = set(json.loads((await torpor(*MONTH, "--json")).stdout)["total"]) - {"name"}
    assert {key for key in keys if f"`{key}`" in page} == keys


async def test_this_month_is_meant_where_nothing_is_said(torpor) -> None:
    today = datetime.now(UTC).date()
    told = json.loads((await torpor("--json")).stdout)
    assert (told["from"], told["to"]) == (str(today.replace(day=1)), str(today))


@pytest.mark.parametrize(
    ("arguments", "exit_code", "says"),
    [
        (("--from", "2024-02-30"), 2, "TPR-5227"),
        (("--from", "2024-03-01", "--to", "2024-02-01"), 2, "is after"),
        (("--from", "1999-01-01"), 2, "1,200 days"),
        (("--csv", "--json"), 2, "not both"),
        (("--prices", "nowhere.toml"), 2, "does not exist"),
        (("--prices", "/proc/self/exe"), 2, "decode"),
        (("--prices", "/etc/passwd"), 2, "TPR-5226"),
        (("--org", "nobody"), 3, "TPR-1112"),
    ],
)
async def test_what_is_wrong_is_said(torpor, arguments, exit_code, says) -> None:
    refused = await torpor(*arguments)
    assert says in refused.stderr, refused.output
    assert refused.exit_code == exit_code
    assert refused.stdout == ""


async def test_a_line_for_each_value_of_a_label(torpor) -> None:
    told = json.loads((await torpor(*MONTH, "--json", "--by", "label:team")).stdout)
    assert [line["name"] for line in told["lines"]] == ["(none)"]
    for by, says in (("label:a b", "TPR-5510"), ("week", "'day'")):
        refused = await torpor(*MONTH, "--by", by)
        assert refused.exit_code != 0
        assert says in refused.stderr + str(refused.exception)
