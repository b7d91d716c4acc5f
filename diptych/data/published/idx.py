"""MNIST and whatever else is in idx files.

What a header promises is compared with the size of the file, and with what gzip can unpack to, before memory is asked
for.
"""

from __future__ import annotations

import math
import zlib
from pathlib import Path

import numpy as np

from diptych.data.files import printable, read_bytes
from diptych.data.published.array_source import ArraySource
from diptych.errors import DataError

_BEST_PACKING = 1032  # bytes that one byte of gzip can unpack to


def idx(base: Path, split: str) -> ArraySource:
    """MNIST and whatever else has its form: ``train-images-idx3-ubyte`` with ``-labels-idx1-``, plain or ``.gz``."""
    stem = {"train": "train", "test": "t10k"}[split]
    images, labels = (_idx_file(base, f"{stem}-{kind}-ubyte") for kind in ("images-idx3", "labels-idx1"))
    return ArraySource(
        base.name, _idx(images, 3), _idx(labels, 1).astype(np.int64), None, origin=base / f"{stem}-images"
    )


def _idx_file(base: Path, name: str) -> Path:
    """The file of that name, with ``.gz``, or with the dot that some copies have before ``idx``."""
    names = (name, name.replace("-idx", ".idx"))
    found = [path for plain in names for path in (base / plain, base / f"{plain}.gz") if path.is_file()]
    if not found:
        raise DataError(f"{printable(base)} has no {name}, nor {name}.gz")
    return found[0]


def _idx(path: Path, axes: int) -> np.ndarray:
    content, header = read_bytes(path), 4 + 4 * axes
    packed = path.suffix == ".gz"
    start = _unpacked(path, content, header)[0] if packed else content[:header]
    if len(start) < header:
        raise DataError(f"{path} has {len(start)} bytes, fewer than the {header} of its header; is it cut off?")
    if start[:4] != bytes([0, 0, 8, axes]):
        raise DataError(
            f"{path} begins with {start[:4].hex(' ')}, not with 00 00 08 0{axes} as bytes with {axes} axes do in idx"
        )
    shape = tuple(int(size) for size in np.frombuffer(start[4:], ">u4"))
    promised, sizes = header + math.prod(shape), " x ".join(f"{size:,}" for size in shape)
    if packed and promised > _BEST_PACKING * len(content):
        raise DataError(f"{path} is to hold {sizes} bytes, more than {len(content):,} bytes of gzip can unpack to")
    whole = True
    if packed:
        content, whole = _unpacked(path, content, promised + 1)
    if len(content) == promised and not whole:
        raise DataError(f"{path} is cut off: the checksum at its end is not there")
    if len(content) != promised:
        there = len(content) - header
        raise DataError(f"{path} is to hold {sizes} bytes, but {there:,} follow its header; is it cut off?")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def _unpacked(path: Path, content: bytes, most: int) -> tuple[bytes, bool]:
    """The beginning of what gzip packed, so many bytes at most, and whether it is all, by its checksum."""
    unpacker = zlib.decompressobj(wbits=31)
    try:
        return unpacker.decompress(content, most), unpacker.eof
    except zlib.error as error:
        raise DataError(f"{path} is no gzip file, or a damaged one: {error}") from error
