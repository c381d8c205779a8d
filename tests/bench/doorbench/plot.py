"""docs/bench.png: small charts, one bar a proxy; requests that differ come first.

They show what a second of CPU carries: neighbours on the machine change that least.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

from doorbench.report import DIRECT, TORPOR
from doorbench.results import Measured, Results
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

_OURS, _THEIRS = "#1b6e63", "#b9c2c0"
_CHARTS = (
    ("differ", "requests that differ, 4 x 25"),
    ("small200", "200 clients, one call each"),
    ("connect", "a connection a call"),
    ("tls_full", "a TLS connection a call"),
    ("unary", "the same request (best case)"),
)


def draw(results: Results, path: Path) -> None:
    subjects = [each for each in results.subjects if each.name != DIRECT][::-1]
    figure, charts = plt.subplots(1, len(_CHARTS), figsize=(15, 3.1), sharey=True)
    for axes, (what, title) in zip(charts, _CHARTS, strict=True):
        costs = [each.of(f"{what}_cpu") for each in subjects]
        _bars(axes, title, subjects, [1e-3 / cost if cost else 0.0 for cost in costs])
    what = "thousands of calls that a second of one core's CPU carries"
    figure.suptitle(what, fontsize=10, x=0.01, ha="left")
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _bars(axes: Axes, title: str, subjects: list[Measured], values: list[float]) -> None:
    colours = [_OURS if each.name == TORPOR else _THEIRS for each in subjects]
    bars = axes.barh([each.name for each in subjects], values, color=colours)
    axes.bar_label(bars, fmt=lambda value: f"{value:.3g}" if value else "", padding=3)
    axes.set_title(title, fontsize=9, loc="left")
    axes.margins(x=0.22)
    axes.spines[["top", "right"]].set_visible(False)
