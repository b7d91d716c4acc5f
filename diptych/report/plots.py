"""A figure that stands alone, as an SVG file: how the trials of a search did, by what they had."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from diptych.report.drawing import ACCENT, CHANCE, RULE, SECOND, SOFT, bare, limits, styled, whole_file

_COLUMNS = 3
_NARROW = 100  # times the lowest value: up to there a logarithmic axis has more ticks than powers of ten
_LONGEST = 16  # letters of a choice, under its place
_WIDE = 22  # letters of all choices of a panel, past which they are set aslant
_STRIP = 0.16  # of the metrics' height: under them, for trials that have none


@dataclass(frozen=True)
class Trials:
    """How trials came out. ``metric``: None where a trial has none, since it was ``stopped`` or ``failed`` (its state).
    ``name``: of the metric, of which less is better where ``lowest`` is true."""

    name: str
    metric: Sequence[float | None]
    states: Sequence[str]
    lowest: bool = False

    def groups(self) -> Iterator[tuple[str, list[int], dict[str, Any]]]:
        """What trials have in common, their places, and the look of their marks; the best is the last."""
        measured = [i for i, value in enumerate(self.metric) if value is not None]
        best = sorted(measured, key=lambda i: float(self.metric[i] or 0), reverse=not self.lowest)[:1]
        yield "done", [i for i in measured if i not in best], {"color": ACCENT, "marker": "o", "markersize": 5}
        for state, colour, marker in (("stopped", SOFT, "v"), ("failed", CHANCE, "x")):
            places = [i for i, there in enumerate(self.states) if there == state and i not in measured]
            yield state, places, {"color": colour, "marker": marker, "markersize": 5}
        yield "best", best, {"color": SECOND, "marker": "*", "markersize": 11}

    def limits(self) -> tuple[float, float]:
        """Of the axis of the metric."""
        low, high = limits([value for value in self.metric if value is not None])
        return (low - _STRIP * (high - low) if None in self.metric else low), high


@dataclass(frozen=True)
class Panel:
    """One thing that was varied, and what each trial had of it: a number, on an axis that may be a logarithm's; or one
    of several ``choices``, which stand side by side in their order."""

    name: str
    values: Sequence[Any]
    choices: Sequence[Any] = ()
    log: bool = False


def scatter_svg(panels: Sequence[Panel], trials: Trials) -> str:
    """A panel for each thing varied, the metric upwards; trials without a metric are marked at the bottom."""
    rows = math.ceil(len(panels) / _COLUMNS)
    columns = math.ceil(len(panels) / rows)
    with styled(alone=True):
        figure = Figure(figsize=(0.6 + 2.9 * columns, 0.3 + 2.6 * rows), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
        for axes in grid.flat[len(panels) :]:
            axes.set_visible(False)
        for axes, panel in zip(grid.flat, panels, strict=False):
            _scatter(axes, panel, trials)
        for axes in grid[:, 0]:
            axes.set_ylabel(trials.name)
        marks, names = grid[0, 0].get_legend_handles_labels()
        figure.legend(marks, names, loc="outside upper left", ncols=len(names), handletextpad=0.2, columnspacing=1.2)
        return whole_file(figure)


def _scatter(axes: Axes, panel: Panel, trials: Trials) -> None:
    bare(axes)
    axes.grid(axis="y", linewidth=0.6)
    low, high = trials.limits()
    axes.set(ylim=(low, high), xlabel=panel.name)
    if None in trials.metric:
        floor = low + 2 / 3 * _STRIP * (high - low)
        axes.axhspan(low, floor, color=RULE, alpha=0.5, linewidth=0)
        axes.set_yticks([tick for tick in axes.get_yticks() if floor < tick <= high])
    for name, places, style in trials.groups():
        if not places:
            continue
        x = [_across(panel, i) for i in places]
        if name in ("done", "best"):
            axes.plot(x, [trials.metric[i] for i in places], linestyle="", alpha=0.8, label=name, **style)
        else:  # at a height of the panel, whatever the metric
            axes.plot(x, [_STRIP / 3] * len(x), linestyle="", label=name, transform=axes.get_xaxis_transform(), **style)
    if panel.choices:
        shown = [_short(str(choice)) for choice in panel.choices]
        aslant: dict[str, Any] = {"rotation": 20, "ha": "right"} if len("".join(shown)) > _WIDE else {}
        axes.set_xticks(range(len(shown)), shown, **aslant)
        axes.set_xlim(-0.5, len(shown) - 0.5)
        return
    if panel.log:
        axes.set_xscale("log")
        narrow = max(panel.values) < _NARROW * min(panel.values)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 3) if narrow else (1,), numticks=6))
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=all(isinstance(value, int) for value in panel.values)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")


def _across(panel: Panel, trial: int) -> float:
    """Where a trial stands; of choices a little aside of it, so that trials do not cover others."""
    if not panel.choices:
        return panel.values[trial]
    return list(panel.choices).index(panel.values[trial]) + 0.08 * (0, 1, -1, 2, -2)[trial % 5]


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
