"""What a report says, as plain fractions, points and arrays; how it looks is decided in ``page``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from diptych.errors import DataError

NAN = float("nan")
CHANCE = "chance"  # the column, or row, of what guessing gives
GUESSED = "‡"  # at a number that is not shown to be better than guessing


@dataclass(frozen=True)
class Row:
    """One figure of merit: a fraction from 0 to 1, its 95 % interval, and what guessing gives. NaN: not known.

    basis: what it was measured on, such as ``960 pictures``.
    """

    name: str
    value: float
    low: float
    high: float
    chance: float
    basis: str = ""


@dataclass(frozen=True)
class Table:
    """Figures of merit that belong together, and a sentence on what they are."""

    title: str
    rows: Sequence[Row]
    note: str = ""


@dataclass(frozen=True)
class Curve:
    """A value over training, as (step, value) with rising steps from 0 on."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Chart:
    """One curve, or two to be compared, and in words what is measured and in which unit.

    fractions: the values go from 0 to 1 and are shown in per cent.
    chance:    what guessing gives, drawn as a line; NaN: not known.
    """

    title: str
    curves: Sequence[Curve]
    description: str = ""
    fractions: bool = False
    chance: float = NAN

    def __post_init__(self) -> None:
        if not 1 <= len(self.curves) <= 2:
            raise DataError(f"the chart {self.title!r} has {len(self.curves)} curves; it takes one or two")


@dataclass(frozen=True, eq=False)
class Matrix:
    """Similarities of n images and n captions; caption i belongs to image i.

    images:     (n, h, w, 3) uint8, or a sequence of n (h, w, 3) of different sizes.
    similarity: (n, n), images down, captions across.
    note:       a sentence on how they were chosen.
    """

    images: np.ndarray | Sequence[np.ndarray]
    captions: tuple[str, ...]
    similarity: np.ndarray
    note: str = ""

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


@dataclass(frozen=True)
class Grid:
    """A table of words and numbers as they are; ``remarks`` stand below. ``names``: how many of the first columns name
    a row; where the page is narrow, they are one.

    A cell between ``**`` is the best of its row. Pale are the column called ``CHANCE``, a row that has this name in one
    of its first two cells, and a number with the mark ``GUESSED``.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    remarks: tuple[str, ...] = ()
    names: int = 1


@dataclass(frozen=True)
class Figure:
    """A drawing, an SVG element in the page's colours (see ``drawing.inline``); among several what it is of, and a
    sentence on it."""

    svg: str
    title: str = ""
    note: str = ""


@dataclass(frozen=True)
class Figures:
    """One figure, or several of one kind, under a heading, with a sentence on them all."""

    title: str
    drawn: tuple[Figure, ...]
    note: str = ""


@dataclass(frozen=True, eq=False)
class Page:
    """All that a report says; parts that are empty are left out.

    choice: a sentence on how the predictions were chosen.
    facts:  names and values on how it all came about.
    beside: which figures are written with it, as files of their own (see ``beside.told``).
    """

    title: str
    lead: str
    tables: tuple[Table, ...] = ()
    grids: tuple[Grid, ...] = ()
    figures: tuple[Figures, ...] = ()
    charts: tuple[Chart, ...] = ()
    matrix: Matrix | None = None
    predictions: tuple[PredictionCard, ...] = ()
    choice: str = ""
    facts: dict[str, str] = field(default_factory=dict)
    beside: str = ""


def _check_image(image: np.ndarray) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise DataError(f"an image of a report is (h, w, 3) uint8, not {image.shape} {image.dtype}")
