"""What images show and how scores are judged by it, from numbers alone."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from diptych.data.sources import Sample
from diptych.errors import DataError
from diptych.evaluation import intervals
from diptych.evaluation.binary import roc_auc
from diptych.evaluation.datasets import Kind, Metric, Row
from diptych.evaluation.features import Features
from diptych.evaluation.judging import Judge
from diptych.evaluation.multilabel import average_precision
from diptych.evaluation.plan import Splits

LETTERS = tuple("abcdefg")


class Listed:
    """A source of these classes, whose first sample is told; the others are of the classes in turn."""

    name, templates = "listed", None

    def __init__(self, class_names: tuple[str, ...] | None, sample: Sample | None = None) -> None:
        self.class_names, self.sample = class_names, sample or Sample(b"", (), 0, "first")

    def __len__(self) -> int:
        return 4

    def read(self, i: int, /) -> Sample:
        return self.sample if i == 0 else Sample(b"", (), i % len(self.class_names or ".."), str(i))


def features(labels: list[Any], *, several: bool = False, unjudged: list[tuple[int, ...]] | None = None) -> Features:
    count = len(labels)
    return Features(
        embeddings_NE=np.empty((count, 0)),
        features_ND=np.empty((count, 0)),
        captions=((),) * count,
        labels=(None,) * count if several else tuple(labels),
        label_sets=tuple(labels) if several else (None,) * count,
        unjudged=tuple(unjudged or [()] * count),
        keys=tuple(f"s{i}" for i in range(count)),
        failures=(),
        fingerprint="",
        images=(b"",) * count,
    )


def judge(metric: Metric, classes: int, kind: Kind = "single label") -> Judge:
    row = Row(name="own", title="Own", metric=metric, kind=kind)
    return Judge.of(Splits(Listed(LETTERS[:classes]), row=row))


def test_a_kind_is_that_of_the_row_or_of_the_labels() -> None:
    assert judge("roc_auc", 2, "binary") == Judge("binary", ("a", "b"), "roc_auc")
    one, several = Listed(("a", "b")), Listed(("a", "b"), Sample(b"", (), None, "first", labels=(0, 1)))
    assert Judge.of(Splits(one)) == Judge("single label", ("a", "b"), "acc1")
    assert Judge.of(Splits(several)) == Judge("multi-label", ("a", "b"), "map11")
    assert judge("mean_acc1_acc5", 5).metric == "mean_acc1_acc5"
    with pytest.raises(DataError, match="own has 4 classes, so all are among the first five"):
        judge("mean_acc1_acc5", 4)
    with pytest.raises(DataError, match="listed has no class names"):
        Judge.of(Splits(Listed(None)))


def test_truth_is_numbered_as_the_split_that_is_measured() -> None:
    other = Listed(("c", "a"))
    assert judge("acc1", 3).truth(features([0, 1, 1]), other).tolist() == [2, 0, 0]
    shown_NC = judge("map11", 3, "multi-label").truth(features([(0, 1), (), (1,)], several=True), other)
    assert shown_NC.tolist() == [[True, False, True], [False] * 3, [True, False, False]]
    for label in (2, -1):
        with pytest.raises(DataError, match=rf"s1 of listed is of class \({label},\), but there are 2 classes"):
            judge("acc1", 3).truth(features([0, label]), other)
    with pytest.raises(DataError, match="s0 of listed has several labels, and the images are single label"):
        judge("acc1", 3).truth(features([(0,)], several=True), other)
    with pytest.raises(DataError, match="s0 of listed has one label, and the images are multi-label"):
        judge("map11", 3, "multi-label").truth(features([0]), other)


# Ranks of the right class, from 1: 1, 2 (by a tie), 6, 5, 7.
SCORES_NC = np.array(
    [
        [9.0, 1, 2, 3, 4, 5, 6],
        [1.0, 8, 8, 0, 0, 0, 0],
        [5.0, 4, 3, 2, 1, 0, -1],
        [5.0, 4, 3, 2, 1, 0, -1],
        [np.nan, 1, 2, 3, 4, 5, 6],
    ]
)
TRUTH_N = np.array([0, 1, 5, 4, 0])


@pytest.mark.parametrize(
    ("metric", "value", "chance"),
    [
        ("acc1", 1 / 5, 1 / 7),
        ("mean_per_class_recall", (1 / 2 + 0 + 0 + 0) / 4, 1 / 7),
        ("mean_acc1_acc5", (1 / 5 + 3 / 5) / 2, 6 / 14),
    ],
)
def test_quality_is_the_metric_of_the_result(metric: Metric, value: float, chance: float) -> None:
    own = judge(metric, 7)
    assert own.quality(SCORES_NC, TRUTH_N) == pytest.approx(value)
    assert own.chance == pytest.approx(chance)
    scores = own.score_classes(np.nan_to_num(SCORES_NC, nan=-1), TRUTH_N, features([0] * 5))
    assert scores.metrics[metric] == pytest.approx(value)
    assert scores.chance[metric] == pytest.approx(chance)
    if metric == "mean_acc1_acc5":
        halves = intervals.bootstrap(np.array([1, 0.5, 0, 0.5, 0]), np.arange(5), 0)
        assert scores.intervals[metric] == pytest.approx(halves)
    else:
        assert "mean_acc1_acc5" not in scores.metrics


def test_quality_of_what_is_looked_for_and_of_several_classes() -> None:
    generator = np.random.default_rng(0)
    scores_N2, labels_N = generator.normal(size=(30, 2)), generator.integers(2, size=30)
    own = judge("roc_auc", 2, "binary")
    area = roc_auc(scores_N2[:, 1] - scores_N2[:, 0], labels_N == 1)[0]
    assert own.quality(scores_N2, labels_N) == area
    assert own.score_classes(scores_N2, labels_N, features([0] * 30)).metrics["roc_auc"] == area
    weights_CE = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert own.score(scores_N2, weights_CE, labels_N, features([0] * 30)).metrics["roc_auc"] == area
    assert own.chance == 0.5
    assert dataclasses.replace(own, metric="acc1", class_names=("a", "b")).chance == 0.5
    shown_NC = generator.random((30, 3)) < 0.3
    shown_NC[:, 2] = False  # of a class that no image shows there is no precision
    scores_NC = generator.normal(size=(30, 3))
    several = judge("map11", 3, "multi-label")
    mean = np.mean([average_precision(scores_NC[:, c], shown_NC[:, c]) for c in range(2)])
    assert several.quality(scores_NC, shown_NC) == pytest.approx(mean)


def test_what_an_image_is_not_judged_by_does_not_count_and_each_class_has_its_precision() -> None:
    scores_NC = np.array([[3.0, 1.0], [2.0, 2.0], [1.0, 3.0]])
    shown_NC = np.array([[False, True], [True, False], [False, True]])
    several = judge("map11", 2, "multi-label")
    plain, left_out = (
        several.score_classes(scores_NC, shown_NC, features([()] * 3, several=True, unjudged=unjudged))
        for unjudged in (None, [(0,), (), ()])
    )
    assert plain.details["average_precision"] == {"a": 0.5, "b": pytest.approx((6 + 5 * 2 / 3) / 11)}
    assert left_out.details["average_precision"] == {"a": 1, "b": plain.details["average_precision"]["b"]}
    for table in (left_out.metrics, left_out.intervals, left_out.chance):
        assert set(table) == {"map11", "mean_average_precision"}
    assert left_out.predictions["unjudged"] == ((0,), (), ())


def test_scale_and_bias_reach_what_is_said_of_confidence() -> None:
    own, said = judge("acc1", 3), features([0, 1])
    scores_NC = np.array([[0.2, 0.1, 0.0], [0.0, 0.3, 0.1]])
    plain = own.score_classes(scores_NC, np.array([0, 1]), said, scale=10, bias=-1)
    expected = 1 / (1 + np.exp(-(10 * np.array([0.2, 0.3]) - 1)))
    assert plain.predictions["confidence"] == pytest.approx(expected)
    by_weights = own.score(scores_NC, np.eye(3), np.array([0, 1]), said, scale=10, bias=-1)
    assert by_weights.predictions["confidence"] == pytest.approx(expected)
