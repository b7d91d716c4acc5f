"""The paper's figures of bars and curves, drawn from plain numbers. Accuracies are fractions from 0 to 1."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from diptych.report.cells import with_minus
from diptych.report.drawing import ACCENT, CHANCE, INK, PAPER, RULE, SECOND, SOFT, in_percent, look
from diptych.report.labels import legend
from diptych.report.marks import DASHED, Bar, Line

_BEHIND = {"facecolor": PAPER, "edgecolor": "none", "pad": 1.0}  # of a number, so that no line goes through it
_HOLLOW: dict[str, Any] = {"linestyle": "none", "markersize": 8, "markerfacecolor": "none", "markeredgewidth": 1.5}
_ALONG = 38  # letters in a line of the name of an upright axis
_WIDEST = 30  # letters in a line of the name of a bar
_LEAST = 0.01  # examples a class, fewer than which are not told apart: all is extrapolated there
_FEWEST = 2.0**-4  # examples a class at which the axis begins at the latest


def differences(axes: Axes, bars: Sequence[Bar], *, of: str = "accuracy") -> None:
    """Horizontal bars of differences of a metric, the largest on top (paper, figure 5)."""
    ordered = sorted(bars, key=lambda bar: (bar.value, bar.name))
    for place, bar in enumerate(ordered):
        axes.barh(place, bar.value, color=ACCENT if bar.value >= 0 else SECOND, height=0.7)
        if math.isfinite(bar.low) and math.isfinite(bar.high):
            axes.plot([bar.low, bar.high], [place, place], color=INK, linewidth=1.2)
        ends = [bar.value, *(limit for limit in (bar.low, bar.high) if math.isfinite(limit))]
        right = bar.value >= 0
        axes.annotate(
            _points(bar.value, digits=1),
            (max(ends) if right else min(ends), place),
            xytext=(4 if right else -4, 0),
            textcoords="offset points",
            ha="left" if right else "right",
            va="center",
            fontsize=8,
        )
    axes.axvline(0, color=SOFT, linewidth=1)
    _rows(axes, ordered)
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _points(value)))
    axes.margins(x=0.18)
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, -0.02) if low < 0 else low, max(high, 0.02) if high > 0 else high)  # ticks are whole points
    axes.set_xlabel(f"zero-shot less linear probe, points of {of}")


def few_shot(axes: Axes, lines: Sequence[Line], *, up: str, chance: float = math.nan) -> None:
    """Accuracy over labelled examples a class, and zero-shot as a hollow mark at none and a level (paper, figure 6).

    chance: what guessing gives, drawn as a line; NaN: not known.
    """
    shots = sorted({x for line in lines for x in line.x})
    place = {0: math.log2(shots[0]) - 1} | {shot: math.log2(shot) for shot in shots}
    marks = []
    for number, line in enumerate(lines):
        style = look(number)
        marks += axes.plot([place[shot] for shot in line.x], line.y, markersize=4, linewidth=1.6, **style)
        if line.low:
            x = [place[shot] for shot in line.x]
            axes.fill_between(x, line.low, line.high, color=style["color"], alpha=0.15, linewidth=0)
        if math.isfinite(line.level):
            axes.axhline(line.level, color=style["color"], linewidth=1, linestyle=DASHED)
            axes.plot([place[0]], [line.level], clip_on=False, **{**style, **_HOLLOW})
    axes.set_xticks([place[0], *(place[shot] for shot in shots)], ["0", *(f"{shot:g}" for shot in shots)])
    axes.set(xlabel="labelled examples a class", ylabel=textwrap.fill(up, _ALONG))
    in_percent(axes.yaxis)
    axes.grid(axis="y", linewidth=0.6)
    names = [line.name for line in lines]
    if any(math.isfinite(line.level) for line in lines):
        zero_shot: dict[str, Any] = _HOLLOW | {"linestyle": DASHED}
        marks.append(Line2D([], [], color=SOFT, linewidth=1, marker="o", **zero_shot))
        names.append("zero-shot")
    if math.isfinite(chance):
        marks.append(axes.axhline(chance, color=CHANCE, linewidth=1.2, linestyle=":"))
        names.append("chance")
    legend(axes, names, marks)


def shots_to_match(axes: Axes, bars: Sequence[Bar]) -> None:
    """Horizontal bars of the examples a class that a probe needs to match zero-shot, on a logarithmic axis.

    Infinite: never reached. Hatched: extrapolated. Thin lines are the draws; upright ones are the median and the mean
    of what is reached (paper, figure 7).
    """
    ordered = sorted(bars, key=lambda bar: -bar.value)
    known = [bar.value for bar in ordered if math.isfinite(bar.value)]
    end = 2 * max([16.0, *known])
    start = 2.0 ** math.floor(math.log2(max(_FEWEST, min([0.25, *(0.8 * value for value in known)]))))
    for place, bar in enumerate(ordered):
        reached = math.isfinite(bar.value)
        shown = min(max(bar.value, start), end)
        look_of: dict[str, Any] = {"color": ACCENT if reached else RULE}
        if bar.extrapolated:
            look_of = {"facecolor": PAPER, "edgecolor": ACCENT, "hatch": "////", "linewidth": 0}
        axes.barh(place, shown - start, left=start, height=0.7, **look_of)
        around = [min(max(limit, start), end) for limit in (bar.low, bar.high) if not math.isnan(limit)]
        if reached and around:
            axes.plot(around, [place, place], color=INK, linewidth=1.2)
        told = _examples(bar.value) if reached else "more than there are"
        axes.annotate(
            told,
            (max([shown, *around]) if reached else start, place),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            zorder=3,
            bbox=_BEHIND if reached else {"facecolor": RULE, "edgecolor": "none", "pad": 1.0},
        )
    for value, name in ((float(np.median(known)), "median"), (float(np.mean(known)), "mean")) if len(known) > 1 else ():
        at = max(value, start)
        axes.axvline(at, color=CHANCE, linewidth=1.1, linestyle=DASHED if name == "mean" else "-", zorder=2)
        axes.annotate(
            f"{name} {_examples(value)}",
            (at, len(ordered) - 0.4),
            xytext=(0, 2 if name == "median" else 12),
            textcoords="offset points",
            ha="center",
            fontsize=8,
            annotation_clip=False,
        )
    axes.set_xscale("log", base=2)
    axes.set_xlim(start, end)
    powers = range(round(math.log2(start)), math.floor(math.log2(end)) + 1)
    step = 1 + len(powers) // 9
    axes.xaxis.set_major_locator(FixedLocator([2.0**power for power in powers if power % step == 0]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    _rows(axes, ordered)
    axes.set_xlabel("labelled examples a class to match zero-shot")


def _points(share: float, digits: int = 0) -> str:
    """A difference of fractions in points, with its sign; 0 has none."""
    told = with_minus(f"{100 * share:+.{digits}f}")
    return told if any(digit in told for digit in "123456789") else told[1:]


def _rows(axes: Axes, bars: Sequence[Bar]) -> None:
    names = [textwrap.fill(bar.name, _WIDEST, max_lines=2, placeholder=" …") for bar in bars]
    axes.set_yticks(range(len(bars)), names, linespacing=1.0)
    axes.set_ylim(-0.6, len(bars) - 0.4)  # else a single bar fills the figure
    axes.spines["left"].set_visible(False)


def _examples(value: float) -> str:
    if value < _LEAST:
        return f"< {_LEAST:g}"
    return f"{value:.{1 if value >= 1 else 2}f}" if value >= 0.095 else f"{value:.1g}"
