"""What a task is told, and what it answers before any image is read: all that can be wrong is found out first."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from diptych.errors import ConfigError, DataError, nearest
from diptych.evaluation.few_shot import DRAWS, SHOTS

if TYPE_CHECKING:
    from diptych.data.sources import Source
    from diptych.encoder.clip import Templates
    from diptych.evaluation.datasets import Row
    from diptych.evaluation.feature_files import Wanted
    from diptych.evaluation.features import Features, Need
    from diptych.evaluation.result import Scores

Split = Literal["test", "train", "validation", "source"]


@dataclass(frozen=True)
class Options:
    """What the tasks can be told; each takes those that its row of ``tasks.TASKS`` names.

    templates:         of prompts: a set's name, a file, a template or several; by default the data's own, else
                       ``photo``.
    class_names:       a file with one class a line, or a sequence, instead of the data's own; several names of a class
                       are divided by ``|`` in the file and are a tuple in a sequence.
    none_of_these:     an answer whose probability is below it counts as "none of these".
    ablate_prompts:    also without a template, with one, with a hint of the domain, and with all.
    distinct_captions: equal captions of several images are one text with several right images.
    shots, draws:      how many examples a class, and of how many draws of each.
    mapping:           of data that are shifted from others: what classes are called there, where names do not tell, as
                       a file with lines ``person = bridegroom | scuba diver``, or by name.
    solver:            of probes: ``diptych``, or ``scikit-learn`` for reference.
    start:             of probes: what the penalty draws their weights to, and where they begin: ``zeros`` as in the
                       paper, or ``zero-shot`` weights.
    seed:              of draws.
    """

    templates: Templates | None = None
    class_names: str | Path | Sequence[str | tuple[str, ...]] | None = None
    none_of_these: float | None = None
    ablate_prompts: bool = False
    distinct_captions: bool = False
    shots: tuple[int, ...] = SHOTS
    draws: int = DRAWS
    mapping: str | Path | Mapping[str, Sequence[str]] | None = None
    solver: Literal["diptych", "scikit-learn"] = "diptych"
    start: Literal["zeros", "zero-shot"] = "zeros"
    seed: int = 0

    def __post_init__(self) -> None:
        shots, share = self.shots, self.none_of_these
        if not _is_sequence(shots) or not shots or not all(_is_whole(own, 1) for own in shots):
            raise ConfigError(f"shots are whole numbers of 1 or more in a sequence, such as (1, 4), not {shots!r:.80}")
        if not _is_whole(self.draws, 1):
            raise ConfigError(f"draws is a whole number of 1 or more, not {self.draws!r:.80}")
        if not _is_whole(self.seed, 0):
            raise ConfigError(f"a seed is 0 or more, not {self.seed!r:.80}")
        if share is not None and not (isinstance(share, int | float) and 0 < share < 1):
            raise ConfigError(f"none_of_these is a probability between 0 and 1, not {share!r:.80}")
        for name in ("ablate_prompts", "distinct_captions"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"{name} is True or False, not {getattr(self, name)!r:.80}")
        if not (self.templates is None or _is_place(self.templates) or _are_texts(self.templates)):
            raise ConfigError(f"templates are a set's name, a file, or texts with {{}}, not {self.templates!r:.80}")
        if not (self.class_names is None or _is_place(self.class_names) or _are_names(self.class_names)):
            raise ConfigError(f"class_names are a file or names that say something, not {self.class_names!r:.80}")
        told = self.mapping
        if not (told is None or _is_place(told) or (isinstance(told, Mapping) and all(map(_are_texts, told.values())))):
            raise ConfigError(f"a mapping is a file, or names of classes by name, in lists, not {told!r:.80}")

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Options:
        """From keywords. Raises ConfigError for one that is none."""
        known = [field.name for field in dataclasses.fields(cls)]
        for name in given:
            if name not in known:
                raise ConfigError(f"evaluations have no option {name!r}; {nearest(name, known)}")
        return cls(**given)

    def changed(self) -> dict[str, Any]:
        """Those that are not as by default."""
        default = Options()
        return {
            field.name: value
            for field in dataclasses.fields(self)
            if (value := getattr(self, field.name)) != getattr(default, field.name)
        }


def _is_whole(value: Any, least: int) -> bool:
    return type(value) is int and value >= least


def _is_place(value: Any) -> bool:
    return isinstance(value, str | Path)


def _is_sequence(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _are_texts(value: Any) -> bool:
    return _is_sequence(value) and len(value) > 0 and all(isinstance(own, str) and own.strip() for own in value)


def _are_names(value: Any) -> bool:
    return _is_sequence(value) and len(value) > 0 and all(_are_texts([own]) or _are_texts(own) for own in value)


@dataclass(frozen=True)
class Splits:
    """A data set to evaluate on: what is measured, and, for tasks that learn, what is learned from and chosen by.

    name: of the split that is measured; "" where the data have none.
    row:  of the table of data sets, where it is one of them.
    note: what is to be said of it: why this is not the paper's split, that files are named twice.
    captions, where: which fields texts are taken from, and which samples are; nothing where none were named.
    shifted_from: the data set of whose classes these are all, some or groups, in other pictures; with its own splits.
    """

    test: Source
    train: Source | None = None
    validation: Source | None = None
    name: str = ""
    row: Row | None = None
    note: str = ""
    captions: tuple[str, ...] = ()
    where: str = ""
    shifted_from: Splits | None = None

    @property
    def title(self) -> str:
        """How results call it."""
        return self.row.name if self.row else self.test.name

    def learning(self) -> dict[Split, Source]:
        """All splits of a task that learns. Raises DataError where there is nothing to learn from."""
        if self.train is None:
            raise DataError(f"this task learns from examples, and {self.test.name} has no split 'train'")
        found: dict[Split, Source] = {"test": self.test, "train": self.train}
        if self.validation:
            found["validation"] = self.validation
        return found


@dataclass(frozen=True)
class Plan:
    """What a task does, once all but the images is known to be right.

    need:   what each sample must have.
    wanted: which outputs of the model it looks at.
    splits: whose images it needs.
    score:  from their features to what was measured.
    texts:  what the numbers depend on beside the data, such as prompts.
    metric: the one that the data set is known by in this task; by default the task's.
    class_names, templates: what classes are called, and in which prompts, where there are some.
    """

    need: Need
    wanted: tuple[Wanted, ...]
    splits: Mapping[Split, Source]
    score: Callable[[Mapping[Split, Features]], Scores]
    texts: Sequence[str] = ()
    metric: str = ""
    class_names: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()
