"""Which of many results are looked at: those of a model, of a task, of the best models, of each data set once."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from diptych.errors import DataError, nearest
from diptych.report.collected import Entry
from diptych.report.naming import place

Key = TypeVar("Key")
_SPLITS = ("test", "", "val", "validation")  # whose results stand for a data set before those of others


def models(entries: Iterable[Entry]) -> list[str]:
    """Their names, in the order of the first result of each."""
    return list(dict.fromkeys(entry.model for entry in entries))


def by_data(entries: Iterable[Entry], task: str) -> dict[str, dict[str, Entry]]:
    """Of one task the results of each model by data set: ``found[model][data]``."""
    found: dict[str, dict[str, Entry]] = {}
    for entry in entries:
        if entry.task == task:
            found.setdefault(entry.model, {})[entry.data] = entry
    return found


def model_named(entries: Sequence[Entry], name: str) -> str:
    """The model of this name; or which alone is called so by itself, or is in a folder whose path ends so.

    Raises DataError for any other name, with the nearest there is.
    """
    known = models(entries)
    if name in known:
        return name
    own = [entry for entry in entries if name in (entry.result.model, entry.result.pretrained)]
    own += [entry for entry in entries if f"/{'/'.join(place(entry.result))}".endswith(f"/{name}")]
    if len(found := models(own)) == 1:
        return found[0]
    if found:
        raise DataError(f"{name!r} is the name of {len(found)} models: {', '.join(found)}")
    raise DataError(f"there is no result of the model {name!r}; {nearest(name, known)}")


def each_once(own: Mapping[Key, Entry], among: Iterable[Entry]) -> list[Key]:
    """The keys of results without those of a data set that another stands for: the plainest of each. Without data sets
    under whose name there are several, too: nothing tells which of these is meant.

    among: results in which these are looked for.
    """
    unclear = of_several_data(among)
    chosen: dict[str, Key] = {}
    for key in sorted(own, key=lambda key: plainness(own[key])):
        chosen.setdefault(own[key].result.dataset, key)
    kept = {key for key in chosen.values() if place_in_means(own[key]) not in unclear}
    return [key for key in own if key in kept]


def of_several_data(entries: Iterable[Entry]) -> set[tuple[str, ...]]:
    """Where there are results of one task on several data that are called the same."""
    known: dict[tuple[str, ...], set[str]] = {}
    for entry in entries:
        known.setdefault(place_in_means(entry), set()).add(entry.images)
    return {place for place, images in known.items() if len(images) > 1}


def place_in_means(entry: Entry) -> tuple[str, ...]:
    """Where there should be one data set: of a task those of a name, split and language."""
    return entry.task, entry.result.dataset, entry.result.split, entry.result.language


def plainness(entry: Entry) -> tuple[object, ...]:
    """Lowest of what stands for a data set: without a variant, of ``test``, in English, told of nothing besides."""
    order = split_order(entry.result.split)
    return bool(entry.variant), order, entry.result.language != "en", len(entry.result.options)


def split_order(split: str) -> int:
    """Lowest of ``test``, which stands for a data set before others."""
    return _SPLITS.index(split) if split in _SPLITS else len(_SPLITS)


def best(entries: Sequence[Entry], most: int, *, besides: str | None = None) -> list[Entry]:
    """Those of at most so many models: of more, those that are ahead of the largest share of the others, over all data
    sets and tasks, in the order in which they came; and of one besides."""
    if len(models(entries)) <= most:
        return list(entries)
    fields: dict[tuple[str, str, str], dict[str, float]] = {}
    for entry in entries:
        fields.setdefault((entry.task, entry.data, entry.metric), {})[entry.model] = entry.value
    ahead: dict[str, list[float]] = {}
    for own in fields.values():
        values = sorted(own.values())
        for model, value in own.items():
            ahead.setdefault(model, []).append(bisect_left(values, value) / len(values))
    kept = sorted(ahead, key=lambda model: -sum(ahead[model]) / len(ahead[model]))[:most]
    return [entry for entry in entries if entry.model in kept or entry.model == besides]
