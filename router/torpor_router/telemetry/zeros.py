"""Series at 0 for what has not happened yet: `increase()` does not see a series' first value.

A counter that appears with its first failure at 1 has, for Prometheus, not increased.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import CollectorRegistry
from prometheus_client.utils import floatToGoString

from torpor_provisioner.errors import ProvisionerError
from torpor_provisioner.errors import catalogue as errors
from torpor_router.errors import RouterError
from torpor_router.telemetry import catalogue
from torpor_router.telemetry.catalogue import Kind, Metric
from torpor_statemachine.lifecycle.machine import Event
from torpor_statemachine.lifecycle.states import WakeKind

Labels = tuple[str, ...]  # a series' values, in the order of its metric's labels

_REASONS = ("asked", "forced", "idle", "request", "wanted")
_CALLS = ("launch", "wake", "sleep", "terminate", "observe")
_WOKEN = (WakeKind.RESUMED, WakeKind.STARTED, WakeKind.LAUNCHED)


class Completed:
    """A registry whose families have every series that is known."""

    def __init__(self, registry: CollectorRegistry, provisioners: Iterable[str]) -> None:
        self._registry = registry
        self._known = list(_known(tuple(provisioners)))

    def __repr__(self) -> str:
        return f"<Completed, {sum(len(sets) for _, sets in self._known)} series known>"

    def collect(self) -> Iterator[Family]:
        families = {family.name: family for family in self._registry.collect()}
        for metric, sets in self._known:
            name = metric.name.removesuffix("_total")
            family = families.setdefault(name, Family(name, metric.says, metric.kind.value))
            there = {
                tuple(sample.labels.get(label, "") for label in metric.labels)
                for sample in family.samples
            }
            for values in sets:
                if values not in there:
                    _add_zero(family, metric, dict(zip(metric.labels, values, strict=True)))
        yield from families.values()


def _add_zero(family: Family, metric: Metric, labels: dict[str, str]) -> None:
    if metric.kind is Kind.COUNTER:
        family.add_sample(metric.name, labels, 0.0)
        return
    for bound in (*metric.buckets, float("inf")):
        family.add_sample(f"{metric.name}_bucket", {**labels, "le": _shown(bound)}, 0.0)
    family.add_sample(f"{metric.name}_count", labels, 0.0)
    family.add_sample(f"{metric.name}_sum", labels, 0.0)


def _shown(bound: float) -> str:
    text: str = floatToGoString(bound)  # type: ignore[no-untyped-call]
    return text


def _known(provisioners: Labels) -> Iterator[tuple[Metric, list[Labels]]]:
    codes = sorted({each.code for each in errors() if each.code})
    ours = {each.code for each in errors(RouterError)}
    clouds = sorted({each.code for each in errors(ProvisionerError)})
    held: list[Labels] = [(kind.value, "released") for kind in WakeKind]
    yield catalogue.HOLD, [*held, ("", "refused"), ("", "cancelled")]
    yield catalogue.WAKE, [(kind.value,) for kind in _WOKEN]
    yield catalogue.TRANSITIONS, [(event.value, word) for event in Event for word in _REASONS]
    yield catalogue.REFUSALS, [(code,) for code in codes]
    yield catalogue.STRANGERS_REFUSED, [(code,) for code in ("TPR-3016", "TPR-3017")]
    yield catalogue.WORKER_LOST, [(code,) for code in sorted(ours) if code.startswith("TPR-40")]
    yield catalogue.MEMORY_LOST, [(name,) for name in provisioners]
    yield catalogue.PROVISIONER_FAILURES, [(call, code) for call in _CALLS for code in clouds]
