"""Words in a drawing that cover nothing: a legend above the axes, and names beside points."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.transforms import Bbox

from diptych.report.drawing import INK, PAPER

_LETTERS = 13  # in an inch of a legend
_LONGEST = 46  # letters in a line of a legend
_LINE = 0.19  # inches
_GAP = 6  # points between a point and its name
_BEHIND = {"facecolor": PAPER, "edgecolor": "none", "pad": 0.4}  # of a name that a line would go through
_NAMED = 150  # more points than these have no names: they would find no room


def legend(axes: Axes, names: Sequence[str], marks: Sequence[Line2D]) -> None:
    """Above the axes, in as many columns as there is room for."""
    figure = axes.get_figure(root=True)
    width = figure.get_figwidth() if figure else 6.0
    # Matplotlib leaves out names that begin with an underscore.
    told = ["\n".join(_lines(f"\N{NO-BREAK SPACE}{name}" if name.startswith("_") else name)) for name in names]
    axes.legend(
        list(marks),
        told,
        loc="lower left",
        bbox_to_anchor=(0, 1.0),
        ncols=columns(names, width),
        borderaxespad=0.2,
        columnspacing=1.4,
        handlelength=1.8,
    )


def legend_height(names: Sequence[str], width: float) -> float:
    """Inches that ``legend`` takes of a drawing so wide."""
    across = columns(names, width)
    lines = [len(_lines(name)) for name in names]
    rows = -(-len(names) // across)
    tallest = max(sum(lines[start : start + rows]) for start in range(0, len(lines), rows)) if names else 0
    return 0.1 + _LINE * tallest


def _lines(name: str) -> list[str]:
    return textwrap.wrap(name, _LONGEST, max_lines=2, placeholder=" …") or [" "]


def columns(names: Sequence[str], width: float) -> int:
    """In how many columns a legend of these names fits into a drawing so many inches wide."""
    longest = min(_LONGEST, max(map(len, names), default=1)) + 5
    return max(1, min(len(names), 4, int(_LETTERS * (width - 0.6)) // longest))


def name_points(axes: Axes, places: Sequence[tuple[float, float]], names: Sequence[str]) -> None:
    """Write each name beside its point, inside the axes, where it covers no point, no line and no other name, and is
    near no other point; where there is no such place it may cross a line, and else it is left out. Call it when the
    axes are set."""
    figure = axes.get_figure(root=True)
    if figure is None or len(names) > _NAMED:
        return
    figure.draw_without_rendering()  # so that places are known
    scale = figure.dpi / 72
    points_P2 = axes.transData.transform(np.array(places, float).reshape(-1, 2))
    crossed_X2 = _along_lines(axes)
    room, taken = axes.get_window_extent(), []
    for (x, y), name, place in zip(points_P2, names, places, strict=True):
        text = axes.annotate(name, place, (0, 0), textcoords="offset points", fontsize=8, color=INK)
        extent = text.get_window_extent()
        others_P2 = points_P2[np.abs(points_P2 - (x, y)).max(axis=1) > 1]
        choices = []
        for order, (across, up) in enumerate(_SIDES):
            box = _beside(x, y, across, up, extent.width, extent.height, _GAP * scale)
            # Nearer to another point than to its own, it would seem to be that one's.
            covers = _inside(others_P2, box, _GAP * scale) or any(box.overlaps(other) for other in taken)
            if not covers and room.x0 <= box.x0 and box.x1 <= room.x1 and room.y0 <= box.y0 and box.y1 <= room.y1:
                choices.append((_inside(others_P2, box, 2 * _GAP * scale), _inside(crossed_X2, box, 1), order, box))
        text.remove()
        if choices:
            *_, order, box = min(choices, key=lambda choice: choice[:3])
            taken.append(box)
            across, up = _SIDES[order]
            axes.annotate(
                name,
                place,
                (_offset(across, up, _GAP), _offset(up, across, _GAP)),
                textcoords="offset points",
                fontsize=8,
                ha=("right", "center", "left")[across + 1],
                va=("top", "center", "bottom")[up + 1],
                bbox=_BEHIND,
            )


# Where a name may stand, the best first: across and up from its point.
_SIDES = ((1, 0), (1, 1), (1, -1), (0, 1), (0, -1), (-1, 0), (-1, 1), (-1, -1))


def _offset(one: int, other: int, gap: float) -> float:
    """A name at a corner is nearer in each direction than one at a side."""
    return one * gap * (0.6 if other else 1.0)


def _beside(x: float, y: float, across: int, up: int, width: float, height: float, gap: float) -> Bbox:
    left = x + _offset(across, up, gap) + width * (-1, -0.5, 0)[across + 1]
    bottom = y + _offset(up, across, gap) + height * (-1, -0.5, 0)[up + 1]
    return Bbox.from_bounds(left, bottom, width, height)


def _inside(points_P2: np.ndarray, box: Bbox, margin: float) -> int:
    """How many points lie in a box, or so near it."""
    inside_P2 = (points_P2 > np.array(box.min) - margin) & (points_P2 < np.array(box.max) + margin)
    return int(inside_P2.all(axis=1).sum())


def _along_lines(axes: Axes) -> np.ndarray:
    """Points (X, 2) close together along all lines of the axes, in pixels."""
    found = [np.empty((0, 2))]
    for line in axes.lines:
        ends_V2 = line.get_transform().transform(line.get_xydata())
        if line.get_linestyle() in ("None", "none") or len(ends_V2) < 2:
            continue
        steps = np.linspace(0, 1, 60)[:, None]
        found += [start + steps * (end - start) for start, end in pairwise(ends_V2)]
    return np.concatenate(found)
