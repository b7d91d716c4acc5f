"""What images truly show, and how scores of classes are judged by it: one class each, several, or one looked for."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from diptych.data.relabelled import class_rows, shows_several
from diptych.data.sources import Source, labels_of
from diptych.errors import Caution, DataError
from diptych.evaluation import binary, intervals, multilabel, zero_shot
from diptych.evaluation.datasets import Kind
from diptych.evaluation.features import Features
from diptych.evaluation.plan import Splits
from diptych.evaluation.result import Scores

OF_SEVERAL = ("map11", "mean_average_precision")  # metrics of all classes, where images may show several
_TOP = 5  # classes of which one is enough, of the metric mean_acc1_acc5


@dataclass(frozen=True)
class Judge:
    """Of a data set: the kind of its labels, the names of its classes, as the split has them that is measured, and the
    metric that it is known by."""

    kind: Kind
    class_names: tuple[str, ...]
    metric: str

    @classmethod
    def of(cls, data: Splits) -> Judge:
        """By the row of the data set, or by what its labels are like. Raises DataError for data without classes, or
        with too few for the metric of the row."""
        names = class_names_of(data)
        if data.row:
            if data.row.metric == "mean_acc1_acc5" and len(names) < _TOP:
                raise DataError(
                    f"{data.title} has {len(names)} classes, so all are among the first five and mean_acc1_acc5 means "
                    "nothing; a metric for it is acc1"
                )
            if data.row.kind == "binary":
                _check_both(data, names)
            return cls(data.row.kind, names, data.row.metric)
        return cls("multi-label", names, "map11") if shows_several(data.test) else cls("single label", names, "acc1")

    def truth(self, features: Features, source: Source) -> np.ndarray:
        """Class numbers (N), or whether an image shows each class (N, C), numbered as in the measured split."""
        rows = class_rows(source, self.class_names)
        shown: list[list[int]] = []
        for own, label, key in zip(features.label_sets, features.labels, features.keys, strict=True):
            if (own is not None) != (self.kind == "multi-label"):
                has = "one label" if own is None else "several labels"
                raise DataError(f"{key} of {source.name} has {has}, and the images are {self.kind}")
            labels = own if own is not None else () if label is None else (label,)
            if any(not 0 <= number < len(rows) for number in labels):
                raise DataError(f"{key} of {source.name} is of class {labels}, but there are {len(rows)} classes")
            shown.append([rows[number] for number in labels])
        if self.kind != "multi-label":
            return np.array([numbers[0] for numbers in shown], np.int64)
        shown_NC = np.zeros((len(shown), len(self.class_names)), bool)
        for i, numbers in enumerate(shown):
            shown_NC[i, numbers] = True
        return shown_NC

    def score(
        self,
        images_NE: np.ndarray,
        weights_CE: np.ndarray,
        truth: np.ndarray,
        features: Features,
        *,
        scale: float = 1.0,
        bias: float | None = None,
        first_C: np.ndarray | None = None,
    ) -> Scores:
        """Everything that is measured of images against a weight vector a class. ``scale`` and ``bias``: see
        ``zero_shot.score``."""
        if self.kind in ("binary", "multi-label"):
            return self.score_classes(images_NE @ weights_CE.T, truth, features)
        return self._with_mean(zero_shot.score(images_NE, truth, weights_CE, scale=scale, bias=bias, first_C=first_C))

    def score_classes(
        self,
        scores_NC: np.ndarray,
        truth: np.ndarray,
        features: Features,
        *,
        scale: float = 1.0,
        bias: float | None = None,
        first_C: np.ndarray | None = None,
    ) -> Scores:
        """The same of scores that a classifier gave."""
        if self.kind == "binary":
            return binary.score(scores_NC, truth)
        if self.kind != "multi-label":
            scores = zero_shot.score_classes(scores_NC, truth, scale=scale, bias=bias, first_C=first_C)
            return self._with_mean(scores)
        judged_NC = np.ones(truth.shape, bool)
        for i, classes in enumerate(features.unjudged):
            judged_NC[i, list(classes)] = False
        scores = multilabel.score(scores_NC, truth, judged_NC=judged_NC, class_names=self.class_names)
        own = {
            table: {name: value for name, value in getattr(scores, table).items() if name in OF_SEVERAL}
            for table in ("metrics", "intervals", "chance")
        }
        each = {name.removeprefix("ap11 "): value for name, value in scores.metrics.items() if name not in OF_SEVERAL}
        return replace(scores, **own, details={"average_precision": each})

    def quality(self, scores_NC: np.ndarray, truth: np.ndarray) -> float:
        """The metric that the data set is known by, alone, to choose by."""
        if self.kind == "binary":
            return binary.roc_auc(scores_NC[:, 1] - scores_NC[:, 0], truth == 1)[0]
        if self.kind == "multi-label":
            shown = np.flatnonzero(truth.any(axis=0))
            return float(np.mean([multilabel.average_precision(scores_NC[:, c], truth[:, c]) for c in shown]))
        own_N1 = np.take_along_axis(scores_NC, truth[:, None], axis=1)
        ranks_N = (~(scores_NC < own_N1)).sum(axis=1) - 1  # ties count against the probe
        if self.metric == "mean_per_class_recall":
            return float(np.mean([(ranks_N[truth == c] == 0).mean() for c in np.unique(truth)]))
        if self.metric == "mean_acc1_acc5":
            return float(((ranks_N < 1).mean() + (ranks_N < _TOP).mean()) / 2)
        return float((ranks_N == 0).mean())

    @property
    def chance(self) -> float:
        """That metric of blind guessing, where images have one class each."""
        classes = len(self.class_names)
        if self.metric == "mean_acc1_acc5":
            return (1 + _TOP) / (2 * classes)
        return 0.5 if self.metric == "roc_auc" else 1 / classes

    def _with_mean(self, scores: Scores) -> Scores:
        """With the mean of top-1 and top-5 accuracy, where the data set is known by that (Kinetics)."""
        if self.metric != "mean_acc1_acc5":
            return scores
        ranks_N = np.array(scores.predictions["rank"])
        values_N = ((ranks_N <= 1).astype(float) + (ranks_N <= _TOP)) / 2
        mean, limits = float(values_N.mean()), intervals.bootstrap(values_N, np.arange(len(values_N)), 0)
        chance = (scores.chance["acc1"] + scores.chance["acc5"]) / 2
        return replace(
            scores,
            metrics={**scores.metrics, self.metric: mean},
            intervals={**scores.intervals, self.metric: limits},
            chance={**scores.chance, self.metric: chance},
        )


def tell_absent(judge: Judge, truth: np.ndarray, features: Features) -> None:
    """Warn of classes of which no image was left to measure, once some could not be used."""
    shown_C = truth.any(axis=0) if truth.ndim == 2 else np.bincount(truth, minlength=len(judge.class_names)) > 0
    absent, classes = np.flatnonzero(~shown_C), len(judge.class_names)
    if features.failures and len(absent):
        warnings.warn(
            f"some images could not be used, and none is left of {len(absent)} of the {classes} classes, such as "
            f"{judge.class_names[absent[0]]!r}; means over classes are over the others",
            Caution,
            stacklevel=3,
        )


def _check_both(data: Splits, names: Sequence[str]) -> None:
    """Raises DataError where there are not two classes, or a split has not images of both: two of each where a part of
    it is held out to choose by."""
    if len(names) != 2:
        raise DataError(
            f"{data.title} has {len(names)} classes, and roc_auc is of two, the second being looked for; a metric for "
            "it is acc1 or mean_per_class_recall"
        )
    splits = {"test": data.test, "train": data.train, "validation": data.validation}
    for split, source in splits.items():
        if source is None:
            continue
        seen, least = Counter[str](), 2 if split == "train" and data.validation is None else 1
        for i in range(len(source)):
            seen.update((source.class_names or names)[label] for label in labels_of(source, i)[:1] if label in (0, 1))
            if all(seen[name] >= least for name in names):
                break
        else:
            told = " and ".join(f"{seen[name]} of {name!r}" for name in names)
            where = data.name or split if split == "test" else split
            raise DataError(f"{data.title}: its split {where!r} has {told}; roc_auc needs {least} of each or more")


def class_names_of(data: Splits) -> tuple[str, ...]:
    """Of the split that is measured. Raises DataError where there are none."""
    if not data.test.class_names:
        raise DataError(f"{data.test.name} has no class names, so there is nothing to classify into")
    return data.test.class_names
