"""Data sets that are published as image files and text files that list them: one function a form.

Each takes the folder in which its files lie and the split by its published name, and gives a `ListedSource`. A list
that is missing, malformed or names a class that is not there is a DataError that names file and line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from diptych.data.published.list_source import Item, ListedSource
from diptych.data.published.text_lists import (
    class_number,
    fields_of,
    lines_of,
    number_of,
    numbered_lines,
    numbers_of,
    words,
)
from diptych.errors import DataError


def food101(base: Path, split: str) -> ListedSource:
    """``meta/train.txt``: ``apple_pie/1005649``, an image of ``images/`` without its extension, a line."""
    return _by_folder(
        "Food-101", base / "images", base / f"meta/{split}.txt", ".jpg", lines_of(base / "meta/classes.txt")
    )


def dtd(base: Path, split: str) -> ListedSource:
    """The first of ten partitions: ``labels/train1.txt``: ``banded/banded_0002.jpg``, an image of ``images/``."""
    return _by_folder("DTD", base / "images", base / f"labels/{split}1.txt", "", None)


def sun397(base: Path, split: str) -> ListedSource:
    """The first of ten partitions: ``Training_01.txt``: ``/a/abbey/sun_aai.jpg``; classes in ``ClassName.txt``."""
    lists = base / "Partitions" if (base / "Partitions").is_dir() else base
    classes = [name.strip("/") for name in lines_of(lists / "ClassName.txt")]
    return _by_folder("SUN397", base, lists / f"{split}_01.txt", "", classes)


def pets(base: Path, split: str) -> ListedSource:
    """``annotations/trainval.txt``: ``Abyssinian_100 1 1 1``, an image of ``images/`` and its class, from 1."""
    file, names, items = base / f"annotations/{split}.txt", {}, []
    for number, line in numbered_lines(file):
        image, label, *_ = fields_of(file, number, line, 2)
        breed = image.rpartition("_")[0]
        if not breed:
            raise DataError(f"{file}, line {number}: {image!r:.80} is not called by its breed, as Abyssinian_100 is")
        if names.setdefault(class_number(file, number, label) - 1, breed) != breed:
            raise DataError(f"{file}, line {number}: class {label} is {breed} here and {names[int(label) - 1]} before")
        items.append(Item(f"{image}.jpg", int(label) - 1))
    listed = [names.get(label) for label in range(len(names))]
    if not all(listed):
        raise DataError(f"{file} has {len(names)} classes, but none with the number {listed.index(None) + 1}")
    return ListedSource("Oxford-IIIT Pets", base / "images", items, [str(name).replace("_", " ") for name in listed])


def aircraft(base: Path, split: str) -> ListedSource:
    """``images_variant_train.txt``: ``1025794 707-320``, an image of ``images/``; classes in ``variants.txt``."""
    classes, file = lines_of(base / "variants.txt"), base / f"images_variant_{split}.txt"
    places, items = numbers_of(classes), []
    for number, line in numbered_lines(file):
        image, _, variant = line.partition(" ")
        items.append(Item(f"{image}.jpg", number_of(file, number, variant.strip(), places)))
    return ListedSource("FGVC Aircraft", base / "images", items, classes)


def _by_folder(name: str, folder: Path, file: Path, extension: str, classes: Sequence[str] | None) -> ListedSource:
    """A list of paths whose folders are the classes."""
    lines = list(numbered_lines(file))
    if classes is None:
        classes = sorted({str(PurePosixPath(line).parent) for _, line in lines})
    places = numbers_of(classes)
    items = [item_of_folder(file, number, line.lstrip("/") + extension, places) for number, line in lines]
    return ListedSource(name, folder, items, [words(label) for label in classes])


def item_of_folder(file: Path, number: int, image: str, places: Mapping[str, int]) -> Item:
    """The image that a line names, whose folder is its class."""
    return Item(image, number_of(file, number, str(PurePosixPath(image).parent), places))
