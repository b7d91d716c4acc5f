"""CIFAR-10 and CIFAR-100, in the Python and the binary version; the pickles are read without executing anything."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diptych.data.fields import class_names
from diptych.data.files import printable
from diptych.data.locations import natural
from diptych.data.published.array_source import ArraySource
from diptych.data.published.pickles import array, read_pickle
from diptych.data.published.records import records
from diptych.errors import DataError

_SHAPE = (3, 32, 32)
_MOST_CLASSES = 1000


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
        if data.ndim != 2 or data.shape[1] != math.prod(_SHAPE):
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
    rows = np.concatenate([records(path, label_bytes + math.prod(_SHAPE)) for path in files])
    listed = class_names(names)
    if listed is None:
        raise DataError(f"{printable(names)}: no such file; it names the classes")
    return _cifar(name, rows[:, label_bytes:], rows[:, label_bytes - 1].astype(np.int64), listed, files)


def _cifar(
    name: str, rows: np.ndarray, labels_N: np.ndarray, names: Sequence[str], files: Sequence[Path]
) -> ArraySource:
    origin = files[0] if len(files) == 1 else files[0].with_name("data_batch")
    images_NHWC = rows.reshape(-1, *_SHAPE).transpose(0, 2, 3, 1)
    return ArraySource(name, images_NHWC, labels_N, [label.replace("_", " ") for label in names], origin=origin)


def _entry(path: Path, content: Any, name: str) -> Any:
    if not isinstance(content, dict) or name not in content:
        has = ", ".join(sorted(str(key) for key in content)) if isinstance(content, dict) else type(content).__name__
        raise DataError(f"{path} has no {name!r}; it has {has:.200}")
    return content[name]


def _all_of(values: Any, kind: type) -> bool:
    return isinstance(values, list) and all(type(value) is kind for value in values)
