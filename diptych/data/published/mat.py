"""Oxford Flowers 102 and Stanford Cars, whose lists are MATLAB's files (version 5)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from diptych.data.files import printable, read_bytes
from diptych.data.published.list_source import Item, ListedSource
from diptych.data.published.mat_file import read_mat
from diptych.errors import DataError

_LARGEST = 16 << 20  # those published have less than 1 MB


def flowers(base: Path, split: str) -> ListedSource:
    """``jpg/image_00001.jpg``: ``imagelabels.mat`` has the class of each, from 1; ``setid.mat`` the numbers of the
    images under ``trnid``, ``valid`` and ``tstid``."""
    labels = _whole_numbers(base / "imagelabels.mat", "labels")
    items = []
    for number in _whole_numbers(base / "setid.mat", split):
        if not 1 <= number <= len(labels):
            raise DataError(f"{base / 'setid.mat'} names image {number} of {len(labels)}")
        items.append(Item(f"image_{number:05}.jpg", labels[number - 1] - 1))
    return ListedSource("Oxford Flowers 102", base / "jpg", items, None)


def cars(base: Path, split: str) -> ListedSource:
    """``cars_train/00001.jpg``: ``devkit/cars_train_annos.mat`` has ``fname`` and ``class``, from 1, of each;
    ``cars_test_annos_withlabels.mat`` those of the test images; ``devkit/cars_meta.mat`` the names."""
    names = {"train": "cars_train_annos.mat", "test": "cars_test_annos_withlabels.mat"}
    files = [folder / names[split] for folder in (base / "devkit", base)]
    file = next((path for path in files if path.is_file()), files[0])
    items = []
    for number, row in enumerate(_entry(file, "annotations"), 1):
        image, labels = (row.get(name) if isinstance(row, dict) else None for name in ("fname", "class"))
        label = labels[0] if isinstance(labels, list) and len(labels) == 1 else None
        if not isinstance(image, str) or not isinstance(label, int) or label < 1:
            raise DataError(f"{file}: annotation {number} has no 'fname' or no 'class' from 1")
        items.append(Item(image, label - 1))
    meta = base / "devkit/cars_meta.mat"
    classes = _entry(meta, "class_names")
    if not all(isinstance(name, str) for name in classes):
        raise DataError(f"{meta}: its 'class_names' are no names")
    return ListedSource("Stanford Cars", base / f"cars_{split}", items, classes)


def _whole_numbers(file: Path, name: str) -> list[int]:
    found = _entry(file, name)
    if not all(isinstance(number, int) for number in found):
        raise DataError(f"{file}: its {name!r} are no whole numbers")
    return found


def _entry(file: Path, name: str) -> list[Any]:
    """A row of numbers, of texts or of structures, as a list. Raises DataError where the file has none of that name."""
    content = read_bytes(file)
    if len(content) > _LARGEST:
        raise DataError(f"{printable(file)} has {len(content) >> 20} MB, more than any list")
    try:
        found = read_mat(content)
    except DataError as problem:
        raise DataError(f"{printable(file)} is no MATLAB file of version 5: {problem}") from problem
    if name not in found:
        has = ", ".join(map(repr, sorted(found)))
        raise DataError(f"{printable(file)} has no {name!r}; it has {printable(has)[:200] or 'nothing'}")
    value = found[name]
    return value if isinstance(value, list) else [value]
