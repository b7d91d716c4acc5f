"""Results read from files and folders, and what belongs together among them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from diptych.errors import ConfigError, DataError
from diptych.evaluation.datasets import find
from diptych.evaluation.result import Columns, Interval, Result, read_predictions, without_predictions
from diptych.progress import say
from diptych.report.answers import Answers, Draws, TextAnswers, answers_of, check, draws_of, equal, text_answers_of
from diptych.report.metric_words import classifier
from diptych.report.naming import images, names, splits, variants
from diptych.report.soundness import HEADLINES, sound

PUBLISHED = {
    "zeroshot_classification": "zero-shot",
    "zeroshot_retrieval": "retrieval",
    "few_shot": "few-shot",
    "few_shot_cache": "few-shot cache",
    "linear_probe": "linear probe",
    "supervised_adaptation": "supervised adaptation",
    "nearest_neighbours": "nearest neighbours",
}
_ANSWERING = (
    "zero-shot",
    "retrieval",
    "linear probe",
    "nearest neighbours",
    "few-shot",
    "few-shot cache",
    "supervised adaptation",
)  # tasks that keep an answer for every image
_LISTED = 3  # files in a line
Known = TypeVar("Known", Answers | None, Draws | None, TextAnswers | None)


@dataclass(frozen=True)
class Entry:
    """A result with the name by which its model is told from the others.

    variant: what it was told that others of this model, data set and task were not, and measured other things by.
    images:  a hash of its data, where other data are called the same.
    split:   of its data set, where there are results on another one.
    file:    where it was read, without its predictions; None of one that holds them.
    """

    model: str
    result: Result
    variant: str = ""
    images: str = ""
    split: str = ""
    file: Path | None = None

    @property
    def task(self) -> str:
        """As people say it."""
        return PUBLISHED.get(self.result.task, self.result.task.replace("_", " "))

    @property
    def data(self) -> str:
        """The data set, and what tells it from others: split, hash, the language where it is not English, a variant."""
        language = self.result.language if self.result.language != "en" else ""
        told = ", ".join(filter(None, (self.split, self.images, language, self.variant)))
        return self.result.dataset + (f" ({told})" if told else "")

    @property
    def metric(self) -> str:
        """The name of the metric that the data set is known by; of results of CLIP_benchmark the usual one."""
        metric = self.result.metric or HEADLINES.get(self.result.task, "acc1")
        return metric if metric in self.result.metrics else next(iter(self.result.metrics), "")

    @property
    def value(self) -> float:
        """That metric; NaN where there is none."""
        return self.result.metrics.get(self.metric, float("nan"))

    @property
    def interval(self) -> Interval | None:
        """Its 95 % interval, where one is known."""
        return self.result.intervals.get(self.metric)

    @property
    def answers(self) -> Answers | None:
        """What it answered of each image; None where that was not kept, or is damaged, which is said."""
        return self._answered[0]

    @property
    def draws(self) -> Draws | None:
        """Likewise of few examples, over draws of them."""
        return self._drawn[0]

    @property
    def text_answers(self) -> TextAnswers | None:
        """Of retrieval, which image each text found; None where that was not kept, or is damaged, which is said."""
        return self._found[0]

    @property
    def doubt(self) -> str:
        """Why its predictions are not looked at; empty where they are, or where there are none."""
        return self._answered[1] or self._drawn[1] or (self._found[1] if self.task == "retrieval" else "")

    @cached_property
    def _answered(self) -> tuple[Answers | None, str]:
        return self._read(lambda: self._check(answers_of(self.predictions, self.result.samples), "text"))

    @cached_property
    def _drawn(self) -> tuple[Draws | None, str]:
        prefix = classifier(self.metric)
        return self._read(
            lambda: self._check(draws_of(self.predictions, self.result.samples, prefix.removesuffix("_")), "text")
        )

    @cached_property
    def _found(self) -> tuple[TextAnswers | None, str]:
        columns = self._table(".texts.parquet") if self.file else self.result.text_predictions
        return self._read(lambda: self._check(text_answers_of(columns, self.result.samples), "image"))

    def _check(self, answers: Known, kind: str) -> Known:
        """Refuse those that do not give the metrics of the result."""
        if answers is None:
            return None
        right = answers.rank_M == 1 if isinstance(answers, TextAnswers) else answers.right_N
        if self.task == "retrieval":
            equal(float(right.mean()), self.result.metrics, f"{kind}_retrieval_recall@1")
        else:
            check(right, self.predictions, self.result.metrics, classifier(self.metric))
        return answers

    def _read(self, read: Callable[[], Known]) -> tuple[Known, str]:
        try:
            return read(), ""
        except DataError as problem:
            say(f"{self.file or self.data}: without its predictions: {problem}")
            return None, str(problem)

    @cached_property
    def predictions(self) -> Columns:
        """Columns with one entry an image; none where they were not kept, or are damaged, which is said."""
        return self._table(".parquet") if self.file else self.result.predictions

    @cached_property
    def source_predictions(self) -> Columns:
        """Likewise of the images of the data set that it is shifted from."""
        return self._table(".source.parquet") if self.file else self.result.source_predictions

    def _table(self, suffix: str) -> Columns:
        if self.file is None:
            raise AssertionError("of a result in memory the tables are in it")
        try:
            return read_predictions(self.file.with_suffix(suffix))
        except DataError as problem:
            say(f"{self.file}: without its predictions: {problem}")
            return {}


def collect(places: Sequence[Path]) -> list[Entry]:
    """The results in files and folders, each once: models in the order of the places, in one place by name. What is no
    result in a folder, or unsound in a result, is said and left out.

    Raises DataError for a file that is none, for a place that is not there, and where there is no result at all.
    """
    found: dict[str, tuple[Path, int, Result]] = {}
    problems: dict[str, list[Path]] = {}
    for file, number in _files(places):
        try:
            result, unsound = _read(file)
        except DataError as problem:
            if file == places[number]:
                raise
            problems.setdefault(f"left out, {str(problem).removeprefix(f'{file}: ')}", []).append(file)
            continue
        first, *_ = found.setdefault(result.to_json(), (file, number, result))
        if first is not file:
            problems.setdefault(f"left out, equal to {first}", []).append(file)
            continue
        for told in unsound:
            problems.setdefault(told, []).append(file)
    for told, files in problems.items():
        more = f" and {len(files) - _LISTED} more" if len(files) > _LISTED else ""
        say(f"{', '.join(map(str, files[:_LISTED]))}{more}: {told}")
    if not found:
        raise DataError(f"there are no results in {', '.join(map(str, places))}; diptych evaluate --out makes some")
    files, numbers, results = zip(*found.values(), strict=True)
    told = zip(names(results), results, images(results), splits(results), files, strict=True)
    entries = [Entry(name, result, images=hashed, split=split, file=file) for name, result, hashed, split, file in told]
    return _in_order(_told_apart(entries), numbers)


def _in_order(entries: Sequence[Entry], places: Sequence[int]) -> list[Entry]:
    """Model by model: by the first place that has it, then by name, in which numbers count as such."""
    first: dict[str, int] = {}
    for entry, place in zip(entries, places, strict=True):
        first.setdefault(entry.model, place)

    def key(entry: Entry) -> tuple[int, list[tuple[int, str]], str]:
        pieces = re.findall(r"([0-9]+)|([^0-9]+)", entry.model)
        counted = [(len(digits.lstrip("0")), digits or word.casefold()) for digits, word in pieces]
        return first[entry.model], counted, entry.model

    return sorted(entries, key=key)


def _files(places: Sequence[Path]) -> Iterator[tuple[Path, int]]:
    """Each file once, and the number of the place in which it is."""
    seen = set()
    for number, place in enumerate(places):
        if not place.exists():
            raise DataError(f"{place}: no such file or folder")
        for file in sorted(place.glob("*.json")) if place.is_dir() else [place]:
            if file.resolve() not in seen:
                seen.add(file.resolve())
                yield file, number


def _read(file: Path) -> tuple[Result, list[str]]:
    """A result without its predictions, and what is unsound in it. Raises DataError that begins with the path."""
    whole = without_predictions(file)
    try:
        result, problems = sound(_as_ours(whole))
    except DataError as problem:
        raise DataError(f"{file}: {problem}") from problem
    entry = Entry(result.model, result)
    if not 0 <= entry.value <= 1:
        raise DataError(f"{file}: its {entry.metric} is {entry.value:g}, and a share from 0 to 1 is expected")
    if result.samples and entry.task in _ANSWERING and not file.with_suffix(".parquet").exists():
        problems.append("no predictions beside it (.parquet), so nothing is compared image by image")
    return result, problems


def _as_ours(result: Result) -> Result:
    """Of CLIP_benchmark's results, which have no fingerprints, the data set by our name, where it is one of ours."""
    if result.fingerprints:
        return result
    try:
        return replace(result, dataset=find(result.dataset).name)
    except ConfigError:
        return result


def _told_apart(entries: Sequence[Entry]) -> list[Entry]:
    alike: dict[tuple[str, str, str], list[int]] = {}
    for number, entry in enumerate(entries):
        alike.setdefault((entry.task, entry.data, entry.metric), []).append(number)
    found = list(entries)
    for numbers in alike.values():
        own = [entries[number] for number in numbers]
        results, files = [entry.result for entry in own], [entry.file or Path() for entry in own]
        told = variants([entry.model for entry in own], results, files)
        for number, variant in zip(numbers, told, strict=True):
            found[number] = replace(entries[number], variant=variant)
    return found
