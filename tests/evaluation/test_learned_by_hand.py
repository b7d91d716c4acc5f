"""What the tasks that learn make of features, beside the same by hand: no image is read.

Classes overlap and are of different sizes, and the metric is the mean over them, so that another metric to choose by,
another seed or another split to choose on gives other numbers.
"""

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from tiny import SPEC

from diptych.data.sources import Sample
from diptych.encoder.clip import Clip
from diptych.encoder.loading import create
from diptych.evaluation import few_shot, matching, neighbours, probes, probing, shot_tasks
from diptych.evaluation.binary import roc_auc
from diptych.evaluation.datasets import Metric, Row
from diptych.evaluation.features import Features
from diptych.evaluation.judging import Judge
from diptych.evaluation.linear import Linear, approximating
from diptych.evaluation.plan import Options, Splits
from diptych.evaluation.split import Labelled, held_out
from diptych.text.tokenizer import Tokenizer

# Of few samples any strength of the penalty may be the best, and the weakest does not converge.
pytestmark = pytest.mark.filterwarnings(
    "ignore:the best ",
    "ignore:.*did not reach the tolerance",
    "ignore:.*fewer than",
    "ignore:.*none to learn from",
    "ignore:zero-shot is not surely better",
)

NAMES = ("blue", "green", "grey")
SIZES = {"train": 60, "validation": 45, "test": 90}
WRONG = 20  # images of the test split that a zero-shot classifier is made to miss
CENTRES_CD = np.random.default_rng(9).normal(size=(3, 40))


class Listed:
    """A source of labels alone."""

    templates = None

    def __init__(self, name: str, labels: list[int], class_names: tuple[str, ...] = NAMES) -> None:
        self.name, self.labels, self.class_names = name, labels, class_names

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, i: int, /) -> Sample:
        return Sample(b"", (), self.labels[i], str(i))


def seen(number: int, samples: int) -> Features:
    generator = np.random.default_rng(number)
    labels_N = generator.choice(3, samples, p=(0.6, 0.3, 0.1))
    labels_N[:6] = [0, 1, 2, 0, 1, 2]
    all_ND = CENTRES_CD[labels_N] + 1.7 * generator.normal(size=(samples, 40))
    embeddings_NE = all_ND[:, :16] / np.linalg.norm(all_ND[:, :16], axis=1, keepdims=True)
    nothing = ((),) * samples
    return Features(
        embeddings_NE=embeddings_NE.astype(np.float32),
        features_ND=all_ND[:, 16:].astype(np.float32),
        captions=nothing,
        labels=tuple(labels_N.tolist()),
        label_sets=(None,) * samples,
        unjudged=nothing,
        keys=tuple(map(str, range(samples))),
        failures=(),
        fingerprint=str(number),
        images=(b"",) * samples,
    )


FEATURES = {split: seen(number, samples) for number, (split, samples) in enumerate(SIZES.items())}
TRUTH = {split: np.array(own.labels) for split, own in FEATURES.items()}
PARTS = {split: Labelled(own.features_ND, TRUTH[split]) for split, own in FEATURES.items()}
EMBEDDED = {split: Labelled(own.embeddings_NE, TRUTH[split]) for split, own in FEATURES.items()}
ROW = Row(name="own", title="Own", metric="mean_per_class_recall", prompts="")


def data(*, validation: bool) -> Splits:
    sources = {split: Listed(split, TRUTH[split].tolist()) for split in SIZES}
    return Splits(sources["test"], sources["train"], sources["validation"] if validation else None, row=ROW)


def recall(scores_NC: np.ndarray, truth_N: np.ndarray) -> float:
    """Mean over classes."""
    right_N = scores_NC.argmax(axis=1) == truth_N
    return float(np.mean([right_N[truth_N == c].mean() for c in range(3)]))


def learned(parts: dict[str, Labelled], *, validation: bool, seed: int) -> tuple[Labelled, Labelled]:
    return (parts["train"], parts["validation"]) if validation else held_out(parts["train"], 0.2, seed)


@pytest.fixture(scope="module")
def clip() -> Clip:
    tokenizer = Tokenizer.train(["a photo of a green blue grey"], vocabulary_size=530, context_length=60)
    return create(SPEC, seed=0, tokenizer=tokenizer)


