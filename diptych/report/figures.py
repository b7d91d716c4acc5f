"""Pictures for a page: learning curves as SVG that takes its colours and fonts from the page, images as data URIs."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from PIL import Image

from diptych.report.drawing import CHANCE, PALETTE, STYLE, in_page, styled

_STYLE = STYLE | {
    "axes.autolimit_mode": "round_numbers",  # the lowest and the highest value lie between two ticks
    "axes.ymargin": 0,
}

MARKED = 30
"""A curve with no more points than this is drawn through its points, without smoothing."""
COLUMNS = 300
"""A longer curve is drawn as the lowest and highest value in each of this many stretches: the eye sees no more."""


def chart_svg(
    curves: Sequence[tuple[np.ndarray, np.ndarray]],
    *,
    fractions: bool,
    chance: float,
    prefix: str,
    alt: str,
) -> str:
    """One or two curves as an inline SVG element: a long one pale as measured and strong as its running mean.

    curves:    steps and values, (n,) each, steps rising; a value that is NaN leaves a gap.
    fractions: the axis goes from 0 to 100 %.
    chance:    where a dashed line is drawn; NaN: nowhere.
    prefix:    begins the ids inside, which must differ between the figures of a page.
    alt:       what the figure says, in words, escaped.
    """
    with styled(_STYLE):
        figure = Figure(figsize=(5.0, 2.6), layout="constrained")
        axes = figure.subplots()
        axes.yaxis.set_major_locator(MaxNLocator(5))  # before the curves, whose limits are rounded to its ticks
        for (steps, values), colour in zip(curves, PALETTE[: len(curves)], strict=True):
            if len(values) <= MARKED:
                axes.plot(steps, values, color=colour, linewidth=1.6, marker="o", markersize=3.5, clip_on=False)
            else:
                axes.plot(*_extremes(steps, values), color=colour, linewidth=0.8, alpha=0.4)
                axes.plot(*_thinned(steps, running_mean(values)), color=colour, linewidth=1.8)
        if math.isfinite(chance):
            axes.axhline(chance, color=CHANCE, linewidth=1.2, linestyle=(0, (4, 3)))
        axes.set_xlabel("step", loc="right")
        axes.set_xlim(0, max([1.0, *(float(steps[-1]) for steps, _ in curves if len(steps))]))
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.xaxis.set_major_formatter(lambda step, _: f"{step:,.0f}")
        if fractions:
            axes.set_ylim(0, 1)
            axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol="\N{NARROW NO-BREAK SPACE}%"))
        axes.grid(axis="y", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(length=0)
        for background in (figure.patch, axes.patch):
            background.set_visible(False)
        return in_page(figure, prefix, alt)


def window(count: int) -> int:
    """How many of ``count`` values a running mean takes in: a twentieth of them, an odd number; 1 is no smoothing."""
    return 1 if count <= MARKED else max(3, count // 20 | 1)


def running_mean(values: np.ndarray) -> np.ndarray:
    """The mean of the ``window`` around each value, narrower at the ends; NaN stays NaN and counts for nothing."""
    finite = np.isfinite(values)
    width = window(len(values))
    half = width // 2
    sums = np.concatenate([[0.0], np.cumsum(np.where(finite, values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(finite)])
    first = np.maximum(np.arange(len(values)) - half, 0)
    last = np.minimum(np.arange(len(values)) + half + 1, len(values))
    inside = counts[last] - counts[first]
    means = (sums[last] - sums[first]) / np.maximum(inside, 1)
    return np.where(finite, means, np.nan)


def image_uri(image: np.ndarray, *, side: int) -> str:
    """A data URI of ``image`` (h, w, 3) uint8, at most ``side`` pixels wide or high: PNG, or JPEG where far smaller."""
    picture = Image.fromarray(np.ascontiguousarray(image))
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    lossless, lossy = io.BytesIO(), io.BytesIO()
    picture.save(lossless, "PNG", optimize=True)
    picture.save(lossy, "JPEG", quality=88, subsampling=0)
    small = lossless.tell() <= 2 * lossy.tell()
    data = base64.b64encode((lossless if small else lossy).getvalue()).decode("ascii")
    return f"data:image/{'png' if small else 'jpeg'};base64,{data}"


def _extremes(steps: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if len(values) <= 2 * COLUMNS:
        return steps, values
    kept: list[int] = []
    for stretch in np.array_split(np.arange(len(values)), COLUMNS):
        inside = values[stretch]
        lowest, highest = np.where(np.isnan(inside), np.inf, inside), np.where(np.isnan(inside), -np.inf, inside)
        kept += sorted({int(stretch[lowest.argmin()]), int(stretch[highest.argmax()])})
    return steps[kept], values[kept]


def _thinned(steps: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    kept = np.unique(np.linspace(0, len(values) - 1, min(len(values), COLUMNS)).astype(int))
    return steps[kept], values[kept]
