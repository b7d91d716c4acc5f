"""STL-10, binary."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from diptych.data.fields import class_names
from diptych.data.files import read_bytes
from diptych.data.published.array_source import ArraySource
from diptych.data.published.records import records
from diptych.errors import DataError

_SHAPE = (3, 96, 96)


def stl10_binary(base: Path, split: str) -> ArraySource:
    """``train_X.bin`` with ``train_y.bin`` (classes from 1), or ``test_``; names in ``class_names.txt``.

    Pixels of an image lie by channel and then by column.
    """
    pixels, labels = base / f"{split}_X.bin", base / f"{split}_y.bin"
    images_NHWC = records(pixels, math.prod(_SHAPE)).reshape(-1, *_SHAPE).transpose(0, 3, 2, 1)
    labels_N = np.frombuffer(read_bytes(labels), np.uint8).astype(np.int64) - 1
    if len(labels_N) and labels_N.min() < 0:
        raise DataError(f"{labels} holds a 0, but STL-10 numbers its classes from 1")
    return ArraySource("STL-10", images_NHWC, labels_N, class_names(base / "class_names.txt"), origin=pixels)