@pytest.mark.parametrize("validation", [True, False])
@pytest.mark.parametrize("seed", [0, 4])
def test_few_shots(clip: Clip, validation: bool, seed: int) -> None:
    options = Options(shots=(2, 5), draws=3, seed=seed, templates="{}")
    scores = shot_tasks.plan_few_shot(clip, data(validation=validation), options).score(FEATURES)
    few, tune = learned(PARTS, validation=validation, seed=seed)
    points = few_shot.few_shot(few, PARTS["test"], tune, recall, classes=3, shots=(2, 5), draws=3, seed=seed)
    assert scores.details["accuracies"] == [pytest.approx(point.metrics) for point in points]
    assert scores.details["strengths"] == [list(point.strengths) for point in points]
    for point in points:
        metric = f"fs{point.shots}_mean_per_class_recall"
        reach = stats.t.ppf(0.975, 2) * np.std(point.metrics, ddof=1) / 3**0.5
        assert scores.metrics[metric] == pytest.approx(np.mean(point.metrics))
        limits = max(0, point.mean - reach), min(1, point.mean + reach)
        assert scores.intervals[metric] == pytest.approx(limits)
        assert scores.chance[metric] == 1 / 3
    whole = probes.search(PARTS["train"], PARTS["validation"] if validation else None, recall, classes=3, seed=seed)
    full = recall(whole.probe.scores(PARTS["test"].features_ND), TRUTH["test"])
    assert scores.details["full"] == {"examples": (105 if validation else 60) / 3, "accuracy": pytest.approx(full)}
    zero_NC = FEATURES["test"].embeddings_NE @ clip.classifier(NAMES, "{}").weights_CE.T
    assert scores.metrics["mean_per_class_recall"] == pytest.approx(recall(zero_NC, TRUTH["test"]))
    curve = [*((point.examples, point.mean) for point in points), (scores.details["full"]["examples"], full)]
    match = matching.shots_to_match(curve, scores.metrics["mean_per_class_recall"])
    assert scores.details["shots_to_match"]["shots"] == pytest.approx(match.shots)


def test_few_shots_of_a_class_that_is_looked_for_tell_its_scores(clip: Clip) -> None:
    truth = {split: np.minimum(own, 1) for split, own in TRUTH.items()}
    splits = {split: dataclasses.replace(own, labels=tuple(truth[split].tolist())) for split, own in FEATURES.items()}
    sources = [Listed(split, truth[split].tolist(), ("no", "yes")) for split in ("test", "train", "validation")]
    row = Row(name="own", title="Own", metric="roc_auc", kind="binary")
    options = Options(shots=(3,), draws=2)
    scores = shot_tasks.plan_few_shot(clip, Splits(*sources, row=row), options).score(splits)
    parts = {split: Labelled(own.features_ND, truth[split]) for split, own in splits.items()}

    def area(scores_N2: np.ndarray, truth_N: np.ndarray) -> float:
        return roc_auc(scores_N2[:, 1] - scores_N2[:, 0], truth_N == 1)[0]

    (point,) = few_shot.few_shot(parts["train"], parts["test"], parts["validation"], area, shots=(3,), draws=2)
    assert scores.metrics["fs3_roc_auc"] == pytest.approx(point.mean)
    expected_N2 = np.stack([answers.more_N for answers in point.answers], axis=1)
    np.testing.assert_allclose(scores.predictions["fs3_score"], expected_N2)


def test_a_mean_over_draws_is_between_nothing_and_one() -> None:
    assert shot_tasks._of_draws((0.9, 1.0, 1.0)) == (pytest.approx(0.9667 - 4.3027 * 0.05774 / 3**0.5, abs=1e-4), 1)
    assert shot_tasks._of_draws((0.0, 0.1, 0.0))[0] == 0


def test_few_shots_from_zero_shot_weights(clip: Clip) -> None:
    options = Options(shots=(2,), draws=2, start="zero-shot", templates="{}")
    scores = shot_tasks.plan_few_shot(clip, data(validation=True), options).score(FEATURES)
    weights_CE = clip.classifier(NAMES, "{}").weights_CE
    train = FEATURES["train"]
    towards = approximating(train.features_ND, clip.similarity_scale * train.embeddings_NE @ weights_CE.T)
    told = {"classes": 3, "towards": towards}
    (point,) = few_shot.few_shot(
        PARTS["train"], PARTS["test"], PARTS["validation"], recall, shots=(2,), draws=2, **told
    )
    assert scores.details["strengths"] == [list(point.strengths)]
    assert scores.details["accuracies"] == [pytest.approx(point.metrics)]
    assert point.spread > 0
    assert "fs2_mean_per_class_recall" not in scores.intervals  # two draws tell nothing of their mean
    whole = probes.search(PARTS["train"], PARTS["validation"], recall, **told)
    full = recall(whole.probe.scores(PARTS["test"].features_ND), TRUTH["test"])
    assert scores.metrics["lp_mean_per_class_recall"] == pytest.approx(full)


