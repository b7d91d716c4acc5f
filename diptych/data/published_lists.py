"""Data sets that are published as image files and text files that list them: one function a form.

Each takes the folder in which its files lie and the split by its published name, and gives a `ListedSource`. A list
that is missing, malformed or names a class that is not there is a DataError that names file and line.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from diptych.data.fields import class_names
from diptych.data.files import printable, read_bytes, read_lines
from diptych.data.folders import images_in, subfolders
from diptych.data.listed import Item, ListedSource
from diptych.errors import DataError, nearest


def food101(base: Path, split: str) -> ListedSource:
    """``meta/train.txt``: ``apple_pie/1005649``, an image of ``images/`` without its extension, a line."""
    return _by_folder(
        "Food-101", base / "images", base / f"meta/{split}.txt", ".jpg", _lines(base / "meta/classes.txt")
    )


def dtd(base: Path, split: str) -> ListedSource:
    """The first of ten partitions: ``labels/train1.txt``: ``banded/banded_0002.jpg``, an image of ``images/``."""
    return _by_folder("DTD", base / "images", base / f"labels/{split}1.txt", "", None)


def sun397(base: Path, split: str) -> ListedSource:
    """The first of ten partitions: ``Training_01.txt``: ``/a/abbey/sun_aai.jpg``; classes in ``ClassName.txt``."""
    lists = base / "Partitions" if (base / "Partitions").is_dir() else base
    classes = [name.strip("/") for name in _lines(lists / "ClassName.txt")]
    return _by_folder("SUN397", base, lists / f"{split}_01.txt", "", classes)


def ucf101(base: Path, split: str) -> tuple[list[Item], list[str]]:
    """The videos of the first of three partitions, and the classes: ``trainlist01.txt``:
    ``Archery/v_Archery_g08_c01.avi 3``; ``classInd.txt``: ``3 Archery``."""
    lists = base if (base / "classInd.txt").is_file() else base / "ucfTrainTestlist"
    classes, listed = [], lists / f"{split}list01.txt"
    for number, line in _numbered(lists / "classInd.txt"):
        classes.append(_fields(lists / "classInd.txt", number, line, 2)[1])
    places = _places(classes)
    items = [_item_of_folder(listed, number, line.split()[0], places) for number, line in _numbered(listed)]
    return items, [words(name) for name in classes]


def pets(base: Path, split: str) -> ListedSource:
    """``annotations/trainval.txt``: ``Abyssinian_100 1 1 1``, an image of ``images/`` and its class, from 1."""
    file, names, items = base / f"annotations/{split}.txt", {}, []
    for number, line in _numbered(file):
        image, label, *_ = _fields(file, number, line, 2)
        breed = image.rpartition("_")[0]
        if names.setdefault(_number(file, number, label) - 1, breed) != breed:
            raise DataError(f"{file}, line {number}: class {label} is {breed} here and {names[int(label) - 1]} before")
        items.append(Item(f"{image}.jpg", int(label) - 1))
    listed = [names.get(label) for label in range(len(names))]
    if not all(listed):
        raise DataError(f"{file} has {len(names)} classes, but none with the number {listed.index(None) + 1}")
    return ListedSource("Oxford-IIIT Pets", base / "images", items, [str(name).replace("_", " ") for name in listed])


def aircraft(base: Path, split: str) -> ListedSource:
    """``images_variant_train.txt``: ``1025794 707-320``, an image of ``images/``; classes in ``variants.txt``."""
    classes, file = _lines(base / "variants.txt"), base / f"images_variant_{split}.txt"
    places, items = _places(classes), []
    for number, line in _numbered(file):
        image, _, variant = line.partition(" ")
        items.append(Item(f"{image}.jpg", _place(file, number, variant.strip(), places)))
    return ListedSource("FGVC Aircraft", base / "images", items, classes)


def gtsrb(base: Path, split: str) -> ListedSource:
    """Training images in folders ``00000`` to ``00042``; test images in ``Final_Test`` with ``GT-final_test.csv``."""
    if split == "train":
        folder = next((path for path in (base / "Final_Training/Images", base / "Training") if path.is_dir()), base)
        items = [Item(file, int(top)) for top, file in _in_folders(folder) if top.isdecimal()]
        return ListedSource("GTSRB", folder, items, None)
    folder, items = base / "Final_Test/Images", []
    tables = [path / "GT-final_test.csv" for path in (base, folder, folder.parent)]
    table = next((path for path in tables if path.is_file()), tables[0])
    for number, row in enumerate(csv.DictReader(_lines(table), delimiter=";"), 2):
        image, label = (_cell(table, number, row, column) for column in ("Filename", "ClassId"))
        items.append(Item(image, _number(table, number, label)))
    return ListedSource("GTSRB", folder, items, None)


def voc2007(base: Path, split: str) -> ListedSource:
    """``ImageSets/Main/aeroplane_test.txt`` and so on: ``000001 -1``; 1 shows it, -1 does not, 0 only such as are
    marked difficult, by which an image is not judged."""
    lists = base / "ImageSets/Main"
    found = sorted(path for path in lists.glob(f"*_{split}.txt"))
    if not found:
        raise DataError(f"{printable(lists)} has no lists of the split {split!r}, as aeroplane_{split}.txt")
    shown: dict[str, tuple[list[int], list[int]]] = {}
    for label, file in enumerate(found):
        lines = list(_numbered(file))
        for number, line in lines:
            image, value = _fields(file, number, line, 2)[:2]
            if value not in ("1", "0", "-1"):
                raise DataError(f"{file}, line {number}: {value!r:.40} is none of 1, 0 and -1")
            labels, unjudged = shown.setdefault(image, ([], []))
            if value != "-1":
                (labels if value == "1" else unjudged).append(label)
        if len(lines) != len(shown):
            raise DataError(f"{file} lists {len(lines)} images, but those before and it {len(shown)} different ones")
    items = (
        Item(f"{image}.jpg", labels=tuple(labels), unjudged=tuple(unjudged))
        for image, (labels, unjudged) in shown.items()
    )
    names = [path.name.removesuffix(f"_{split}.txt") for path in found]
    return ListedSource("Pascal VOC 2007", base / "JPEGImages", items, names)


def karpathy(base: Path, split: str) -> ListedSource:
    """``dataset_flickr8k.json``, ``dataset_flickr30k.json`` or ``dataset_coco.json``: images, splits, captions."""
    files = sorted(base.glob("dataset_*.json"))
    if len(files) != 1:
        raise DataError(f"{printable(base)} has {len(files)} files dataset_*.json; there must be one")
    try:
        rows = json.loads(read_bytes(files[0]))["images"]
        items = [
            Item(
                str(Path(row.get("filepath", ""), row["filename"])), captions=tuple(s["raw"] for s in row["sentences"])
            )
            for row in rows
            if row["split"] == split or (row["split"], split) == ("restval", "train")
        ]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(
            f"{files[0]} does not list images, splits and sentences: {type(error).__name__}: {error}"
        ) from error
    if not items:
        has = sorted({str(row["split"]) for row in rows})
        raise DataError(f"{files[0]} has no image of the split {split!r}; {nearest(split, has)}")
    folder = base / "images" if (base / "images").is_dir() else base
    return ListedSource(printable(files[0].stem.removeprefix("dataset_")), folder, items, None)


def coded_folders(base: Path, split: str) -> ListedSource:
    """``test/AD/1.jpg``: folders of a code each, in whose order classes are numbered (Country211)."""
    tops = subfolders(_existing(base / split))
    items = [Item(file, tops.index(top)) for top, file in _in_folders(base / split)]
    return ListedSource(printable(base.resolve().name), base / split, items, None)


def numbered_folders(base: Path, split: str) -> ListedSource:
    """Folders called by the number of their class, ``0/1.jpeg`` to ``999/`` (ImageNetV2)."""
    if odd := [top for top in subfolders(base) if not top.isdecimal()]:
        raise DataError(f"{base} has a folder {printable(odd[0])!r} among those that are called by a number")
    items = [Item(file, int(top)) for top, file in _in_folders(base)]
    return ListedSource(printable(base.resolve().name), base, items, class_names(base / "classnames.txt"))


def words(name: str) -> str:
    """A class's name as it is written in a path, as words.

    >>> words("ApplyEyeMakeup"), words("tennis_court"), words("a/abbey")
    ('Apply Eye Makeup', 'tennis court', 'abbey')
    """
    name = re.sub(r"^[a-z]/", "", name).replace("/", " ").replace("_", " ")
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)


def _by_folder(name: str, folder: Path, file: Path, extension: str, classes: Sequence[str] | None) -> ListedSource:
    """A list of paths whose folders are the classes."""
    lines = list(_numbered(file))
    if classes is None:
        classes = sorted({str(PurePosixPath(line).parent) for _, line in lines})
    places = _places(classes)
    items = [_item_of_folder(file, number, line.lstrip("/") + extension, places) for number, line in lines]
    return ListedSource(name, folder, items, [words(label) for label in classes])


def _item_of_folder(file: Path, number: int, image: str, places: Mapping[str, int]) -> Item:
    return Item(image, _place(file, number, str(PurePosixPath(image).parent), places))


def _in_folders(folder: Path) -> Iterator[tuple[str, str]]:
    """Each image below the subfolders of a folder: the subfolder and its path."""
    for file, _ in images_in(_existing(folder)):
        top, slash, _ = file.partition("/")
        if slash:
            yield top, file


def _existing(folder: Path) -> Path:
    if not folder.is_dir():
        raise DataError(f"{printable(folder)}: no such folder")
    return folder


def _lines(file: Path) -> list[str]:
    return [line for _, line in _numbered(file)]


def _numbered(file: Path) -> Iterator[tuple[int, str]]:
    """The lines of a list that are not blank, with their numbers from 1."""
    found = read_lines(file)
    if found is None:
        raise DataError(f"{printable(file)}: no such file")
    if not found:
        raise DataError(f"{printable(file)} is empty")
    yield from ((number, line) for number, line in enumerate(found, 1) if line and not line.startswith("#"))


def _fields(file: Path, number: int, line: str, least: int) -> list[str]:
    found = line.split()
    if len(found) < least:
        raise DataError(f"{file}, line {number}: {line!r:.80} has {len(found)} fields, not {least}")
    return found


def _number(file: Path, number: int, value: str) -> int:
    if not value.isdecimal():
        raise DataError(f"{file}, line {number}: {value!r:.40} is not the number of a class")
    return int(value)


def _places(classes: Sequence[str]) -> dict[str, int]:
    return {name: label for label, name in enumerate(classes)}


def _place(file: Path, number: int, name: str, places: Mapping[str, int]) -> int:
    if name not in places:
        raise DataError(f"{file}, line {number}: there is no class {name!r:.80}; {nearest(name, places)}")
    return places[name]


def _cell(file: Path, number: int, row: dict[str, str], column: str) -> str:
    if not row.get(column):
        raise DataError(f"{file}, line {number} has no {column!r}; it has {', '.join(str(key) for key in row)}")
    return row[column]
