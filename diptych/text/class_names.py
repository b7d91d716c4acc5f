"""Class names in files, one class a line, several names of one class divided by ``|``; and their mean."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from diptych.bounded import read_bounded
from diptych.errors import DataError, nearest

Names = tuple[str, ...]  # of one class

_FOLDER = Path(__file__).parent / "names"
_LARGEST = 16 << 20


def read(path: str | Path) -> tuple[Names, ...]:
    """The names of each class of a file. Raises DataError, naming the line, for a class or a name that is blank.

    A line ``happy|cheerful|glad`` is one class that has three names.
    """
    try:
        text = read_bounded(Path(path), _LARGEST).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as problem:
        raise DataError(f"cannot read the class names {path}: {problem}") from problem
    # Not splitlines: it also breaks at characters that a name may hold.
    lines = re.split("\r\n|\r|\n", text.rstrip()) if text.strip() else []
    if not lines:
        raise DataError(f"{path} holds no class name")
    return tuple(split(line, f"{path}, line {number}") for number, line in enumerate(lines, 1))


def split(line: str, where: str) -> Names:
    """The names of one class. Raises DataError for a blank one, and for one that is there twice.

    >>> split("happy | glad", "here")
    ('happy', 'glad')
    """
    names = tuple(name.strip() for name in line.split("|"))
    if "" in names:
        raise DataError(f"{where}: {line!r:.80} has a blank name; every line is a class, its names divided by |")
    if len(set(names)) < len(names):
        raise DataError(f"{where}: {line!r:.80} has a name twice")
    return names


def packaged(name: str) -> tuple[Names, ...]:
    """The names that come with Diptych for data sets whose files only number their classes (``mnist``, ``gtsrb`` ...).

    Raises DataError where there are none of this name.
    """
    known = sorted(path.stem for path in _FOLDER.glob("*.txt"))
    if name not in known:
        raise DataError(f"no class names {name!r} come with Diptych; {nearest(name, known)}")
    return read(_FOLDER / f"{name}.txt")


def matched(own: Sequence[str], known: Sequence[Names]) -> tuple[Names, ...]:
    """For each class of a data set the names of the known class that it is one of; its own name where it is none.

    Case, spaces and signs do not matter: ``SeaLake`` is the class ``sea lake|lake or sea``.
    """
    places = {letters(name): names for names in known for name in names}
    return tuple(places.get(letters(name), (name,)) for name in own)


def averaged(names_ME: np.ndarray, classes: Sequence[Names]) -> np.ndarray:
    """One unit-norm vector a class (C, E): the mean of those of its names, M in all, in the order of the classes.

    A class with more names has no more weight than others; a zero mean, of names that cancel out, stays zero.
    """
    sizes = [len(names) for names in classes]
    if sum(sizes) != len(names_ME) or 0 in sizes:
        raise ValueError(f"{len(names_ME)} vectors are not one for each of the {sum(sizes)} names")
    means_CE = np.add.reduceat(names_ME, np.cumsum([0, *sizes[:-1]]), axis=0) / np.array(sizes)[:, None]
    lengths_C1 = np.linalg.norm(means_CE, axis=1, keepdims=True)
    return (means_CE / np.where(lengths_C1 > 0, lengths_C1, 1)).astype(names_ME.dtype)


def letters(name: str) -> str:
    """What counts of a name where it is looked for: letters and digits, in one case.

    >>> letters("Sea-Lake") == letters("sea lake")
    True
    """
    return "".join(letter for letter in name.casefold() if letter.isalnum())
