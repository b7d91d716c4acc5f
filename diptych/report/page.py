"""A report as one HTML file that needs nothing else: no script, no network; light and dark, wide, narrow and printed.

What it says comes in as ``contents``; how that looks is decided here, in ``figures`` and in ``page.html``.
"""

from __future__ import annotations

import html
import math
import re
from functools import partial
from importlib import resources
from pathlib import Path

import jinja2
import numpy as np
from markupsafe import Markup

from diptych.replacing import replacing
from diptych.report import figures
from diptych.report.cells import with_minus
from diptych.report.contents import CHANCE, GUESSED, Chart, Curve, Grid, Matrix, Page, PredictionCard

_WITH_INTERVAL = re.compile(r"([^ ()]+) \(([^ ()]+ to [^ ()]+)\)")
_WORD, _NAME, _WORDS = 12, 20, 40  # characters of a cell, past which it is broken, a name of several lines, a sentence
TOP = 3  # guesses a card shows
NUMBERED = 16  # a larger matrix shows shades only
HEAD, NARROW_HEAD = 110, 60  # characters that the head of a column has room for, with numbers below it and without
THUMBNAIL, CARD = 128, 240  # pixels: twice the size on the page, for sharp screens


def write_page(page: Page, path: str | Path) -> Path:
    """Write ``page`` as one HTML file, whole under another name first, then renamed; returns ``path``."""
    path = Path(path)
    with replacing(path) as partial:
        # A file name of undecodable bytes may stand in the facts; that must not cost the report.
        partial.write_text(render(page), encoding="utf-8", errors="replace", newline="\n")
    return path


def render(page: Page) -> str:
    """The HTML of ``page``; equal pages give equal text."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "percent": percent,
        "position": _position,
        "number": _number,
        "similarity": _similarity,
        "breakable": _breakable,
        "markup": Markup,
    }
    template = environment.from_string(resources.files("diptych.report").joinpath("page.html").read_text("utf-8"))
    cards = [_card(card) for card in page.predictions]
    right, wrong = ([card for card in cards if card["correct"] is correct] for correct in (True, False))
    return template.render(
        page=page,
        charts=[_chart(chart, i) for i, chart in enumerate(page.charts)],
        grids=[(grid, [_cells(grid, row) for row in grid.rows]) for grid in page.grids],
        matrix=_matrix(page.matrix) if page.matrix and page.matrix.captions else None,
        groups=[("Right", right), ("Wrong", wrong)] if cards else [],
    )


def percent(fraction: float) -> str:
    """A fraction as a percentage with one decimal; a dash where it is not known, and never 0 for what is more."""
    if not math.isfinite(fraction):
        return "–"
    number = "< 0.1" if 0 < fraction < 0.0005 else f"{100 * fraction:.1f}"
    return f"{number}\N{NARROW NO-BREAK SPACE}%"


def _position(fraction: float) -> str:
    """Where a fraction lies on a bar, for the style sheet."""
    return f"{100 * min(max(fraction, 0.0), 1.0):.2f}%" if math.isfinite(fraction) else "0%"


def _number(value: float) -> str:
    return with_minus(f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}")


def _similarity(value: float) -> str:
    return with_minus(f"{value:.2f}").removeprefix("\N{MINUS SIGN}" if round(value, 2) == 0 else "")


def _cells(grid: Grid, row: tuple[str, ...]) -> list[dict[str, object]]:
    """Of each cell of a row its number, its interval, whether it is the best, and how it is styled."""
    cells = []
    for column, (head, cell) in enumerate(zip(grid.header, row, strict=True)):
        best = cell.startswith("**") and cell.endswith("**")
        text = cell[2:-2] if best else cell
        number = _WITH_INTERVAL.fullmatch(text)
        value, interval = (number[1], number[2]) if number else (text, "")
        named = value == CHANCE if column == 0 else CHANCE in (head, *row[:2])
        pale = "pale" if named or value.endswith(GUESSED) else ""
        width = _width(value) if column == 0 or value[:1].isalpha() else ""
        beside = "beside" if 0 < column < grid.names else ""
        style = " ".join(filter(None, (width, pale, beside)))
        cells.append({"value": value, "interval": interval, "best": best, "style": style})
    return cells


def _width(text: str) -> str:
    """How words are broken into lines: not at all where they are few."""
    return "words" if len(text) > _WORDS else "name" if len(text) > _NAME else "word" if len(text) > _WORD else ""


def _breakable(text: str) -> Markup:
    """With places for a new line after the underscores of long names such as ``text_retrieval_recall@1``."""
    told = html.escape(text)
    return Markup(told.replace("_", "_<wbr>") if len(text) > _WORD else told)


def _chart(chart: Chart, index: int) -> dict[str, object]:
    """A chart drawn, with the end of each curve's running mean; nothing is drawn where no value is finite."""
    shown = percent if chart.fractions else _number
    curves = [_points(curve) for curve in chart.curves]
    known = [np.isfinite(values) for _, values in curves]
    told = [
        f"{curve.name}: {shown(values[there][0])} at step {steps[there][0]:,.0f}, "
        f"{shown(values[there][-1])} at step {steps[there][-1]:,.0f}; "
        f"lowest {shown(values[there].min())}, highest {shown(values[there].max())}"
        for curve, (steps, values), there in zip(chart.curves, curves, known, strict=True)
        if there.any()
    ]
    alt = html.escape(f"{chart.title}. {'. '.join(told)}")
    # All of the text inside: the alternative text, escaped here, and Matplotlib's own, numbers and "step".
    draw = partial(figures.chart_svg, fractions=chart.fractions, chance=chart.chance, prefix=f"chart{index}", alt=alt)
    return {
        "chart": chart,
        "svg": Markup(draw(curves)) if told else None,
        "ends": [
            (curve.name, shown(figures.running_mean(values)[there][-1]) if there.any() else "–")
            for curve, (_, values), there in zip(chart.curves, curves, known, strict=True)
        ],
        "about": _about(chart, smooth=any(figures.window(len(values)) > 1 for _, values in curves)),
    }


