"""CLEVR, whose drawn scenes say what is in them: its classes are how many objects there are."""

from __future__ import annotations

import json
from pathlib import Path

from diptych.data.files import printable, read_bytes
from diptych.data.published.list_source import Item, ListedSource
from diptych.errors import DataError

_FEWEST, _MOST = 3, 10


def clevr_counts(base: Path, split: str) -> ListedSource:
    """``scenes/CLEVR_val_scenes.json``: ``{"scenes": [{"image_filename": ..., "objects": [...]}]}``, with images in
    ``images/val/``. Class 0 has three objects, class 7 ten. The scenes of CLEVR's own test split are not published, so
    its val split is measured on."""
    file, items = base / f"scenes/CLEVR_{split}_scenes.json", []
    try:
        scenes = json.loads(read_bytes(file))["scenes"]
        for number, scene in enumerate(scenes):
            count = len(scene["objects"])
            if not _FEWEST <= count <= _MOST:
                raise DataError(f"{printable(file)}: scene {number:,} has {count} objects, not {_FEWEST} to {_MOST}")
            items.append(Item(str(scene["image_filename"]), count - _FEWEST))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{printable(file)} does not list scenes: {type(error).__name__}: {error}") from error
    if not items:
        raise DataError(f"{printable(file)} lists no scene")
    return ListedSource("CLEVR Counts", base / "images" / split, items, None)
