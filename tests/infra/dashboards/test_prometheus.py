"""Every query of the dashboard, and every alert's rule, in a real Prometheus that scrapes a real
node after a small story."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from e2ekit.deployment import deployed
from free_ports import free_ports
from tracekit.receiver import receiving
from waiting import LONG, until

from torpor_provisioner.sample.client import info

PRICES = """
currency = "EUR"
[local.default]
awake = 0.2
asleep = 0.01
"""
EMPTY = {
    # nothing of the kind has happened, and its labels are not known before
    "torpor_client_certificates_disbelieved_total",
}
NEVER = {"TorporStrayMachines"}  # its series is there where there are strays


def get(url: str, **query: str) -> Any:
    with urllib.request.urlopen(f"{url}?{urllib.parse.urlencode(query)}", timeout=LONG) as answer:
        return json.load(answer)["data"]


@asynccontextmanager
async def prometheus(folder: Path, program: str, rules: Path, metrics: int) -> AsyncIterator[str]:
    """One that scrapes the node every quarter of a second: its API."""
    shutil.copy(rules, folder)
    (folder / "prometheus.yml").write_text(
        yaml.safe_dump(
            {
                "global": {"scrape_interval": "250ms", "evaluation_interval": "1s"},
                "rule_files": [rules.name],
                "scrape_configs": [
                    {
                        "job_name": "torpor",
                        "static_configs": [{"targets": [f"127.0.0.1:{metrics}"]}],
                    }
                ],
            }
        )
    )
    port = free_ports()
    with (folder / "prometheus.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(program, f"--config.file={folder / 'prometheus.yml'}"),
            *(f"--storage.tsdb.path={folder / 'tsdb'}", f"--web.listen-address=127.0.0.1:{port}"),
            stdout=log,
            stderr=log,
        )

    def ready() -> bool:
        assert process.returncode is None, (folder / "prometheus.log").read_text()
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready"):
            return True
        return False

    try:
        await until(lambda: asyncio.to_thread(ready), "Prometheus")
        yield f"http://127.0.0.1:{port}/api/v1"
    finally:
        process.terminate()
        await process.wait()


@pytest.fixture
def program(tool) -> str:
    tool("prometheus")  # skips by its name where there is none
    found = shutil.which("prometheus")
    assert found is not None
    return found


def queries(folder: Path) -> list[str]:
    panels = json.loads((folder / "torpor.json").read_text())["panels"]
    shown = [target["expr"] for panel in panels for target in panel.get("targets", [])]
    return [
        re.sub(r"\$__(rate_interval|range)", "1m", each).replace("$instance", ".*")
        for each in shown
    ]


async def test_every_query_returns_data_and_every_rule_is_evaluated(
    program: str, infra: Path, database_url: str, tmp_path: Path
) -> None:
    folder = infra / "dashboards"
    (tmp_path / "prices.toml").write_text(PRICES)
    metrics = free_ports()
    async with deployed(database_url, tmp_path, {}) as deployment, receiving() as receiver:
        satellite = await deployment.satellite("acme/one")
        node = await deployment.node(
            *("--metrics", f"127.0.0.1:{metrics}", "--prices", str(tmp_path / "prices.toml")),
            *("--metrics-by", "org", "--metrics-by", "label:team", "--traces-to", receiver.url),
        )
        async with prometheus(tmp_path, program, folder / "alerts.yml", metrics) as api:

            async def value(query: str) -> float | None:
                found = (await asyncio.to_thread(get, f"{api}/query", query=query))["result"]
                return float(found[0]["value"][1]) if found else None

            async def seen(query: str) -> bool:
                return bool(await value(query))

            await until(lambda: seen("up == 1"), "a scrape")
            async with node.channel() as channel:  # a build's call wakes it
                await info(channel, satellite.metadata, within=LONG)
            # counted from its first time on: the series was there, at 0
            await until(lambda: seen('increase(torpor_transitions_total{event="woke"}[1m]) > 0'))
            await until(lambda: seen('count(torpor_month_hours{by=""})'), "the month")
            assert (
                await value('torpor_month_money{amount="spent", by="org", group="acme"}')
                is not None
            )
            assert await value('torpor_month_hours{by="label:team", group="(none)"}') is not None

            missing = []
            for query in queries(folder):
                named = set(re.findall(r"torpor_\w+?_total|torpor_\w+", query))
                if await value(query) is None and not named & EMPTY:
                    missing.append(query)
            assert not missing

            async def evaluated() -> list[dict[str, Any]]:
                told = await asyncio.to_thread(get, f"{api}/rules")
                rules = [rule for group in told["groups"] for rule in group["rules"]]
                return rules if all(rule["health"] == "ok" for rule in rules) else []

            await until(evaluated, "rules that are evaluated")
            rules = await evaluated()
            expected = yaml.safe_load((folder / "alerts.yml").read_text())["groups"]
            assert [rule["name"] for rule in rules] == [
                rule["alert"] for group in expected for rule in group["rules"]
            ]
            assert not [rule["name"] for rule in rules if rule["state"] == "firing"]
            for rule in rules:
                for name in re.findall(r"torpor_\w+", rule["query"]):
                    there = await seen(f"count({name})")
                    assert there or rule["name"] in NEVER, f"{rule['name']} can never see {name}"
