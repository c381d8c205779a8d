"""Dashboard and alerts: read by Prometheus's own tool, and naming only what routers export."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from torpor_router.cli.fleet import fleet
from torpor_router.telemetry.catalogue import METRICS, Kind
from torpor_statemachine.lifecycle.machine import Event

BY_NAME = {metric.name: metric for metric in METRICS}
SCRAPED = {"job", "instance"}  # labels that Prometheus adds


@pytest.fixture(scope="module")
def folder(infra: Path) -> Path:
    return infra / "dashboards"


@pytest.fixture(scope="module")
def dashboard(folder: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((folder / "torpor.json").read_text())
    return read


@pytest.fixture(scope="module")
def rules(folder: Path) -> list[dict[str, Any]]:
    groups = yaml.safe_load((folder / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


@pytest.fixture(scope="module")
def expressions(dashboard, rules) -> list[str]:
    shown = [t["expr"] for panel in dashboard["panels"] for t in panel.get("targets", [])]
    return shown + [rule["expr"] for rule in rules]


def parts(expression: str) -> Iterator[tuple[str, set[str], set[str]]]:
    """Each metric that is named: its name, the labels it is chosen by, those it is summed by."""
    grouped = {
        label.strip()
        for found in re.findall(r"\bby \(([^)]*)\)", expression)
        for label in found.split(",")
    }
    for name, chosen in re.findall(r"\b(torpor_\w+)(?:\{([^}]*)\})?", expression):
        yield name, set(re.findall(r"(\w+)(?==~?\"|!~?=)", chosen)), grouped


def exported(name: str) -> Any:
    """The metric behind a name; a histogram is exported as three series."""
    plain = re.sub(r"_(bucket|count|sum)$", "", name)
    if plain != name and plain in BY_NAME and BY_NAME[plain].kind is Kind.HISTOGRAM:
        return BY_NAME[plain]
    return BY_NAME.get(name)


def without_variables(expression: str, interval: str = "5m") -> str:
    """A panel's query as Grafana asks it of Prometheus."""
    filled = re.sub(r"\$__(rate_interval|range)", interval, expression)
    return filled.replace("$instance", ".*")


def test_every_metric_named_is_exported_with_those_labels(expressions):
    seen = set()
    for expression in expressions:
        for name, chosen, grouped in parts(expression):
            metric = exported(name)
            assert metric is not None, f"{name} is not exported: {expression}"
            assert metric.kind is not Kind.HISTOGRAM or name != metric.name, expression
            labels = {*metric.labels, *SCRAPED} | ({"le"} if name.endswith("_bucket") else set())
            assert chosen | grouped <= labels | {""}, expression
            seen.add(metric.name)
    assert seen == set(BY_NAME), "a metric is shown nowhere"


def test_counters_are_never_shown_raw(expressions):
    for expression in expressions:
        for name, *_ in parts(expression):
            if exported(name).kind is not Kind.GAUGE:
                assert re.search(rf"(rate|increase)\({name}", expression), expression


def test_events_and_codes_that_are_chosen_exist(expressions):
    events = [e for x in expressions for e in re.findall(r'event=~?"([^"]+)"', x)]
    assert events
    for pattern in events:
        assert any(re.fullmatch(pattern, event) for event in Event)
        for choice in pattern.split("|"):
            assert any(re.fullmatch(choice, event) for event in Event), choice


def test_no_panel_covers_another(dashboard):
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
    identities = [panel["id"] for panel in dashboard["panels"]]
    assert len(identities) == len(set(identities))


def test_every_alert_says_what_to_do(rules):
    for rule in rules:
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["runbook"].endswith(".")
    told = " ".join(rule["annotations"]["runbook"] for rule in rules)
    for command in re.findall(r"`torpor fleet (\w+)", told):
        assert command in fleet.commands


def test_every_alert_has_its_runbook(rules, infra):
    page = (infra.parent / "docs/runbooks.md").read_text()
    assert re.findall(r"(?m)^## (.*)$", page) == [rule["alert"] for rule in rules]
    for rule in rules:
        link = f"docs/runbooks.md#{rule['alert'].lower()}"
        assert rule["annotations"]["runbook_url"] == link


def test_promtool_takes_the_rules(tool, folder):
    done = tool("promtool")("check", "rules", folder / "alerts.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_fire_when_they_should(tool, folder, tmp_path):
    shutil.copy(folder / "alerts.yml", tmp_path)
    shutil.copy(Path(__file__).with_name("alerts_test.yml"), tmp_path)
    done = tool("promtool")("test", "rules", tmp_path / "alerts_test.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_takes_every_expression_of_the_dashboard(tool, dashboard, tmp_path):
    shown = [t["expr"] for panel in dashboard["panels"] for t in panel.get("targets", [])]
    filled = [without_variables(x) for x in shown]
    rules = [{"record": f"panel:{number}", "expr": x} for number, x in enumerate(filled)]
    file = tmp_path / "panels.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = tool("promtool")("check", "rules", file)
    assert done.returncode == 0, done.stdout + done.stderr
