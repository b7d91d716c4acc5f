"""In what order samples are visited, and every random number that belongs to a sample: computed, never stored.

The place in training is one integer, the *position*: position p of a source of n samples lies in epoch p // n. Each
epoch visits every sample once. Whole shards are permuted, then taken WINDOW at a time, and the samples of a window
are permuted among themselves; so reading stays local to a few shards, while a source of few shards is shuffled
completely. Nothing here depends on workers, ranks or batch size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

WINDOW = 16  # shards whose samples are mixed with each other

_ROUNDS = 6
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def mixed(*values: int | np.ndarray) -> np.ndarray:
    """A hash of integers and integer arrays, which broadcast: uint64, every bit depending on every value and its place.

    Each value goes through the finaliser of SplitMix64 (Steele, Lea and Flood, 2014), modulo 2^64.
    """
    state = np.zeros(1, np.uint64)  # an array even for scalars: array arithmetic wraps around in silence
    for value in values:
        word = np.asarray(value % 2**64 if isinstance(value, int) else value).astype(np.uint64)
        state = (state ^ word) + _GOLDEN
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state ^= state >> np.uint64(31)
    return state.reshape(np.broadcast_shapes(*(np.shape(value) for value in values)))


def uniforms(*key: int | np.ndarray, count: int) -> np.ndarray:
    """``count`` numbers in [0, 1) for each key, in a new last axis: the same key always gives the same numbers."""
    words = mixed(mixed(*key)[..., None], np.arange(count))
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53


def permuted(positions: np.ndarray, length: int, key: int) -> np.ndarray:
    """Where a keyed permutation of ``range(length)`` sends each position.

    A Feistel network over pairs (left, right) of a square just large enough to hold the range; what falls outside the
    range is sent on until it lands inside (cycle walking), so that no table is needed for any length.
    """
    side = max(2, int(np.ceil(np.sqrt(length))))
    turns = mixed(key, np.arange(_ROUNDS))
    result = np.array(positions, dtype=np.int64)
    outside = np.arange(result.size)
    while outside.size:
        left, right = np.divmod(result[outside], side)
        for turn in turns:
            noise = (mixed(turn, right) % np.uint64(side)).astype(np.int64)
            left, right = right, (left + noise) % side
        result[outside] = left * side + right
        outside = outside[result[outside] >= length]
    return result


class Order(Protocol):
    """What the loader asks of an order of samples: see `Walk`."""

    @property
    def one_window(self) -> bool: ...

    def visited(self, positions: np.ndarray) -> np.ndarray: ...

    def near(self, position: int, draws: np.ndarray) -> np.ndarray: ...

    def window(self, position: int, ahead: int = 0) -> np.ndarray: ...

    def shard(self, index: int) -> range: ...


class Walk:
    """An endless walk over the samples of consecutive shards of the given sizes, each epoch in another order.

    ``fetched``: the sizes of what comes and is lost together, where that is not the shards.

    >>> sorted(Walk([3, 4], seed=0).visited(np.arange(7)).tolist())
    [0, 1, 2, 3, 4, 5, 6]
    """

    def __init__(self, sizes: Sequence[int], seed: int, *, fetched: Sequence[int] | None = None) -> None:
        self.seed = seed
        self._sizes = np.asarray(sizes, dtype=np.int64)
        self._offsets = np.concatenate([[0], np.cumsum(self._sizes)])
        self._fetched = self._offsets if fetched is None else np.cumsum([0, *fetched])
        self._epochs: dict[int, _Epoch] = {}

    @classmethod
    def over(cls, source: object, seed: int, *, length: int) -> Walk:
        """Over the ``length`` samples of a source, by the shards that it tells of."""
        sizes = getattr(source, "shard_sizes", (length,))
        return cls(sizes, seed, fetched=getattr(source, "fetched_sizes", None))

    def __len__(self) -> int:
        return int(self._offsets[-1])

    @property
    def shards(self) -> int:
        """How many shards there are."""
        return len(self._sizes)

    @property
    def one_window(self) -> bool:
        """Whether all samples are mixed with each other."""
        return len(self._sizes) <= WINDOW

    def visited(self, positions: np.ndarray) -> np.ndarray:
        """The index of the sample visited at each position."""
        epochs, places = np.divmod(np.asarray(positions, dtype=np.int64), len(self))
        result = np.empty_like(places)
        for number in np.unique(epochs).tolist():
            epoch, here = self._epoch(number), epochs == number
            window_of = epoch.window_of(places)
            for window in np.unique(window_of[here]).tolist():
                chosen = here & (window_of == window)
                first, last = epoch.windows[window], epoch.windows[window + 1]
                place = first + permuted(places[chosen] - first, int(last - first), int(mixed(epoch.key, window)))
                slot = np.searchsorted(epoch.starts, place, side="right") - 1
                result[chosen] = self._offsets[epoch.shards[slot]] + place - epoch.starts[slot]
        return result

    def near(self, position: int, draws: np.ndarray) -> np.ndarray:
        """Indices of samples that are read about when this position is, one for each uint64 ``draws``: of its window,
        so that no other shards are needed."""
        shards = np.sort(self.window(position))
        ends = np.cumsum(self._sizes[shards])
        places = (draws % np.uint64(ends[-1])).astype(np.int64)
        slots = np.searchsorted(ends, places, side="right")
        return self._offsets[shards[slots]] + places - (ends - self._sizes[shards])[slots]

    def window(self, position: int, ahead: int = 0) -> np.ndarray:
        """The shards that are mixed with each other at a position, or in a window after it."""
        number, place = divmod(position, len(self))
        epoch = self._epoch(number)
        window = int(epoch.window_of(place)) + ahead
        while window >= len(epoch.windows) - 1:
            window, number = window - len(epoch.windows) + 1, number + 1
            epoch = self._epoch(number)
        return epoch.shards[window * WINDOW : (window + 1) * WINDOW]

    def shard(self, index: int) -> range:
        """The samples that come and are lost with this one."""
        shard = int(np.searchsorted(self._fetched, index, side="right")) - 1
        return range(int(self._fetched[shard]), int(self._fetched[shard + 1]))

    def _epoch(self, number: int) -> _Epoch:
        if number not in self._epochs:
            if len(self._epochs) > 2:
                self._epochs.clear()
            self._epochs[number] = _Epoch.of(self._sizes, int(mixed(self.seed, number)))
        return self._epochs[number]


class _Epoch(NamedTuple):
    """The shards in their order in one epoch, the first position of each, and the first position of each window."""

    key: int
    shards: np.ndarray
    starts: np.ndarray
    windows: np.ndarray

    @classmethod
    def of(cls, sizes: np.ndarray, key: int) -> _Epoch:
        shards = permuted(np.arange(len(sizes)), len(sizes), key)
        starts = np.concatenate([[0], np.cumsum(sizes[shards])])
        return cls(key, shards, starts, np.append(starts[:-1][::WINDOW], starts[-1]))

    def window_of(self, places: np.ndarray | int) -> np.ndarray:
        return np.searchsorted(self.windows, places, side="right") - 1
