"""Many models on many data sets by many tasks: each result a file, what is there is not made again."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from diptych import distributed
from diptych.errors import ConfigError, DiptychError, ProcessLost
from diptych.evaluation import kept
from diptych.evaluation.own_datasets import read_rows
from diptych.evaluation.plan import Splits
from diptych.evaluation.result import Result
from diptych.evaluation.splits import named, open_splits
from diptych.evaluation.subjects import Subject
from diptych.evaluation.tasks import TASKS, check_taken, default_task, evaluate

if TYPE_CHECKING:
    from diptych.encoder.clip import Precision
    from diptych.evaluation.datasets import Row
    from diptych.tower_specs import Activation

FEATURES = "features"  # the folder of embeddings among the results
LANGUAGE = "{language}"  # stands for the language in the name of a field


@dataclass(frozen=True)
class Model:
    """Where a model is, and what must be said to load it: see ``diptych.load``."""

    location: str
    tokenizer: str | None = None
    activation: Activation | None = None
    precision: Precision = "fp32"

    def load(self) -> Subject:
        """A CLIP, or another image encoder."""
        from diptych.encoder.loading import load
        from diptych.encoder.subject import ImageSubject, is_encoder

        if is_encoder(self.location):
            return ImageSubject.load(self.location, precision=self.precision)
        return load(self.location, tokenizer=self.tokenizer, activation=self.activation, precision=self.precision)


@dataclass(frozen=True)
class Data:
    """Where a data set is, and which of its samples and texts are taken: see ``diptych.data.sources.open_source``.

    row:          of the table of data sets, where it is one of them.
    shifted_from: the data set that it is shifted from, for the tasks that take one.
    """

    location: str
    row: Row | None = None
    split: str | None = None
    captions: tuple[str, ...] | None = None
    where: str | None = None
    language: str = "en"
    shifted_from: Data | None = None

    def open(self, *, learns: Literal["", "own", "source"] = "") -> Splits:
        """Its splits; those that are learned from where that is asked for: its own, or its source's."""
        captions = self.captions and tuple(field.replace(LANGUAGE, self.language) for field in self.captions)
        asked = {"split": self.split, "captions": captions, "where": self.where}
        splits = open_splits(self.location, self.row, training=learns == "own", **asked)
        source = self.shifted_from and self.shifted_from.open(learns="own" if learns == "source" else "")
        return replace(splits, shifted_from=source)


def data_at(text: str, **taken: Any) -> list[Data]:
    """The data sets that a text names: a place, ``cifar10=PLACE`` for one of the table, or a TOML file with rows of
    one's own. ``taken``: what else `Data` has. Raises ConfigError or DataError."""
    if text.endswith(".toml"):
        return [Data(row.location, row, **taken) for row in read_rows(text)]
    location, row = named(text)
    return [Data(location, row, **taken)]


def the_one_at(text: str) -> Data:
    """The data set that a text names, as `data_at` takes it. Raises ConfigError for several."""
    found = data_at(text)
    if len(found) > 1:
        names = ", ".join(one.row.name for one in found if one.row)
        raise ConfigError(f"{text} has several data sets, {names}; others are shifted from one")
    return found[0]


@dataclass(frozen=True)
class Outcome:
    """One evaluation of a run: its result, and why there is none, or why it could not be written to its file."""

    model: str
    data: str
    task: str
    result: Result | None = None
    file: Path | None = None
    made: bool = False
    problem: DiptychError | OSError | None = None


def run(
    models: Sequence[Model],
    data: Sequence[Data],
    tasks: Sequence[str | None],
    out: Path | None,
    *,
    allowed_failures: float = 0.1,
    **options: Any,
) -> Iterator[Outcome]:
    """Each model on each data set by each task (None: what the data are made for), as they are done.

    out: the folder of the results, in which what is done is found and read instead of made; embeddings and features
         are kept there too. None: nothing is kept.

    A model is loaded when a result of it is missing. What fails is an outcome too, and the others are made. Of several
    tasks each is told the options that it takes; ConfigError for one that none of them does. Raises ProcessLost where
    another process of several ends: then nothing can be made together.
    """
    if len(tasks) > 1:
        given = [*options, *(["shifted_from"] if any(where.shifted_from for where in data) else [])]
        check_taken(given, [task for task in tasks if task])
    for model in models:
        loaded = _Loaded(model)
        for where, task in itertools.product(data, tasks):
            outcome = Outcome(model.location, where.location, task or "")
            if len(tasks) > 1 and task and "shifted_from" not in TASKS[task].options:
                where = replace(where, shifted_from=None)
            try:
                splits = where.open(learns=TASKS[task].learns if task else "")
                name = task or default_task(splits)
                outcome = replace(outcome, task=name)
                chosen = {key: options[key] for key in options if len(tasks) == 1 or key in TASKS[name].options}
                asked = chosen | {"allowed_failures": allowed_failures}
                file = out / kept.file_of(loaded.known, where, splits, name, asked) if out else None
                if file and (found := distributed.agreed(partial(kept.read, file))):
                    yield replace(outcome, result=found, file=file)
                    continue
                told: dict[str, Any] = {"language": where.language, "folder": out / FEATURES if out else None, **chosen}
                result = evaluate(loaded.subject, splits, name, allowed_failures=allowed_failures, **told)
            except (DiptychError, OSError) as problem:
                if isinstance(problem, OSError) and distributed.world_size() > 1:
                    raise  # the others have not met it, and cannot go on alike
                yield replace(outcome, problem=problem)
            except RuntimeError as problem:
                if not distributed.is_loss(problem):
                    raise
                then = "; the same command goes on from what was kept" if out else ""
                raise ProcessLost(
                    f"process {distributed.rank()} has lost another one, which ended or does not answer{then} "
                    f"({str(problem).partition(chr(10))[0]})"
                ) from problem
            else:
                yield _saved(replace(outcome, result=replace(result, pretrained=model.location), made=True), file)


def _saved(outcome: Outcome, file: Path | None) -> Outcome:
    """Written by the main process; what was computed is not lost where it cannot be."""
    if file is None or outcome.result is None or not distributed.is_main():
        return outcome
    try:
        return replace(outcome, file=outcome.result.save(file))
    except OSError as problem:
        return replace(outcome, problem=problem)


@dataclass(frozen=True)
class _Loaded:
    model: Model

    @cached_property
    def known(self) -> kept.Known:
        return kept.Known.of(self.model)

    @cached_property
    def subject(self) -> Subject:
        return self.model.load()
