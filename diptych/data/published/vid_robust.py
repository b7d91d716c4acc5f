"""ImageNet-Vid-Robust: frames of videos with the numbers of the classes that they show."""

from __future__ import annotations

from pathlib import Path

from diptych.data.files import printable
from diptych.data.published.list_source import Item, ListedSource
from diptych.data.published.superclasses import index_of, read_object, superclasses
from diptych.errors import DataError
from diptych.progress import say


def vid_robust(base: Path, split: str) -> ListedSource:
    """The frames that ``metadata/pmsets.json`` lists others around, ``val/ILSVRC2015_val_00000000/000442.JPEG``, with
    the classes of ``metadata/labels.json``; names in ``misc/imagenet_vid_class_index.json``.

    Those that show several classes are left out, which is said: an image has one class here.
    """
    names = index_of(base / "misc/imagenet_vid_class_index.json", 2)
    if sorted(names) != sorted(map(str, range(len(names)))):
        raise DataError(f"{printable(base)}/misc/imagenet_vid_class_index.json does not number its classes from 0")
    anchors, labels = (read_object(base / f"metadata/{name}.json") for name in ("pmsets", "labels"))
    file, items = base / "metadata/labels.json", []
    for frame in anchors:
        own = labels.get(frame)
        if not isinstance(own, list) or not own:
            raise DataError(f"{printable(file)} has no classes of {printable(frame)}, which pmsets.json lists")
        if wrong := [one for one in own if type(one) is not int or not 0 <= one < len(names)]:
            raise DataError(
                f"{printable(file)}: {printable(frame)} is of class {wrong[0]!r}, not from 0 to {len(names) - 1}"
            )
        if len(own) == 1:
            items.append(Item(frame, own[0]))
    source = ListedSource("ImageNet-Vid", base, items, [names[str(label)][1] for label in range(len(names))])
    groups = superclasses(base)
    source.members = tuple(groups.get(name, ()) for name in source.class_names or ()) if groups else None
    if several := len(anchors) - len(items):
        say(f"{several} of {len(anchors)} frames of {file} show several classes and are left out")
    return source
