"""Which classes of a data set, or of a classifier, those of another data set are: by their names, or as a file says."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from diptych.bounded import read_bounded
from diptych.errors import ConfigError, DataError, closest
from diptych.text.class_names import Names, letters, split

_LARGEST = 16 << 20
_LISTED = 4  # names in a message


@dataclass(frozen=True)
class ClassMap:
    """Of each of K classes the rows, one, several or none, among C others that it stands for; no row is of two classes.

    names:        of the K classes; ``others``: of the C.
    """

    names: tuple[str, ...]
    others: tuple[str, ...]
    rows: tuple[tuple[int, ...], ...]

    def pooled(self, scores_NC: np.ndarray) -> np.ndarray:
        """Scores (N, K): of each class the highest of those that it stands for (paper, section 3.3, after Taori et al.,
        NeurIPS 2020). A class that stands for none has -inf, so it is never answered, nor are those of no class."""
        scores_NK = np.full((len(scores_NC), len(self.rows)), -np.inf, scores_NC.dtype)
        for k, rows in enumerate(self.rows):
            if rows:
                scores_NK[:, k] = scores_NC[:, list(rows)].max(axis=1)
        return scores_NK

    def places(self, labels_N: np.ndarray) -> np.ndarray:
        """For labels among the C others the class (N) of the K; -1 for those of none."""
        place_C = np.full(len(self.others), -1)
        for place, rows in enumerate(self.rows):
            place_C[list(rows)] = place
        return place_C[labels_N]

    def first(self, first_C: np.ndarray) -> np.ndarray:
        """Of each class the first one (K) that has the same score whatever is shown, where others' names repeat."""
        alike: dict[frozenset[int], int] = {}  # classes that stand for none are all alike
        return np.array(
            [alike.setdefault(frozenset(first_C[list(own)].tolist()), k) for k, own in enumerate(self.rows)]
        )

    @property
    def mapping(self) -> dict[str, list[str]]:
        """What each class stands for, by name; none where both are the same list of names."""
        if self.names == self.others:
            return {}
        return {name: [self.others[row] for row in rows] for name, rows in zip(self.names, self.rows, strict=True)}


def match(
    own: Sequence[Names],
    others: Sequence[Names],
    *,
    name: str,
    other_name: str,
    mapping: Mapping[str, Sequence[str]] | None = None,
) -> ClassMap:
    """Find each class of a data set among other classes. The first name of a class is what it is called.

    Equal lists are the same classes. Else a class is the one of its first name, or those, where several have it and so
    no name tells them apart; or the only one that has one of its names, in which case, spaces and signs do not matter.

    mapping: by first name what some classes stand for instead: first names of one other class, or of several.

    Raises DataError, with the nearest names, for classes that are none of the others, or not surely one; ConfigError
    for a mapping of, or to, what is not there.
    """
    names, firsts = tuple(one[0] for one in own), tuple(one[0] for one in others)
    if names == firsts and not mapping:
        return ClassMap(names, firsts, tuple((row,) for row in range(len(firsts))))
    if twice := [one for one, times in Counter(names).items() if times > 1]:
        raise DataError(
            f"{len(twice)} names of {name} are those of several classes, so which is meant among those of {other_name} "
            f"is not known: {_listed(map(repr, twice))}; give classes of one name names of their own"
        )
    said = _said(mapping or {}, names, firsts, name, other_name)
    by_name, by_letters = _rows(firsts), _by_letters(others)
    found = [said.get(one[0]) or by_name.get(one[0]) or _alike(one, by_letters) for one in own]
    if missing := [number for number, rows in enumerate(found) if not rows]:
        near = ((names[number], closest(names[number], firsts)) for number in missing[: _LISTED + 1])
        told = (f"{one!r} (did you mean {other!r}?)" if other else repr(one) for one, other in near)
        raise DataError(
            f"{len(missing)} of the {len(own)} classes of {name} are none of the {len(others)} of {other_name}: "
            f"{_listed(told)}; what they are there is told by mapping= (--mapping FILE), a line a class: "
            f"{names[missing[0]]} = NAME | NAME"
        )
    owner: dict[int, str] = {}
    for one, rows in zip(names, found, strict=True):
        if another := next((owner[row] for row in rows if row in owner), None):
            raise DataError(
                f"{another!r} and {one!r} of {name} are one class of {other_name}, {firsts[rows[0]]!r}; mapping= "
                "(--mapping FILE) tells them apart"
            )
        owner.update(dict.fromkeys(rows, one))
    return ClassMap(names, firsts, tuple(map(tuple, found)))


def read_mapping(given: str | Path | Mapping[str, Sequence[str]]) -> dict[str, Names]:
    """A mapping of class names as it is, or from a file with lines ``person = bridegroom | scuba diver``.

    Raises ConfigError, naming the line, for what is none.
    """
    if isinstance(given, Mapping):
        return {name: (others,) if isinstance(others, str) else tuple(others) for name, others in given.items()}
    try:
        text = read_bounded(Path(given), _LARGEST).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as problem:
        raise ConfigError(f"cannot read the mapping {given}: {problem}") from problem
    found: dict[str, Names] = {}
    for number, line in enumerate(re.split("\r\n|\r|\n", text), 1):
        if not line.strip():
            continue
        name, equals, others = (part.strip() for part in line.partition("="))
        where = f"{given}, line {number}"
        if not name or not equals or name in found:
            wrong = "is there twice" if name in found else "is no NAME = NAME | NAME"
            raise ConfigError(f"{where}: {(name if name in found else line)!r:.80} {wrong}")
        try:
            found[name] = split(others, where)
        except DataError as problem:
            raise ConfigError(str(problem)) from problem
    if not found:
        raise ConfigError(f"{given} maps no class; a line is NAME = NAME | NAME")
    return found


def _said(
    mapping: Mapping[str, Sequence[str]], names: Sequence[str], others: Sequence[str], name: str, other_name: str
) -> dict[str, list[int]]:
    """The rows of the classes that a mapping names."""
    places = _rows(others)
    for own, targets in mapping.items():
        for known, asked, where in ((names, (own,), name), (others, targets, other_name)):
            if wrong := next((one for one in asked if one not in known), None):
                near = closest(wrong, known)
                hint = f"; did you mean {near!r}?" if near else ""
                raise ConfigError(f"the mapping names {wrong!r}, which is no class of {where}{hint}")
        if not targets:
            raise ConfigError(f"the mapping says of {own!r} nothing that it is in {other_name}")
    return {own: sorted({row for one in targets for row in places[one]}) for own, targets in mapping.items()}


def _rows(names: Sequence[str]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        found.setdefault(name, []).append(row)
    return found


def _by_letters(others: Sequence[Names]) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {}
    for row, names in enumerate(others):
        for name in names:
            found.setdefault(letters(name), set()).add(row)
    found.pop("", None)  # names of signs alone are not all one
    return found


def _alike(names: Names, by_letters: Mapping[str, set[int]]) -> list[int]:
    rows = {row for name in names for row in by_letters.get(letters(name), ())}
    return sorted(rows) if len(rows) == 1 else []


def _listed(names: Iterable[str]) -> str:
    told = list(names)
    return ", ".join(told[:_LISTED]) + (" ..." if len(told) > _LISTED else "")
