"""Images that a list names, with what it says of each: the form in which most data sets are published."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from diptych.data.fields import class_captions
from diptych.data.files import printable
from diptych.data.fingerprint import glances, some
from diptych.data.packed import Packed
from diptych.data.sources import Sample
from diptych.errors import DataError, UnknownClass


class Item(NamedTuple):
    """One line of a list: a path relative to the folder, and what `Sample` has under the same names."""

    file: str
    label: int | None = None
    captions: tuple[str, ...] = ()
    labels: tuple[int, ...] | None = None
    unjudged: tuple[int, ...] = ()


class ListedSource:
    """The images of a list. ``class_names``: None where the list numbers classes without naming them.

    class_ids: WordNet's numbers of the classes, where they are told. members: those of ImageNet's 1,000 that each class
    stands for, where the data's files tell.

    Raises DataError for a list without a line, and for one that names a file elsewhere.
    """

    templates: tuple[str, ...] | None = None
    class_ids: tuple[str, ...] | None = None
    members: tuple[tuple[int, ...], ...] | None = None

    def __init__(self, name: str, folder: Path, items: Iterable[Item], class_names: Sequence[str] | None) -> None:
        self.name = name
        self.folder = folder
        self.problems: tuple[str, ...] = ()
        self.class_names: tuple[str, ...] | None = tuple(class_names) if class_names is not None else None
        self._captions = class_captions(self.class_names or (), None)
        self.multilabel: bool | None = None
        self._records = Packed(json.dumps(self._checked(item)) for item in items)
        if not len(self._records):
            raise DataError(f"{printable(folder)} lists no image")

    def __len__(self) -> int:
        return len(self._records)

    def listing(self) -> Iterator[str]:
        """What tells these samples from others: see `fingerprint`."""
        yield from self.class_names or ()
        yield from (self._records[i] for i in range(len(self)))
        yield from glances(self.folder / self._item(i).file for i in some(len(self)))

    def files(self) -> Iterator[Path]:
        """All that is read."""
        return (self.folder / self._item(i).file for i in range(len(self)))

    def labels_of(self, i: int) -> tuple[int, ...]:
        """The classes of a sample, whose image is not looked at."""
        item = self._item(i)
        return item.labels or (() if item.label is None else (item.label,))

    def read(self, i: int) -> Sample:
        item = self._item(i)
        key, captions = printable(item.file), item.captions
        if item.label is not None and self._captions:
            if not 0 <= item.label < len(self._captions):
                raise UnknownClass.of(f"{key} is of class", item.label, len(self._captions))
            captions = captions or self._captions[item.label]
        return Sample(self.folder / item.file, captions, item.label, key, (), item.labels, item.unjudged)

    def _item(self, i: int) -> Item:
        file, label, captions, labels, unjudged = json.loads(self._records[i])
        return Item(file, label, tuple(captions), None if labels is None else tuple(labels), tuple(unjudged))

    def _checked(self, item: Item) -> Item:
        """A list that came from elsewhere names files of its own folder only, and has labels of one kind."""
        path = PurePosixPath(item.file)
        if path.is_absolute() or ".." in path.parts or "\0" in item.file:
            raise DataError(
                f"{printable(self.folder)}: its list names {printable(item.file)!r:.80}, which leads out of it"
            )
        if item.labels is not None or item.label is not None:
            several = item.labels is not None
            if self.multilabel not in (None, several):
                what = "several labels, others have one" if several else "one label, others have several"
                raise DataError(f"{printable(self.folder)}: {printable(item.file)!r:.80} has {what}")
            self.multilabel = several
        return item
