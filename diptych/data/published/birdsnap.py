"""Birdsnap: lists of birds and of where their photographs were, most of which can still be fetched."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from diptych.data.files import printable, read_lines
from diptych.data.published.list_source import Item, ListedSource
from diptych.data.published.text_lists import class_number, numbered_lines
from diptych.errors import DataError
from diptych.progress import say

_FOLDERS = ("download/images", "images")  # where its script puts images, and where others move them


def birdsnap(base: Path, split: str) -> ListedSource:
    """``images.txt``: a table with the ``path`` of an image, ``Blue_Jay/1.jpg``, and its ``species_id``, from 1, whose
    name ``common`` is in ``species.txt``; ``test_images.txt`` lists paths under a header, and the others are train.

    Images are in ``download/images``. Those that could not be fetched are left out, which is said.
    """
    listed, images = base / "species.txt", base / "images.txt"
    names = {class_number(listed, line, number): name for line, number, name in _cells(listed, "id", "common")}
    if sorted(names) != list(range(1, len(names) + 1)):
        raise DataError(f"{printable(listed)} does not number its {len(names)} species from 1")
    folder = next((base / name for name in _FOLDERS if (base / name).is_dir()), None)
    if folder is None:
        raise DataError(f"{printable(base)} has no folder {' or '.join(_FOLDERS)}; get_birdsnap.py fetches the images")
    measured = {line for _, line in [*numbered_lines(base / "test_images.txt")][1:]}
    items, missing = [], 0
    for line, path, species in _cells(images, "path", "species_id"):
        if (path in measured) != (split == "test"):
            continue
        number = class_number(images, line, species)
        if number not in names:
            raise DataError(f"{printable(images)}, line {line}: there is no species {number}")
        if os.path.exists(folder / path):
            items.append(Item(path, number - 1))
        else:
            missing += 1
    if missing:
        whole = missing + len(items)
        say(f"{missing} of the {whole} images that {printable(images)} has for {split} are not there, and left out")
    return ListedSource("Birdsnap", folder, items, [names[number] for number in sorted(names)])


def _cells(file: Path, first: str, second: str) -> Iterator[tuple[int, str, str]]:
    """Of each row of a table divided by tabs its line, and what is in two columns."""
    lines = read_lines(file)
    if not lines:
        raise DataError(f"{printable(file)}{': no such file' if lines is None else ' is empty'}")
    header = lines[0].split("\t")
    if lacking := [name for name in (first, second) if name not in header]:
        raise DataError(f"{printable(file)} has no column {lacking[0]!r}; it has {', '.join(header)[:200]}")
    places = header.index(first), header.index(second)
    for number, line in enumerate(lines[1:], 2):
        cells = line.split("\t")
        if len(cells) <= max(places) or not all(cells[place].strip() for place in places):
            raise DataError(f"{printable(file)}, line {number} has no {first!r} or no {second!r}: {line!r:.80}")
        yield number, cells[places[0]].strip(), cells[places[1]].strip()
