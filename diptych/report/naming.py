"""How results are told from one another: models that are called the same, and results that would stand in one place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from diptych.evaluation.result import Result
from diptych.printable import printable


def names(results: Sequence[Result]) -> list[str]:
    """The model's own name; with where its weights came from, or their hash, where others are called the same."""
    names = [result.model for result in results]
    for more in (_origin, _precision, _hash):
        owners: dict[str, set[str]] = {}
        longer: dict[str, set[str]] = {}
        for name, result in zip(names, results, strict=True):
            owners.setdefault(name, set()).add(_identity(result))
            longer.setdefault(name, set()).add(more(name, result))
        told = {name for name in owners if len(owners[name]) > 1 and len(longer[name]) > 1}
        names = [more(n, r) if n in told else n for n, r in zip(names, results, strict=True)]
    return names


def variants(results: Sequence[Result], files: Sequence[Path]) -> list[str]:
    """Of results that would stand in one place what each was told that others were not: split and options, else what
    it was made of, else its file. Empty of one that stands there alone."""
    if len(results) < 2:
        return [""]
    told = [{"split": result.split, **result.options} for result in results]
    if len({str(own) for own in told}) < len(told):
        told = [{**own, **_made_of(result)} for own, result in zip(told, results, strict=True)]
    if len({str(own) for own in told}) < len(told):
        told = [
            {**own, "file": "/".join(file.with_suffix("").parts[-2:])} for own, file in zip(told, files, strict=True)
        ]
    every = dict.fromkeys(name for own in told for name in own)
    differing = [name for name in every if any(own.get(name) != told[0].get(name) for own in told)]
    return [
        ", ".join(
            printable(name if own[name] is True else f"{name}={own[name]}", lines=False)
            for name in differing
            if own.get(name)
        )
        for own in told
    ]


def images(results: Sequence[Result]) -> list[str]:
    """A hash of the data of each result, where others of that task are on other data that are called the same."""
    owners: dict[tuple[str, ...], set[str]] = {}
    places = [(result.task, result.dataset, result.split, result.language) for result in results]
    known = [result.fingerprints.get("data", "") for result in results]
    for place, own in zip(places, known, strict=True):
        owners.setdefault(place, set()).update([own] if own else [])
    return [own[:6] if len(owners[place]) > 1 else "" for place, own in zip(places, known, strict=True)]


def _made_of(result: Result) -> dict[str, str]:
    return {"templates": result.fingerprints.get("templates", "")[:6], "by": result.backend}


def _identity(result: Result) -> str:
    return f"{result.fingerprints.get('weights', result.pretrained)} {result.precision}"


def _origin(name: str, result: Result) -> str:
    return f"{name}, {'/'.join(Path(result.pretrained).parts[-2:])}" if result.pretrained else name


def _precision(name: str, result: Result) -> str:
    return f"{name}, {result.precision}"


def _hash(name: str, result: Result) -> str:
    return f"{name}, {result.fingerprints.get('weights', '')[:6]}"
