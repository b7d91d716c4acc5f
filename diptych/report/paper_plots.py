"""The paper's figures, drawn from plain numbers. Accuracies are fractions from 0 to 1; drawing is left to `drawing`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator, PercentFormatter

from diptych.report.drawing import ACCENT, CHANCE, INK, RULE, SECOND, SOFT, look

PERCENT = PercentFormatter(1, decimals=0)
DASHED = (0, (4, 3))


@dataclass(frozen=True)
class Bar:
    """A value of a data set with its interval; NaN where none is known."""

    name: str
    value: float
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True)
class Line:
    """A value over something, with a band around it where one is known; ``level``: a value that holds everywhere."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    level: float = math.nan


@dataclass(frozen=True)
class Point:
    """A name at a place, of a group that has a colour of its own."""

    name: str
    x: float
    y: float
    group: str = ""


def differences(axes: Axes, bars: Sequence[Bar]) -> None:
    """Horizontal bars of differences of accuracy, the largest on top (paper, figure 5)."""
    ordered = sorted(bars, key=lambda bar: bar.value)
    for place, bar in enumerate(ordered):
        axes.barh(place, bar.value, color=ACCENT if bar.value >= 0 else SECOND, height=0.7)
        if math.isfinite(bar.low) and math.isfinite(bar.high):
            axes.plot([bar.low, bar.high], [place, place], color=INK, linewidth=1.2)
        ends = [bar.value, *(limit for limit in (bar.low, bar.high) if math.isfinite(limit))]
        right = bar.value >= 0
        axes.annotate(
            _signed(bar.value, digits=1),
            (max(ends) if right else min(ends), place),
            xytext=(4 if right else -4, 0),
            textcoords="offset points",
            ha="left" if right else "right",
            va="center",
            fontsize=8,
        )
    axes.axvline(0, color=SOFT, linewidth=1)
    axes.set_yticks(range(len(ordered)), [bar.name for bar in ordered])
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _signed(value)))
    axes.margins(x=0.18, y=0.02)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("points of accuracy")


def few_shot(axes: Axes, lines: Sequence[Line]) -> None:
    """Accuracy over labelled examples a class, and zero-shot as a star at none and a level (paper, figure 6)."""
    shots = sorted({x for line in lines for x in line.x})
    place = {0: -1.0} | {shot: math.log2(shot) for shot in shots}
    for number, line in enumerate(lines):
        style = look(number)
        x = [place[shot] for shot in line.x]
        if line.x:
            axes.plot(x, line.y, label=line.name, markersize=4, linewidth=1.6, **style)
        if line.low:
            axes.fill_between(x, line.low, line.high, color=style["color"], alpha=0.15, linewidth=0)
        if math.isfinite(line.level):
            axes.axhline(line.level, color=style["color"], linewidth=1, linestyle=DASHED)
            axes.plot([place[0]], [line.level], marker="*", markersize=11, color=style["color"], clip_on=False)
    axes.set_xticks([place[0], *(place[shot] for shot in shots)], ["0", *(f"{shot:g}" for shot in shots)])
    axes.set_xlabel("labelled examples a class")
    axes.yaxis.set_major_formatter(PERCENT)
    axes.grid(axis="y", linewidth=0.6)
    if len(lines) > 1 or any(math.isfinite(line.level) for line in lines):
        axes.legend(loc="best")


