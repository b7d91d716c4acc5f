"""FER2013's table of pixels, Hateful Memes' JSON lines, and ImageNet's folders with the names of its synsets."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from diptych.data.fields import class_names
from diptych.data.files import check_regular, printable, read_lines
from diptych.data.folders import images_in, subfolders
from diptych.data.listed import Item, ListedSource
from diptych.data.pixel_arrays import ArraySource
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
    return ArraySource("FER2013", np.stack(faces), np.array(labels, np.int64), None, origin=f"fer2013.csv {split}")


def hateful_memes(base: Path, split: str) -> ListedSource:
    """``train.jsonl``, ``dev.jsonl`` (or ``dev_seen.jsonl``): ``{"img": "img/42953.png", "label": 0, "text": ...}`` a
    line; 1 is hateful. The text stands in the picture too, so it is no caption here."""
    file = next((path for path in (base / f"{split}.jsonl", base / f"{split}_seen.jsonl") if path.is_file()), None)
    if file is None:
        raise DataError(f"{printable(base / split)}.jsonl: no such file, nor {split}_seen.jsonl")
    items = []
    for number, line in enumerate(read_lines(file) or (), 1):
        try:
            row = json.loads(line)
            image, label = row["img"], row.get("label")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise DataError(f"{file}, line {number} is no object with an 'img': {error}") from error
        if label is None:
            raise DataError(f"{file}, line {number} has no label, as in the test split that is not public; take dev")
        if label not in (0, 1) or not isinstance(image, str):
            raise DataError(f"{file}, line {number}: its label is {label!r:.40}, not 0 or 1, or 'img' is no path")
        items.append(Item(image, int(label)))
    return ListedSource("Hateful Memes", base, items, None)


def synset_folders(base: Path, split: str) -> ListedSource:
    """``val/n01440764/ILSVRC2012_val_00000293.JPEG``, or without the split's folder, classes in the order of numbers.

    Names are those of ``classnames.txt``, in the same order, or stand beside the numbers in ``LOC_synset_mapping.txt``,
    ``words.txt`` or ``README.txt``; of several that commas divide, the first is taken. None where none of these is
    there.
    """
    folder = base / split if (base / split).is_dir() else base
    synsets = [top for top in subfolders(folder) if re.fullmatch(r"n\d{8}", top)]
    if not synsets:
        raise DataError(f"{printable(folder)} has no folders that are called as synsets are, n01440764")
    places = {synset: label for label, synset in enumerate(synsets)}
    files = (file for file, _ in images_in(folder))
    items = (Item(file, places[top]) for file in files if (top := file.partition("/")[0]) in places)
    return ListedSource(printable(base.resolve().name), folder, items, _synset_names(base, synsets))


def _synset_names(base: Path, synsets: list[str]) -> list[str] | None:
    if (listed := class_names(base / "classnames.txt")) is not None:
        return list(listed)
    for file in (base / name for name in ("LOC_synset_mapping.txt", "words.txt", "README.txt")):
        lines = (re.match(r"(n\d{8})\s+(\S.*)", line) for line in read_lines(file) or ())
        known = {found[1]: found[2].partition(",")[0].strip() for found in lines if found}
        if known:
            missing = next((synset for synset in synsets if synset not in known), None)
            if missing:
                raise DataError(f"{file} does not name the synset {missing}")
            return [known[synset] for synset in synsets]
    return None


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
