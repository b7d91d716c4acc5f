"""The text files in which data sets list their images and classes: their lines, and errors that name file and line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from diptych.data.files import printable, read_lines
from diptych.errors import DataError, nearest


def lines_of(file: Path) -> list[str]:
    """The lines of a list that are not blank. Raises DataError where there is no such file, or nothing in it."""
    return [line for _, line in numbered_lines(file)]


def numbered_lines(file: Path) -> Iterator[tuple[int, str]]:
    """The lines of a list that are not blank, with their numbers from 1; see `lines_of`."""
    found = read_lines(file)
    if found is None:
        raise DataError(f"{printable(file)}: no such file")
    if not found:
        raise DataError(f"{printable(file)} is empty")
    yield from ((number, line) for number, line in enumerate(found, 1) if line and not line.startswith("#"))


def fields_of(file: Path, number: int, line: str, least: int) -> list[str]:
    """What blanks divide in a line. Raises DataError for fewer than so many."""
    found = line.split()
    if len(found) < least:
        raise DataError(f"{file}, line {number}: {line!r:.80} has {len(found)} fields, not {least}")
    return found


def class_number(file: Path, number: int, value: str) -> int:
    """The number of a class that stands in a line. Raises DataError for anything else."""
    if not value.isdecimal():
        raise DataError(f"{file}, line {number}: {value!r:.40} is not the number of a class")
    return int(value)


def numbers_of(classes: Sequence[str]) -> dict[str, int]:
    """The number of each class, from 0, by its name."""
    return {name: label for label, name in enumerate(classes)}


def number_of(file: Path, number: int, name: str, places: Mapping[str, int]) -> int:
    """The number of the class that a line names. Raises DataError with the nearest name."""
    if name not in places:
        raise DataError(f"{file}, line {number}: there is no class {name!r:.80}; {nearest(name, places)}")
    return places[name]


def words(name: str) -> str:
    """A class's name as it is written in a path, as words.

    >>> words("ApplyEyeMakeup"), words("tennis_court"), words("a/abbey")
    ('Apply Eye Makeup', 'tennis court', 'abbey')
    """
    name = re.sub(r"^[a-z]/", "", name).replace("/", " ").replace("_", " ")
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
