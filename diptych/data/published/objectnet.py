"""ObjectNet: the classes that ImageNet has too, 113 of 313, each in a folder; ``mappings/`` tells which they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from diptych.data.files import printable
from diptych.data.preprocess import decode_image
from diptych.data.published.image_folders import in_folders
from diptych.data.published.list_source import Item, ListedSource
from diptych.data.published.superclasses import read_object, superclasses
from diptych.data.sources import Sample
from diptych.errors import DataError, nearest

_BORDER = 2  # pixels of each side: a red line that marks the images, and what JPEG smears of it


def objectnet(base: Path, split: str) -> ObjectNetSource:
    """``images/alarm_clock/0a1.png``; ``mappings/folder_to_objectnet_label.json`` names the class of a folder, and
    ``objectnet_to_imagenet_1k.json`` those that ImageNet has. Classes are in the order of folders."""
    file = base / "mappings/folder_to_objectnet_label.json"
    folders = {str(name): folder for folder, name in read_object(file).items()}
    shared = superclasses(base)
    if missing := [name for name in shared if name not in folders]:
        raise DataError(f"{printable(file)} has no folder of {missing[0]!r}; {nearest(missing[0], folders)}")
    names = sorted(shared, key=folders.__getitem__)
    numbers = {folders[name]: label for label, name in enumerate(names)}
    items = (Item(file, numbers[top]) for top, file in in_folders(base / "images") if top in numbers)
    source = ObjectNetSource("ObjectNet", base / "images", items, names)
    source.members = tuple(shared[name] for name in names)
    return source


class ObjectNetSource(ListedSource):
    """Images without the border that marks them."""

    def read(self, i: int) -> Sample:
        sample = super().read(i)
        image = decode_image(self.folder / self._item(i).file)
        width, height = image.size
        if min(width, height) <= 2 * _BORDER:
            raise DataError(f"{sample.key} has {width} x {height} pixels, of which the border leaves none")
        inner = image.crop((_BORDER, _BORDER, width - _BORDER, height - _BORDER))
        return sample._replace(image=np.asarray(inner))
