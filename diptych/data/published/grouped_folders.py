"""YouTube-BB: class folders of frames, beside the files that tell of which of ImageNet's classes each is a group."""

from __future__ import annotations

from pathlib import Path

from diptych.data.files import printable
from diptych.data.published.image_folders import in_folders
from diptych.data.published.list_source import Item, ListedSource
from diptych.data.published.superclasses import BESIDE, superclasses
from diptych.data.published.text_lists import numbers_of, words
from diptych.errors import DataError, nearest


def grouped_folders(base: Path, split: str) -> ListedSource:
    """``potted_plant/x.jpg``, or below the folder of the split; classes are those of ``ytbb_class_index.json``, in its
    order, and ``rev_class_idx_map.json`` groups ImageNet's."""
    folder = base / split if (base / split).is_dir() else base
    groups = superclasses(base)
    if not groups:
        raise DataError(f"{printable(base)} has no rev_class_idx_map.json beside ytbb_class_index.json")
    numbers, items = numbers_of(list(groups)), []
    for top, file in in_folders(folder):
        if top not in BESIDE:
            name = words(top)
            if name not in numbers:
                raise DataError(f"{printable(folder)} has a folder {printable(top)!r}; {nearest(name, numbers)}")
            items.append(Item(file, numbers[name]))
    source = ListedSource(printable(base.resolve().name), folder, items, list(groups))
    source.members = tuple(groups.values())
    return source
