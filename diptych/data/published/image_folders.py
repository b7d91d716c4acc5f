"""Data sets that are published as folders of images, one a class, called by a synset, a number or a code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from diptych.data.fields import class_names
from diptych.data.files import printable, read_lines
from diptych.data.folders import images_in, subfolders
from diptych.data.published.list_source import Item, ListedSource
from diptych.data.published.text_lists import numbers_of
from diptych.errors import DataError

# First and second letters of codes of countries (ISO 3166, and XK), in the order of the names of ``country211``: one
# that a split lacks moves no other.
_LETTERS = (
    "A:DEFGILMOQRTUWXZ B:ABDEFGHJMNOQRSTWYZ C:ADFHIKLMNORUVWYZ D:EKMOZ E:CEGST F:IJKOR G:ABDEFGHILMPRSTUY "
    "H:KNRTU I:DELMNQRST J:EMOP K:EGHNPRWYZ L:ABCIKRTUVY M:ACDEFGKLMNOQRTUVWXYZ N:ACGILOPZ O:M P:AEFGHKLRSTWY "
    "Q:A R:EOSUW S:ABCDEGHIJKLMNOSVXYZ T:GHJLMNORTWZ U:AGSYZ V:AEGINU W:S X:K Y:E Z:AMW"
)
COUNTRIES = tuple(
    first + second for first, _, seconds in (part.partition(":") for part in _LETTERS.split(" ")) for second in seconds
)


def synset_folders(base: Path, split: str) -> ListedSource:
    """``val/n01440764/ILSVRC2012_val_00000293.JPEG``, or without the split's folder, classes in the order of numbers,
    those of ``train`` and ``val`` together.

    Names are those of ``classnames.txt``, in the same order, or stand beside the numbers in ``LOC_synset_mapping.txt``,
    ``words.txt`` or ``README.txt``; of several that commas divide, the first is taken. None where none of these is
    there.
    """
    # Without folders of splits there is one split, that which is measured.
    folder = _existing(base / split) if split == "train" or (base / split).is_dir() else base
    if not (found := _synsets(folder)):
        raise DataError(f"{printable(folder)} has no folders that are called as synsets are, n01440764")
    parts = [found, *(_synsets(base / part) for part in ("train", "val") if (base / part).is_dir())]
    synsets = sorted(set().union(*parts))
    places = numbers_of(synsets)
    files = (file for file, _ in images_in(folder))
    items = (Item(file, places[top]) for file in files if (top := file.partition("/")[0]) in places)
    source = ListedSource(printable(base.resolve().name), folder, items, _synset_names(base, synsets))
    source.class_ids = tuple(synsets)
    return source


def coded_folders(base: Path, split: str) -> ListedSource:
    """``test/AD/1.jpg``: folders called by the code of a country, in whose order classes are numbered (Country211)."""
    places = numbers_of(COUNTRIES)
    if odd := [top for top in subfolders(_existing(base / split)) if top not in places]:
        raise DataError(
            f"{printable(base / split)} has a folder {printable(odd[0])!r} among those that are called by the code of "
            f"a country, {COUNTRIES[0]} to {COUNTRIES[-1]}"
        )
    items = [Item(file, places[top]) for top, file in in_folders(base / split)]
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


def _synsets(folder: Path) -> list[str]:
    return [top for top in subfolders(folder) if re.fullmatch(r"n\d{8}", top)]


def _existing(folder: Path) -> Path:
    if not folder.is_dir():
        raise DataError(f"{printable(folder)}: no such folder")
    return folder


def _synset_names(base: Path, synsets: list[str]) -> list[str] | None:
    if (listed := class_names(base / "classnames.txt")) is not None:
        if len(listed) != len(synsets):
            raise DataError(
                f"{base}/classnames.txt has {len(listed):,} lines for {len(synsets):,} folders of synsets, so which "
                "names are whose is not known"
            )
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
