"""Which parts of a data set are measured on, learned from and chosen by."""

from __future__ import annotations

from collections.abc import Sequence

from diptych.data.sources import open_source, splits_of
from diptych.errors import DataError
from diptych.evaluation.plan import Splits

MEASURED = ("test", "val", "validation", "valid", "dev")
CHOSEN_BY = ("val", "validation", "valid", "dev")


def open_splits(
    location: str,
    *,
    split: str | None = None,
    training: bool = False,
    captions: Sequence[str] | None = None,
    where: str | None = None,
) -> Splits:
    """The split ``split`` of the data at a location, by default ``test``, or else the validation split.

    training: also what is learned from, ``train``, and what is chosen by, ``val``, where there is one beside the split
              that is measured.

    Raises DataError for a split that is not there.
    """
    there = splits_of(location)
    if split is None and len(there) > 1:
        split = next((name for name in MEASURED if name in there), None)
    test = open_source(location, split=split, captions=captions, where=where)
    if not training:
        return Splits(test, name=split or "")
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
