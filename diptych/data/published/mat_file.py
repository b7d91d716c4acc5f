"""MATLAB's files of version 5 as lists, texts and numbers: what data sets keep their labels and class names in.

SciPy's reader takes sizes and types in a damaged file at their word, which can end the whole process; here each is held
to the bytes that there are. The format is MathWorks' "MAT-File Format", version 5.
"""

from __future__ import annotations

import math
import struct
import zlib
from typing import Any

import numpy as np

from diptych.errors import DataError

_HEADER = 128
_LARGEST = 16 << 20  # unpacked; the lists of data sets have less than 1 MB
_DEEPEST = 4  # arrays in arrays: texts in the fields of a structure are two
_MATRIX, _PACKED = 14, 15
_CELL, _STRUCTURE, _CHARACTERS, _NUMBERS = 1, 2, 4, range(6, 16)  # classes of arrays
_COMPLEX = 0x800
_KINDS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_TEXTS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}


def read_mat(content: bytes) -> dict[str, Any]:
    """The variables of a file by their names: numbers as a list of them, characters as a text, cells as a list, and
    structures as a list of one dictionary each, all in MATLAB's order, by columns. Of other kinds None.

    Raises DataError for what is no such file, is cut off, or says of itself what cannot be.
    """
    mark = content[_HEADER - 2 : _HEADER]
    if len(content) < _HEADER or mark not in (b"IM", b"MI"):
        raise DataError("its header is none")
    order = "<" if mark == b"IM" else ">"
    if content[_HEADER - 4 : _HEADER - 2][:: 1 if order == ">" else -1] != b"\x01\x00":
        raise DataError("it is of another version")
    elements, left, found = _Elements(content[_HEADER:], order), _LARGEST, {}
    while elements:
        kind, data = elements.take()
        if kind == _PACKED:
            kind, data = _Elements(_unpacked(data, left), order).take()
            left -= len(data)
        if kind == _MATRIX:
            name, value = _array(data, order, 0)
            found[name] = value
    return found


class _Elements:
    """The parts of a file, or of an array, one after another: a number for what each is, and its bytes."""

    def __init__(self, data: bytes, order: str) -> None:
        self.data, self.order, self.place = data, order, 0

    def __bool__(self) -> bool:
        return self.place < len(self.data)

    def take(self) -> tuple[int, bytes]:
        if len(self.data) - self.place < 8:
            raise DataError(f"it ends inside the head of a part, {len(self.data) - self.place} bytes before its end")
        kind, size = struct.unpack_from(f"{self.order}II", self.data, self.place)
        start, small = self.place + 8, kind >> 16
        if small:  # up to four bytes in the place of their number
            kind, size, start = kind & 0xFFFF, small, self.place + 4
        if size > (4 if small else len(self.data) - start):
            raise DataError(f"a part is to have {size:,} bytes, but {max(0, len(self.data) - start):,} follow")
        after = start + (4 if small else size if kind == _PACKED else -(-size // 8) * 8)
        self.place = after
        return kind, self.data[start : start + size]

    def numbers(self) -> list[Any]:
        kind, data = self.take()
        if kind not in _KINDS or len(data) % np.dtype(_KINDS[kind]).itemsize:
            raise DataError(f"there are no numbers in a part of kind {kind} with {len(data):,} bytes")
        return np.frombuffer(data, self.order + _KINDS[kind]).tolist()

    def text(self) -> str:
        kind, data = self.take()
        if kind not in _TEXTS:
            raise DataError(f"there is no text in a part of kind {kind}")
        ending = "" if kind in (1, 2, 16) else "-le" if self.order == "<" else "-be"
        try:
            return data.decode(_TEXTS[kind] + ending)
        except UnicodeDecodeError as error:
            raise DataError(f"a text is none ({error})") from error


def _array(data: bytes, order: str, depth: int) -> tuple[str, Any]:
    """The name of an array, empty inside of others, and what it holds."""
    if not data:
        return "", []
    if depth > _DEEPEST:
        raise DataError(f"its arrays are more than {_DEEPEST} deep in each other")
    parts = _Elements(data, order)
    flags, shape, name = parts.numbers(), parts.numbers(), parts.text()
    if len(flags) != 2 or not all(isinstance(size, int) and size >= 0 for size in (*flags, *shape)):
        raise DataError(f"{name!r:.80} has no kind or no size: {flags!r:.80}, {shape!r:.80}")
    kind, count = flags[0] & 0xFF, math.prod(shape)
    if kind in _NUMBERS and not flags[0] & _COMPLEX:
        found: Any = parts.numbers()
    elif kind == _CHARACTERS:
        found = parts.text() if count else ""
    elif kind == _CELL:
        found = _inner(parts, count, depth)
    elif kind == _STRUCTURE:
        if not (fields := _fields(parts)):
            return name, None
        inner = _inner(parts, count * len(fields), depth)
        found = [dict(zip(fields, inner[i : i + len(fields)], strict=True)) for i in range(0, len(inner), len(fields))]
    else:
        return name, None
    if len(found) != count:
        raise DataError(f"{name!r:.80} is to have {count:,} entries, but {len(found):,} are there")
    return name, found


def _inner(parts: _Elements, count: int, depth: int) -> list[Any]:
    """So many arrays inside of another."""
    found = []
    for _ in range(count):
        kind, data = parts.take()
        if kind != _MATRIX:
            raise DataError(f"there is no array in a part of kind {kind}")
        found.append(_array(data, parts.order, depth + 1)[1])
    return found


def _fields(parts: _Elements) -> list[str]:
    """The names of the fields of structures, each of them filled up with zeros to one length."""
    lengths, (_, data) = parts.numbers(), parts.take()
    if len(lengths) != 1 or not isinstance(lengths[0], int) or lengths[0] < 1 or len(data) % lengths[0]:
        raise DataError(f"its fields have no names: {lengths!r:.80} of {len(data):,} bytes")
    names = [data[i : i + lengths[0]].partition(b"\0")[0] for i in range(0, len(data), lengths[0])]
    return [name.decode("latin-1") for name in names]


def _unpacked(data: bytes, largest: int) -> bytes:
    unpacking = zlib.decompressobj()
    try:
        found = unpacking.decompress(data, max(1, largest))
    except zlib.error as error:
        raise DataError(f"what is packed in it is damaged ({error})") from error
    if not unpacking.eof:
        raise DataError(f"what is packed in it is cut off, or more than {_LARGEST >> 20} MB")
    return found
