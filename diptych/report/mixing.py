"""What mixing a fine-tuned model with the one before wins and loses, as an SVG file that stands alone (WiSE-FT, arXiv
2109.01903, figure 1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from diptych.report.cells import PERCENT
from diptych.report.drawing import SOFT, bare, in_percent, limits, look, styled, whole_file
from diptych.report.labels import columns, legend_height, name_points

_WIDTH, _HEIGHT = 7.2, 3.4  # inches, of both panels: across two columns of a paper
_ASIDE, _SPREAD = 0.018, 0.06  # of alpha: between tasks at one alpha, and at most between the first and the last
_LARGEST, _LEAST = 7.5, 3.5  # points: of tasks at one place each mark lies in that of the one before


@dataclass(frozen=True)
class Accuracies:
    """Of a task at each alpha the accuracy, a fraction, and its 95 % interval."""

    name: str
    values: Sequence[float]
    intervals: Sequence[tuple[float, float]]


def mixtures_svg(alphas: Sequence[float], tasks: Sequence[Accuracies], *, against: str | None) -> str:
    """The accuracy at each task over alpha, with intervals. Where ``against`` names one of several, beside it that of
    the others over this one: a path from the model before, at alpha 0, to the fine-tuned one, at 1."""
    looks = {task.name: look(number) for number, task in enumerate(tasks)}
    across = next((task for task in tasks if task.name == against and len(tasks) > 1), None)
    others = [task for task in tasks if task is not across]
    width = _WIDTH if across else 0.6 * _WIDTH
    with styled(alone=True):
        names = list(looks)
        figure = Figure(figsize=(width, _HEIGHT + legend_height(names, width)), layout="constrained")
        panels = figure.subplots(1, 2 if across else 1, squeeze=False)[0]
        marks = _by_alpha(panels[0], alphas, tasks, looks)
        if across:
            _path(panels[1], across, others, looks)
        for axes in panels:
            bare(axes)
            axes.grid(linewidth=0.6)
        figure.legend(marks, names, loc="outside upper left", ncols=columns(names, width), columnspacing=1.4)
        if across:
            labels = _labels([list(zip(across.values, task.values, strict=True)) for task in others], alphas)
            name_points(panels[1], list(labels), list(labels.values()))
        return whole_file(figure)


def _by_alpha(
    axes: Axes, alphas: Sequence[float], tasks: Sequence[Accuracies], looks: dict[str, dict[str, Any]]
) -> list[Line2D]:
    """Tasks stand a little aside of one another, so that none hides another."""
    step = min(_ASIDE, _SPREAD / len(tasks))
    marks = []
    for number, task in enumerate(tasks):
        x = [alpha + step * (number - (len(tasks) - 1) / 2) for alpha in alphas]
        style = looks[task.name]
        marks += axes.plot(x, task.values, markersize=4, linewidth=1.2, **style)
        for place, (low, high) in zip(x, task.intervals, strict=True):
            axes.plot([place, place], [low, high], color=style["color"], linewidth=0.9)
    axes.set(xlabel="alpha: 0 the model before, 1 fine-tuned", ylabel="accuracy")
    axes.set_ylim(limits([end for task in tasks for interval in task.intervals for end in interval]))
    axes.set_title(f"with {PERCENT} intervals", loc="left", fontsize=9, color=SOFT)
    in_percent(axes.yaxis)
    return marks


def _path(axes: Axes, across: Accuracies, others: Sequence[Accuracies], looks: dict[str, dict[str, Any]]) -> None:
    """Hollow marks, the later the smaller, so that those at one place are seen one in another."""
    step = (_LARGEST - _LEAST) / max(1, len(others) - 1)
    for number, task in enumerate(others):
        size = _LARGEST - step * number
        axes.plot(
            across.values, task.values, markersize=size, markerfacecolor="none", linewidth=1.2, **looks[task.name]
        )
    x, y = (limits([value for task in own for value in task.values]) for own in ([across], others))
    axes.set(xlabel=f"accuracy, {across.name}", ylabel="accuracy, others", xlim=x, ylim=y)
    axes.set_title("labelled by alpha", loc="left", fontsize=9, color=SOFT)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        in_percent(axis)


def _labels(paths: Sequence[list[tuple[float, float]]], alphas: Sequence[float]) -> dict[tuple[float, float], str]:
    """Places and the alphas of all paths there, the ends of paths before what lies between."""
    there: dict[tuple[float, float], set[float]] = {place: set() for path in paths for place in (path[0], path[-1])}
    for path in paths:
        for place, alpha in zip(path, alphas, strict=True):
            there.setdefault(place, set()).add(alpha)
    return {place: _told(sorted(own), alphas) for place, own in there.items()}


def _told(own: Sequence[float], alphas: Sequence[float]) -> str:
    """Alphas of one place: ``0.6-1`` of those that follow one another, with commas between others."""
    runs: list[list[float]] = []
    for alpha in own:
        if runs and alphas.index(alpha) == alphas.index(runs[-1][-1]) + 1:
            runs[-1].append(alpha)
        else:
            runs.append([alpha])
    return ", ".join(f"{run[0]:g}" if len(run) == 1 else f"{run[0]:g}-{run[-1]:g}" for run in runs)