def test_a_zero_shot_classifier_is_matched_by_the_whole_probe_where_no_shots_do(clip: Clip) -> None:
    names = (*NAMES, "red")  # of which there is no image, so that it gives no example either
    sources = [Listed(split, TRUTH[split].tolist(), names) for split in ("test", "train", "validation")]
    plan = shot_tasks.plan_few_shot(clip, Splits(*sources), Options(shots=(1, 2), draws=2))
    weights_CE = clip.classifier(names).weights_CE
    wrong_N = np.arange(90) < WRONG
    answers_N = np.where(wrong_N, (TRUTH["test"] + 1) % 3, TRUTH["test"])
    test = dataclasses.replace(FEATURES["test"], embeddings_NE=weights_CE[answers_N])
    details = plan.score(FEATURES | {"test": test}).details
    assert details["zero_shot"] == 1 - WRONG / 90
    means, full = np.mean(details["accuracies"], axis=1), details["full"]
    assert means.max() < details["zero_shot"] < full["accuracy"]
    assert full["examples"] == 105 / 3
    perfect = dataclasses.replace(FEATURES["test"], embeddings_NE=weights_CE[TRUTH["test"]])
    assert plan.score(FEATURES | {"test": perfect}).details["shots_to_match"] == {"shots": None, "kind": "never"}
    share = (details["zero_shot"] - means[1]) / (full["accuracy"] - means[1])
    assert details["shots_to_match"] == {"shots": pytest.approx(2 * (35 / 2) ** share), "kind": "between"}


@pytest.mark.parametrize("validation", [True, False])
@pytest.mark.parametrize("seed", [0, 4])
def test_caches(clip: Clip, validation: bool, seed: int) -> None:
    options = Options(shots=(4, 8), draws=3, seed=seed, templates="{}")
    scores = shot_tasks.plan_cache(clip, data(validation=validation), options).score(FEATURES)
    few, tune = learned(EMBEDDED, validation=validation, seed=seed)
    weights_CE = clip.classifier(NAMES, "{}").weights_CE
    told = {"shots": (4, 8), "draws": 3, "seed": seed}
    points = few_shot.few_shot_cache(few, EMBEDDED["test"], tune, weights_CE, recall, **told)
    assert scores.details["accuracies"] == [pytest.approx(point.metrics) for point in points]
    weights = [[math.inf if own is None else own for own in point] for point in scores.details["weights"]]
    assert weights == [list(point.weights) for point in points]
    assert scores.details["at_edge"] == [point.at_edge for point in points]
    chosen_on = "45 samples given" if validation else f"{len(tune.truth)} samples held out of train, 20% of each class"
    assert scores.details["chosen_on"] == chosen_on
    assert scores.details["sharpnesses"] == [list(point.sharpnesses) for point in points]
    assert any(weight > 0 for point in points for weight in point.weights)
    zero_NC = FEATURES["test"].embeddings_NE @ weights_CE.T
    assert scores.details["zero_shot"] == pytest.approx(recall(zero_NC, TRUTH["test"]))


@pytest.mark.parametrize("validation", [True, False])
@pytest.mark.parametrize("seed", [0, 4])
def test_probes_and_neighbours(clip: Clip, validation: bool, seed: int) -> None:
    options, own = Options(seed=seed), PARTS["validation"] if validation else None
    probe = probing.plan_linear_probe(clip, data(validation=validation), options).score(FEATURES)
    found = probes.search(PARTS["train"], own, recall, classes=3, seed=seed)
    assert probe.details["probe"]["strength"] == found.selection.chosen.strength
    assert [trial["metric"] for trial in probe.details["probe"]["tried"]] == pytest.approx(
        [trial.metric for trial in found.selection.trials]
    )
    expected = recall(found.probe.scores(PARTS["test"].features_ND), TRUTH["test"])
    assert probe.metrics["lp_mean_per_class_recall"] == pytest.approx(expected)
    assert probe.details["probe"]["converged"] == found.probe.converged
    near = probing.plan_neighbours(clip, data(validation=validation), options).score(FEATURES)
    chosen = neighbours.nearest_neighbours(*learned(PARTS, validation=validation, seed=seed), recall, classes=3)
    assert near.details["tried"] == pytest.approx(chosen.metrics)
    assert near.details["neighbours"] == chosen.count
    expected = recall(chosen.scores(PARTS["test"].features_ND), TRUTH["test"])
    assert near.metrics["knn_mean_per_class_recall"] == pytest.approx(expected)


