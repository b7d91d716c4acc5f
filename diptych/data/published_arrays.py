"""CIFAR-10 and CIFAR-100 (Python and binary), MNIST (idx), STL-10 (binary) as they are published.

What a header promises is compared with the size of the file before memory is asked for; CIFAR's pickles are read
without executing anything in them.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diptych.data.fields import class_names
from diptych.data.files import printable, read_bytes
from diptych.data.locations import natural
from diptych.data.pixel_arrays import ArraySource
from diptych.data.pixel_pickles import array, read_pickle
from diptych.errors import DataError

_CIFAR_SHAPE = (3, 32, 32)
_STL_SHAPE = (3, 96, 96)
_MOST_CLASSES = 1000
_BEST_PACKING = 1032  # bytes that one byte of gzip can unpack to


def cifar10_python(base: Path, split: str) -> ArraySource:
    """``data_batch_1`` ... or ``test_batch``, each a pickle of ``data`` and ``labels``; names in ``batches.meta``."""
    return _cifar_python("CIFAR-10", _batches(base, split, ""), "labels", base / "batches.meta", "label_names")


def cifar100_python(base: Path, split: str) -> ArraySource:
    """``train`` or ``test``, a pickle of ``data`` and ``fine_labels``; names in ``meta``."""
    return _cifar_python("CIFAR-100", [base / split], "fine_labels", base / "meta", "fine_label_names")


def cifar10_binary(base: Path, split: str) -> ArraySource:
    """``data_batch_1.bin`` ... or ``test_batch.bin``: a byte of label and 3,072 of pixels; ``batches.meta.txt``."""
    return _cifar_binary("CIFAR-10", _batches(base, split, ".bin"), 1, base / "batches.meta.txt")


def cifar100_binary(base: Path, split: str) -> ArraySource:
    """``train.bin`` or ``test.bin``: bytes of coarse and fine label, 3,072 of pixels; ``fine_label_names.txt``."""
    return _cifar_binary("CIFAR-100", [base / f"{split}.bin"], 2, base / "fine_label_names.txt")


def idx(base: Path, split: str) -> ArraySource:
    """MNIST and whatever else has its form: ``train-images-idx3-ubyte`` with ``-labels-idx1-``, plain or ``.gz``."""
    stem = {"train": "train", "test": "t10k"}[split]
    images, labels = (_idx_file(base, f"{stem}-{kind}-ubyte") for kind in ("images-idx3", "labels-idx1"))
    return ArraySource(base.name, _idx(images, 3), _idx(labels, 1).astype(np.int64), None, origin=f"{stem}-images")


def stl10_binary(base: Path, split: str) -> ArraySource:
    """``train_X.bin`` with ``train_y.bin`` (classes from 1), or ``test_``; names in ``class_names.txt``.

    Pixels of an image lie by channel and then by column.
    """
    pixels, labels = base / f"{split}_X.bin", base / f"{split}_y.bin"
    images_NHWC = _records(pixels, math.prod(_STL_SHAPE)).reshape(-1, *_STL_SHAPE).transpose(0, 3, 2, 1)
    labels_N = np.frombuffer(read_bytes(labels), np.uint8).astype(np.int64) - 1
    if len(labels_N) and labels_N.min() < 0:
        raise DataError(f"{labels} holds a 0, but STL-10 numbers its classes from 1")
    return ArraySource("STL-10", images_NHWC, labels_N, class_names(base / "class_names.txt"), origin=pixels.name)


def _batches(base: Path, split: str, suffix: str) -> list[Path]:
    if split == "test":
        return [base / f"test_batch{suffix}"]
    found = sorted(
        (p for p in base.glob(f"data_batch_*{suffix}") if re.fullmatch(r"data_batch_\d+", p.stem)), key=natural
    )
    expected = [base / f"data_batch_{number + 1}{suffix}" for number in range(max(5, len(found)))]
    if found != expected:
        missing = next(path for path in expected if path not in found)
        raise DataError(f"{printable(missing)}: no such file; the training images are in five of them")
    return found


def _cifar_python(name: str, batches: Sequence[Path], field: str, meta: Path, names: str) -> ArraySource:
    pixels, labels = [], []
    for path in batches:
        batch = read_pickle(path)
        data, own = array(path, _entry(path, batch, "data")), _entry(path, batch, field)
        if data.ndim != 2 or data.shape[1] != math.prod(_CIFAR_SHAPE):
            raise DataError(f"{path}: its 'data' is an array {data.shape}, not rows of 3,072 bytes")
        if not _all_of(own, int) or len(own) != len(data) or not all(0 <= label < _MOST_CLASSES for label in own):
            raise DataError(f"{path}: its {field!r} are not {len(data)} numbers of classes, one an image")
        pixels.append(data)
        labels += own
    listed = _entry(meta, read_pickle(meta), names)
    if not _all_of(listed, str):
        raise DataError(f"{meta}: its {names!r} are no names")
    return _cifar(name, np.concatenate(pixels), np.array(labels, np.int64), listed, batches)


def _cifar_binary(name: str, files: Sequence[Path], label_bytes: int, names: Path) -> ArraySource:
    records = np.concatenate([_records(path, label_bytes + math.prod(_CIFAR_SHAPE)) for path in files])
    listed = class_names(names)
    if listed is None:
        raise DataError(f"{printable(names)}: no such file; it names the classes")
    return _cifar(name, records[:, label_bytes:], records[:, label_bytes - 1].astype(np.int64), listed, files)


def _cifar(
    name: str, rows: np.ndarray, labels_N: np.ndarray, names: Sequence[str], files: Sequence[Path]
) -> ArraySource:
    origin = files[0].name if len(files) == 1 else "data_batch"
    images_NHWC = rows.reshape(-1, *_CIFAR_SHAPE).transpose(0, 2, 3, 1)
    return ArraySource(name, images_NHWC, labels_N, [label.replace("_", " ") for label in names], origin=origin)


def _records(path: Path, size: int) -> np.ndarray:
    """A file as rows of so many bytes."""
    content = read_bytes(path)
    if not content or len(content) % size:
        whole = f"{len(content) // size:,} images of {size:,} bytes and {len(content) % size:,} more"
        raise DataError(f"{path} has {len(content):,} bytes, {whole}; is it cut off, or another file?")
    return np.frombuffer(content, np.uint8).reshape(-1, size)


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


def _entry(path: Path, content: Any, name: str) -> Any:
    if not isinstance(content, dict) or name not in content:
        has = ", ".join(sorted(str(key) for key in content)) if isinstance(content, dict) else type(content).__name__
        raise DataError(f"{path} has no {name!r}; it has {has:.200}")
    return content[name]


def _all_of(values: Any, kind: type) -> bool:
    return isinstance(values, list) and all(type(value) is kind for value in values)
