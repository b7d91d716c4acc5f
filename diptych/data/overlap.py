"""Whether two sources are the same data, or share some: what is measured must not be learned from."""

from __future__ import annotations

import os
from pathlib import Path

from diptych.data.fingerprint import fingerprint
from diptych.data.sources import Source, is_remote


def overlap(first: Source, second: Source) -> bool:
    """Whether a file is read by both, under whatever name, or each file of one is as one of the other: a copy.

    Of sources that tell neither files nor what they list (see `Source`) nothing is known.
    """
    if first is second:
        return True
    fewer, more = (getattr(source, "files", tuple) for source in sorted((first, second), key=len))
    read = set(map(_which, fewer()))
    if any(_which(file) in read for file in more()):
        return True
    # What lies elsewhere lists no more than names and sizes.
    if len(first) != len(second) or any(isinstance(file, str) and is_remote(file) for file in read):
        return False
    known = fingerprint(first)
    return known != "" and known == fingerprint(second)


def _which(file: Path | str) -> str | tuple[int, int]:
    """The file itself, whatever links lead to it; by its name where there is none here."""
    try:
        state = os.stat(file)
    except (OSError, ValueError):
        return str(file)
    return state.st_dev, state.st_ino
