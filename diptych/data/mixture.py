"""Several sources drawn from together, each by a weight that may change from step to step.

Positions come in blocks of ``BLOCK``. Within a block the weights stand still, so each source has a whole number of
draws in it, spread evenly with a jitter that belongs to (seed, block). How often a source was drawn before a block is a
sum over blocks, known beforehand; so the place in every source follows from the position alone, and each is walked
through epoch by epoch in an order of its own, however often it is drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from diptych.data.fingerprint import fingerprint
from diptych.data.order import Walk, mixed, uniforms
from diptych.data.source_spec import CacheSpec, SourceSpec, Weight
from diptych.data.sources import Sample, Source, captions_of, open_source, release
from diptych.errors import ConfigError

BLOCK = 8192  # positions; a share of the draws is a multiple of one in so many

_SOURCE, _JITTER = 11, 12  # keep the random numbers of different uses apart


def opened(specs: Sequence[SourceSpec], *, cache: CacheSpec | None, batch_size: int) -> Source:
    """The source that is specified, or the mixture of several, for steps of so many samples in all processes."""
    sources = [
        open_source(
            spec.source,
            split=spec.split,
            captions=spec.captions,
            keywords=spec.keywords,
            where=spec.where,
            cache=cache,
        )
        for spec in specs
    ]
    return sources[0] if len(sources) == 1 else Mixture(sources, [spec.weight for spec in specs], batch_size=batch_size)


class Mixture:
    """Sources as one: the samples of the first, then those of the second, and so on. `walk` mixes them.

    ``weights``: of each source a number, or (step, weight) points between which it changes linearly; only their
    proportions matter. An epoch has as many samples as the sources together. Raises ConfigError for a source that would
    never be drawn.
    """

    def __init__(self, sources: Sequence[Source], weights: Sequence[Weight], *, batch_size: int) -> None:
        self.name = " + ".join(source.name for source in sources)
        self.class_names: tuple[str, ...] | None = None
        self.templates: tuple[str, ...] | None = None
        self._sources, self._weights, self._batch_size = tuple(sources), tuple(weights), batch_size
        self._shards = [getattr(source, "shard_sizes", (len(source),)) for source in sources]
        self._offsets = np.cumsum([0, *map(len, sources)])
        self._counts = _counts(weights, batch_size)
        for source, drawn in zip(sources, self._counts.max(axis=0).tolist(), strict=True):
            if not drawn:
                raise ConfigError(f"{source.name} is never drawn by its weight; it needs one in {BLOCK:,} or more")

    def __len__(self) -> int:
        return int(self._offsets[-1])

    def read(self, i: int) -> Sample:
        source, own = self._of(i)
        return source.read(own)

    def captions_of(self, i: int) -> tuple[str, ...]:
        """All words of a sample."""
        return captions_of(*self._of(i))

    @property
    def problems(self) -> tuple[str, ...]:
        """What was wrong with the files read so far."""
        return tuple(problem for source in self._sources for problem in getattr(source, "problems", ()))

    def listing(self) -> Iterator[str]:
        """What tells these samples from others: see `fingerprint`."""
        yield from map(fingerprint, self._sources)

    def prefetch(self, shards: Sequence[int]) -> None:
        """These shards, counted through all sources, are read next."""
        first = 0
        for source, sizes in zip(self._sources, self._shards, strict=True):
            own = [shard - first for shard in shards if first <= shard < first + len(sizes)]
            if own and (prefetch := getattr(source, "prefetch", None)):
                prefetch(own)
            first += len(sizes)

    def release(self) -> None:
        """Close all files."""
        for source in self._sources:
            release(source)

    def walk(self, seed: int) -> MixedWalk:
        """The order in which the samples of all sources are visited."""
        seeds = [int(mixed(seed, _SOURCE, k)) for k in range(len(self._sources))]
        walks = [Walk.over(source, own, length=len(source)) for source, own in zip(self._sources, seeds, strict=True)]
        return MixedWalk(walks, self._counts, seed)

    def mapped(self, change: Callable[[Source], Source]) -> Mixture:
        """The same mixture of changed sources."""
        return Mixture([change(source) for source in self._sources], self._weights, batch_size=self._batch_size)

    def _of(self, i: int) -> tuple[Source, int]:
        k = int(np.searchsorted(self._offsets, i, side="right")) - 1
        return self._sources[k], i - int(self._offsets[k])


class MixedWalk:
    """As `Walk`, over the samples of several. ``counts``: the draws of each in each block; the last holds on for
    ever."""

    one_window = False

    def __init__(self, walks: Sequence[Walk], counts: np.ndarray, seed: int) -> None:
        self._walks, self._counts, self._seed = tuple(walks), counts, seed
        self._sums = np.concatenate([np.zeros((1, len(walks)), np.int64), np.cumsum(counts, axis=0)])
        self._offsets = np.cumsum([0, *map(len, walks)])
        self._first_shards = np.cumsum([0, *(walk.shards for walk in walks)])
        self._blocks: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def __len__(self) -> int:
        return int(self._offsets[-1])

    def draws(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which source each position draws from, and how many draws of that source came before it."""
        blocks, places = np.divmod(np.asarray(positions, dtype=np.int64), BLOCK)
        sources, numbers = np.empty_like(places), np.empty_like(places)
        for block in np.unique(blocks).tolist():
            here = blocks == block
            of_block, ranks = self._block(block)
            sources[here] = of_block[places[here]]
            numbers[here] = self._before(block)[sources[here]] + ranks[places[here]]
        return sources, numbers

    def visited(self, positions: np.ndarray) -> np.ndarray:
        """The index of the sample visited at each position."""
        sources, numbers = self.draws(positions)
        result = np.empty_like(numbers)
        for k in np.unique(sources).tolist():
            here = sources == k
            result[here] = self._offsets[k] + self._walks[k].visited(numbers[here])
        return result

    def near(self, position: int, draws: np.ndarray) -> np.ndarray:
        """Indices of samples of the same source that are read about then, one for each uint64 draw."""
        [k], [number] = self.draws(np.array([position]))
        return self._offsets[k] + self._walks[k].near(int(number), draws)

    def window(self, position: int, ahead: int = 0) -> np.ndarray:
        """The shards that samples are drawn from at a position, or in a window after it, of each source."""
        block, place = divmod(position, BLOCK)
        of_block, _ = self._block(block)
        numbers = self._before(block) + np.bincount(of_block[:place], minlength=len(self._walks))
        here = np.flatnonzero(self._counts[min(block, len(self._counts) - 1)])
        return np.concatenate([self._first_shards[k] + self._walks[k].window(int(numbers[k]), ahead) for k in here])

    def shard(self, index: int) -> range:
        """The samples that come and are lost with this one."""
        k = int(np.searchsorted(self._offsets, index, side="right")) - 1
        own = self._walks[k].shard(index - int(self._offsets[k]))
        return range(own.start + int(self._offsets[k]), own.stop + int(self._offsets[k]))

    def _before(self, block: int) -> np.ndarray:
        beyond = max(0, block - len(self._counts))
        return self._sums[block - beyond] + beyond * self._counts[-1]

    def _block(self, block: int) -> tuple[np.ndarray, np.ndarray]:
        """The source of each place in a block, and how many places before it have the same one."""
        if block not in self._blocks:
            if len(self._blocks) > 1:
                self._blocks.clear()
            counts = self._counts[min(block, len(self._counts) - 1)]
            sources = np.repeat(np.arange(len(counts)), counts)
            ranks = np.concatenate([np.arange(count) for count in counts])
            jitter = uniforms(int(mixed(self._seed, _JITTER)), block, count=BLOCK)
            order = np.argsort((ranks + jitter) / counts[sources], kind="stable")
            self._blocks[block] = sources[order], ranks[order]
        return self._blocks[block]


def _counts(weights: Sequence[Weight], batch_size: int) -> np.ndarray:
    """The draws of each source in each block, until weights no longer change: ``(blocks, sources)``, ``BLOCK`` in each
    row."""
    points = [weight if isinstance(weight, tuple) else ((0, weight),) for weight in weights]
    last = max(step for line in points for step, _ in line)
    steps = np.arange(1 + -(-last * batch_size // BLOCK)) * BLOCK / batch_size
    lines_BK = np.stack(
        [np.interp(steps, [step for step, _ in line], [weight for _, weight in line]) for line in points], axis=1
    )
    totals_B1 = lines_BK.sum(axis=1, keepdims=True)
    if not (totals_B1 > 0).all():
        raise ConfigError(f"all weights of the mixture are zero at step {int(steps[np.argmin(totals_B1)]):,}")
    quotas_BK = BLOCK * lines_BK / totals_B1
    counts_BK = np.floor(quotas_BK).astype(np.int64)
    # What is left of the block goes to the largest remainders.
    ranks_BK = np.argsort(np.argsort(counts_BK - quotas_BK, axis=1, kind="stable"), axis=1)
    return counts_BK + (ranks_BK < BLOCK - counts_BK.sum(axis=1, keepdims=True))
