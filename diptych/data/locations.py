"""What a location stands for: ``{a,b}``, ``{000..099}``, ``*``."""

from __future__ import annotations

import glob
import itertools
import re
from collections.abc import Iterable
from pathlib import Path

from diptych.errors import DataError


def expanded(location: str) -> list[Path]:
    """The existing paths that a location with ``{a,b}``, ``{000..099}`` or ``*`` stands for, in order."""
    if Path(location).exists():
        return [Path(location)]
    paths: list[Path] = []
    for plain in braces(location):
        found = sorted(glob.glob(plain, recursive=True), key=natural) if glob.has_magic(plain) else [plain]
        if not found or not Path(found[0]).exists():
            raise DataError(f"{plain}: no such file or folder")
        paths += map(Path, found)
    return paths


def braces(pattern: str) -> Iterable[str]:
    """Every location that ``{a,b}`` and ``{000..099}`` in a pattern stand for, in order. Raises DataError for a range
    that runs backwards."""
    match = re.search(r"\{([^{}]*)\}", pattern)
    if not match:
        return [pattern]
    span = re.fullmatch(r"(\d+)\.\.(\d+)", match[1])
    if span:
        if int(span[2]) < int(span[1]):
            raise DataError(f"{pattern}: the range {match[0]} runs backwards")
        width = len(span[1]) if span[1].startswith("0") else 0
        parts = [f"{number:0{width}}" for number in range(int(span[1]), int(span[2]) + 1)]
    else:
        parts = match[1].split(",")
    head, tail = pattern[: match.start()], pattern[match.end() :]
    return itertools.chain.from_iterable(braces(head + part + tail) for part in parts)


def natural(path: Path | str) -> list[tuple[int, str]]:
    """Sorts ``2.tar`` before ``10.tar``."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", str(path))]
