"""Whether a video's file is whole, by the sizes that its outermost parts tell: MP4 and MOV, AVI, Matroska and WebM."""

from __future__ import annotations

import os
from typing import BinaryIO

from diptych.errors import DataError

_EBML, _SEGMENT = bytes.fromhex("1a45dfa3"), bytes.fromhex("18538067")
_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"styp", b"moof", b"sidx")
_MOST_BOXES = 100_000


def check_whole(name: str, file: BinaryIO) -> None:
    """Raise DataError where a file is empty or ends before what it begins does. Other kinds of files pass."""
    length = os.fstat(file.fileno()).st_size
    if not length:
        raise DataError(f"{name} is empty (0 bytes)")
    start = file.read(12)
    if start[:4] == b"RIFF":
        end = 8 + int.from_bytes(start[4:8], "little")
    elif start[:4] == _EBML:
        end = _end_of_matroska(file)
    elif start[4:8] in _BOXES:
        end = _end_of_boxes(file, length)
    else:
        return
    if end > length:
        raise DataError(f"{name} is cut off: it has {length:,} bytes of {end:,}")


def _end_of_boxes(file: BinaryIO, length: int) -> int:
    """MP4 is a row of boxes: four bytes of size, four of kind; 1 means that eight bytes of size follow, 0 the rest."""
    offset = 0
    for _ in range(_MOST_BOXES):
        if offset >= length:
            break
        file.seek(offset)
        header = file.read(16)
        size = int.from_bytes(header[:4], "big")
        if size == 1:
            size = int.from_bytes(header[8:16], "big")
        if size == 0:
            return length
        offset += max(8, size)
    return offset


def _end_of_matroska(file: BinaryIO) -> int:
    """Matroska is a header and a segment, each with its size; 0 where the segment leaves its own open."""
    file.seek(4)
    size = _number(file)
    if size is None:
        return 0
    file.seek(size, os.SEEK_CUR)
    if file.read(4) != _SEGMENT:
        return 0
    size = _number(file)
    return 0 if size is None else file.tell() + size


def _number(file: BinaryIO) -> int | None:
    """A number of as many bytes as zeros before its first one say; all ones mean that it is not known."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    more = 8 - first[0].bit_length()
    value = int.from_bytes(bytes([first[0] & (0x7F >> more)]) + file.read(more), "big")
    return None if value == (1 << 7 * (more + 1)) - 1 else value
