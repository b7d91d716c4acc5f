"""How results are told from one another: models that are called the same, data of several splits or of one name, and
results that would stand in one place."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

from diptych.evaluation.kept import UNTOLD
from diptych.evaluation.result import Result
from diptych.report.told import measuring, option, options, read

_Identity = tuple[str, str]  # weights and precision


def names(results: Sequence[Result]) -> list[str]:
    """The model's own name. Where others are called the same, with the last folders of where it is that no other has,
    and else with the hash of its weights; with its precision, where that is what differs."""
    known: dict[str, dict[_Identity, Result]] = {}
    for result in results:
        known.setdefault(result.model, {}).setdefault(_identity(result), result)
    told = {(model, one): name for model, own in known.items() for one, name in zip(own, _apart(own), strict=True)}
    owners: dict[str, int] = {}
    for name in told.values():
        owners[name] = owners.get(name, 0) + 1
    for (model, one), name in told.items():
        if owners[name] > 1:
            told[model, one] = f"{name} {one[0][:6]}"
    return [told[result.model, _identity(result)] for result in results]


def place(result: Result) -> tuple[str, ...]:
    """The parts of where its model is, without those that all runs have: ``runs/mine/run/model`` is ``runs/mine``."""
    plain = re.sub(r",\s*", " ", result.pretrained)  # names are listed with commas between them
    return tuple(part for part in PurePath(plain).parts if part not in UNTOLD)


def splits(results: Sequence[Result]) -> list[str]:
    """The split of each result, where there are others of its data set."""
    known: dict[str, set[str]] = {}
    for result in results:
        known.setdefault(result.dataset, set()).update([result.split] if result.split else [])
    return [result.split if len(known[result.dataset]) > 1 else "" for result in results]


def images(results: Sequence[Result]) -> list[str]:
    """What tells the data of each result from others that are called the same: which fields and rows were read, where
    that does, else a hash. Empty where there are no others."""
    owners: dict[tuple[object, ...], dict[str, str]] = {}
    # Captions are part of what retrieval is of, and labels of what all other tasks are.
    places = [(r.task == "zeroshot_retrieval", r.dataset, r.split, r.language) for r in results]
    known = [result.fingerprints.get("data", "") for result in results]
    for where, own, result in zip(places, known, results, strict=True):
        of_place = owners.setdefault(where, {})
        if own:
            of_place[own] = of_place.get(own) or options(read(result))
    told = []
    for where, own in zip(places, known, strict=True):
        said = owners[where]
        apart = len(set(said.values())) == len(said)
        told.append("" if len(said) < 2 else said.get(own, "") if apart else own[:6])
    return told


def variants(models: Sequence[str], results: Sequence[Result], files: Sequence[Path]) -> list[str]:
    """Of results that would stand in one row what each was told that others were not: options, else, of several of one
    model, what it was made of, else its file. Empty where that is nothing, and where all of a model measured the same.

    Results that were told of different things to measure besides, and measured the same, are called the same.
    """
    measured = [str((r.metrics.get(r.metric, r.metrics), r.intervals.get(r.metric))) for r in results]
    told = [measuring(result) for result in results]
    more: tuple[list[dict[str, Any]], ...] = (
        [result.options for result in results],
        [_made_of(result) for result in results],
        [{"file": "/".join(file.with_suffix("").parts[-2:])} for file in files],
    )
    for further in more:
        found = {(model, str(own), what) for model, own, what in zip(models, told, measured, strict=True)}
        unclear = {model for (model, _), times in Counter(key[:2] for key in found).items() if times > 1}
        if not unclear:
            break
        told = [
            own | other if model in unclear else own for model, own, other in zip(models, told, further, strict=True)
        ]
    every = dict.fromkeys(name for own in told for name in own)
    differing = [name for name in every if any(own.get(name) != told[0].get(name) for own in told)]
    return [", ".join(option(name, own[name]) for name in differing if own.get(name)) for own in told]


def _made_of(result: Result) -> dict[str, str]:
    return {"templates": result.fingerprints.get("templates", "")[:6], "by": result.backend}


def _identity(result: Result) -> _Identity:
    return result.fingerprints.get("weights", result.pretrained), result.precision


def _apart(alike: dict[_Identity, Result]) -> list[str]:
    """Names of models that are called the same."""
    parts = {weights: place(result) for (weights, _), result in alike.items()}
    names = []
    for (weights, precision), result in alike.items():
        others = [own for other, own in parts.items() if other != weights]
        tail = _shortest(parts[weights], [own for own in others if own != parts[weights]]) if others else ""
        rounded = any(other == weights and precise != precision for other, precise in alike)
        hashed = weights[:6] if parts[weights] in others else ""  # made again in the same place
        told = [tail if tail != result.model else "", hashed, precision if rounded else ""]
        names.append(f"{result.model} ({' '.join(filter(None, told))})" if any(told) else result.model)
    return names


def _shortest(own: tuple[str, ...], others: Sequence[tuple[str, ...]]) -> str:
    """The fewest last parts that none of the others ends in."""
    count = next((n for n in range(1, len(own)) if all(own[-n:] != other[-n:] for other in others)), len(own))
    return "/".join(own[len(own) - count :])
