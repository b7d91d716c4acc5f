"""Batches of captions of similar length, so that short ones are not padded to the longest of a whole batch.

The samples of a few consecutive steps, a window, are sorted by the length of the captions drawn for them and cut into
batches, which come in any order. Windows begin at fixed steps, and lengths follow from (seed, position); so what a row
of a step holds still follows from its number alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.sharedctypes import RawArray

import numpy as np

from diptych.data.order import mixed, permuted
from diptych.errors import ConfigError

_CHUNK = 32  # lengths that are found at a time
_WINDOWS = 4  # of which lengths are shared
_LENGTH_BITS = 16
_LONGEST = (1 << _LENGTH_BITS) - 1

Lengths = Callable[[np.ndarray], np.ndarray]  # tokens of the longest caption drawn at each position


@dataclass(frozen=True)
class Buckets:
    """``steps`` of ``batch_size`` samples, those of all processes together, are sorted at a time."""

    batch_size: int
    steps: int

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.steps < 1:
            raise ConfigError(f"buckets need positive numbers, not {self.batch_size} and {self.steps}")


class BucketPlan:
    """Which position each row takes: a permutation of every window. Worker processes find lengths together: what one
    has found the others read."""

    def __init__(self, buckets: Buckets, seed: int) -> None:
        self._buckets, self._seed = buckets, seed
        self._size = buckets.batch_size * buckets.steps
        self._shared = RawArray("q", _WINDOWS * self._size)
        self._tables: dict[int, np.ndarray] = {}

    def positions(self, rows: np.ndarray, lengths_of: Lengths) -> np.ndarray:
        """The positions of rows, which are counted as positions are."""
        windows, places = np.divmod(rows, self._size)
        result = np.empty_like(rows)
        for window in np.unique(windows).tolist():
            here = windows == window
            result[here] = window * self._size + self._table(window, lengths_of)[places[here]]
        return result

    def _table(self, window: int, lengths_of: Lengths) -> np.ndarray:
        if window not in self._tables:
            if len(self._tables) > 1:
                self._tables.clear()
            batch, steps = self._buckets.batch_size, self._buckets.steps
            keys = [int(key) for key in mixed(self._seed, window, np.arange(steps + 2))]
            shuffled = permuted(np.arange(self._size), self._size, keys[0])  # among equally long ones
            by_length = shuffled[np.argsort(self._lengths(window, lengths_of)[shuffled], kind="stable")]
            batches = by_length.reshape(steps, batch)[permuted(np.arange(steps), steps, keys[1])]
            # Within a batch in any order, so that the parts of several processes are alike.
            rows = [batches[step, permuted(np.arange(batch), batch, keys[2 + step])] for step in range(steps)]
            self._tables[window] = np.concatenate(rows)
        return self._tables[window]

    def _lengths(self, window: int, lengths_of: Lengths) -> np.ndarray:
        """Of all positions of a window. A shared cell holds the window with the length, so none has to be cleared, and
        two processes at the same cells write the same."""
        shared = np.frombuffer(self._shared, np.int64).reshape(_WINDOWS, self._size)[window % _WINDOWS]
        found = np.empty(self._size, np.int64)
        starts = np.arange(0, self._size, _CHUNK)
        for start in np.roll(starts, mixed(os.getpid()) % len(starts)).tolist():  # each begins elsewhere
            part = slice(start, start + _CHUNK)
            found[part] = shared[part]
            if (found[part] >> _LENGTH_BITS != window + 1).any():
                positions = window * self._size + np.arange(self._size)[part]
                found[part] = (window + 1) << _LENGTH_BITS | np.minimum(lengths_of(positions), _LONGEST)
                shared[part] = found[part]
        return found & _LONGEST
