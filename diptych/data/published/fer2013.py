"""FER2013: a table whose cells hold the pixels."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from diptych.data.files import check_regular
from diptych.data.published.array_source import ArraySource
from diptych.errors import DataError

_FACE = 48  # pixels of a side
_EMOTIONS = 7


def fer2013(base: Path, split: str) -> ArraySource:
    """``fer2013.csv`` with the columns ``emotion`` (0 to 6), ``pixels`` (2,304 numbers) and ``Usage``.

    ``split``: what stands under ``Usage``. The emotions are angry, disgusted, afraid, happy, sad, surprised, neutral.
    """
    file = base / "fer2013.csv"
    faces, labels = [], []
    for number, row in _rows_of_csv(file, ("emotion", "pixels", "Usage")):
        if row["Usage"] != split:
            continue
        pixels = np.array(_numbers(file, number, row["pixels"]), np.int64)
        if len(pixels) != _FACE * _FACE or not ((pixels >= 0) & (pixels <= 255)).all():
            raise DataError(f"{file}, line {number}: its {len(pixels)} pixels are not {_FACE * _FACE} from 0 to 255")
        emotion = _numbers(file, number, row["emotion"])
        if len(emotion) != 1 or emotion[0] >= _EMOTIONS:
            raise DataError(f"{file}, line {number}: its emotion is {row['emotion']!r:.40}, not one from 0 to 6")
        faces.append(pixels.astype(np.uint8).reshape(_FACE, _FACE))
        labels += emotion
    if not faces:
        raise DataError(f"{file} has no line whose Usage is {split!r}; it may be cut off")
    return ArraySource(
        "FER2013", np.stack(faces), np.array(labels, np.int64), None, origin=base / f"fer2013.csv {split}"
    )


def _rows_of_csv(file: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    check_regular(file)
    with file.open(encoding="utf-8-sig", newline="") as lines:
        try:
            reader = csv.DictReader(lines)
            if missing := set(columns) - set(reader.fieldnames or ()):
                has = ", ".join(reader.fieldnames or ()) or "none"
                raise DataError(f"{file} has no column {sorted(missing)[0]!r}; it has {has:.200}")
            for row in reader:
                if any(row[column] is None for column in columns):
                    raise DataError(f"{file}, line {reader.line_num} has too few columns; is the file cut off?")
                yield reader.line_num, row
        except (csv.Error, UnicodeDecodeError) as error:
            raise DataError(f"{file} is no table of UTF-8: {error}") from error


def _numbers(file: Path, number: int, cell: str) -> list[int]:
    found = cell.split()
    if not all(value.isdecimal() and len(value) < 10 for value in found):
        raise DataError(f"{file}, line {number}: {cell!r:.40} is no row of numbers")
    return [int(value) for value in found]