def shots_to_match(axes: Axes, bars: Sequence[Bar]) -> None:
    """Horizontal bars of the examples a class that a probe needs to match zero-shot, on a logarithmic axis.

    Infinite: never reached. Lines are the median and the mean of the others (paper, figure 7).
    """
    ordered = sorted(bars, key=lambda bar: -bar.value)
    known = [bar.value for bar in ordered if math.isfinite(bar.value) and bar.value > 0]
    end = 2 * max([16.0, *known])
    for place, bar in enumerate(ordered):
        reached = math.isfinite(bar.value)
        axes.barh(place, bar.value if reached else end, left=0, color=ACCENT if reached else RULE, height=0.7)
        told = f"{bar.value:.1f}" if reached else "more than there are"
        at = bar.value if reached else 0.3
        axes.annotate(told, (at, place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8)
    for value, name in ((float(np.median(known)), "median"), (float(np.mean(known)), "mean")) if len(known) > 1 else ():
        axes.axvline(value, color=CHANCE, linewidth=1.1, linestyle=DASHED if name == "mean" else "-")
        axes.annotate(
            f"{name} {value:.1f}",
            (value, len(ordered) - 0.4),
            xytext=(0, 2 if name == "median" else 12),
            textcoords="offset points",
            ha="center",
            fontsize=8,
            annotation_clip=False,
        )
    axes.set_xscale("log", base=2)
    axes.set_xlim(0.25, end)
    axes.xaxis.set_major_locator(FixedLocator([2.0**power for power in range(-2, int(math.log2(end)) + 1, 1)]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_yticks(range(len(ordered)), [bar.name for bar in ordered])
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("labelled examples a class to match zero-shot")


def against(axes: Axes, points: Sequence[Point], *, across: str, up: str) -> None:
    """Accuracies in two respects, with the diagonal on which both are equal (paper, figure 8)."""
    _grouped(axes, points)
    both = [value for point in points for value in (point.x, point.y)]
    edge = 0.06 * (max(both) - min(both)) + 0.01
    axes.axline((0, 0), slope=1, color=SOFT, linewidth=0.8, linestyle=DASHED)
    axes.set(xlim=(min(both) - edge, max(both) + edge), ylim=(min(both) - edge, max(both) + edge))
    axes.set(xlabel=across, ylabel=up)
    axes.xaxis.set_major_formatter(PERCENT)
    axes.yaxis.set_major_formatter(PERCENT)
    axes.grid(linewidth=0.6)
    _name(axes, points)


def compute(axes: Axes, points: Sequence[Point], *, up: str) -> None:
    """Accuracy over the operations of an image, logarithmic (paper, figures 9 and 10)."""
    _grouped(axes, points, joined=True)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=12))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set(xlabel="gigaflops an image", ylabel=up)
    axes.margins(0.12)
    axes.yaxis.set_major_formatter(PERCENT)
    axes.grid(axis="y", linewidth=0.6)
    _name(axes, points)


def robustness(axes: Axes, points: Sequence[Point], fit: tuple[float, float] | None) -> None:
    """Accuracy under shift over accuracy without, both on logit axes; the dashed line is no loss, the solid one the fit
    (slope, intercept, of logits) of the models that it is measured against (paper, figure 13)."""
    placed = [Point(point.name, _logit(point.x), _logit(point.y), point.group) for point in points]
    _grouped(axes, placed)
    both = [value for point in placed for value in (point.x, point.y)]
    low, high = min(both) - 0.4, max(both) + 0.4
    axes.axline((0, 0), slope=1, color=SOFT, linewidth=0.8, linestyle=DASHED)
    if fit is not None:
        axes.axline((0, fit[1]), slope=fit[0], color=CHANCE, linewidth=1.2)
    ticks = [
        t for t in (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99) if low < _logit(t) < high
    ]
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(FixedLocator([_logit(tick) for tick in ticks]))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 / (1 + math.exp(-value)):.0f}%"))
    axes.set(xlim=(low, high), ylim=(low, high), xlabel="accuracy without shift", ylabel="mean accuracy under shift")
    axes.grid(linewidth=0.6)
    _name(axes, placed)


def reliability(axes: Axes, bars: Sequence[Bar], confidences: Sequence[float], shares: Sequence[float]) -> None:
    """Accuracy over confidence, a point a bin with its interval, larger where there are more answers; the diagonal is a
    model that is as often right as it says."""
    axes.axline((0, 0), slope=1, color=SOFT, linewidth=0.8, linestyle=DASHED)
    for bar, confidence, share in zip(bars, confidences, shares, strict=True):
        axes.plot([confidence, confidence], [bar.low, bar.high], color=ACCENT, linewidth=1)
        axes.plot([confidence], [bar.value], "o", color=ACCENT, markersize=3 + 9 * math.sqrt(share))
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", ylabel="accuracy")
    axes.xaxis.set_major_formatter(PERCENT)
    axes.yaxis.set_major_formatter(PERCENT)
    axes.grid(linewidth=0.6)


def _grouped(axes: Axes, points: Sequence[Point], *, joined: bool = False) -> None:
    """The points of each group in a look of its own, each with its name where there are few."""
    groups = list(dict.fromkeys(point.group for point in points))
    for number, group in enumerate(groups):
        own = sorted((point for point in points if point.group == group), key=lambda point: point.x)
        style = look(number) if joined else {**look(number), "linestyle": "none"}
        axes.plot([p.x for p in own], [p.y for p in own], label=group or None, markersize=5, linewidth=1.2, **style)
    if len(groups) > 1:
        axes.legend(loc="best")


def _name(axes: Axes, points: Sequence[Point]) -> None:
    """Write each point's name beside it where it covers no other, else leave it out; call it when the axes are set."""
    if figure := axes.get_figure(root=True):
        figure.draw_without_rendering()  # so that places are known
    taken = []
    for point in points:
        for offset, across, up in (((5, 4), "left", "bottom"), ((-5, 4), "right", "bottom"), ((5, -4), "left", "top")):
            text = axes.annotate(
                point.name, (point.x, point.y), offset, textcoords="offset points", ha=across, va=up, fontsize=7
            )
            box = text.get_window_extent()
            if not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
            text.remove()


def _signed(share: float, digits: int = 0) -> str:
    told = f"{100 * share:+.{digits}f}".replace("-", "\N{MINUS SIGN}")
    return told if any(digit in told for digit in "123456789") else told[1:]


def _logit(share: float) -> float:
    """Of a share kept within what a logarithm can show."""
    share = min(max(share, 0.001), 0.999)
    return math.log(share / (1 - share))
