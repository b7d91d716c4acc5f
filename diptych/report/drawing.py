"""One drawing, three ways to see it: in a page, in its colours light and dark; as an SVG or a PDF file of its own."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import get_named_colors_mapping
from matplotlib.figure import Figure

# Drawings name their colours. In a page its style sheet decides what they are, once for light and once for dark; a file
# of its own is on white.
_ALONE = {
    "soft": "#63605a",
    "rule": "#dedad2",
    "wrong": "#b0432a",
    "accent": "#1f5a8c",
    "second": "#b06f14",
    "third": "#3a9a62",
    "fourth": "#80244e",
    "ink": "#1d1c1a",
    "paper": "#ffffff",
}
# Matplotlib takes no variables, so it draws in these, which stand for them and are replaced in what it wrote.
_STANDING_IN = {name: f"#0{number}0{number}0{number}" for number, name in enumerate(_ALONE, start=1)}
SOFT, RULE, CHANCE, ACCENT, SECOND, THIRD, FOURTH, INK, PAPER = (f"diptych {name}" for name in _ALONE)
PALETTE = (ACCENT, SECOND, THIRD, FOURTH)
STYLE: Any = {
    "svg.fonttype": "none",  # text stays text: it is searched, read aloud, and set in the page's font
    "svg.hashsalt": "diptych",  # equal figures are equal text
    "pdf.fonttype": 42,  # TrueType: letters that can be searched and edited, as journals ask for
    "text.parse_math": False,  # a dollar in a name is a dollar
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

_REM, _LEAST_REM = 6.9, 5.2  # an inch on the page, and on a page too narrow for that, where the figure is scrolled
Draw = Callable[[Axes], None]


@contextmanager
def styled(style: Any = STYLE, *, alone: bool = False) -> Generator[None]:
    """Draw and write in here: in the colours that ``in_page`` replaces, or those of a file of its own."""
    known = get_named_colors_mapping()
    try:
        for name, colour in (_ALONE if alone else _STANDING_IN).items():
            known[f"diptych {name}"] = colour
        with mpl.rc_context(style):
            yield
    finally:
        for name in _ALONE:
            known.pop(f"diptych {name}", None)


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
    with styled(), _any_script():
        svg = in_page(_drawn(draw, size), prefix, alt)
    # So that all letters are of one size, and none too small to read.
    widths = f"width:{_REM * size[0]:.1f}rem;max-width:100%;min-width:{_LEAST_REM * size[0]:.1f}rem"
    return svg.replace("<svg", f'<svg style="{widths}"', 1)


def as_svg(draw: Draw, size: tuple[float, float], *, title: str, note: str) -> str:
    """A whole SVG file on white, which keeps its title and a note among what it says of itself."""
    with styled(alone=True), _any_script():
        return whole_file(_drawn(draw, size), {"Title": title, "Description": note})


def whole_file(figure: Figure, about: dict[str, str] | None = None) -> str:
    """A figure that was drawn as ``styled`` for a file of its own, as an SVG on white."""
    figure.patch.set_visible(True)
    buffer = io.StringIO()
    FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None, "Creator": None, **(about or {})})
    return buffer.getvalue()


def as_pdf(draw: Draw, size: tuple[float, float], *, title: str, note: str) -> bytes:
    """A PDF file of one page of that size, as papers take figures, with title and note likewise."""
    with styled(alone=True):
        buffer = io.BytesIO()
        about = {"CreationDate": None, "Creator": None, "Producer": None, "Title": title, "Subject": note}
        FigureCanvasPdf(_drawn(draw, size)).print_pdf(buffer, metadata=about)
    return buffer.getvalue()


@contextmanager
def _any_script() -> Generator[None]:
    """Of SVG: letters that Matplotlib's font has not are measured by it but set in the reader's: nothing is amiss."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def in_percent(axis: Axis) -> None:
    """Ticks of fractions as percentages, without decimals that say nothing."""
    axis.set_major_formatter(lambda value, _: f"{100 * value:.4g}%")


def bare(axes: Axes) -> None:
    """Leave away of axes what tells nothing."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(length=0, pad=5)
    axes.set_axisbelow(True)


def limits(values: Sequence[float]) -> tuple[float, float]:
    """Of an axis: with a margin around the values, and never of no length."""
    edge = 0.07 * (max(values) - min(values)) or 0.01 * max(abs(values[0]), 0.1)
    return min(values) - edge, max(values) + edge


def _drawn(draw: Draw, size: tuple[float, float]) -> Figure:
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    bare(axes)
    draw(axes)
    if axes.get_aspect() != "auto":
        figure.draw_without_rendering()  # room for a legend is made for axes as they were, before they became square
    for background in (figure.patch, axes.patch):
        background.set_visible(False)
    return figure


def in_page(figure: Figure, prefix: str, alt: str) -> str:
    """A figure that was drawn in ``styled()`` as an SVG element that takes its colours and fonts from the page."""
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
    for name, colour in _STANDING_IN.items():
        svg = svg.replace(colour, f"var(--{name})")
    return f'<svg role="img" aria-label="{alt}" viewBox="{view[1]}">{svg}'
