"""Results read from files and folders, and what belongs together among them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from diptych.errors import DataError, DiptychError
from diptych.evaluation.result import Interval, Result
from diptych.progress import say

PUBLISHED = {
    "zeroshot_classification": "zero-shot",
    "zeroshot_retrieval": "retrieval",
    "linear_probe": "linear probe",
    "supervised_adaptation": "supervised adaptation",
    "few_shot": "few-shot",
    "few_shot_cache": "few-shot cache",
    "nearest_neighbours": "nearest neighbours",
}
_HEADLINES = {"zeroshot_retrieval": "text_retrieval_recall@1", "linear_probe": "lp_acc1"}


@dataclass(frozen=True)
class Entry:
    """A result with the name by which its model is told from the others.

    variant: what it was told that others of this model, data set and task were not.
    """

    model: str
    result: Result
    variant: str = ""

    @property
    def task(self) -> str:
        """As people say it."""
        return PUBLISHED.get(self.result.task, self.result.task.replace("_", " "))

    @property
    def data(self) -> str:
        """The data set, and what tells it from others: the language where it is not English, a variant."""
        told = [self.result.language] if self.result.language != "en" else []
        told += [self.variant] if self.variant else []
        return self.result.dataset + (f" ({', '.join(told)})" if told else "")

    @property
    def metric(self) -> str:
        """The name of the metric that the data set is known by; of results of CLIP_benchmark the usual one."""
        metric = self.result.metric or _HEADLINES.get(self.result.task, "acc1")
        return metric if metric in self.result.metrics else next(iter(self.result.metrics), "")

    @property
    def value(self) -> float:
        """That metric; NaN where there is none."""
        return self.result.metrics.get(self.metric, float("nan"))

    @property
    def interval(self) -> Interval | None:
        """Its 95 % interval, where one is known."""
        return self.result.intervals.get(self.metric)


def collect(places: Sequence[Path]) -> list[Entry]:
    """The results in files and folders, each once. Files in a folder that are no results are named and left out.

    Raises DataError for a file that is none, for a place that is not there, and where there is no result at all.
    """
    found: dict[Path, Result] = {}
    for place in places:
        if not place.exists():
            raise DataError(f"{place}: no such file or folder")
        for file in sorted(place.glob("*.json")) if place.is_dir() else [place]:
            try:
                found[file.resolve()] = Result.load(file)
            except DiptychError as problem:
                if not place.is_dir():
                    raise
                say(f"left out: {problem}")
    if not found:
        raise DataError(f"there are no results in {', '.join(map(str, places))}; diptych evaluate --out makes some")
    results = list(found.values())
    entries = [Entry(name, result) for name, result in zip(_names(results), results, strict=True)]
    alike: dict[tuple[str, str, str, str], list[Entry]] = {}
    for entry in entries:
        alike.setdefault((entry.model, entry.task, entry.data, entry.metric), []).append(entry)
    same = {id(entry): own for own in alike.values() for entry in own}
    return [replace(entry, variant=_variant(entry, same[id(entry)])) for entry in entries]


def _variant(entry: Entry, alike: Sequence[Entry]) -> str:
    """Split and options of an entry, where those of others that would stand in its place differ."""
    if len(alike) < 2:
        return ""
    told = [{"split": other.result.split, **other.result.options} for other in alike]
    own = {"split": entry.result.split, **entry.result.options}
    differing = [
        name
        for name in dict.fromkeys(name for one in told for name in one)
        if any(one.get(name) != own.get(name) for one in told)
    ]
    return ", ".join(name if own[name] is True else f"{name}={own[name]}" for name in differing if own.get(name))


def _names(results: Sequence[Result]) -> list[str]:
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


def _identity(result: Result) -> str:
    return f"{result.fingerprints.get('weights', result.pretrained)} {result.precision}"


def _origin(name: str, result: Result) -> str:
    return f"{name}, {'/'.join(Path(result.pretrained).parts[-2:])}" if result.pretrained else name


def _precision(name: str, result: Result) -> str:
    return f"{name}, {result.precision}"


def _hash(name: str, result: Result) -> str:
    return f"{name}, {result.fingerprints.get('weights', '')[:6]}"


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
