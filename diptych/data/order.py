"""In what order samples are visited, and every random number that belongs to a sample: computed, never stored.

The place in training is one integer, the *position*: position p of a source of n samples lies in epoch p // n. Each epoch
visits every sample once. Whole shards are permuted, then taken WINDOW at a time, and the samples of a window are permuted
among themselves; so reading stays local to a few shards, while a source of few shards is shuffled completely.
Nothing here depends on workers, ranks or batch size.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

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


@lru_cache(maxsize=8)
def _epoch(sizes: tuple[int, ...], key: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The shards in their order in one epoch, the first position of each, and the first position of each window."""
    shards = permuted(np.arange(len(sizes)), len(sizes), key)
    ends = np.cumsum(np.asarray(sizes, dtype=np.int64)[shards])
    starts = np.concatenate([[0], ends])
    return shards, starts, np.append(starts[:-1][::WINDOW], starts[-1])


def visited(positions: np.ndarray, sizes: Sequence[int], seed: int) -> np.ndarray:
    """The index of the sample visited at each position, for a source of consecutive shards of the given sizes.

    >>> sorted(visited(np.arange(7), [3, 4], seed=0).tolist())
    [0, 1, 2, 3, 4, 5, 6]
    """
    sizes = tuple(sizes)
    offsets = np.concatenate([[0], np.cumsum(np.asarray(sizes, dtype=np.int64))])
    epochs, places = np.divmod(np.asarray(positions, dtype=np.int64), int(offsets[-1]))
    result = np.empty_like(places)
    for epoch in np.unique(epochs):
        key = int(mixed(seed, epoch))
        shards, starts, windows = _epoch(sizes, key)
        here = epochs == epoch
        window_of = np.searchsorted(windows, places, side="right") - 1
        for window in np.unique(window_of[here]):
            chosen = here & (window_of == window)
            first, last = windows[window], windows[window + 1]
            place = first + permuted(places[chosen] - first, int(last - first), int(mixed(key, window)))
            slot = np.searchsorted(starts, place, side="right") - 1
            result[chosen] = offsets[shards[slot]] + place - starts[slot]
    return result
