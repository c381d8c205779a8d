"""docs/bench-fleet.png: what Postgres spends on a fleet at rest, by its size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

from fleetbench.page import WAL_GOAL
from fleetbench.rest import NEW, OLD, Grown, Rest
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

_COLOURS = {OLD: "#b9c2c0", NEW: "#1b6e63"}
_WORDS = {OLD: "each look writes (f9a7927)", NEW: "now"}


def draw(grown: Grown, path: Path) -> None:
    figure, (cpu, wal) = plt.subplots(1, 2, figsize=(11, 3.4))
    _lines(cpu, grown, "cores of Postgres", lambda rest: rest.cost.cpu)
    cpu.plot(*_of(grown[OLD], lambda rest: rest.cost.cpu / 10), ":", color="grey", linewidth=1)
    cpu.annotate("a tenth", (grown[OLD][0].satellites, grown[OLD][0].cost.cpu / 10), fontsize=8)
    _lines(wal, grown, "KB of WAL a second", lambda rest: rest.cost.wal / 1e3)
    wal.axhline(WAL_GOAL / 1e3, linestyle=":", color="grey", linewidth=1)
    cpu.legend(frameon=False, fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _lines(axes: Axes, grown: Grown, title: str, value: Callable[[Rest], float]) -> None:
    for version, rests in grown.items():
        colour, word = _COLOURS[version], _WORDS[version]
        axes.plot(*_of(rests, value), marker="o", color=colour, label=word)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("satellites")
    axes.set_title(title, fontsize=10, loc="left")
    axes.spines[["top", "right"]].set_visible(False)


def _of(rests: list[Rest], value: Callable[[Rest], float]) -> tuple[list[int], list[float]]:
    return [rest.satellites for rest in rests], [value(rest) for rest in rests]
