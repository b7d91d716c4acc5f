"""What a search may change in a recipe, and how values are taken from it: all of a grid, or drawn."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from diptych import config
from diptych.errors import ConfigError
from diptych.training.recipe import Recipe

Values = dict[str, Any]
_ATTEMPTS = 1000  # to draw what was not drawn before, until it is taken twice


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One of several values at a dotted path of a recipe."""

    kind: Literal["choice"] = "choice"
    path: str
    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        try:
            texts = [json.dumps(value, allow_nan=False) for value in self.values]
        except ValueError as problem:
            raise ConfigError(f"{self.path}: NaN and Infinity are no numbers that a recipe can have") from problem
        if twice := [value for value, text in zip(self.values, texts, strict=True) if texts.count(text) > 1]:
            raise ConfigError(f"{self.path}: {written(twice[0])} is there twice, and would be tried twice")

    def at(self, share: float) -> Any:
        """The value at a share from 0 up to 1, all being equally likely."""
        return self.values[min(int(share * len(self.values)), len(self.values) - 1)]

    def points(self) -> tuple[Any, ...]:
        """All values."""
        return self.values


@dataclass(frozen=True, kw_only=True)
class Range:
    """Any number from ``low`` to ``high``, evenly or evenly in its logarithm; of a grid, ``count`` of them.

    Values have four significant digits; ``whole`` ones have no fraction.
    """

    kind: Literal["range"] = "range"
    path: str
    low: float
    high: float
    log: bool
    whole: bool
    count: int | None = None

    def __post_init__(self) -> None:
        if not -math.inf < self.low < self.high < math.inf or (self.log and self.low <= 0):
            raise ConfigError(f"{self.path}: a range goes from a number to a larger one, and log from above 0")
        if self.count is not None and self.count < 2:
            raise ConfigError(f"{self.path}: a grid of a range needs two points or more, not {self.count}")

    def at(self, share: float) -> Any:
        """The value at a share from 0 to 1 of the way."""
        if self.log:
            value = math.exp(math.log(self.low) + share * (math.log(self.high) - math.log(self.low)))
        else:
            value = self.low + share * (self.high - self.low)
        return self.rounded(value)

    def rounded(self, value: float) -> Any:
        """A value as it is put into a recipe."""
        return round(value) if self.whole else min(max(float(f"{value:.4g}"), self.low), self.high)

    def points(self) -> tuple[Any, ...]:
        """The values of a grid. Raises ConfigError where nobody said how many."""
        if self.count is None:
            raise ConfigError(f"{self.path}: of a grid a range says how many points, such as log(1e-4,1e-2,5)")
        return tuple(dict.fromkeys(self.at(i / (self.count - 1)) for i in range(self.count)))


Dimension = Choice | Range


def parse(text: str, recipe: Recipe) -> Dimension:
    """``path=a,b,c``, ``path=linear(low,high)`` or ``path=log(low,high)``, with a third number for points of a grid.

    Values are JSON where they are JSON, else strings. Raises ConfigError where the recipe has no such path.

    >>> from diptych.training.recipes import rn50
    >>> parse("optimizer.learning_rate=log(1e-4,1e-2,3)", rn50("x")).points()
    (0.0001, 0.001, 0.01)
    """
    path, equals, values = (part.strip() for part in text.partition("="))
    if not equals or not values:
        raise ConfigError(f"{text!r} is nothing to vary; write a.b=1,2,3 or a.b=log(1e-4,1e-2)")
    before = config.at(recipe, path)
    number = r"\s*([-+.\deE]+)\s*"
    found = re.fullmatch(rf"(linear|log)\({number},{number}(?:,\s*(\d+)\s*)?\)", values)
    if found is None:
        if re.match(r"(linear|log)\b(?!\s*(,|$))", values):
            raise ConfigError(
                f"{path}: {values!r} is no range; write such as log(1e-4,1e-2), or linear(0,1,5) for a grid"
            )
        return Choice(path=path, values=_listed(values))
    try:
        low, high = float(found[2]), float(found[3])
    except ValueError as problem:
        raise ConfigError(f"{path}: {values!r} is no range of numbers ({problem})") from problem
    whole = isinstance(before, int) and not isinstance(before, bool)
    count = int(found[4]) if found[4] else None
    return Range(path=path, low=low, high=high, log=found[1] == "log", whole=whole, count=count)


def _listed(text: str) -> tuple[Any, ...]:
    try:
        return tuple(json.loads(f"[{text}]"))
    except json.JSONDecodeError:
        return tuple(part.strip() for part in text.split(","))


def grid(space: Sequence[Dimension]) -> list[Values]:
    """Every combination of the dimensions' points, the last changing fastest."""
    paths = [dimension.path for dimension in space]
    return [dict(zip(paths, values, strict=True)) for values in itertools.product(*(d.points() for d in space))]


def draw(space: Sequence[Dimension], *, seed: int, number: int, besides: Sequence[Values] = ()) -> Values:
    """The values of one trial, which depend on the seed, its number and those ``besides`` which others are wanted.

    Where there are few or no others, it may be one of those.
    """
    random = np.random.default_rng((seed, number))
    values: Values = {}
    for _ in range(_ATTEMPTS):
        shares = random.random(len(space))
        values = {dimension.path: dimension.at(float(share)) for dimension, share in zip(space, shares, strict=True)}
        if values not in besides:
            break
    return values


def combinations(space: Sequence[Dimension]) -> float:
    """How many there are; infinite where a range is among the dimensions."""
    return math.prod(len(d.values) if isinstance(d, Choice) else math.inf for d in space)


def written(value: Any) -> str:
    """A value as a command line has it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def applied(recipe: Recipe, values: Values) -> Recipe:
    """The recipe with these values. Raises ConfigError where they do not go together."""
    return config.override(recipe, [f"{path}={written(value)}" for path, value in values.items()])
