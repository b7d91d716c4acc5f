"""The pass over the images of a source: decoded by threads a batch ahead of the model, and handed on in parts."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from diptych.data.files import printable, read_bytes
from diptych.data.preprocess import decode_image, preprocess
from diptych.data.sources import naming, read
from diptych.errors import DataError, ShardLost, UnknownClass
from diptych.evaluation.feature_files import Part
from diptych.evaluation.subjects import Subject, outputs, preprocessing
from diptych.progress import progress
from diptych.specs import PreprocessSpec

if TYPE_CHECKING:
    from diptych.data.sources import Sample, Source

BATCH = 64
BATCHES = 8  # in a part: what is lost at most where a process is killed, and what each of several makes at a time
# What says that a file is not there, or is no file. Decoders, which call damage an OSError too, give no number.
_LASTING = (None, errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EISDIR, errno.EINVAL)


def parts_of(source: Source) -> range:
    """The numbers of the parts of a source."""
    return range(-(-len(source) // (BATCH * BATCHES)))


def made(subject: Subject, source: Source, numbers: Sequence[int]) -> Iterator[tuple[int, Part, tuple[str, ...]]]:
    """These parts, each with its number, and those of its failures that are the system's, which may pass (see
    `may_pass`). What is in a batch depends on the source alone, so that the numbers are the same whichever parts are
    made, by whichever process. Raises UnknownClass for a label that is none."""
    size = BATCH * BATCHES
    starts = [i for n in numbers for i in range(n * size, min((n + 1) * size, len(source)), BATCH)]
    part = _Growing()
    for start, batch in zip(starts, _read_ahead(source, starts, preprocessing(subject)), strict=True):
        part.take(subject, start, batch)
        number = start // size
        if start + BATCH >= min((number + 1) * size, len(source)):
            yield number, part.whole(tuple(getattr(source, "problems", ()))), tuple(part.passing)
            part = _Growing()


@dataclass(frozen=True)
class _Decoded:
    pixels_CHW: Tensor
    sample: Sample  # without its image
    digest: bytes
    image: bytes  # its digest alone


@dataclass
class _Growing:
    """A part that is not whole yet."""

    places: list[int] = field(default_factory=list)
    decoded: list[_Decoded] = field(default_factory=list)  # without pixels
    embeddings: list[np.ndarray] = field(default_factory=list)
    features: list[np.ndarray] = field(default_factory=list)
    failures: list[tuple[int, str]] = field(default_factory=list)
    passing: list[str] = field(default_factory=list)

    def take(self, subject: Subject, start: int, batch: list[_Decoded | DataError]) -> None:
        pixels = []
        for place, item in enumerate(batch, start):
            if isinstance(item, DataError):
                self.failures.append((place, str(item)))
                self.passing += [str(item)] if may_pass(item) else []
            else:
                pixels.append(item.pixels_CHW)
                self.places.append(place)
                self.decoded.append(_Decoded(torch.empty(0), item.sample, item.digest, item.image))
        if pixels:
            embeddings_BE, features_BD = outputs(subject, torch.stack(pixels))
            self.embeddings.append(embeddings_BE)
            self.features.append(features_BD)

    def whole(self, problems: tuple[str, ...]) -> Part:
        samples = [item.sample for item in self.decoded]
        return Part(
            places_n=np.array(self.places, np.int64),
            keys=tuple(printable(sample.key) for sample in samples),
            labels=tuple(sample.label for sample in samples),
            label_sets=tuple(sample.labels for sample in samples),
            unjudged=tuple(sample.unjudged for sample in samples),
            captions=tuple(sample.captions for sample in samples),
            digests=tuple(item.digest for item in self.decoded),
            images=tuple(item.image for item in self.decoded),
            arrays={"embeddings": _stacked(self.embeddings), "features": _stacked(self.features)},
            failures=tuple(self.failures),
            problems=problems,
        )


def _stacked(batches: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate(batches) if batches else np.empty((0, 0), np.float32)


def _read_ahead(source: Source, starts: Sequence[int], spec: PreprocessSpec) -> Iterator[list[_Decoded | DataError]]:
    """The batches that begin at ``starts``. The source is read here, decoding is left to threads, one batch ahead."""
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        waiting: list[Future[_Decoded | DataError]] = []
        for start in progress(starts, f"embedding {source.name}", unit="batch"):
            ahead = []
            for i in range(start, min(start + BATCH, len(source))):
                ahead.append(threads.submit(_decode, _read(source, i), spec))
            if waiting:
                yield [future.result() for future in waiting]
            waiting = ahead
        if waiting:
            yield [future.result() for future in waiting]


def may_pass(problem: BaseException) -> bool:
    """Whether it is the system that did not let something be read (permission, a disk or network that did not answer),
    so that it may be read another time: not that it is not there, or damaged."""
    cause: BaseException | None = problem
    while cause is not None:
        if isinstance(cause, ShardLost) or (isinstance(cause, OSError) and cause.errno not in _LASTING):
            return True
        cause = cause.__cause__
    return False


def _read(source: Source, i: int) -> Sample | DataError:
    try:
        return read(source, i)
    except UnknownClass:
        raise  # all classes may be taken for others
    except DataError as problem:
        return problem


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
    seen = content if isinstance(content, bytes) else content.tobytes()
    digest.update(seen)
    return _Decoded(pixels_CHW, sample._replace(image=b""), digest.digest(), hashlib.sha256(seen).digest())
