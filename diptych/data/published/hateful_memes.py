"""Hateful Memes: a JSON object a line."""

from __future__ import annotations

import json
from pathlib import Path

from diptych.data.files import printable, read_lines
from diptych.data.published.list_source import Item, ListedSource
from diptych.errors import DataError


def hateful_memes(base: Path, split: str) -> ListedSource:
    """``train.jsonl``, ``dev.jsonl`` (or ``dev_seen.jsonl``): ``{"img": "img/42953.png", "label": 0, "text": ...}`` a
    line; 1 is hateful. The text stands in the picture too, so it is no caption here."""
    file = next((path for path in (base / f"{split}.jsonl", base / f"{split}_seen.jsonl") if path.is_file()), None)
    if file is None:
        raise DataError(f"{printable(base / split)}.jsonl: no such file, nor {split}_seen.jsonl")
    items = []
    for number, line in enumerate(read_lines(file) or (), 1):
        try:
            row = json.loads(line)
            image, label = row["img"], row.get("label")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise DataError(f"{file}, line {number} is no object with an 'img': {error}") from error
        if label is None:
            raise DataError(f"{file}, line {number} has no label, as in the test split that is not public; take dev")
        if label not in (0, 1) or not isinstance(image, str):
            raise DataError(f"{file}, line {number}: its label is {label!r:.40}, not 0 or 1, or 'img' is no path")
        items.append(Item(image, int(label)))
    return ListedSource("Hateful Memes", base, items, None)
