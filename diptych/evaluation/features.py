"""One pass over a source: the embeddings of its images, and what is known of each."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from diptych.data.files import read_bytes
from diptych.data.preprocess import decode_image, preprocess
from diptych.data.sources import naming, read
from diptych.errors import DataError, TooManyFailures
from diptych.progress import progress
from diptych.specs import PreprocessSpec

if TYPE_CHECKING:
    from diptych.data.sources import Sample, Source
    from diptych.encoder.captioner import Captioner
    from diptych.encoder.clip import Clip

BATCH = 64


@dataclass(frozen=True)
class Features:
    """Unit-norm embeddings of the N images of a source that could be read, in the source's order.

    failures: why the others could not; fingerprint: SHA-256 over keys, captions, labels and bytes of what was read.
    """

    images_NE: np.ndarray
    captions: tuple[tuple[str, ...], ...]
    labels: tuple[int | None, ...]
    keys: tuple[str, ...]
    failures: tuple[str, ...]
    fingerprint: str


def embed(
    clip: Clip | Captioner,
    source: Source,
    lack: Callable[[Sample], str] = lambda _: "",
    *,
    allowed_failures: float = 0.1,
) -> Features:
    """Embed every image of a source, decoding a batch ahead of the model.

    ``lack`` says what a sample has not that is needed of it, and nothing where it has all; then it counts as one that
    cannot be read. Raises TooManyFailures where these are a larger share than ``allowed_failures``, DataError where
    they are all.
    """
    samples: list[Sample] = []
    embeddings: list[np.ndarray] = []
    failures: list[str] = list(getattr(source, "problems", ()))
    digest, failed = hashlib.sha256(), 0
    for batch in _read_ahead(source, lack, clip.spec.preprocess):
        pixels = []
        for item in batch:
            if isinstance(item, DataError):
                failures.append(str(item))
                failed += 1
                continue
            pixels.append(item.pixels_CHW)
            samples.append(item.sample)
            digest.update(item.digest)
        if failed / len(source) > allowed_failures:
            raise TooManyFailures(
                f"{failed} samples of {source.name} cannot be used, more than {allowed_failures:.0%} of its "
                f"{len(source)}; the first: {failures[-failed]}"
            )
        if pixels:
            embeddings.append(clip.encode_pixels(torch.stack(pixels)))
    if not samples:
        raise DataError(f"{source.name} holds no image that can be read")
    return Features(
        images_NE=np.concatenate(embeddings),
        captions=tuple(sample.captions for sample in samples),
        labels=tuple(sample.label for sample in samples),
        keys=tuple(sample.key for sample in samples),
        failures=tuple(failures),
        fingerprint=digest.hexdigest(),
    )


@dataclass(frozen=True)
class _Decoded:
    pixels_CHW: Tensor
    sample: Sample  # without its image
    digest: bytes


def _read_ahead(
    source: Source, lack: Callable[[Sample], str], spec: PreprocessSpec
) -> Iterator[list[_Decoded | DataError]]:
    """Batches in the source's order. The source is read here, decoding is left to threads, one batch ahead."""
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        waiting: list[Future[_Decoded | DataError]] = []
        for start in progress(range(0, len(source), BATCH), f"embedding {source.name}", unit="batch"):
            ahead = []
            for i in range(start, min(start + BATCH, len(source))):
                ahead.append(threads.submit(_decode, _read(source, i, lack), spec))
            if waiting:
                yield [future.result() for future in waiting]
            waiting = ahead
        if waiting:
            yield [future.result() for future in waiting]


def _read(source: Source, i: int, lack: Callable[[Sample], str]) -> Sample | DataError:
    try:
        sample = read(source, i)
    except DataError as problem:
        return problem
    lacking = lack(sample)
    return DataError(f"{sample.key} {lacking}") if lacking else sample


def _decode(sample: Sample | DataError, spec: PreprocessSpec) -> _Decoded | DataError:
    if isinstance(sample, DataError):
        return sample
    try:
        with naming(sample):
            content = read_bytes(sample.image) if isinstance(sample.image, Path) else sample.image
            pixels_CHW = preprocess(decode_image(content), spec)
    except DataError as problem:
        return problem
    digest = hashlib.sha256(repr(sample[1:]).encode("utf-8", "surrogatepass"))
    digest.update(content if isinstance(content, bytes) else content.tobytes())
    return _Decoded(pixels_CHW, sample._replace(image=b""), digest.digest())
