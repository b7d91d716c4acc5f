"""Which parts of a data set are measured on, learned from and chosen by."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from diptych.data.sources import Source, is_remote, open_source, splits_of
from diptych.errors import ConfigError, DataError
from diptych.evaluation.datasets import Row, find
from diptych.evaluation.opening import check, open_dataset, published_form, remote_location
from diptych.evaluation.plan import Splits
from diptych.progress import say

MEASURED = ("test", "val", "validation", "valid", "dev")
CHOSEN_BY = ("val", "validation", "valid", "dev")


def named(text: str) -> tuple[str, Row | None]:
    """Location and row of what people write: a place, or ``cifar10=PLACE`` for one of the table of data sets.

    Raises DataError for the mere name of one, ConfigError for a name that the table has not.
    """
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

    row:      of the table of data sets, where the data are one of them (see `named`).
    training: also what is learned from, ``train``, and what is chosen by, ``val``, where there is one beside the split
              that is measured.

    Raises DataError for a split that is not there.
    """
    if row is not None and (row.kind != "retrieval" or (captions is where is None and published_form(row, location))):
        return _of_table(location, row, split, training=training)
    there = splits_of(location)
    if split is None and len(there) > 1:
        split = next((name for name in MEASURED if name in there), None)
    test = open_source(location, split=split, captions=captions, where=where)
    if not training:
        return Splits(test, name=split or "", row=row, note=check(row, test, split).note if row else "")
    if "train" not in there or split == "train":
        raise DataError(
            f"{location} has no split 'train' beside the one that is measured, so there is nothing to learn from; a "
            "folder with train/ and test/ (class folders or tars) has both"
        )
    chosen_by = next((name for name in CHOSEN_BY if name in there and name != split), None)
    return Splits(
        test,
        train=open_source(location, split="train", captions=captions, where=where),
        validation=open_source(location, split=chosen_by, captions=captions, where=where) if chosen_by else None,
        name=split or "",
    )


def _of_table(location: str, row: Row, split: str | None, *, training: bool) -> Splits:
    there = splits_of(location)
    divided = bool(there) or is_remote(remote_location(location)) or bool(row.published)
    split = split or (row.split if divided else None)
    test = open_dataset(row, location, split)
    verdict = check(row, test, split)
    if not training:
        return Splits(test, name=split or "", row=row, note=verdict.note)
    chosen_by = [name for name in CHOSEN_BY if name != split and any(name in sizes for sizes in row.sizes.values())]
    validation: Source | None = None
    for name in dict.fromkeys([*(name for name in CHOSEN_BY if name in there and name != split), *chosen_by]):
        try:
            validation = open_dataset(row, location, name)
            break
        except DataError as problem:
            say(f"{row.title} has no split {name!r} here: {problem}")
    train = open_dataset(row, location, "train")
    return Splits(test, train, validation, name=split or "", row=row, note=verdict.note)
