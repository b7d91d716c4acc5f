"""Class names in files, one class a line, several names of one class divided by ``|``; and their mean."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from diptych.bounded import read_bounded
from diptych.errors import Caution, DataError, nearest

Names = tuple[str, ...]  # of one class

_FOLDER = Path(__file__).parent / "names"
_LARGEST = 16 << 20


def read(path: str | Path) -> tuple[Names, ...]:
    """The names of each class of a file. Raises DataError, naming the line, for a class or a name that is blank.

    A line ``happy|cheerful|glad`` is one class that has three names.
    """
    try:
        text = read_bounded(Path(path), _LARGEST).decode("utf-8-sig")
    except (OSError, ValueError) as problem:  # the latter of what is no text, or no path
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


def in_order(given: Sequence[Names], own: Sequence[str], where: str) -> tuple[Names, ...]:
    """The names that are given for as many classes, called ``own`` by the data, in the order of these.

    Names of which each class has one, in whatever order, are found by it; classes that are numbered have names in the
    order of their numbers; others in the order of the classes. Case, and ``_`` for a space, do not matter. Raises
    DataError, naming ``where`` they are of, for names of which at least half are those of other classes, and
    warns of fewer.

    >>> in_order([("tom", "tomcat"), ("puss",)], ["puss", "tom"], "cats")
    (('puss',), ('tom', 'tomcat'))
    """
    read, spelled = (_places(given, own, how) for how in (_words, letters))
    places = [first if first is not None else second for first, second in zip(read, spelled, strict=True)]
    if sorted(place for place in places if place is not None) == list(range(len(given))):
        return tuple(given[place] for place in places if place is not None)
    if all(name.isdecimal() for name in own) and len(set(map(int, own))) == len(own):
        ranks = {number: rank for rank, number in enumerate(sorted(map(int, own)))}
        return tuple(given[ranks[int(name)]] for name in own)
    # A class that is called by a number may have another number for a name: how many things it shows.
    told = {i: place for i, place in enumerate(places) if place is not None and not own[i].isdecimal()}
    elsewhere = [i for i, place in told.items() if place != i]
    if elsewhere:
        first = elsewhere[0]
        said = (
            f"{where}: the class {own[first]!r} is number {first + 1}, and of the names given for its classes "
            f"{own[first]!r} is number {told[first] + 1}; they go in the order of the classes, {', '.join(own)}"
        )
        if 2 * len(elsewhere) >= len(told):
            raise DataError(f"{said:.800}")
        warnings.warn(f"{said:.800}", Caution, stacklevel=2)
    return tuple(given)


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


def _words(name: str) -> str:
    return " ".join(name.replace("_", " ").casefold().split())


def _places(given: Sequence[Names], own: Sequence[str], how: Callable[[str], str]) -> list[int | None]:
    """For each class where among those given is one of its name, read so: its own place before others; None where there
    is none, or another class of the data is called alike."""
    classes, found = Counter(map(how, own)), list[int | None]()
    places: dict[str, list[int]] = {}
    for place, names in enumerate(given):
        for name in names:
            places.setdefault(how(name), []).append(place)
    for i, name in enumerate(own):
        known = places.get(how(name), []) if how(name) and classes[how(name)] == 1 else []
        found.append(i if i in known else known[0] if known else None)
    return found
