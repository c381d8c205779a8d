"""docs/bench.png: three small charts, one bar a proxy."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

from doorbench.report import DIRECT, TORPOR, added
from doorbench.results import Measured, Results
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

_OURS, _THEIRS = "#1b6e63", "#b9c2c0"


def draw(results: Results, path: Path) -> None:
    subjects = [each for each in results.subjects if each.name != DIRECT][::-1]
    direct = results.subject(DIRECT)
    figure, (calls, latency, bulk) = plt.subplots(1, 3, figsize=(12, 2.9), sharey=True)
    _bars(calls, "calls a second (thousands)", subjects, [_of(s, "unary", 1e-3) for s in subjects])
    _bars(
        latency,
        "added p50 at 1,000 calls/s (ms, logarithmic)",
        subjects,
        [(added(s, direct, "p50") or 0.0) * 1e3 for s in subjects],
    )
    latency.set_xscale("log")
    _bars(bulk, "bulk to the client (GB/s)", subjects, [_of(s, "down", 1e-9) for s in subjects])
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _of(subject: Measured, what: str, factor: float) -> float:
    return (subject.of(what) or 0.0) * factor


def _bars(axes: Axes, title: str, subjects: list[Measured], values: list[float]) -> None:
    colours = [_OURS if each.name == TORPOR else _THEIRS for each in subjects]
    bars = axes.barh([each.name for each in subjects], values, color=colours)
    axes.bar_label(bars, fmt=lambda value: f"{value:.3g}", padding=3)
    axes.set_title(title, fontsize=10, loc="left")
    axes.margins(x=0.18)
    axes.spines[["top", "right"]].set_visible(False)
