"""Batches for training from any step, each a pure function of the source, the seed and the step.

Step s of a run with batches of B samples takes positions s * B to (s + 1) * B of an endless walk over the source (see
`order`), so no batch is ever short, also at the end of an epoch or from a source smaller than a batch. Crops and the
caption drawn belong to the position. A sample that cannot be used is replaced by another, drawn from (seed, position,
attempt).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from diptych.data.augment import DRAWS, Augmentation, colours, cropped, recolour, vary
from diptych.data.failures import Failure, Failures
from diptych.data.keywords import KEYWORD_DRAWS, joined
from diptych.data.order import Order, Walk, mixed, uniforms
from diptych.data.pool import Pool
from diptych.data.sources import Source, naming, read
from diptych.errors import DataError, ShardLost, TooManyFailures
from diptych.specs import PreprocessSpec
from diptych.tokens import Tokens

Tokenizer = Callable[[Sequence[str]], Tokens]

_ATTEMPTS = 100
_CAPTION, _REFILL, _KEYWORDS = 1, 2, 3  # keep the random numbers of different uses apart; crops have the key 0


class Batch(NamedTuple):
    """One step's samples. The M = K * B captions are the K of the first image, then those of the second, and so on.

    pixels_BCHW: float32, augmented and normalised.
    image_ids_B: int64 index of each image in the source; text_ids_M: int64, equal for equal captions, whatever keywords
    were added to them.
    position, epoch: those of the first sample.
    """

    pixels_BCHW: Tensor
    tokens: Tokens | None
    image_ids_B: Tensor
    text_ids_M: Tensor
    captions: tuple[str, ...]
    keys: tuple[str, ...]
    position: int
    epoch: int


class Loader:
    """Training batches from a source, read, cropped and tokenized by worker processes that start once.

    ``tokenizer``: texts to `Tokens`; without one the batches have none. ``captions_per_image``: K different captions of
    each image, drawn anew at each visit. ``workers``: processes; 0 reads in this one, with the same result.
    ``max_failures``: share of the source's samples that may fail before TooManyFailures. Use it in a ``with``
    statement, or call `close`.

    >>> loader = Loader(source, spec, tokenizer=tokenizer, batch_size=256, workers=2)  # doctest: +SKIP
    >>> for batch in loader.batches(start=1000, stop=2000): ...  # doctest: +SKIP
    """

    def __init__(
        self,
        source: Source,
        spec: PreprocessSpec,
        *,
        batch_size: int,
        tokenizer: Tokenizer | None = None,
        augmentation: Augmentation | None = None,
        captions_per_image: int = 1,
        seed: int = 0,
        workers: int = 1,
        max_failures: float = 0.05,
    ) -> None:
        if len(source) == 0:
            raise DataError(f"{source.name} holds no samples")
        if batch_size < 1 or workers < 0 or captions_per_image < 1:
            raise DataError(
                "batch_size and captions_per_image must be positive and workers not negative, "
                f"not {batch_size}, {captions_per_image} and {workers}"
            )
        self.source = source
        self.batch_size = batch_size
        mixing = getattr(source, "walk", None)
        walk = mixing(seed) if mixing else Walk(getattr(source, "shard_sizes", (len(source),)), seed)
        self.failures = Failures(allowed=max_failures, samples=len(source), one_window=walk.one_window)
        self._spec = spec
        job = _Training(source, walk, spec, tokenizer, augmentation or Augmentation.paper(), captions_per_image, seed)
        self._pool = Pool(job, workers=workers, batch_size=batch_size, image_size=spec.size)

    def batches(self, start: int = 0, stop: int | None = None, *, part: int = 0, parts: int = 1) -> Iterator[Batch]:
        """Batches of the steps from ``start`` to before ``stop``, for ever without it.

        With ``parts`` processes training together, each takes its ``part`` of every step: ``batch_size`` rows of a step
        that has ``parts * batch_size``.
        """
        steps = iter(range(start, stop)) if stop is not None else _from(start)
        first = (((step * parts + part) * self.batch_size) for step in steps)
        for pixels_BCHW, chunks in self._pool.run((position, position + self.batch_size) for position in first):
            for chunk in chunks:
                visited = len(chunk.indices)
                self.failures.add(chunk.failed, replaced=chunk.replaced, visited=visited, window=chunk.window)
            yield self._batch(pixels_BCHW, chunks)

    def report(self) -> str:
        """What could not be read so far, a line on samples and one on each damaged file; empty where all could."""
        problems = getattr(self.source, "problems", ())
        return "\n".join([*([self.failures.summary()] if self.failures.reasons else []), *problems])

    def close(self) -> None:
        """Stop the workers."""
        self._pool.close()

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _batch(self, pixels_BCHW: Tensor, chunks: list[_Chunk]) -> Batch:
        changes = [chunk.colours for chunk in chunks if chunk.colours is not None]
        return Batch(
            pixels_BCHW=recolour(pixels_BCHW, np.concatenate(changes) if changes else None, self._spec),
            tokens=_joined([chunk.tokens for chunk in chunks if chunk.tokens is not None]),
            image_ids_B=torch.tensor([index for chunk in chunks for index in chunk.indices]),
            text_ids_M=torch.tensor([_text_id(caption) for chunk in chunks for caption in chunk.bare]),
            captions=tuple(caption for chunk in chunks for caption in chunk.captions),
            keys=tuple(key for chunk in chunks for key in chunk.keys),
            position=chunks[0].start,
            epoch=chunks[0].start // len(self.source),
        )


class _Chunk(NamedTuple):
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


class _Training(NamedTuple):
    source: Source
    walk: Order
    spec: PreprocessSpec
    tokenizer: Tokenizer | None
    augmentation: Augmentation
    captions_per_image: int
    seed: int

    def __call__(self, start: int, pixels_BCHW: Tensor) -> _Chunk:
        positions = np.arange(start, start + len(pixels_BCHW))
        planned = self.walk.visited(positions).tolist()
        self._prefetch(start)
        draws = uniforms(self.seed, positions, 0, count=DRAWS)
        choices = uniforms(self.seed, positions, _CAPTION, count=self.captions_per_image)
        additions = uniforms(self.seed, positions, _KEYWORDS, count=self.captions_per_image * KEYWORD_DRAWS)
        additions = additions.reshape(len(positions), self.captions_per_image, KEYWORD_DRAWS)
        indices, keys, captions, bare, failed, replaced = [], [], [], [], [], 0
        for row, position in enumerate(positions.tolist()):
            for attempt in range(_ATTEMPTS):
                index = planned[row]
                if attempt:
                    index = int(self.walk.near(position, mixed(self.seed, position, _REFILL, attempt)))
                try:
                    sample = read(self.source, index)
                    if not sample.captions:
                        raise DataError(f"{sample.key} has no caption")
                    with naming(sample):
                        pixels_BCHW[row] = cropped(sample.image, self.spec, self.augmentation, draws[row])
                    break
                except ShardLost as error:
                    shard = self.walk.shard(index)
                    failed.append(Failure(shard.start, f"all {len(shard):,} samples of {error}", len(shard)))
                except DataError as error:
                    failed.append(Failure(index, str(error)))
            else:
                raise TooManyFailures(f"{_ATTEMPTS} samples in a row could not be used; the last: {failed[-1].reason}")
            replaced += attempt > 0
            vary(pixels_BCHW[row], self.augmentation, draws[row], self.spec.mean)
            indices.append(index)
            keys.append(sample.key)
            own = list(_drawn(sample.captions, choices[row]))
            bare += own
            captions += [
                joined(text, sample.keywords, numbers) for text, numbers in zip(own, additions[row], strict=True)
            ]
        tokens = self.tokenizer(captions) if self.tokenizer else None
        arrays = tokens and (tokens.ids_BL.numpy(), tokens.lengths_B.numpy(), tokens.truncated)
        changes = colours(pixels_BCHW, self.augmentation, draws)
        window = int(self.walk.window(start)[0])
        return _Chunk(start, indices, keys, captions, bare, arrays, changes, failed, replaced, window)

    def _prefetch(self, position: int) -> None:
        """Shards of this window and the next are on their way while samples are decoded."""
        if prefetch := getattr(self.source, "prefetch", None):
            prefetch(np.concatenate([self.walk.window(position, ahead) for ahead in (0, 1)]).tolist())


def _joined(parts: list[tuple[np.ndarray, np.ndarray, int]]) -> Tokens | None:
    if not parts:
        return None
    longest = max(ids.shape[1] for ids, _, _ in parts)
    ids_BL = np.concatenate([np.pad(ids, ((0, 0), (0, longest - ids.shape[1]))) for ids, _, _ in parts])
    lengths_B = np.concatenate([lengths for _, lengths, _ in parts])
    return Tokens(torch.from_numpy(ids_BL), torch.from_numpy(lengths_B), sum(cut for _, _, cut in parts))


def _drawn(captions: Sequence[str], draws: np.ndarray) -> Iterator[str]:
    """As many different captions as there are draws; where there are fewer, all of them again."""
    left: list[str] = []
    for draw in draws:
        left = left or list(captions)
        yield left.pop(int(draw * len(left)))


def _text_id(caption: str) -> int:
    return int.from_bytes(hashlib.blake2b(caption.encode(), digest_size=8).digest(), "big", signed=True)


def _from(start: int) -> Iterator[int]:
    while True:
        yield start
        start += 1
