"""Batches for training from any step, each a pure function of the source, the seed and the step.

Step s of a run with batches of B samples takes positions s * B to (s + 1) * B of an endless walk over the source (see
`order`), so no batch is ever short, also at the end of an epoch or from a source smaller than a batch. Crops and the
caption drawn belong to the position. A sample that cannot be used is replaced by another, drawn from (seed, position,
attempt).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from diptych.data.augment import recolour
from diptych.data.buckets import BucketPlan
from diptych.data.failures import Failures
from diptych.data.order import Walk
from diptych.data.pool import Pool
from diptych.data.sources import Source, release
from diptych.data.visits import Chunk, Job, Tokenizer, Visits
from diptych.errors import DataError
from diptych.specs import PreprocessSpec
from diptych.tokens import Tokens


class Batch(NamedTuple):
    """One step's samples. The M = K * B captions are the K of the first image, then those of the second, and so on.

    pixels_BCHW: float32, augmented and normalised.
    image_ids_B: int64 index of each image in the source; text_ids_M: int64, equal for equal captions, whatever keywords
    were added to them.
    position: the number of the first row, counted through all steps; epoch: the one it lies in.
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

    ``tokenizer``: texts to `Tokens`; without one the batches have none. ``workers``: processes; 0 reads in this one,
    with the same result. ``max_failures``: share of the source's samples that may fail before TooManyFailures. Use it
    in a ``with`` statement, or call `close`.

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
        visits: Visits | None = None,
        workers: int = 1,
        max_failures: float = 0.05,
    ) -> None:
        if len(source) == 0:
            raise DataError(f"{source.name} holds no samples")
        if batch_size < 1 or workers < 0:
            raise DataError(f"batch_size must be positive and workers not negative, not {batch_size} and {workers}")
        visits = visits or Visits()
        release(source)  # worker processes would inherit what is open, and keep it from leaving a cache
        self.source = source
        self.batch_size = batch_size
        mixing = getattr(source, "walk", None)
        walk = mixing(visits.seed) if mixing else Walk.over(source, visits.seed, length=len(source))
        self.failures = Failures(allowed=max_failures, samples=len(source), one_window=walk.one_window)
        self._spec = spec
        plan = BucketPlan(visits.buckets, visits.seed) if visits.buckets else None
        job = Job(source, walk, plan, spec, tokenizer, visits)
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
        """What could not be read so far, a line on samples, unless an error has told them, and one on each damaged
        file; empty where all could."""
        problems = getattr(self.source, "problems", ())
        told = self.failures.reasons and not self.failures.told
        return "\n".join([*([self.failures.summary()] if told else []), *problems])

    def close(self) -> None:
        """Stop the workers."""
        self._pool.close()

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _batch(self, pixels_BCHW: Tensor, chunks: list[Chunk]) -> Batch:
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


def _joined(parts: list[tuple[np.ndarray, np.ndarray, int]]) -> Tokens | None:
    if not parts:
        return None
    longest = max(ids.shape[1] for ids, _, _ in parts)
    ids_BL = np.concatenate([np.pad(ids, ((0, 0), (0, longest - ids.shape[1]))) for ids, _, _ in parts])
    lengths_B = np.concatenate([lengths for _, lengths, _ in parts])
    return Tokens(torch.from_numpy(ids_BL), torch.from_numpy(lengths_B), sum(cut for _, _, cut in parts))


def _text_id(caption: str) -> int:
    return int.from_bytes(hashlib.blake2b(caption.encode(), digest_size=8).digest(), "big", signed=True)


def _from(start: int) -> Iterator[int]:
    while True:
        yield start
        start += 1
