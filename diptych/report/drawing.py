"""One drawing, two ways to see it: in a page, in its colours light and dark, or as an SVG file of its own."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

# Matplotlib draws in these colours; the page's style sheet decides what they are, once for light and once for dark.
_NAMES = ("soft", "rule", "wrong", "accent", "second", "third", "fourth", "ink")
_VARIABLES = {f"#0{i}0{i}0{i}": f"var(--{name})" for i, name in enumerate(_NAMES, start=1)}
SOFT, RULE, CHANCE, ACCENT, SECOND, THIRD, FOURTH, INK = _VARIABLES
PALETTE = (ACCENT, SECOND, THIRD, FOURTH)
# What the variables are where there is no style sheet.
_ALONE = dict(
    zip(
        _VARIABLES,
        ("#63605a", "#dedad2", "#b0432a", "#1f5a8c", "#b06f14", "#3f7d4e", "#7c5299", "#1d1c1a"),
        strict=True,
    )
)
STYLE: Any = {
    "svg.fonttype": "none",  # text stays text: it is searched, read aloud, and set in the page's font
    "svg.hashsalt": "diptych",  # equal figures are equal text
    "font.size": 10,
    "axes.edgecolor": RULE,
    "axes.labelcolor": SOFT,
    "text.color": INK,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "grid.color": RULE,
    "legend.frameon": False,
    "legend.fontsize": 9,
}

_REM = 6.9  # an inch on the page
Draw = Callable[[Axes], None]


def look(index: int) -> dict[str, Any]:
    """Colour, line and marker of the curve of that number: all differ, so that colour is not all that tells."""
    number, round_ = index % len(PALETTE), index // len(PALETTE)
    return {
        "color": PALETTE[number],
        "linestyle": ("-", "--", ":", "-.")[round_ % 4],
        "marker": ("o", "s", "^", "D", "v", "P", "X")[index % 7],
    }


def inline(draw: Draw, size: tuple[float, float], *, prefix: str, alt: str) -> str:
    """An SVG element for a page, in its colours and font. ``alt``: what it shows, in words, escaped; ``prefix``: begins
    the ids inside, which must differ between the figures of a page. ``size``: inches."""
    with mpl.rc_context(STYLE):
        svg = in_page(_drawn(draw, size), prefix, alt)
    return svg.replace(
        "<svg", f'<svg style="max-width:{_REM * size[0]:.1f}rem"', 1
    )  # so that all letters are of one size


def alone(draw: Draw, size: tuple[float, float]) -> str:
    """A whole SVG file on white."""
    with mpl.rc_context(STYLE):
        return whole_file(_drawn(draw, size))


def whole_file(figure: Figure) -> str:
    """A figure that was drawn in ``STYLE`` as a whole SVG file on white."""
    figure.patch.set_visible(True)
    buffer = io.StringIO()
    FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    for colour, real in _ALONE.items():
        svg = svg.replace(colour, real)
    return svg


def bare(axes: Axes) -> None:
    """Leave away of axes what tells nothing."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(length=0)
    axes.set_axisbelow(True)


def _drawn(draw: Draw, size: tuple[float, float]) -> Figure:
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    bare(axes)
    draw(axes)
    for background in (figure.patch, axes.patch):
        background.set_visible(False)
    return figure


def in_page(figure: Figure, prefix: str, alt: str) -> str:
    """A figure that was drawn in ``STYLE`` as an SVG element that takes its colours and fonts from the page."""
    buffer = io.StringIO()
    FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = buffer.getvalue()
    view = re.search(r'viewBox="([^"]*)"', svg)
    if view is None:
        raise AssertionError("Matplotlib writes a viewBox")
    svg = svg[svg.index(">", svg.index("<svg")) + 1 :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = svg.replace("xlink:href=", "href=")
    svg = re.sub(r"font-family: [^;\"]*", "font-family: var(--sans)", svg)
    svg = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font: \1 var(--sans)", svg)  # Matplotlib before 3.11
    svg = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{prefix}-", svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, variable)
    return f'<svg role="img" aria-label="{alt}" viewBox="{view[1]}">{svg}'
