"""One pass over a source in its own order, with the reference transform: what embedding and evaluation read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor

from diptych.data.failures import Failures
from diptych.data.pool import Pool
from diptych.data.preprocess import decode_image, normalise, resize_and_crop
from diptych.data.sources import Sample, Source, naming, read
from diptych.errors import DataError
from diptych.specs import PreprocessSpec


def in_order(
    source: Source,
    spec: PreprocessSpec,
    *,
    batch_size: int = 64,
    workers: int = 0,
    failures: Failures | None = None,
) -> Iterator[tuple[Tensor, list[Sample]]]:
    """Pixels ``(B, 3, size, size)`` and their samples (captions, labels, keys; no image), each sample once.

    Samples that cannot be read are left out, so batches may be short, and noted in ``failures``, by default with a
    share of 5 % allowed. Raises TooManyFailures past that.

    >>> for pixels_BCHW, samples in in_order(source, spec): ...  # doctest: +SKIP
    """
    failures = failures or Failures(allowed=0.05, samples=len(source))
    pool = Pool(_Reference(source, spec), workers=workers, batch_size=batch_size, image_size=spec.size)
    total = len(source)
    try:
        for pixels_BCHW, chunks in pool.run((a, min(a + batch_size, total)) for a in range(0, total, batch_size)):
            for chunk in chunks:
                failures.add(len(chunk.samples), chunk.failed)
            read_well = [sample for chunk in chunks for sample in chunk.samples]
            rows = [row for row, sample in enumerate(read_well) if sample is not None]
            if rows:
                yield normalise(pixels_BCHW[rows], spec), [sample for sample in read_well if sample is not None]
    finally:
        pool.close()


class _Chunk(NamedTuple):
    samples: list[Sample | None]
    failed: list[tuple[int, str]]


class _Reference(NamedTuple):
    source: Source
    spec: PreprocessSpec

    def __call__(self, start: int, pixels_BCHW: Tensor) -> _Chunk:
        chunk = _Chunk([], [])
        for row in range(len(pixels_BCHW)):
            try:
                sample = read(self.source, start + row)
                with naming(sample):
                    pixels_BCHW[row] = resize_and_crop(decode_image(sample.image), self.spec)
                chunk.samples.append(sample._replace(image=b""))
            except DataError as error:
                chunk.samples.append(None)
                chunk.failed.append((start + row, str(error)))
        return chunk
