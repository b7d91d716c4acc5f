"""The labels of an image that has several: a vector of one number a class in NumPy's format, 1 where it is shown."""

from __future__ import annotations

import io
import math

import numpy as np

from diptych.errors import DataError


def labels_of_npy(key: str, content: bytes, classes: int | None) -> tuple[int, ...]:
    """The classes that a multi-hot vector names, ascending; ``classes``: how many there must be, where that is known.

    Raises DataError that names ``key`` for anything but as many zeros and ones; nothing in it is executed, and no more
    memory is taken than there are bytes.
    """
    file = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(file)
        if version not in _HEADERS:
            raise ValueError(f"it is of version {version}")
        shape, _, kind = _HEADERS[version](file)
    except (ValueError, EOFError) as error:
        raise DataError(f"{key}.npy is no array of NumPy: {error}") from error
    there = len(content) - file.tell()
    if kind.kind not in "fiub" or math.prod(shape) * kind.itemsize != there:
        raise DataError(f"{key}.npy is to hold an array {shape} of {kind}, but {there} bytes are there")
    hot = np.frombuffer(content, kind, offset=file.tell())
    if len(shape) != 1 or (classes is not None and len(hot) != classes):
        raise DataError(f"{key}.npy is an array {shape}, not one number for each of {classes or 'the'} classes")
    if not np.isin(hot, (0, 1)).all():
        raise DataError(f"{key}.npy holds {hot[~np.isin(hot, (0, 1))][0]}, which neither names a class (1) nor not (0)")
    return tuple(np.flatnonzero(hot).tolist())


_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
