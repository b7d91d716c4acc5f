"""Data sets that are published as folders of images, one a class, called by a synset, a number or a code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from diptych.data.fields import class_names
from diptych.data.files import printable, read_lines
from diptych.data.folders import images_in, subfolders
from diptych.data.published.list_source import Item, ListedSource
from diptych.errors import DataError


def synset_folders(base: Path, split: str) -> ListedSource:
    """``val/n01440764/ILSVRC2012_val_00000293.JPEG``, or without the split's folder, classes in the order of numbers.

    Names are those of ``classnames.txt``, in the same order, or stand beside the numbers in ``LOC_synset_mapping.txt``,
    ``words.txt`` or ``README.txt``; of several that commas divide, the first is taken. None where none of these is
    there.
    """
    # Without folders of splits there is one split, that which is measured.
    folder = _existing(base / split) if split == "train" or (base / split).is_dir() else base
    synsets = [top for top in subfolders(folder) if re.fullmatch(r"n\d{8}", top)]
    if not synsets:
        raise DataError(f"{printable(folder)} has no folders that are called as synsets are, n01440764")
    places = {synset: label for label, synset in enumerate(synsets)}
    files = (file for file, _ in images_in(folder))
    items = (Item(file, places[top]) for file in files if (top := file.partition("/")[0]) in places)
    source = ListedSource(printable(base.resolve().name), folder, items, _synset_names(base, synsets))
    source.class_ids = tuple(synsets)
    return source


def coded_folders(base: Path, split: str) -> ListedSource:
    """``test/AD/1.jpg``: folders of a code each, in whose order classes are numbered (Country211)."""
    tops = subfolders(_existing(base / split))
    items = [Item(file, tops.index(top)) for top, file in in_folders(base / split)]
    return ListedSource(printable(base.resolve().name), base / split, items, None)


def numbered_folders(base: Path, split: str) -> ListedSource:
    """Folders called by the number of their class, ``0/1.jpeg`` to ``999/`` (ImageNetV2)."""
    if odd := [top for top in subfolders(base) if not top.isdecimal()]:
        raise DataError(f"{base} has a folder {printable(odd[0])!r} among those that are called by a number")
    items = [Item(file, int(top)) for top, file in in_folders(base)]
    return ListedSource(printable(base.resolve().name), base, items, class_names(base / "classnames.txt"))


def in_folders(folder: Path) -> Iterator[tuple[str, str]]:
    """Each image below the subfolders of a folder: the subfolder and its path."""
    for file, _ in images_in(_existing(folder)):
        top, slash, _ = file.partition("/")
        if slash:
            yield top, file


def _existing(folder: Path) -> Path:
    if not folder.is_dir():
        raise DataError(f"{printable(folder)}: no such folder")
    return folder


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
