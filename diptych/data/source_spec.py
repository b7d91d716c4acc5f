"""What a recipe says of its sources: where they lie, how often each is drawn from, where remote ones are kept."""

from __future__ import annotations

import math
from dataclasses import dataclass

from diptych.errors import ConfigError

Weight = float | tuple[tuple[int, float], ...]


@dataclass(frozen=True, kw_only=True)
class SourceSpec:
    """A source, and how often it is drawn from where it is one of several.

    source:   whatever ``diptych.data.sources.open_source`` takes; so are ``split``, ``captions`` and ``where``.
    split:    which part of a folder that has several, such as ``train``.
    captions: where captions stand: ``txt``, ``json.captions.en``, a column's name; null for the source's own place.
    keywords: the same for words or tags; half of the captions drawn are joined by one to four of them.
    where:    a field that must be true for a sample to be taken, such as ``json.base``.
    weight:   its share beside the weights of others: a number, or points ``[[step, weight], ...]`` between which it
              changes linearly.
    """

    source: str
    split: str | None = None
    captions: tuple[str, ...] | None = None
    keywords: tuple[str, ...] = ()
    where: str | None = None
    weight: Weight = 1.0

    def __post_init__(self) -> None:
        points = self.weight if isinstance(self.weight, tuple) else ((0, self.weight),)
        steps = [step for step, _ in points]
        if not points or steps != sorted(set(steps)) or steps[0] < 0 or not all(0 <= w < math.inf for _, w in points):
            raise ConfigError(
                f"the weight of {self.source} must be a number from 0, or [[step, weight], ...] with ascending steps, "
                f"not {self.weight}"
            )


@dataclass(frozen=True, kw_only=True)
class CacheSpec:
    """Where whole remote shards are kept, and how patiently they are fetched.

    folder:    null for ``diptych/remote`` in the user's cache directory. Processes and runs may share it.
    gigabytes: (10^9 bytes) that it may hold. Twice 16 shards are read or expected at a time.
    timeout:   seconds of one request in which less than 16 kB a second come before it is given up.
    attempts:  at each shard before its samples are replaced by others.
    """

    folder: str | None = None
    gigabytes: float = 100.0
    timeout: float = 30.0
    attempts: int = 5

    def __post_init__(self) -> None:
        if not self.gigabytes > 0 or not self.timeout > 0 or self.attempts < 1:
            raise ConfigError(
                f"cache.gigabytes, timeout and attempts must be positive, not {self.gigabytes}, {self.timeout} and "
                f"{self.attempts}"
            )
