"""The pickles in which CIFAR's Python version is published: dicts of lists, bytes and arrays of bytes, nothing else."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from diptych.data.files import read_bytes
from diptych.errors import DataError
from diptych.unpickle import Function, Kind, Module, rebuild


def read_pickle(path: Path) -> Any:
    """What a pickle holds: lists, dicts, numbers and text; `array` makes an array of what stands for one.

    Nothing in it is executed: whatever names anything but NumPy's arrays is a DataError, as is a file that is no pickle
    or is cut off.
    """
    content = read_bytes(path)
    try:
        return rebuild(content, _Names(path))
    except DataError:
        raise
    except Exception as error:  # whatever a hostile or broken pickle makes the machine trip over
        raise DataError(
            f"{path} is no pickle of plain data, or is cut off ({type(error).__name__}: {error})"
        ) from error


def array(path: Path, value: Any) -> np.ndarray:
    """An array of rows of bytes as uint8. Raises DataError for anything else, and where bytes are missing or too many.

    The state of an array is a version, its shape, its type, whether it lies by columns, and its bytes.
    """
    if not isinstance(value, Module) or value.kind != "ndarray" or len(value.state) != 5:
        raise DataError(f"{path} holds something else where there should be an array")
    _, shape, kind, by_columns, content = value.state
    sizes = isinstance(shape, tuple) and len(shape) == 2 and all(type(size) is int and size >= 0 for size in shape)
    if not sizes or not isinstance(content, str) or not isinstance(kind, Module) or kind.kind != "dtype u1":
        raise DataError(f"{path} holds an array whose shape (rows, columns), type (bytes, u1) or content is none")
    try:
        data = content.encode("latin-1")
    except UnicodeEncodeError as error:
        raise DataError(f"{path} holds an array of text, not of bytes") from error
    if math.prod(shape) != len(data):
        raise DataError(f"{path} holds an array {shape} of bytes, but {len(data):,} are there")
    return np.frombuffer(data, np.uint8).reshape(shape, order="F" if by_columns else "C")


class _Names:
    """What may be named: the three things of which NumPy makes an array."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def named(self, module: str, name: str) -> Any:
        if (module, name) == ("numpy", "ndarray"):
            return Kind("ndarray")
        if (module, name) == ("numpy", "dtype"):
            return Function(lambda kind, *_: Module(f"dtype {kind}", (), takes=tuple))
        if (module, name) in (("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct")):
            return Function(lambda *_: Module("ndarray", (), takes=tuple))
        raise DataError(
            f"{self.path} asks to load {module}.{name}, which no data set needs; it was not run. Do not trust this file"
        )

    def stored(self, identity: Any) -> Any:
        raise DataError(f"{self.path} refers to {identity!r:.80} outside of itself")
