"""Tables with an image and a label column as a source: one class an image, or several."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from diptych.data import fields
from diptych.data.described import described
from diptych.data.sources import Sample
from diptych.data.table_rows import CAPTION_COLUMNS, columns
from diptych.data.tables import TableSource, value_at
from diptych.errors import DataError, UnknownClass, nearest

ONE, SEVERAL = "label", "labels"  # the columns


def label_column(table: Path, *, captions: bool) -> str | None:
    """The column of labels that a table has; None where there is none, or, unless ``captions`` may stand beside it, it
    has captions."""
    there = columns(table)
    if not captions and set(there) & set(CAPTION_COLUMNS):
        return None
    return next((name for name in (SEVERAL, ONE) if name in there), None)


class LabelTable(TableSource):
    """Rows of tables with a column ``label``, the class of an image, or ``labels``, all classes that it shows.

    A class is told by its number or its name: numbers by the lines of a ``classnames.txt`` beside the tables, or in
    the folder above. Without it names are numbered as they are sorted, and numbers have no names. ``labels`` is a list
    (JSON lines, Parquet), or a text (CSV, TSV): a list in JSON, or numbers or names between ``|``, or numbers between
    commas; an empty one shows no class, and a row with none at all is left out. ``where``: as in `TableSource`.

    Raises DataError for a name that is none of the classes, for names that are all numbers (``0.0``, ``-1``, ``nan``),
    and for an image with two rows that do not agree on its only class.
    """

    def __init__(self, name: str, paths: Sequence[Path], column: str, *, where: str | None = None) -> None:
        self.multilabel = column == SEVERAL
        self._column = column
        super().__init__(name, paths, captions=(column,), where=where)
        folders = (paths[0].absolute().parent, paths[0].absolute().parent.parent)
        folder = next((place for place in folders if (place / "classnames.txt").is_file()), folders[0])
        says = described(folder)
        self.templates: tuple[str, ...] | None = says.templates
        found = {value for i in range(len(self)) for value in self._values(i)}
        self.class_names: tuple[str, ...] | None = says.class_names
        if self.class_names is None and any(isinstance(value, str) for value in found):
            self.class_names = tuple(sorted(map(str, found)))
            if all(map(_is_number, self.class_names)):
                odd = next(value for value in sorted(map(str, found)) if not value.isdecimal())
                raise DataError(
                    f"{name} has the label {odd!r} in its column {column!r}, which neither numbers a class nor names "
                    "one; classes are whole numbers from 0 with a classnames.txt beside the table, or names, which may "
                    "be numbers where they are lines of that file"
                )
        self._numbers = {known: number for number, known in reversed(list(enumerate(self.class_names or ())))}
        self._by_name = says.class_names is None and self.class_names is not None
        self._captions = fields.class_captions(self.class_names or (), self.templates)
        for i in range(len(self)):
            labels = self._labels(i)
            if not self.multilabel and len(labels) != 1:
                raise DataError(f"{self._key(i)} is in rows of {len(labels)} classes; several are in a column 'labels'")

    def listing(self) -> Iterator[str]:
        """What tells these samples from others: see `fingerprint`."""
        yield from (*(self.class_names or ()), *(self.templates or ()))
        yield from super().listing()

    def labels_of(self, i: int) -> tuple[int, ...]:
        """The classes of a sample, whose image is not looked at."""
        return self._labels(i)

    def read(self, i: int) -> Sample:
        """The sample. Raises UnknownClass for a number that is none of the classes."""
        sample, labels = super().read(i), self._labels(i)
        wrong = next((label for label in labels if self._captions and not 0 <= label < len(self._captions)), None)
        if wrong is not None:
            raise UnknownClass.of(f"{sample.key} is of class", wrong, len(self._captions))
        if self.multilabel:
            return sample._replace(captions=(), labels=labels)
        return sample._replace(captions=self._captions[labels[0]] if self._captions else (), label=labels[0])

    def _labels(self, i: int) -> tuple[int, ...]:
        return tuple(sorted({self._number(i, value) for value in self._values(i)}))

    def _number(self, i: int, value: int | str) -> int:
        if isinstance(value, int) and not self._by_name:
            return value
        if str(value) not in self._numbers:
            known = nearest(str(value), self._numbers)
            raise DataError(f"{self._key(i)} of {self.name} is of class {value!r}, which there is not; {known}")
        return self._numbers[str(value)]

    def _values(self, i: int) -> list[int | str]:
        return json.loads(self._records[i])[1]

    def _texts(self, row: Mapping[str, Any], where: str) -> list[Any]:
        """The labels of a row, numbers or names."""
        value = value_at(row, self._column)
        if value is None:
            raise DataError(f"{where} has nothing in its column {self._column!r}; an empty list shows no class")
        cells = _listed(value) if self.multilabel else [value]
        found = [int(cell) if isinstance(cell, str) and cell.strip().isdecimal() else cell for cell in cells]
        for label in found:
            if not isinstance(label, int | str) or isinstance(label, bool) or label == "":
                raise DataError(
                    f"{where} has in its column {self._column!r} {value!r:.80}, and no number or name of a class"
                )
        return [label.strip() if isinstance(label, str) else label for label in found]


def _listed(value: Any) -> list[Any]:
    """The labels in a cell."""
    if isinstance(value, list):
        return value
    if not isinstance(value, str):
        return [value]
    text = value.strip()
    if text.startswith("["):
        try:
            found = json.loads(text)
        except ValueError:
            return [text]
        return found if isinstance(found, list) else [text]
    numbers = text.split(",")
    if "|" not in text and all(number.strip().isdecimal() for number in numbers):
        return numbers
    return [part.strip() for part in text.split("|")] if text else []


def _is_number(label: str) -> bool:
    try:
        float(label)
    except ValueError:
        return False
    return True
