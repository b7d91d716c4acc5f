"""Figures that stand alone, as SVG files: how trials did by what they had, and what is won against what is lost."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, PercentFormatter

_STYLE: Any = {"svg.fonttype": "none", "svg.hashsalt": "diptych", "font.size": 9, "axes.grid": True, "grid.alpha": 0.3}
_COLUMNS = 3


@dataclass(frozen=True)
class Panel:
    """Points of one parameter: its values, numbers or words, beside a metric. ``log``: of the values' axis."""

    name: str
    values: Sequence[Any]
    metric: Sequence[float]
    log: bool = False


@dataclass(frozen=True)
class Path:
    """A curve through named points, such as the accuracy in and out of distribution at each alpha."""

    name: str
    points: Sequence[tuple[float, float]]
    labels: Sequence[str]


def scatter_svg(panels: Sequence[Panel], *, metric: str) -> str:
    """A panel a parameter, the metric upwards; words stand in the order they first occur in."""
    columns = min(_COLUMNS, max(1, len(panels)))
    rows = math.ceil(max(1, len(panels)) / columns)
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(3.2 * columns, 2.6 * rows), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes in grid.flat[len(panels) :]:
            axes.set_visible(False)
        for axes, panel in zip(grid.flat, panels, strict=False):
            _scatter(axes, panel, metric)
        return _written(figure)


def tradeoff_svg(paths: Sequence[Path], *, across: str, up: str) -> str:
    """Curves of accuracies from 0 to 1 in two respects, with the diagonal on which both are equal."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(5.0, 4.2), layout="constrained")
        axes = figure.subplots()
        for path in paths:
            x, y = zip(*path.points, strict=True)
            axes.plot(x, y, marker="o", markersize=4, linewidth=1.4, label=path.name)
            for point, label in zip(path.points, path.labels, strict=True):
                axes.annotate(label, point, textcoords="offset points", xytext=(4, 4), fontsize=7)
        axes.axline((0, 0), slope=1, color="0.6", linewidth=0.8, linestyle=(0, (4, 3)))
        both = [value for path in paths for point in path.points for value in point]
        edge = 0.05 * (max(both) - min(both)) + 0.005
        axes.set(xlim=(min(both) - edge, max(both) + edge), ylim=(min(both) - edge, max(both) + edge))
        axes.set(xlabel=across, ylabel=up)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.legend(frameon=False)
        return _written(figure)


def _scatter(axes: Axes, panel: Panel, metric: str) -> None:
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in panel.values)
    shown = list(panel.values) if numbers else [str(value) for value in panel.values]
    axes.plot(shown, panel.metric, "o", markersize=4, alpha=0.7)
    if numbers and panel.log:
        axes.set_xscale("log")
        narrow = max(panel.values) < 100 * min(panel.values)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 3) if narrow else (1,), numticks=6))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set(xlabel=panel.name, ylabel=metric)


def _written(figure: Figure) -> str:
    buffer = io.StringIO()
    FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None, "Creator": None})
    return buffer.getvalue()
