"""What the paper's figures are drawn from: bars, lines and points, as plain numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass

DASHED = (0, (4, 3))


@dataclass(frozen=True)
class Bar:
    """A value of a data set with its interval; NaN where none is known. ``extrapolated``: beyond what was tried."""

    name: str
    value: float
    low: float = math.nan
    high: float = math.nan
    extrapolated: bool = False


@dataclass(frozen=True)
class Line:
    """A value over something, with a band around it where one is known; ``level``: a value that holds everywhere."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    level: float = math.nan


@dataclass(frozen=True)
class Point:
    """A name at a place, of a group that has a look of its own; ``low`` and ``high``: the interval of ``y``."""

    name: str
    x: float
    y: float
    group: str = ""
    low: float = math.nan
    high: float = math.nan
