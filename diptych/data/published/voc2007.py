"""Pascal VOC 2007, whose images have several labels: a list a class."""

from __future__ import annotations

from pathlib import Path

from diptych.data.files import printable
from diptych.data.published.list_source import Item, ListedSource
from diptych.data.published.text_lists import fields_of, numbered_lines
from diptych.errors import DataError


def voc2007(base: Path, split: str) -> ListedSource:
    """``ImageSets/Main/aeroplane_test.txt`` and so on: ``000001 -1``; 1 shows it, -1 does not, 0 only such as are
    marked difficult, by which an image is not judged."""
    lists = base / "ImageSets/Main"
    found = sorted(path for path in lists.glob(f"*_{split}.txt"))
    if not found:
        raise DataError(f"{printable(lists)} has no lists of the split {split!r}, as aeroplane_{split}.txt")
    shown: dict[str, tuple[list[int], list[int]]] = {}
    for label, file in enumerate(found):
        lines = list(numbered_lines(file))
        for number, line in lines:
            image, value = fields_of(file, number, line, 2)[:2]
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
