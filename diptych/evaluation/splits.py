"""Which parts of a data set are measured on, learned from and chosen by."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from diptych.data.label_tables import LabelTable
from diptych.data.overlap import overlap
from diptych.data.published.layouts import LAYOUTS
from diptych.data.relabelled import shows_several
from diptych.data.sources import Source, damage_of, is_remote, labels_of, open_source, splits_of
from diptych.errors import ConfigError, DataError, nearest
from diptych.evaluation.datasets import Row, find
from diptych.evaluation.features import check_damage
from diptych.evaluation.opening import check, check_labels, open_dataset, published_form, remote_location
from diptych.evaluation.own_datasets import read_rows
from diptych.evaluation.plan import Splits
from diptych.progress import say

MEASURED = ("test", "val", "validation", "valid", "dev")
CHOSEN_BY = ("val", "validation", "valid", "dev")


def named(text: str) -> tuple[str, Row | None]:
    """Location and row of what people write: a place, ``cifar10=PLACE`` for one of the table of data sets, or a TOML
    file with one data set of one's own.

    Raises DataError for the mere name of one, ConfigError for a name that the table has not, and for a TOML file that
    has several, or is wrong.
    """
    if text.endswith(".toml"):
        rows = read_rows(text)
        if len(rows) > 1:
            raise ConfigError(
                f"{text} has the data sets {', '.join(row.name for row in rows)}; take one of them, as "
                f"diptych.evaluation.own_datasets.read_rows({text!r})[0]"
            )
        return rows[0].location, rows[0]
    if Path(text).exists():
        return text, None
    name, equals, location = text.partition("=")
    if equals and "/" not in name:
        return location, find(name)
    try:
        row = find(text)
    except ConfigError:
        return text, None
    raise DataError(f"{text}: no such file or folder; where {row.title} lies is told by {row.name}=FOLDER")


def open_splits(
    location: str,
    row: Row | None = None,
    *,
    split: str | None = None,
    training: bool = False,
    captions: Sequence[str] | None = None,
    where: str | None = None,
) -> Splits:
    """The split ``split`` of the data at a location, by default ``test``, or else the validation split.

    row:             of the table of data sets, or of one's own, where the data are one of them (see `named`).
    training:        also what is learned from, ``train``, and what is chosen by, ``val``, where there is one that is
                     neither the split that is measured nor learned from (see `distinct`).
    captions, where: which fields and samples are taken: see ``diptych.data.sources.open_source``.

    Raises DataError for a split that is not there, tars that are cut off, labels of what is measured that are none of
    its classes, and captions or a filter that the data have no fields for.
    """
    place = _Place(remote_location(location), row)

    def opened(name: str | None) -> Source:
        if row is not None:
            source = open_dataset(row, place.location, name, captions=captions, where=where)
        else:
            source = open_source(place.location, split=name, captions=captions, where=where)
        check_damage(source.name, damage_of(source))
        return source

    split = place.measured() if split is None else split
    test = opened(split)
    if row is None and isinstance(test, LabelTable) and not test.class_names:
        raise DataError(f"{test.name} only numbers its classes; put their names into classnames.txt beside it")
    if row is None and test.class_names and not is_remote(place.location):  # whose labels all its shards would tell
        check_labels(test, len(test.class_names))
    note = check(row, test, split).note if row else ""
    found = Splits(test, name=split or "", row=row, note=note, captions=tuple(captions or ()), where=where or "")
    return distinct(_learning(found, place, opened)) if training else found


def distinct(data: Splits) -> Splits:
    """The same where nothing that is learned from is measured; a split to choose by that is the one that is measured,
    or learned from, or has samples of these, is left out, and said. Raises DataError for a ``train`` that is, and for
    one of which no part can be held out to choose by, where nothing else is there for it."""
    train, validation = data.train, data.validation
    if train is None:
        return data
    measured = f"split {data.name!r}" if data.name else "data"
    if overlap(data.test, train):
        raise DataError(
            f"the split 'train' of {data.title} is, or shares samples with, the {measured} that would be measured, so "
            "what is learned from it cannot be measured there"
        )
    for other, which in ((data.test, "measured"), (train, "learned from")):
        if validation and overlap(other, validation):
            say(f"{data.title}: its validation split is, or shares samples with, what is {which}, so it is not used")
            validation = None
    if validation is None:
        _check_examples(train, data)
    return replace(data, validation=validation)


def _check_examples(train: Source, data: Splits) -> None:
    """Whether a part of what is learned from can be held out to choose by: two samples of a class, or any two where
    they may show several classes."""
    seen: set[tuple[int, ...]] = set()
    several = shows_several(train)
    for i in range(len(train)):
        labels = () if several else labels_of(train, i)
        if labels in seen and (labels or several):
            return
        seen.add(labels)
    raise DataError(
        f"no class of the split 'train' of {data.title} has two samples, so none can be held out to choose by; a split "
        "'val' beside it would be chosen by"
    )


def _learning(data: Splits, place: _Place, opened: Callable[[str | None], Source]) -> Splits:
    """With what is learned from and chosen by."""
    measured = place.called(data.name)
    if not place.has_train or place.called("train") == measured:
        raise DataError(
            f"{place.location} has no split 'train' beside the one that is measured, so there is nothing to learn "
            "from; a folder with train/ and test/ (class folders or tars) has both"
        )
    validation: Source | None = None
    for name in place.chosen_by():
        if place.called(name) in (measured, place.called("train")):
            continue
        try:
            validation = opened(name)
            break
        except DataError as problem:
            if name in place.there and place.form is None:
                raise  # it is there, and damaged
            say(f"{data.title} has no split {name!r} here: {problem}")
    train = opened("train")
    for source, name in ((train, "train"), (validation, "val")):
        _check_classes(data.test, source, name, data)
    return replace(data, train=train, validation=validation)


def _check_classes(test: Source, source: Source | None, name: str, data: Splits) -> None:
    """Whether the classes of a split are among those of the split that is measured, which are answered."""
    if source is None or not (known := set(test.class_names or ())):
        return
    if other := next((own for own in source.class_names or () if own not in known), None):
        raise DataError(
            f"the split {name!r} of {data.title} has a class {other!r}, and {data.name!r}, that is measured, has not; "
            f"{nearest(other, sorted(known))} (an empty folder, or a line of classnames.txt, is a class without images)"
        )


@dataclass(frozen=True)
class _Place:
    """Where a data set lies, and which splits it has there."""

    location: str
    row: Row | None

    @cached_property
    def there(self) -> tuple[str, ...]:
        """The splits of a folder here."""
        return splits_of(self.location)

    @cached_property
    def form(self) -> str | None:
        """In which it is published, where it is."""
        return published_form(self.row, self.location) if self.row else None

    @property
    def is_folder_elsewhere(self) -> bool:
        """Whose splits are not known before they are asked for."""
        return is_remote(self.location) and re.search(r"[*{]|\.tar$", self.location) is None

    @property
    def has_train(self) -> bool:
        """Whether it may have examples; of what is not known opening tells."""
        return "train" in self.there or self.form is not None or self.is_folder_elsewhere

    def measured(self) -> str | None:
        """The split that is measured where none is named; None where there are no splits, or one."""
        row = self.row
        if row is not None and (
            row.split in self.there
            or self.form is not None
            or self.is_folder_elsewhere
            or (len(self.there) > 1 and row.kind != "retrieval")
            or (row.location and row.split != "test")  # which was asked for
        ):
            return row.split
        return next((name for name in MEASURED if name in self.there), None) if len(self.there) > 1 else None

    def called(self, split: str) -> str:
        """What the files call a split: several names may mean one."""
        return LAYOUTS[self.form].splits.get(split, split) if self.form else split

    def chosen_by(self) -> tuple[str, ...]:
        """The splits that may be chosen by."""
        if self.form:
            known = LAYOUTS[self.form].splits
        elif self.is_folder_elsewhere:
            known = {name: name for sizes in (self.row.sizes if self.row else {}).values() for name in sizes}
        else:
            known = dict.fromkeys(self.there)
        return tuple(name for name in CHOSEN_BY if name in known)
