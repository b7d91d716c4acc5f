"""The paper's figures of points, drawn from plain numbers. Accuracies are fractions from 0 to 1; drawing is left to
`drawing`, bars and curves to `bar_plots`."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from diptych.report.drawing import ACCENT, CHANCE, SOFT, in_percent, look
from diptych.report.labels import legend, name_points
from diptych.report.marks import DASHED, Bar, Line, Point

ALONG = 38  # letters in a line of the name of an upright axis
LEGENDS = 12  # more groups than these have no legend
CROWD = 60  # of more points none has an interval, and models no lines
_LETTERS = 24  # of a line of a name beside a point


def against(axes: Axes, points: Sequence[Point], *, across: str, up: str) -> None:
    """Accuracies in two respects, with the diagonal on which both are equal (paper, figure 8)."""
    axes.axline((0, 0), slope=1, color=SOFT, linewidth=0.8, linestyle=DASHED)
    both = [value for point in points for value in (point.x, point.y)]
    edge = 0.06 * (max(both) - min(both)) + 0.01
    limits = (max(-0.02, min(both) - edge), min(1.02, max(both) + edge))
    axes.set(xlim=limits, ylim=limits, xlabel=across, ylabel=up, aspect="equal")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        in_percent(axis)
    axes.grid(linewidth=0.6)
    _grouped(axes, points)
    _name(axes, points)


def compute(axes: Axes, points: Sequence[Point], *, up: str) -> None:
    """Accuracy over the operations of an image, logarithmic; a family of models is joined (paper, figure 10)."""
    _operations(axes)
    axes.set_ylabel(textwrap.fill(up, ALONG))
    axes.margins(0.12)
    in_percent(axes.yaxis)
    axes.grid(axis="y", linewidth=0.6)
    _grouped(axes, points, joined=True)
    _name(axes, points)


def scaling(axes: Axes, lines: Sequence[Line], points: Sequence[Point], fit: tuple[float, float]) -> None:
    """Error over the operations of an image, both logarithmic: pale the data sets, strong their mean, dashed its fit,
    as the power and the logarithm of the factor (paper, figure 9)."""
    power, factor = fit
    for line in lines if len(points) <= CROWD else ():
        axes.plot(line.x, line.y, color=SOFT, linewidth=0.9, alpha=0.35)
    x = [min(point.x for point in points), max(point.x for point in points)]
    axes.plot(x, [math.exp(factor + power * math.log(one)) for one in x], color=SOFT, linewidth=1.1, linestyle=DASHED)
    axes.plot(
        [p.x for p in points], [p.y for p in points], "o", color=ACCENT, markersize=6 if len(points) <= CROWD else 3
    )
    _operations(axes)
    axes.set_yscale("log")
    axes.set_ylabel("zero-shot error")
    axes.margins(0.12)
    axes.set_ylim(top=min(1.0, axes.get_ylim()[1]))
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7), numticks=12))
    axes.yaxis.set_minor_locator(NullLocator())
    in_percent(axes.yaxis)
    axes.grid(axis="y", linewidth=0.6)
    _name(axes, points)


def robustness(axes: Axes, points: Sequence[Point], fit: tuple[float, float] | None) -> None:
    """Accuracy under shift over accuracy without, both on logit axes; the dashed line is no loss, the solid one the fit
    (slope, intercept, of logits) of the models that it is measured against (paper, figure 13)."""
    placed = [
        Point(
            p.name,
            _logit(p.x),
            _logit(p.y),
            p.group,
            *(_logit(end) if math.isfinite(end) else end for end in (p.low, p.high)),
        )
        for p in points
    ]
    both = [value for point in placed for value in (point.x, point.y)]
    low, high = min(both) - 0.4, max(both) + 0.4
    axes.axline((0, 0), slope=1, color=SOFT, linewidth=0.8, linestyle=DASHED)
    marks = [Line2D([], [], color=SOFT, linewidth=0.8, linestyle=DASHED)]
    if fit is not None:
        axes.axline((0, fit[1]), slope=fit[0], color=CHANCE, linewidth=1.2)
        marks.append(Line2D([], [], color=CHANCE, linewidth=1.2))
    ticks = [
        t for t in (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99) if low < _logit(t) < high
    ]
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(FixedLocator(_apart([_logit(tick) for tick in ticks], (high - low) / 10)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 / (1 + math.exp(-value)):.0f}%"))
    axes.set(xlim=(low, high), ylim=(low, high), xlabel="accuracy without shift", ylabel="mean accuracy under shift")
    axes.set_aspect("equal")
    axes.grid(linewidth=0.6)
    _grouped(axes, placed, others=dict(zip(("nothing lost (y = x)", "fit over the baselines"), marks, strict=False)))
    _name(axes, placed)


def reliability(
    axes: Axes, bars: Sequence[Bar], confidences: Sequence[float], shares: Sequence[float], *, answers: int
) -> None:
    """Accuracy over confidence, a point a bin with its interval, larger where there are more answers; the diagonal is a
    model that is as often right as it says."""
    axes.axline((0, 0), slope=1, color=SOFT, linewidth=0.8, linestyle=DASHED)
    for bar, confidence, share in zip(bars, confidences, shares, strict=True):
        axes.plot([confidence, confidence], [bar.low, bar.high], color=ACCENT, linewidth=1)
        axes.plot([confidence], [bar.value], "o", color=ACCENT, markersize=3 + 9 * math.sqrt(share))
    axes.set(
        xlim=(-0.02, 1.02),
        ylim=(-0.02, 1.02),
        xlabel=f"confidence of {answers:,} answers",
        ylabel="share that is right",
    )
    axes.set_aspect("equal")
    in_percent(axes.xaxis)
    in_percent(axes.yaxis)
    axes.grid(linewidth=0.6)


def groups(points: Sequence[Point]) -> list[str]:
    """What a legend names: the groups of the points where there are several, and not too many."""
    found = list(dict.fromkeys(point.group for point in points))
    return found if 1 < len(found) <= LEGENDS else []


def _operations(axes: Axes) -> None:
    axes.set_xscale("log")
    axes.set_xlabel("gigaflops an image")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=12))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))


def _grouped(
    axes: Axes, points: Sequence[Point], *, joined: bool = False, others: dict[str, Line2D] | None = None
) -> None:
    """The points of each group in a look of its own, with intervals where they are known, and a legend: of groups where
    there are several, and of ``others``."""
    named, marks = groups(points), []
    for number, group in enumerate(dict.fromkeys(point.group for point in points)):
        own = sorted((point for point in points if point.group == group), key=lambda point: point.x)
        rising = joined and len({point.x for point in own}) == len(own) and 1 < len(own) <= LEGENDS
        style = look(number) if named or rising else look(0)
        style = style if rising else {**style, "linestyle": "none"}
        size, alpha = (3, 0.5) if len(points) > CROWD else (5, 1.0)
        x, y = [point.x for point in own], [point.y for point in own]
        marks += axes.plot(x, y, linewidth=1.2, markersize=size, alpha=alpha, **style)
        for point in own:
            if math.isfinite(point.low) and math.isfinite(point.high) and len(points) <= CROWD:
                axes.plot([point.x, point.x], [point.low, point.high], color=style["color"], linewidth=0.9)
    others = others or {}
    if named or others:
        legend(axes, [*named, *others], [*(marks if named else []), *others.values()])


def _name(axes: Axes, points: Sequence[Point]) -> None:
    name_points(axes, [(point.x, point.y) for point in points], [_short(point.name) for point in points])


def _short(name: str) -> str:
    """In one line or two; of a longer name both ends, as what tells models apart stands last."""
    lines = textwrap.wrap(name, _LETTERS)
    if len(lines) <= 2:
        return "\n".join(lines)
    return f"{name[: _LETTERS // 2 - 1].rstrip()}…{name[-_LETTERS // 2 :].lstrip()}"


def _apart(ticks: Sequence[float], least: float) -> list[float]:
    """Those that leave room for one another, from the middle on, which is one half."""
    kept: list[float] = []
    for tick in sorted(ticks, key=abs):
        if all(abs(tick - other) >= least for other in kept):
            kept.append(tick)
    return sorted(kept)


def _logit(share: float) -> float:
    """Of a share kept within what a logarithm can show."""
    share = min(max(share, 0.001), 0.999)
    return math.log(share / (1 - share))
