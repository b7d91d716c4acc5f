"""Figures that can be drawn: what each shows, what it is called, and how large it is."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass

from diptych.report.drawing import Draw

WIDE, SQUARE, COLUMN = 6.4, (5.0, 4.4), (3.4, 3.3)  # inches; the last fits in one of two columns
_LONGEST = 80  # letters of the name of a file


@dataclass(frozen=True)
class Family:
    """Figures of one kind, such as one a model: what they show, and what is to be known of all."""

    title: str
    note: str


@dataclass(frozen=True)
class Drawing:
    """A figure that can be drawn: ``name`` of its file, what it shows, and in words what is to be seen.

    family: where there may be several of its kind; ``of``: what it is of, among these.
    """

    name: str
    title: str
    note: str
    alt: str
    draw: Draw
    size: tuple[float, float]
    family: Family | None = None
    of: str = ""

    @property
    def about(self) -> str:
        """All that is to be known of it alone."""
        return " ".join(filter(None, (self.note, self.family.note if self.family else "")))


def file_names(kind: str, things: Iterable[str]) -> list[str]:
    """Of figures of one kind, each of a thing: such as ``reliability-vit-b-32``; with a number where that is taken."""
    names: list[str] = []
    for thing in things:
        name = "-".join((kind, *re.findall(r"[a-z0-9]+", thing.lower())))[:_LONGEST].rstrip("-")
        numbered = (f"{name}-{number}" for number in itertools.count(2 if name in names else 1))
        taken = name in names or name == kind
        names.append(next(other for other in numbered if other not in names) if taken else name)
    return names