def _about(chart: Chart, *, smooth: bool) -> list[str]:
    """What the lines of a chart mean."""
    about = [chart.description] if chart.description else []
    if smooth:
        about.append("pale as measured, strong the running mean")
    if math.isfinite(chart.chance):
        about.append(f"dashed what guessing gives, {(percent if chart.fractions else _number)(chart.chance)}")
    return about


def _points(curve: Curve) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values, NaN where a value is not finite."""
    pairs = np.asarray(curve.points, dtype=float).reshape(-1, 2)
    return pairs[:, 0], np.where(np.isfinite(pairs[:, 1]), pairs[:, 1], np.nan)


def _matrix(matrix: Matrix) -> dict[str, object]:
    """Rows of cells, each with its shade from 0 (least similar of all) to 1 (most), and what is to be marked."""
    values = np.where(np.isfinite(matrix.similarity), matrix.similarity, np.nan).astype(float)
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    shades = (values - low) / max(high - low, 1e-9)
    nearest = [int(np.nanargmax(row)) if np.isfinite(row).any() else -1 for row in values]
    cells = [
        [
            {
                "value": float(value),
                "known": bool(np.isfinite(value)),
                "shade": float(shades[i, j]),
                "own": i == j,
                "nearest": j == nearest[i],
            }
            for j, value in enumerate(row)
        ]
        for i, row in enumerate(values)
    ]
    numbered = len(values) <= NUMBERED
    room = HEAD if numbered else NARROW_HEAD
    captions = [(text, text if len(text) <= room else text[: room - 1].rstrip() + "…") for text in matrix.captions]
    images = [figures.image_uri(np.asarray(image), side=THUMBNAIL) for image in matrix.images]
    return {
        "note": matrix.note,
        "rows": list(zip(images, matrix.captions, cells, strict=True)),
        "captions": captions,
        "hits": sum(j == i for i, j in enumerate(nearest)),
        "low": low,
        "high": high,
        "numbered": numbered,
    }


def _card(card: PredictionCard) -> dict[str, object]:
    """A card's image, its first guesses, and where the right label came if it is none of them."""
    rank = next((i for i, (label, _) in enumerate(card.ranked, start=1) if label == card.right), None)
    return {
        "correct": card.correct,
        "right": card.right,
        "image": figures.image_uri(card.image, side=CARD),
        "guesses": card.ranked[:TOP],
        "late": (rank, card.ranked[rank - 1][1]) if rank and rank > TOP else None,
    }
