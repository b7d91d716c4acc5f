"""Whether two sources are the same data, or share some: what is measured must not be learned from; and what one reads
twice."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from pathlib import Path

from diptych.data.fingerprint import fingerprint, glances, size_of
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


def read_twice(source: Source) -> tuple[int, str]:
    """How many of the files that a source reads it has read before, under whatever name, and the first of these; of
    tars copies count too, by their size and what is at their ends."""
    seen, again = Counter[object](), list[str]()
    tars: dict[int, list[Path]] = defaultdict(list)
    for file in getattr(source, "files", tuple)():
        seen[which := _which(file)] += 1
        if seen[which] > 1:
            again.append(str(file))
        elif isinstance(file, Path) and file.suffix == ".tar":
            tars[size_of(file)].append(file)
    for alike in tars.values():
        ends = Counter[str]()
        for file, told in zip(alike, glances(alike), strict=True) if len(alike) > 1 else ():
            ends[told] += 1
            if ends[told] > 1:
                again.append(str(file))
    return len(again), again[0] if again else ""


def _which(file: Path | str) -> str | tuple[int, int]:
    """The file itself, whatever links lead to it; by its name where there is none here."""
    try:
        state = os.stat(file)
    except (OSError, ValueError):
        return str(file)
    return state.st_dev, state.st_ino