@pytest.mark.parametrize(("metric", "told"), [("acc1", False), ("mean_acc1_acc5", True)])
def test_votes_of_few_tell_of_the_first_five_only_what_their_metric_is_made_of(
    clip: Clip, metric: Metric, told: bool
) -> None:
    names, row = (*NAMES, "red", "white", "black"), Row(name="own", title="Own", metric=metric)
    train = dataclasses.replace(
        seen(7, 6), features_ND=FEATURES["train"].features_ND[:4], labels=(0, 1, 2, 0), keys=tuple("abcd")
    )
    train = dataclasses.replace(train, label_sets=(None,) * 4, unjudged=((),) * 4)
    sources = [Listed("test", TRUTH["test"].tolist(), names), Listed("train", [0, 1, 2, 0], names)]
    sources.append(Listed("validation", TRUTH["validation"].tolist(), names))
    scores = probing.plan_neighbours(clip, Splits(*sources, row=row), Options()).score(FEATURES | {"train": train})
    assert scores.details["neighbours"] < 5
    assert ("knn_acc5" in scores.metrics) == told
    assert f"knn_{metric}" in scores.metrics


LACKS_REFERENCE = "scikit-learn, the reference, is not installed (extra `eval`)"
KEPT = {split: dataclasses.replace(own, folder=Path(split)) for split, own in FEATURES.items()}
OTHER_LABELS = (*KEPT["train"].labels[:6], *KEPT["train"].labels[:5:-1])
CHANGES: dict[str, dict[str, Any]] = {
    "seed": {"options": Options(seed=1)},
    "solver": {"options": Options(solver="scikit-learn")},
    "metric": {"judge": Judge("single label", NAMES, "mean_per_class_recall")},
    "classes": {"judge": Judge("single label", (*NAMES, "red"), "acc1")},
    "what it draws to": {"towards": Linear(np.ones((3, 24)), np.zeros(3))},
    "samples of train": {"train": dataclasses.replace(KEPT["train"], fingerprint="other")},
    "labels of train": {"train": dataclasses.replace(KEPT["train"], labels=OTHER_LABELS)},
    "samples of validation": {"validation": dataclasses.replace(KEPT["validation"], fingerprint="other")},
    "data of validation": {"validation": dataclasses.replace(KEPT["validation"], folder=Path("other"))},
    "no validation": {"validation": None},
}


def fitted(folder: Path, **changed: Any) -> probing.Fitted:
    """A probe that is kept in a folder, with something else than the others."""
    splits = {split: changed.get(split, KEPT[split]) for split in ("train", "validation")}
    splits["train"] = dataclasses.replace(splits["train"], folder=folder)
    train, validation = (own and Labelled(own.features_ND, np.array(own.labels)) for own in splits.values())
    judge = changed.get("judge", Judge("single label", NAMES, "acc1"))
    options = changed.get("options", Options())
    return probing.fitted(judge, train, validation, splits, options, changed.get("towards"))


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_probe_is_found_again_by_all_that_it_depends_on(change: dict[str, Any], tmp_path: Path) -> None:
    if change == CHANGES["solver"]:
        pytest.importorskip("sklearn", reason=LACKS_REFERENCE)
    first = fitted(tmp_path)
    (file,) = tmp_path.iterdir()
    kept = file.read_bytes()
    again = fitted(tmp_path)
    assert again.told == first.told
    np.testing.assert_array_equal(again.probe.weights_CD, first.probe.weights_CD)
    fitted(tmp_path, **change)
    assert len(list(tmp_path.iterdir())) == 2
    assert file.read_bytes() == kept


def test_the_solver_that_is_asked_for_searches(tmp_path: Path) -> None:
    pytest.importorskip("sklearn", reason=LACKS_REFERENCE)
    told = fitted(tmp_path, options=Options(solver="scikit-learn")).told["tried"]
    theirs = probes.search(PARTS["train"], PARTS["validation"], classes=3, solver="scikit-learn").selection.trials
    assert [trial["iterations"] for trial in told] == [trial.iterations for trial in theirs]
    assert [trial["iterations"] for trial in fitted(tmp_path).told["tried"]] != [trial.iterations for trial in theirs]


def test_a_kept_probe_of_another_shape_is_fitted_anew(tmp_path: Path) -> None:
    found = fitted(tmp_path)
    (file,) = tmp_path.iterdir()
    np.savez(file, weights_CD=np.zeros((3, 23)), bias_C=np.zeros(3), told=np.array("{}"))
    np.testing.assert_array_equal(fitted(tmp_path).probe.weights_CD, found.probe.weights_CD)
