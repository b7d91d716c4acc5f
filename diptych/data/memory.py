"""A small source decoded once and held in memory, so that its images are not decoded again in every epoch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from diptych.data.files import check_regular
from diptych.data.packed import Packed
from diptych.data.preprocess import decode_image
from diptych.data.sources import Sample, Source, naming, read
from diptych.errors import DataError, ShardLost
from diptych.progress import progress

LIMIT = 2 * 1024**3  # bytes


class InMemory:
    """The samples of another source with their images as arrays, in one block that worker processes share.

    ``side``: images whose short side is longer are reduced to it; twice the size trained at leaves room for crops.
    ``limit``: bytes that the images may take; DataError past it. A sample that cannot be used is a DataError when read,
    and ShardLost where it is not alone. ``fetched_sizes``: how many samples come and are lost together, while the order
    is one of them all.
    """

    def __init__(self, source: Source, *, side: int, limit: int = LIMIT) -> None:
        self.name = source.name
        self.class_names = source.class_names
        self.templates = source.templates
        self.fetched_sizes: tuple[int, ...] = tuple(getattr(source, "shard_sizes", (len(source),)))
        block, shapes, records = bytearray(), [], []
        for index in progress(range(len(source)), "decoding"):
            try:
                sample = read(source, index)
                with naming(sample):
                    if isinstance(sample.image, Path):
                        check_regular(sample.image)
                    pixels_HWC = np.asarray(_reduced(decode_image(sample.image), side))
            except DataError as error:
                kind = "lost" if isinstance(error, ShardLost) else "failed"
                pixels_HWC, record = np.zeros((0, 0, 3), np.uint8), {kind: str(error)}
            else:
                record = list(sample[1:])
            block += pixels_HWC.tobytes()
            if len(block) > limit:
                raise DataError(
                    f"{index + 1} of the {len(source)} images of {source.name} take more than {limit:,} bytes"
                )
            shapes.append(pixels_HWC.shape)
            records.append(json.dumps(record))
        self.problems: tuple[str, ...] = getattr(source, "problems", ())
        self._records = Packed(records)
        self._shapes = np.array(shapes, np.int32).reshape(-1, 3)
        self._ends = np.cumsum(np.prod(self._shapes, axis=1, dtype=np.int64))
        self._block = np.frombuffer(block, np.uint8)

    def __len__(self) -> int:
        return len(self._records)

    @property
    def nbytes(self) -> int:
        """Memory that the images take."""
        return self._block.nbytes

    def read(self, i: int) -> Sample:
        record = json.loads(self._records[i])
        if isinstance(record, dict):
            raise ShardLost(record["lost"]) if "lost" in record else DataError(record["failed"])
        captions, label, key, keywords, labels, unjudged = record
        shape = tuple(self._shapes[i].tolist())
        end = int(self._ends[i])
        pixels_HWC = self._block[end - shape[0] * shape[1] * 3 : end].reshape(shape)
        several = None if labels is None else tuple(labels)
        return Sample(pixels_HWC, tuple(captions), label, key, tuple(keywords), several, tuple(unjudged))


def _reduced(image: Image.Image, side: int) -> Image.Image:
    short = min(image.size)
    if short <= side:
        return image
    width, height = (round(length * side / short) for length in image.size)
    return image.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=3.0)
