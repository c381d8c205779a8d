"""What was measured, as it is kept in JSON between the run and the report."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median


@dataclass
class Connections:
    """Costs of `count` connections. Memory in octets and CPU in seconds, for each of them.

    `resting` is the share of a core that all together take while nothing happens; `release` the
    seconds from the wake until everybody was answered (held ones only), `failed` how many were not.
    """

    count: int
    held: bool
    memory: float
    cpu: float
    resting: float
    release: float | None = None
    failed: int = 0


@dataclass
class Measured:
    """One subject. Lists hold a value for each time that it was measured: calls a second, octets
    a second, seconds."""

    name: str
    unary: list[float] = field(default_factory=list)
    unary_cpu: list[float] = field(default_factory=list)  # seconds of the proxy's CPU for a call
    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    down: list[float] = field(default_factory=list)
    down_cpu: list[float] = field(default_factory=list)  # seconds of its CPU for an octet
    up: list[float] = field(default_factory=list)
    up_cpu: list[float] = field(default_factory=list)
    tls_down: list[float] = field(default_factory=list)
    tls_up: list[float] = field(default_factory=list)
    traffic: dict[str, list[float]] = field(default_factory=dict)  # calls a second, by its name
    traffic_cpu: dict[str, list[float]] = field(default_factory=dict)
    connections: list[Connections] = field(default_factory=list)

    def of(self, what: str) -> float | None:
        """The median over the rounds; None if that was not measured."""
        values = self._values(what)
        return median(values) if values else None

    def _values(self, what: str) -> list[float]:
        """`what` is a field's name, or that of a load, with ``_cpu`` behind it for its costs."""
        if hasattr(self, what):
            values: list[float] = getattr(self, what)
            return values
        name = what.removesuffix("_cpu")
        return (self.traffic if name == what else self.traffic_cpu).get(name, [])

    def busy(self, rate: str, cpu: str) -> float | None:
        """How many cores it used at that rate: the median."""
        pairs = zip(getattr(self, rate), getattr(self, cpu), strict=False)
        used = [each * spent for each, spent in pairs]
        return median(used) if used else None

    def best(self, what: str) -> float | None:
        """The best round, which others have disturbed least."""
        values = self._values(what)
        less_is_better = what in ("p50", "p99") or what.endswith("_cpu")
        return (min if less_is_better else max)(values) if values else None

    def crowd(self, count: int, *, held: bool) -> Connections | None:
        for each in self.connections:
            if (each.count, each.held) == (count, held):
                return each
        return None


@dataclass
class Results:
    machine: str
    versions: dict[str, str]
    rounds: int
    short: bool
    subjects: list[Measured] = field(default_factory=list)
    others: float = 0.0  # cores that other processes used while numbers were taken: the median
    missing: list[str] = field(default_factory=list)  # what was left out, and why

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Results:
        raw = json.loads(path.read_text())
        subjects = [
            Measured(**{**each, "connections": [Connections(**c) for c in each["connections"]]})
            for each in raw.pop("subjects")
        ]
        return cls(**raw, subjects=subjects)

    def subject(self, name: str) -> Measured | None:
        return next((each for each in self.subjects if each.name == name), None)
