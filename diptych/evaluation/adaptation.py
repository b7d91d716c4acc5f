"""Accuracy under shift as tasks: what a classifier of one data set is worth on another (paper, section 3.3).

Both ways to adapt are measured: class names of the shifted set's own against those of its source, and a linear
classifier that was fitted to the source. Beside each stands the accuracy in distribution, on the source's images of the
same classes, with no other class to be answered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from diptych.errors import ConfigError, DataError
from diptych.evaluation import classification, probing
from diptych.evaluation.by_name import ByName, by_name, names_of_classes, templates_of_prompts, without_probabilities
from diptych.evaluation.class_map import ClassMap, match, read_mapping
from diptych.evaluation.comparison import Measured, compare
from diptych.evaluation.features import Features
from diptych.evaluation.groupings import members
from diptych.evaluation.judging import Judge, class_names_of
from diptych.evaluation.plan import Options, Plan, Split, Splits
from diptych.evaluation.result import Columns, Scores
from diptych.evaluation.subjects import Subject
from diptych.text.class_names import Names

IN_DISTRIBUTION, SOURCE_NAMES = "in_distribution_", "source_names_"  # before the names of metrics

Answers = Callable[[Features], np.ndarray]  # scores (N, C) of the source's classes


def plan_zero_shot(subject: Subject, data: Splits, options: Options) -> Plan:
    """Zero-shot; of data that are shifted from others also by the class names of these, and what its own gain.

    The metrics of zero-shot are those of its own names, as ever. Those by the source's names begin with
    ``source_names_``, and those of the same classifier on the source's images with ``in_distribution_``.
    """
    own = classification.plan(subject, data, options)
    if data.shifted_from is None:
        if options.mapping is not None:
            raise ConfigError("a mapping is for data that are shifted from others; say from which (--shifted-from)")
        return own
    shift = _Shift.of(data, data.shifted_from, options)
    theirs = by_name(subject, shift.source, Options(templates=options.templates))
    first_K = shift.classes.first(theirs.first_C)
    own_prompts = _differ(theirs, shift, options)

    def answers(features: Features) -> np.ndarray:
        return theirs.scale * theirs.scores(features)

    def score(features: Mapping[Split, Features]) -> Scores:
        adapted = own.score(features)
        by_source, there, kept = shift.scores(features, answers, first_K)
        gain = compare(_hits("own names", adapted), _hits("source's names", by_source))
        told = shift.told(there) | {
            "own_prompts": own_prompts,
            "gain": {name: getattr(gain, name) for name in ("difference", "interval", "p")},
        }
        columns = {f"{SOURCE_NAMES}{name}": by_source.predictions[name] for name in ("predicted", "rank")}
        both = _joined(adapted, by_source.prefixed(SOURCE_NAMES), there.prefixed(IN_DISTRIBUTION))
        predictions = adapted.predictions | columns
        details = adapted.details | {"shift": told}
        if not theirs.is_probable:
            kept = without_probabilities(kept)
        return replace(both, predictions=predictions, source_predictions=kept, details=details)

    splits: dict[Split, Any] = {"test": data.test, "source": shift.source.test}
    return replace(own, splits=splits, score=score, texts=[*own.texts, *theirs.texts])


def plan_supervised(subject: Subject, data: Splits, options: Options) -> Plan:
    """The paper's probe of the source's training split, on a set that is shifted from it."""
    if data.shifted_from is None:
        raise ConfigError(
            "supervised-adaptation learns from one data set and measures on another; say which is learned from with "
            "shifted_from= (--shifted-from)"
        )
    shift = _Shift.of(data, data.shifted_from, options)
    source = shift.source
    beginning = probing.Beginning.of(subject, source, options)

    def score(features: Mapping[Split, Features]) -> Scores:
        learned: dict[Split, Features] = {"test" if split == "source" else split: features[split] for split in there}
        train, validation, _ = probing.labelled(shift.of_source, source, learned)
        found = probing.fitted(shift.of_source, train, validation, learned, options, beginning.at(learned["train"]))
        here, among, kept = shift.scores(features, lambda own: found.probe.scores(own.features_ND))
        scores = _joined(here.prefixed("lp_"), among.prefixed(f"{IN_DISTRIBUTION}lp_"))
        details = here.details | {"shift": shift.told(among), "probe": found.told}
        return replace(scores, source_predictions=kept, details=details)

    there: dict[Split, Any] = {
        "source" if split == "test" else split: part for split, part in source.learning().items()
    }
    splits: dict[Split, Any] = {"test": data.test, **there}
    metric, names = f"lp_{shift.judge.metric}", shift.judge.class_names
    return Plan("label", beginning.wanted, splits, score, beginning.texts, metric, class_names=names)


@dataclass(frozen=True, eq=False)
class _Shift:
    """A data set and the one that it is shifted from, their classes matched."""

    data: Splits
    source: Splits
    classes: ClassMap
    judge: Judge
    of_source: Judge

    @classmethod
    def of(cls, data: Splits, source: Splits, options: Options) -> _Shift:
        classes = _matched(data, source, options)
        judges = Judge.of(data), Judge.of(source)
        for judge, own in zip(judges, (data, source), strict=True):
            if judge.kind != "single label":
                raise ConfigError(
                    f"accuracy under shift is of images of one class each, and {own.title} is {judge.kind}"
                )
        return cls(data, source, classes, *judges)

    def scores(
        self, features: Mapping[Split, Features], answers: Answers, first_K: np.ndarray | None = None
    ) -> tuple[Scores, Scores, Columns]:
        """Under shift and in distribution, among the classes of the shifted set alone; and the predictions of the
        latter, with keys."""
        shifted, whole = features["test"], features["source"]
        pooled_NK = self.classes.pooled(answers(shifted))
        here = self.judge.score_classes(pooled_NK, self.judge.truth(shifted, self.data.test), shifted, first_C=first_K)
        places_N = self.classes.places(self.of_source.truth(whole, self.source.test))
        rows = np.flatnonzero(places_N >= 0)
        if not len(rows):
            raise DataError(
                f"no image of {self.source.title} is of one of the {len(self.classes.names)} classes of "
                f"{self.data.title}, so there is no accuracy in distribution"
            )
        pooled_NK = self.classes.pooled(answers(whole)[rows])
        there = self.judge.score_classes(pooled_NK, places_N[rows], whole, first_C=first_K)
        return here, there, {"key": tuple(whole.keys[row] for row in rows), **there.predictions}

    def told(self, there: Scores) -> dict[str, Any]:
        """What was compared with what, for JSON. ``mapping``: of classes by name; empty where the lists are equal."""
        return {
            "source": self.source.title,
            "split": self.source.name,
            "images": len(there.predictions["rank"]),
            "classes": len(self.classes.names),
            "source_classes": len(self.classes.others),
            "mapping": self.classes.mapping,
        }


def _matched(data: Splits, source: Splits, options: Options) -> ClassMap:
    """By the mapping that is asked for, else as the files of both tell, else by names."""
    if options.mapping is None and (rows := members(data.test, source.test)):
        return ClassMap(class_names_of(data), class_names_of(source), rows)
    mapping = None if options.mapping is None else read_mapping(options.mapping)
    return match(_called(data), _called(source), name=data.title, other_name=source.title, mapping=mapping)


def _called(data: Splits) -> list[Names]:
    """What each class is called, and after it its other names."""
    several = names_of_classes(data, Options())
    return [tuple(dict.fromkeys((name, *own))) for name, own in zip(class_names_of(data), several, strict=True)]


def _differ(theirs: ByName, shift: _Shift, options: Options) -> bool:
    """Whether the shifted set's own prompts are others than its source's, as the tokenizer reads them."""
    if theirs.templates != templates_of_prompts(shift.data, options):
        return True
    encode = theirs.subject.require_tokenizer().encode
    own = names_of_classes(shift.data, options)
    read = [[[tuple(encode(name)) for name in names] for names in these] for these in (own, theirs.names)]
    return any(
        len(rows) != 1 or read[1][rows[0]] != names for names, rows in zip(read[0], shift.classes.rows, strict=True)
    )


def _joined(scores: Scores, *others: Scores) -> Scores:
    """With the metrics of others, which are called otherwise."""
    tables = ("metrics", "intervals", "chance")
    return replace(
        scores, **{t: {k: v for one in (scores, *others) for k, v in getattr(one, t).items()} for t in tables}
    )


def _hits(name: str, scores: Scores) -> Measured:
    return Measured(name, range(len(scores.predictions["rank"])), np.array(scores.predictions["rank"]) == 1)
