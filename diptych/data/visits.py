"""What becomes of a sample at each visit: crop and captions drawn by (seed, position), or another sample instead."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from torch import Tensor

from diptych.data.augment import DRAWS, Augmentation, colours, cropped, vary
from diptych.data.buckets import BucketPlan, Buckets
from diptych.data.failures import Failure
from diptych.data.keywords import KEYWORD_DRAWS, joined
from diptych.data.order import Order, mixed, uniforms
from diptych.data.sources import Sample, Source, naming, read
from diptych.errors import ConfigError, DataError, ShardLost, TooManyFailures
from diptych.specs import PreprocessSpec
from diptych.tokens import Tokens

Tokenizer = Callable[[Sequence[str]], Tokens]

_ATTEMPTS = 100
_CAPTION, _REFILL, _KEYWORDS = 1, 2, 3  # keep the random numbers of different uses apart; crops have the key 0


@dataclass(frozen=True, kw_only=True)
class Visits:
    """What is drawn at each visit of a sample.

    seed:               of the order and of every draw.
    augmentation:       how much images vary.
    captions_per_image: K different captions of each image, drawn anew at each visit.
    buckets:            sort a few steps' samples by the length of their captions; null for none.
    """

    seed: int = 0
    augmentation: Augmentation = field(default_factory=Augmentation.paper)
    captions_per_image: int = 1
    buckets: Buckets | None = None

    def __post_init__(self) -> None:
        if self.captions_per_image < 1:
            raise ConfigError(f"captions_per_image must be positive, not {self.captions_per_image}")


class Chunk(NamedTuple):
    """What a worker says of some consecutive positions besides their pixels."""

    start: int
    indices: list[int]
    keys: list[str]
    captions: list[str]
    bare: list[str]
    tokens: tuple[np.ndarray, np.ndarray, int] | None
    colours: np.ndarray | None
    failed: list[Failure]
    replaced: int
    window: int


class Job(NamedTuple):
    """What a worker does with consecutive rows of batches: see `diptych.data.pool.Job`."""

    source: Source
    walk: Order
    plan: BucketPlan | None
    spec: PreprocessSpec
    tokenizer: Tokenizer | None
    visits: Visits

    def __call__(self, start: int, pixels_BCHW: Tensor) -> Chunk:
        seed, augmentation = self.visits.seed, self.visits.augmentation
        self._prefetch(start)
        positions = np.arange(start, start + len(pixels_BCHW))
        if self.plan:
            positions = self.plan.positions(positions, self._lengths)
        planned = self.walk.visited(positions).tolist()
        draws, texts = uniforms(seed, positions, 0, count=DRAWS), self._texts(positions)
        indices, keys, captions, bare, failed, replaced = [], [], [], [], [], 0
        for row, position in enumerate(positions.tolist()):
            for attempt in range(_ATTEMPTS):
                index = planned[row]
                if attempt:
                    index = int(self.walk.near(position, mixed(seed, position, _REFILL, attempt)))
                try:
                    sample = read(self.source, index)
                    if not sample.captions:
                        raise DataError(f"{sample.key} has no caption")
                    with naming(sample):
                        pixels_BCHW[row] = cropped(sample.image, self.spec, augmentation, draws[row])
                    break
                except ShardLost as error:
                    shard = self.walk.shard(index)
                    failed.append(Failure(shard.start, f"all {len(shard):,} samples of {error}", len(shard)))
                except DataError as error:
                    failed.append(Failure(index, str(error)))
            else:
                raise TooManyFailures(f"{_ATTEMPTS} samples in a row could not be used; the last: {failed[-1].reason}")
            replaced += attempt > 0
            vary(pixels_BCHW[row], augmentation, draws[row], self.spec.mean)
            indices.append(index)
            keys.append(sample.key)
            own, with_keywords = texts(row, sample)
            bare += own
            captions += with_keywords
        tokens = self.tokenizer(captions) if self.tokenizer else None
        arrays = tokens and (tokens.ids_BL.numpy(), tokens.lengths_B.numpy(), tokens.truncated)
        changes = colours(pixels_BCHW, augmentation, draws)
        window = int(self.walk.window(start)[0])
        return Chunk(start, indices, keys, captions, bare, arrays, changes, failed, replaced, window)

    def _texts(self, positions: np.ndarray) -> Callable[[int, Sample], tuple[list[str], list[str]]]:
        """What is drawn of the captions of a row's sample: as they are, and with keywords."""
        seed, count = self.visits.seed, self.visits.captions_per_image
        choices = uniforms(seed, positions, _CAPTION, count=count)
        additions = uniforms(seed, positions, _KEYWORDS, count=count * KEYWORD_DRAWS)
        additions = additions.reshape(len(positions), count, KEYWORD_DRAWS)

        def texts(row: int, sample: Sample) -> tuple[list[str], list[str]]:
            own = list(_drawn(sample.captions, choices[row]))
            return own, [
                joined(text, sample.keywords, numbers) for text, numbers in zip(own, additions[row], strict=True)
            ]

        return texts

    def _lengths(self, positions: np.ndarray) -> np.ndarray:
        """Tokens, or letters where there is no tokenizer, of the longest caption drawn at each position."""
        texts, captions, rows = self._texts(positions), [], []
        for row, index in enumerate(self.walk.visited(positions).tolist()):
            with suppress(DataError):  # it will be met again, and told, when its turn comes
                drawn = texts(row, read(self.source, index))[1]
                captions += drawn
                rows += [row] * len(drawn)
        lengths = np.zeros(len(positions), np.int64)
        if captions:
            own = self.tokenizer(captions).lengths_B.numpy() if self.tokenizer else [*map(len, captions)]
            np.maximum.at(lengths, rows, own)
        return lengths

    def _prefetch(self, position: int) -> None:
        """Shards of this window and the next are on their way while samples are decoded."""
        if prefetch := getattr(self.source, "prefetch", None):
            prefetch(np.concatenate([self.walk.window(position, ahead) for ahead in (0, 1)]).tolist())


def _drawn(captions: Sequence[str], draws: np.ndarray) -> Iterator[str]:
    """As many different captions as there are draws; where there are fewer, all of them again."""
    left: list[str] = []
    for draw in draws:
        left = left or list(captions)
        yield left.pop(int(draw * len(left)))
