"""The German traffic signs: training images in numbered folders, test images in a table."""

from __future__ import annotations

import csv
from pathlib import Path

from diptych.data.published.image_folders import in_folders
from diptych.data.published.list_source import Item, ListedSource
from diptych.data.published.text_lists import class_number, lines_of
from diptych.errors import DataError


def gtsrb(base: Path, split: str) -> ListedSource:
    """Training images in folders ``00000`` to ``00042``; test images in ``Final_Test`` with ``GT-final_test.csv``."""
    if split == "train":
        folder = next((path for path in (base / "Final_Training/Images", base / "Training") if path.is_dir()), base)
        items = [Item(file, int(top)) for top, file in in_folders(folder) if top.isdecimal()]
        return ListedSource("GTSRB", folder, items, None)
    folder, items = base / "Final_Test/Images", []
    tables = [path / "GT-final_test.csv" for path in (base, folder, folder.parent)]
    table = next((path for path in tables if path.is_file()), tables[0])
    for number, row in enumerate(csv.DictReader(lines_of(table), delimiter=";"), 2):
        image, label = (_cell(table, number, row, column) for column in ("Filename", "ClassId"))
        items.append(Item(image, class_number(table, number, label)))
    return ListedSource("GTSRB", folder, items, None)


def _cell(file: Path, number: int, row: dict[str, str], column: str) -> str:
    if not row.get(column):
        raise DataError(f"{file}, line {number} has no {column!r}; it has {', '.join(str(key) for key in row)}")
    return row[column]
