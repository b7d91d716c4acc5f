"""Samples that could not be used: counted, listed, and too many of them are an error."""

from __future__ import annotations

import math
from typing import NamedTuple, NoReturn

import numpy as np

from diptych.errors import TooManyFailures

_EXAMPLES = 5


_WINDOWS = 16  # of which something can be said about all


class Failure(NamedTuple):
    """Why a sample could not be used. Of a shard that is lost all ``samples`` count, and ``index`` is its first."""

    index: int
    reason: str
    samples: int = 1


class Failures:
    """What failed during one loader's life: ``reasons`` by sample index, ``count`` of failed reads.

    ``allowed``: the share of ``samples``, those of the source, that may fail. Each counts once, however often and in
    whatever order they are read, so that no seed and no cluster of bad ones makes a share that is allowed too large.
    ``one_window``: whether replacements are drawn from the whole source, as from one of few shards.
    """

    def __init__(self, *, allowed: float, samples: int, one_window: bool) -> None:
        self.allowed = allowed
        self.samples = samples
        self.reasons: dict[int, str] = {}
        self.count = 0
        self.told = False  # the summary, by an error
        self._failed = 0  # samples
        self._replaced = 0
        self._one_window = one_window
        self._windows: dict[int, tuple[int, int]] = {}

    def add(self, failed: list[Failure], *, replaced: int, visited: int, window: int) -> None:
        """Note each read that failed while so many positions of a window were ``visited``, and how many samples were
        replaced in the end.

        Raises TooManyFailures past the share allowed, or once it is beyond chance that the source is past it.
        """
        for failure in failed:
            if failure.index not in self.reasons:
                self._failed += failure.samples
            self.reasons[failure.index] = failure.reason
        self.count += len(failed)
        self._replaced += replaced
        before = self._windows.get(window, (0, 0))
        self._windows[window] = before[0] + visited, before[1] + replaced
        if self._failed / self.samples > self.allowed:  # divided, not multiplied: 0.29 * 100 is less than 29
            self._raise(f"{self._failed:,} of the {self.samples:,} samples failed, more than the {self.allowed:.1%}")
        # A source that is bad altogether need not be read to a share of its end.
        if failed and (said := self._beyond_chance()):
            self._raise(f"{said} failed, far more than the {self.allowed:.1%}")

    def _raise(self, said: str) -> NoReturn:
        self.told = True
        raise TooManyFailures(f"{said} allowed; {self.summary()}")

    def _beyond_chance(self) -> str:
        if self._one_window:
            # Every failure drew one replacement, at random from the whole source: of those alone, the share that failed
            # estimates the source's.
            missed, expected = self.count - self._replaced, self.allowed * self.count
            too_many = missed > expected + 6 * math.sqrt(expected) + 10
            return f"{missed} of {self.count} samples drawn at random" if too_many else ""
        # Windows are drawn at random from the source, and bad samples may lie together in some of them.
        shares = np.array([failed / visited for visited, failed in list(self._windows.values())[:-1]])
        too_many = len(shares) >= _WINDOWS and (
            shares.mean() - 6 * shares.std(ddof=1) / math.sqrt(len(shares)) > self.allowed
        )
        return f"{shares.mean():.1%} of the samples in {len(shares)} windows drawn at random" if too_many else ""

    def summary(self) -> str:
        """One line: how many samples failed, and why the first of them did."""
        listed = [self.reasons[index] for index in sorted(self.reasons)[:_EXAMPLES]]
        more = f" ... and {len(self.reasons) - len(listed)} more" if len(self.reasons) > len(listed) else ""
        return f"{self._failed:,} sample(s) failed: {' | '.join(listed)}{more}"
