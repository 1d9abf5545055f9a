"""Plots of cost against size, one file an operation, the same bytes for the same figures.

They are seen on light and on dark pages: nothing is behind the lines, and grey is what is read on
both. Letters are left to whoever shows them.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor, log10
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from benchmarks.contenders import CONTENDERS
from benchmarks.figures import Table
from benchmarks.goals import MINE
from benchmarks.operations import OPERATIONS, Operation
from benchmarks.plan import Sizes

_GREY = "#808080"
_COLOURS = (
    "#e4572e", "#4a90d9", "#2a9d8f", "#9b6fd0", "#c48a00", "#d0679d", "#6f9a2f", "#8c7a6b",
    "#3aa6c4",
)  # fmt: skip
_MARKERS = "o^vsDPX<>"
_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "atop", "svg.fonttype": "none", "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"], "font.size": 9, "text.color": _GREY,
    "axes.edgecolor": _GREY, "axes.labelcolor": _GREY, "xtick.color": _GREY, "ytick.color": _GREY,
    "grid.color": _GREY, "grid.alpha": 0.25,
}  # fmt: skip
_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))
_UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))


def plotted() -> list[Operation]:
    """What there are plots of."""
    return [each for each in OPERATIONS if each.plotted]


def draw(folder: Path, table: Table, names: Sequence[str], sizes: Sizes) -> None:
    """One file for each operation."""
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.svg"):
        old.unlink()
    with mpl.rc_context(_STYLE):
        for operation in plotted():
            figure = _figure(operation, table, names, sizes)
            figure.savefig(
                folder / f"{operation.figure}.svg", transparent=True, metadata=_NO_METADATA
            )


def axis(operation: Operation) -> str:
    """What the height is."""
    if operation.unit.name == "MB":
        return "size"
    return "time for an item" if operation.unit.a_second else "time"


def _figure(operation: Operation, table: Table, names: Sequence[str], sizes: Sizes) -> Figure:
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.add_subplot()
    heights: list[float] = []
    for name in names:
        points = [
            (items, median(samples))
            for size, items in sizes.all().items()
            if (samples := table.samples(name, f"{operation.figure}_{size}"))
        ]
        heights += [height for _, height in points if height > 0]
        if points:
            at = list(CONTENDERS).index(name)
            mine = name == MINE
            axes.plot(
                *zip(*points, strict=True), label=name, color=_COLOURS[at], marker=_MARKERS[at],
                markersize=6 if mine else 4, linewidth=2.6 if mine else 1.3,
                zorder=3 if mine else 2,
            )  # fmt: skip
    axes.set(xscale="log", yscale="log", xlabel="items", ylabel=axis(operation),
             title=operation.title)
    if heights:  # whole powers of ten, so that some are written at the side
        low, high = floor(log10(min(heights))), ceil(log10(max(heights)))
        axes.set_ylim(10.0**low, 10.0 ** max(high, low + 1))
    axes.set_xticks(list(sizes.all().values()), [f"{items:,}" for items in sizes.all().values()])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.minorticks_off()
    form = _megabytes if operation.unit.name == "MB" else _seconds
    axes.yaxis.set_major_formatter(FuncFormatter(form))
    axes.grid()
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def _megabytes(value: float, _: object) -> str:
    return f"{value:,g} MB"


def _seconds(value: float, _: object) -> str:
    for scale, unit in _UNITS:
        if value >= scale * 0.999:
            return f"{value / scale:g} {unit}"
    return f"{value:g} s"
