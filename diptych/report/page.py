"""A report as one HTML file that needs nothing else: no script, no network; light and dark, wide, narrow and printed.

The values come in as plain fractions, points and arrays; how they look is decided here, in ``figures`` and in
``page.html``.
"""

from __future__ import annotations

import html
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

import jinja2
import numpy as np
from markupsafe import Markup

from diptych.errors import DataError
from diptych.report import figures

TOP = 3  # guesses a card shows
NUMBERED = 16  # a larger matrix shows shades only
HEAD, NARROW_HEAD = 110, 60  # characters that the head of a column has room for, with numbers below it and without
THUMBNAIL, CARD = 128, 240  # pixels: twice the size on the page, for sharp screens


@dataclass(frozen=True)
class Row:
    """One figure of merit: a fraction from 0 to 1, its 95 % interval, and what guessing gives. NaN: not known."""

    name: str
    value: float
    low: float
    high: float
    chance: float


@dataclass(frozen=True)
class Curve:
    """A value over training, as (step, value) with rising steps, and in words what it is and in which unit."""

    name: str
    points: Sequence[tuple[float, float]]
    description: str = ""


@dataclass(frozen=True, eq=False)
class Matrix:
    """Similarities of n images and n captions; caption i belongs to image i.

    images:     (n, h, w, 3) uint8, or a sequence of n (h, w, 3) of different sizes.
    similarity: (n, n), images down, captions across.
    """

    images: np.ndarray | Sequence[np.ndarray]
    captions: tuple[str, ...]
    similarity: np.ndarray

    def __post_init__(self) -> None:
        n = len(self.captions)
        if len(self.images) != n or self.similarity.shape != (n, n):
            raise DataError(
                f"a matrix of {n} captions wants {n} images and similarities of shape {(n, n)}, "
                f"not {len(self.images)} images and shape {self.similarity.shape}"
            )
        for image in self.images:
            _check_image(image)


@dataclass(frozen=True, eq=False)
class PredictionCard:
    """An image (h, w, 3) uint8, its right label, and labels with probabilities, the most probable first."""

    image: np.ndarray
    right: str
    ranked: tuple[tuple[str, float], ...]

    def __post_init__(self) -> None:
        _check_image(self.image)

    @property
    def correct(self) -> bool:
        """Whether the most probable label is the right one."""
        return bool(self.ranked) and self.ranked[0][0] == self.right


@dataclass(frozen=True, eq=False)
class Page:
    """All that a report says; parts that are empty are left out. ``facts``: names and values on how it came about."""

    title: str
    lead: str
    table: tuple[Row, ...] = ()
    curves: tuple[Curve, ...] = ()
    matrix: Matrix | None = None
    predictions: tuple[PredictionCard, ...] = ()
    facts: dict[str, str] = field(default_factory=dict)


def write_page(page: Page, path: str | Path) -> Path:
    """Write ``page`` as one HTML file, whole under another name first, then renamed; returns ``path``."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        # A file name of undecodable bytes may stand in the facts; that must not cost the report.
        partial.write_text(render(page), encoding="utf-8", errors="replace", newline="\n")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def render(page: Page) -> str:
    """The HTML of ``page``; equal pages give equal text."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"percent": percent, "position": _position, "number": _number, "similarity": _similarity}
    template = environment.from_string(resources.files("diptych.report").joinpath("page.html").read_text("utf-8"))
    cards = [_card(card) for card in page.predictions]
    right, wrong = ([card for card in cards if card["correct"] is correct] for correct in (True, False))
    return template.render(
        page=page,
        curves=[_curve(curve, i) for i, curve in enumerate(page.curves)],
        matrix=_matrix(page.matrix) if page.matrix and page.matrix.captions else None,
        groups=[("Right", right), ("Wrong", wrong)] if cards else [],
    )


def percent(fraction: float) -> str:
    """A fraction as a percentage with one decimal, two under one per cent; a dash where it is not known."""
    if not math.isfinite(fraction):
        return "–"
    return f"{100 * fraction:.{2 if 0 < abs(fraction) < 0.01 else 1}f}\N{NARROW NO-BREAK SPACE}%"


def _position(fraction: float) -> str:
    """Where a fraction lies on a bar, for the style sheet."""
    return f"{100 * min(max(fraction, 0.0), 1.0):.2f}%" if math.isfinite(fraction) else "0%"


def _number(value: float) -> str:
    return _signed(f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}")


def _similarity(value: float) -> str:
    return _signed(f"{value:.2f}").removeprefix("\N{MINUS SIGN}" if round(value, 2) == 0 else "")


def _signed(number: str) -> str:
    return number.replace("-", "\N{MINUS SIGN}")


def _curve(curve: Curve, index: int) -> dict[str, object]:
    """A curve drawn, with the end of its running mean; nothing is drawn where no value is finite."""
    pairs = np.asarray(curve.points, dtype=float).reshape(-1, 2)
    steps, values = pairs[:, 0], np.where(np.isfinite(pairs[:, 1]), pairs[:, 1], np.nan)
    known = np.flatnonzero(np.isfinite(values))
    if not known.size:
        return {"curve": curve, "svg": None, "end": None, "smooth": False}
    first, last = known[0], known[-1]
    alt = (
        f"{curve.name}: {_number(values[first])} at step {steps[first]:,.0f}, "
        f"{_number(values[last])} at step {steps[last]:,.0f}; "
        f"lowest {_number(values[known].min())}, highest {_number(values[known].max())}"
    )
    # All of the text inside: the alternative text, escaped here, and Matplotlib's own, numbers and "step".
    svg = Markup(figures.curve_svg(steps, values, prefix=f"curve{index}", alt=html.escape(alt)))
    end = figures.running_mean(values)[last]
    return {"curve": curve, "svg": svg, "end": end, "smooth": figures.window(len(values)) > 1}


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


def _check_image(image: np.ndarray) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise DataError(f"an image of a report is (h, w, 3) uint8, not {image.shape} {image.dtype}")
