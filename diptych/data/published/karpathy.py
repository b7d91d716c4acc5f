"""Captions with Karpathy's splits: Flickr8k, Flickr30k, MS COCO."""

from __future__ import annotations

import json
from pathlib import Path

from diptych.data.files import printable, read_bytes
from diptych.data.published.list_source import Item, ListedSource
from diptych.errors import DataError, nearest


def karpathy(base: Path, split: str) -> ListedSource:
    """``dataset_flickr8k.json``, ``dataset_flickr30k.json`` or ``dataset_coco.json``: images, splits, captions."""
    files = sorted(base.glob("dataset_*.json"))
    if len(files) != 1:
        raise DataError(f"{printable(base)} has {len(files)} files dataset_*.json; there must be one")
    try:
        rows = json.loads(read_bytes(files[0]))["images"]
        items = [
            Item(
                str(Path(row.get("filepath", ""), row["filename"])), captions=tuple(s["raw"] for s in row["sentences"])
            )
            for row in rows
            if row["split"] == split or (row["split"], split) == ("restval", "train")
        ]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(
            f"{files[0]} does not list images, splits and sentences: {type(error).__name__}: {error}"
        ) from error
    if not items:
        has = sorted({str(row["split"]) for row in rows})
        raise DataError(f"{files[0]} has no image of the split {split!r}; {nearest(split, has)}")
    folder = base / "images" if (base / "images").is_dir() else base
    return ListedSource(printable(files[0].stem.removeprefix("dataset_")), folder, items, None)
