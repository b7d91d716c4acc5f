"""The search over strengths, draws of few examples, crossings, and classifiers without training."""

import dataclasses
import math
import sys
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.errors import ConfigError, DataError, MissingExtra
from diptych.evaluation import few_shot, matching, neighbours, probes
from diptych.evaluation.linear import Linear, approximating
from diptych.evaluation.logistic import Probe, fit, solve
from diptych.evaluation.logistic_problem import prepare
from diptych.evaluation.split import Labelled, held_out, joined
from tests.evaluation.test_logistic import drawn, several


def split(samples: int = 60, dimensions: int = 6, classes: int = 3, seed: int = 0, start: int = 0) -> Labelled:
    """Samples of the same classes from ``start`` on."""
    features_ND, labels_N = drawn(start + samples, dimensions, classes, seed)
    return Labelled(features_ND[start:], labels_N[start:])


def fake(strength: float, features: int = 6) -> Probe:
    """A probe that tells its strength by its scores."""
    weights_CD, bias_C = np.zeros((3, features)), np.full(3, math.log10(strength))
    return Probe(
        weights_CD, bias_C, strength=strength, objective=0.0, gradient=0.0, iterations=1, evaluations=1, converged=True
    )


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Strengths that the search tries, by a solver that does nothing."""
    strengths: list[float] = []

    def solve(strength: float, start: Linear | None) -> Probe:
        strengths.append(strength)
        return fake(strength)

    monkeypatch.setitem(probes.SOLVERS, "diptych", lambda train, classes, towards: solve)
    return strengths


@pytest.mark.parametrize("best", [-5.875, -2.0, 0.0, 1.375, 3.25, 5.875])
def test_the_search_finds_the_best_of_the_grid(tried: list[float], best: float) -> None:
    found = probes.select(split(), split(), lambda scores_NC, _: -abs(scores_NC[0, 0] - best))
    assert math.log10(found.chosen.strength) == pytest.approx(best)
    assert found.probe.strength == found.chosen.strength
    assert not found.at_edge
    assert len(tried) == len(set(tried)) <= 15
    steps = np.log10(tried) * probes.STEPS_PER_DECADE
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-6)
    assert [trial.strength for trial in found.trials] == sorted(tried, reverse=True)
    assert tried[:7] == pytest.approx([1e6, 1e4, 1e2, 1, 1e-2, 1e-4, 1e-6])


def test_of_equals_the_strongest_and_the_edge_is_told(tried: list[float]) -> None:
    plateau = probes.select(split(), split(), lambda scores_NC, _: float(scores_NC[0, 0] <= 2.6))
    assert math.log10(plateau.chosen.strength) == pytest.approx(2.5)
    for sign, edge in ((1, "1e\\+06"), (-1, "1e-06")):
        with pytest.warns(UserWarning, match=f"the best strength, {edge}, lies at the edge"):
            found = probes.search(split(), split(), lambda scores_NC, _, sign=sign: sign * scores_NC[0, 0])
        assert found.selection.at_edge
    assert len(tried) == 15 + 2 * 12  # at an edge four neighbours are missing; then the refit


@pytest.mark.parametrize("lowest", [-7, 3])
def test_a_plateau_that_reaches_the_edge_is_no_edge(tried: list[float], lowest: float) -> None:
    """All strengths are equally good, or the strongest few: nothing says that a better one lies beyond."""
    found = probes.search(split(), split(), lambda scores_NC, _: float(scores_NC[0, 0] >= lowest))
    assert found.selection.chosen.strength == 1e6
    assert not found.selection.at_edge


def test_fits_begin_near_their_optimum() -> None:
    """On the line of the two before; between those known on the cubic through four. Fits from zero take many more."""
    train, validation = split(300, 12, 5), split(60, 12, 5, start=300)
    trials = probes.select(train, validation).trials
    cold = [fit(train.features_ND, train.truth, trial.strength, classes=5).iterations for trial in trials]
    assert sum(trial.iterations for trial in trials) < 0.5 * sum(cold)


def test_a_search_on_real_features_refits_on_all() -> None:
    train, validation = split(120), split(60, start=120)
    found = probes.search(train, validation)
    by_hand = {
        trial.strength: probes.accuracy(
            fit(train.features_ND, train.truth, trial.strength).scores(validation.features_ND), validation.truth
        )
        for trial in found.selection.trials
    }
    assert {trial.strength: trial.metric for trial in found.selection.trials} == pytest.approx(by_hand, abs=0.04)
    assert found.selection.chosen.metric == max(trial.metric for trial in found.selection.trials)
    both = joined(train, validation)
    again = fit(both.features_ND, both.truth, found.selection.chosen.strength)
    assert found.probe.objective == pytest.approx(again.objective, rel=1e-4)
    assert found.validation == "60 samples given"


def test_classes_that_train_has_not_are_there() -> None:
    both, test = split(90, classes=4), split(30, classes=4, start=90)
    train = both.take(np.flatnonzero(both.truth < 3))
    for classes, expected in ((None, 4), (6, 6)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of so few samples any strength may be the best
            found = probes.search(train, test, classes=classes)
        for probe in (found.probe, found.selection.probe):
            assert probe.weights_CD.shape == (expected, 6)
        assert (found.selection.probe.bias_C[3:] == -np.inf).all()
        assert np.isfinite(found.probe.bias_C[3])  # it is in the other split


def test_scikit_learn_chooses_alike() -> None:
    pytest.importorskip("sklearn", reason="scikit-learn, the reference, is not installed (extra `eval`)")
    train, validation = split(90), split(60, start=90)
    ours, theirs = (
        probes.select(train, validation, _likelihood, solver=solver) for solver in ("diptych", "scikit-learn")
    )
    assert ours.chosen.strength == theirs.chosen.strength
    assert ours.chosen.metric == pytest.approx(theirs.chosen.metric, abs=1e-3)


def _likelihood(scores_NC: np.ndarray, labels_N: np.ndarray) -> float:
    """Smooth, so that the choice does not hang on single samples."""
    return float((scores_NC[np.arange(len(labels_N)), labels_N] - np.logaddexp.reduce(scores_NC, axis=1)).mean())


def test_several_classes_a_sample_and_tensors() -> None:
    plain = split(90)
    truth = several(plain.truth, 3)
    data = Labelled(torch.from_numpy(plain.features_ND), truth)
    found = probes.search(data, data, lambda scores_NC, truth_NC: float(((scores_NC > 0) == truth_NC).mean()))
    assert found.probe.weights_CD.shape == (3, 6)
    assert found.selection.chosen.metric > 0.75


def test_without_a_validation_split_a_share_of_train_is_held_out() -> None:
    found = probes.search(split(100, classes=4))
    assert found.validation == "20 samples held out of train, 20% of each class, seed 0"
    train, validation = held_out(split(103, classes=4), 0.2, 7)
    assert np.bincount(validation.truth).tolist() == [5, 5, 5, 5]
    again = held_out(split(103, classes=4), 0.2, 7)[1]
    other = held_out(split(103, classes=4), 0.2, 8)[1]
    np.testing.assert_array_equal(again.features_ND, validation.features_ND)
    assert not np.array_equal(other.features_ND, validation.features_ND)
    searched = probes.search(split(103, classes=4), seed=7)
    trials = probes.select(train, validation).trials
    assert [trial.metric for trial in searched.selection.trials] == [trial.metric for trial in trials]
    assert [trial.objective for trial in searched.selection.trials] == [trial.objective for trial in trials]
    rows = np.concatenate([train.features_ND, validation.features_ND])
    assert len(np.unique(rows, axis=0)) == 103
    with pytest.raises(DataError, match="no class has two samples"):
        held_out(split(3), 0.2, 0)


def test_fits_that_do_not_converge_are_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        probes.SOLVERS,
        "diptych",
        lambda train, classes, towards: (
            lambda strength, start: Probe(**{**vars(fake(strength)), "converged": strength > 1e-3, "iterations": 1000})
        ),
    )
    with pytest.warns(
        UserWarning, match=r"2 of 16 fits .* in 1000 iterations, those of strength 1e-06, 0.0001"
    ) as told:
        probes.search(split(), split(), lambda scores_NC, _: -abs(float(scores_NC[0, 0])))
    assert len(told) == 1


def test_what_a_search_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="did you mean 'scikit-learn'"):
        probes.select(split(), split(), solver="scikitlearn")
    with pytest.raises(DataError, match="5 features a sample, and the probe takes 6"):
        probes.search(split(dimensions=6), split(dimensions=5))
    with pytest.raises(DataError, match=r"\(6,\).* wide, of the other .*\(5,\)"):
        joined(split(dimensions=6), split(dimensions=5))
    with pytest.raises(DataError, match="no number"):
        probes.select(split(), split(), lambda *_: math.nan)
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with pytest.raises(MissingExtra, match=r"diptych\[eval\]"):
        probes.select(split(), split(), solver="scikit-learn")


def test_accuracy_counts_ties_against_the_model() -> None:
    scores_NC = np.array([[1.0, 1.0], [0.0, 2.0], [3.0, -np.inf], [np.nan, np.nan]])
    assert probes.accuracy(scores_NC, np.array([0, 1, 0, 0])) == 0.5


def test_draws_are_balanced_nested_and_keyed() -> None:
    labels_N = np.array([0] * 20 + [1] * 3 + [2] * 30)
    one, four, sixteen = (few_shot.draw(labels_N, shots, 5) for shots in (1, 4, 16))
    assert np.bincount(labels_N[four]).tolist() == [4, 3, 4]
    assert np.bincount(labels_N[sixteen]).tolist() == [16, 3, 16]
    assert set(one) < set(four) < set(sixteen)
    np.testing.assert_array_equal(few_shot.draw(labels_N, 4, 5), four)
    assert not np.array_equal(few_shot.draw(labels_N, 4, 6), four)
    np.testing.assert_array_equal(few_shot.draw(labels_N[:23], 4, 5), four[four < 23])  # a class more changes no other
    assert (np.diff(four) > 0).all()
    alike = few_shot.draw(np.repeat([0, 1], 50), 8, 0)
    assert set(alike[:8]) != set(alike[8:] - 50)  # classes of one size do not give the same places
    many_N = np.zeros(1000, int)
    together = [set(few_shot.draw(many_N, 16, seed, number)) for seed in range(4) for number in range(5)]
    assert len(set().union(*together)) > 250  # of 320; five seeds in a row would have been 8 draws of 16
    with pytest.raises(ConfigError, match="one example or more, not 0"):
        few_shot.draw(labels_N, 0, 0)


def test_few_shots_learn_and_are_reproducible() -> None:
    train, test = split(90, seed=3), split(600, seed=3, start=90)
    points = few_shot.few_shot(train, test, 1.0, shots=(1, 4, 64), draws=3)
    assert points == few_shot.few_shot(train, test, 1.0, shots=(1, 4, 64), draws=3)
    assert [point.examples for point in points] == [1, 4, 30]
    assert [point.short for point in points] == [0, 0, 3]
    assert few_shot.few_shot(train, test, 1.0, shots=(30,), draws=1)[0].short == 0  # all that they have, and no less
    assert points[0].mean < points[1].mean < points[2].mean
    assert points[2].spread == 0  # every draw has all there are
    for point in points:
        assert point.metrics == tuple((own.ranks_N == 0).mean() for own in point.answers)
    twice = few_shot.few_shot(train, test, 1.0, shots=(4, 1, 4), draws=3)
    assert twice == points[:2]
    assert points[0].spread == pytest.approx(np.std(points[0].metrics, ddof=1))
    assert math.isnan(few_shot.few_shot(train, test, 1.0, shots=(1,), draws=1)[0].spread)
    (searched,) = few_shot.few_shot(train, test, split(60, seed=3, start=690), shots=(4,), draws=2)
    assert set(searched.strengths) <= {probes.strength_of(number) for number in range(97)}
    with pytest.raises(DataError, match="one class"):
        few_shot.few_shot(Labelled(train.features_ND, several(train.truth, 3)), test, 1.0)


def test_few_shots_are_searched_on_the_validation_split_alone() -> None:
    train, tune, test = (split(60, 12, seed=3, start=start) for start in (0, 60, 120))
    towards = Linear(np.random.default_rng(1).standard_normal((4, 12)), np.zeros(4))
    told = {"classes": 4, "towards": towards}
    (point,) = few_shot.few_shot(train, test, tune, _likelihood, shots=(5,), draws=3, seed=8, **told)
    drawn_ones = [train.take(few_shot.draw(train.truth, 5, 8, number)) for number in range(3)]
    assert len({one.features_ND.tobytes() for one in drawn_ones}) == 3
    found = [probes.select(one, tune, _likelihood, **told) for one in drawn_ones]
    assert point.strengths == tuple(one.chosen.strength for one in found)
    assert point.metrics == tuple(_likelihood(one.probe.scores(test.features_ND), test.truth) for one in found)
    assert point.unconverged == sum(not one.probe.converged for one in found)
    assert point.examples == 5
    weights_CE = towards.weights_CD[:3]
    (cached,) = few_shot.few_shot_cache(train, test, tune, weights_CE, _likelihood, shots=(5,), draws=3, seed=8)
    caches = [neighbours.cache(one, tune, weights_CE, _likelihood) for one in drawn_ones]
    assert cached.weights == tuple(one.weight for one in caches)
    assert cached.sharpnesses == tuple(one.sharpness for one in caches)
    assert cached.metrics == tuple(_likelihood(one.scores(test.features_ND), test.truth) for one in caches)
    two = Labelled(test.features_ND[test.truth < 2], test.truth[test.truth < 2])
    (pair,) = few_shot.few_shot(two, two, 1.0, shots=(5,), draws=1)
    assert ((pair.answers[0].more_N > 0) == (pair.answers[0].predicted_N == 1)).all()


def test_a_penalty_may_draw_to_other_weights_than_zeros() -> None:
    train, validation, test = split(24, dimensions=30), split(60, dimensions=30, start=24), split(90, 30, start=84)
    towards = Linear(np.random.default_rng(0).standard_normal((3, 30)), np.zeros(3))
    found = probes.select(train, validation, towards=towards)
    strongest = found.trials[0]
    assert strongest.strength == 1e6
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of so few samples any strength may be the best
        searched = probes.search(train, validation, towards=towards)
    both = joined(train, validation)
    again = solve(prepare(both.features_ND, both.truth, 3, towards), searched.selection.chosen.strength)
    assert searched.probe.objective == pytest.approx(again.objective, rel=1e-4)
    # As they are, in what meets no example too; the bias alone is fitted.
    probe = solve(prepare(train.features_ND, train.truth, 3, towards), 1e6)
    scores_NC, expected_NC = probe.scores(test.features_ND), towards.scores(test.features_ND)
    np.testing.assert_allclose(scores_NC - scores_NC.mean(1, keepdims=True) - (probe.bias_C - probe.bias_C.mean()),
                               expected_NC - expected_NC.mean(1, keepdims=True), atol=1e-3)  # fmt: skip
    (shots,) = few_shot.few_shot(train, test, 1e6, shots=(1,), draws=1, towards=towards)
    assert shots.metrics[0] == pytest.approx(probes.accuracy(expected_NC, test.truth), abs=0.15)
    assert shots != few_shot.few_shot(train, test, 1e6, shots=(1,), draws=1)[0]
    with pytest.raises(ConfigError, match="draws weights to zero alone"):
        probes.select(train, validation, towards=towards, solver="scikit-learn")


def test_scores_are_approximated_by_weights_of_features() -> None:
    generator = np.random.default_rng(0)
    features_ND, true = generator.standard_normal((40, 5)), Linear(generator.standard_normal((3, 5)), np.arange(3.0))
    found = approximating(features_ND, true.scores(features_ND))
    np.testing.assert_allclose(found.weights_CD, true.weights_CD, atol=1e-6)
    np.testing.assert_allclose(found.bias_C, true.bias_C, atol=1e-6)
    few = approximating(features_ND[:4], true.scores(features_ND[:4]))
    np.testing.assert_allclose(few.scores(features_ND[:4]), true.scores(features_ND[:4]), atol=1e-6)
    assert np.linalg.norm(few.weights_CD) <= np.linalg.norm(true.weights_CD)


def test_examples_to_match() -> None:
    curve = [(1, 0.2), (2, 0.3), (4, 0.5), (8, 0.45), (16, 0.6), (100, 0.8)]
    for target, shots, kind in (
        (0.2, 1, "between"),
        (0.4, 2 * math.sqrt(2), "between"),
        (0.5, 4, "between"),
        (0.525, 8 * math.sqrt(2), "between"),  # the first crossing, though the curve falls before it
        (0.7, math.sqrt(16 * 100), "between"),
        (0.1, 0.5, "extrapolated"),
        (0.81, math.inf, "never"),
    ):
        found = matching.shots_to_match(curve, target)
        assert matching.shots_to_match(curve[::-1], target) == found
        assert (found.shots, found.kind) == (pytest.approx(shots), kind)
    assert matching.shots_to_match([(1, 0.5), (2, 0.4), (4, 0.7)], 0.4).shots == pytest.approx(0.5)
    assert matching.shots_to_match([(1, 0.5), (2, 0.4)], 0.3) == matching.Match(0.01, "fewer")
    steep = [(1, 0.5), (2, 0.5 + 0.1 * math.log(2) / math.log(100))]  # a hundredth of an example at 0.4
    assert matching.shots_to_match(steep, 0.401).kind == "extrapolated"
    assert matching.shots_to_match(steep, 0.399) == matching.Match(0.01, "fewer")
    for curve, target in (([], 0.1), ([(0, 0.1)], 0.1), ([(1, 0.1), (1, 0.2)], 0.1), ([(1, math.nan)], 0.1)):
        with pytest.raises(DataError):
            matching.shots_to_match(curve, target)


@pytest.mark.parametrize("at_once", [1, 10**7])
def test_neighbours_are_brute_force(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(neighbours, "_SIMILARITIES_AT_ONCE", at_once)
    train, queries = split(40, classes=4), split(25, classes=4, start=40)
    found = neighbours.vote(train, queries.features_ND, (1, 3, 40), 4)
    for number, query in enumerate(queries.features_ND):
        norms = np.linalg.norm(train.features_ND, axis=1) * np.linalg.norm(query)
        similarity = train.features_ND @ query / norms
        nearest = np.argsort(-similarity)
        for scores_QC, count in zip(found, (1, 3, 40), strict=True):
            votes = np.bincount(train.truth[nearest[:count]], minlength=4)
            np.testing.assert_array_equal(np.round(scores_QC[number]), votes)
            sums = np.bincount(train.truth[nearest[:count]], similarity[nearest[:count]], minlength=4)
            expected = max(range(4), key=lambda label, v=votes, s=sums: (v[label], s[label]))
            assert scores_QC[number].argmax() == expected


@pytest.mark.parametrize("at_once", [1, 10**7])
def test_neighbours_that_are_as_near_share_what_votes_are_left(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(neighbours, "_SIMILARITIES_AT_ONCE", at_once)
    near, far = [1.0, 0.0], [0.0, 1.0]
    truth = np.array([0, 1, 1, 2, 2, 0])
    samples = Labelled(np.array([near, near, near, near, far, far], np.float32), truth)
    for order in (np.arange(6), np.arange(6)[::-1], np.array([3, 5, 1, 0, 4, 2])):
        votes = neighbours.vote(samples.take(order), np.array([near], np.float32), (1, 2, 4, 5), 3)
        assert [scores_QC.round(2).tolist() for scores_QC in votes] == [
            [[0.25, 0.5, 0.25]],  # a quarter each of four, of which two are of class 1
            [[0.5, 1.0, 0.5]],
            [[1.0, 2.0, 1.0]],
            [[1.5, 2.0, 1.5]],  # two that are far share the fifth vote
        ]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([(1,), (3, 8), (2, 20, 40)]), st.integers(2, 600))
def test_no_order_of_samples_decides_and_features_that_tell_nothing_get_nothing_right(
    seed: int, counts: tuple[int, ...], width: int
) -> None:
    generator = np.random.default_rng(seed)
    same_D = generator.standard_normal(width).astype(np.float32)
    labels_N = np.arange(40) % 4
    for scores_QC in neighbours.vote(Labelled(np.tile(same_D, (40, 1)), labels_N), np.tile(same_D, (9, 1)), counts, 4):
        assert probes.accuracy(scores_QC, np.arange(9) % 4) == 0
    kinds = generator.standard_normal((5, width)).astype(np.float32)  # many samples are alike
    features_ND, queries_QD = kinds[generator.integers(5, size=40)], kinds[generator.integers(5, size=7)]
    order = generator.permutation(40)
    for one, other in zip(
        neighbours.vote(Labelled(features_ND, labels_N), queries_QD, counts, 4),
        neighbours.vote(Labelled(features_ND[order], labels_N[order]), queries_QD, counts, 4),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, atol=1e-5)
        assert (one.argmax(axis=1) == other.argmax(axis=1)).all()


def test_cosines_that_only_rounding_tells_apart_share_a_vote() -> None:
    angles = np.pi / 4 + np.array([0, 4e-7, -4e-7])
    samples = Labelled(np.stack([np.cos(angles), np.sin(angles)], axis=1), np.array([0, 1, 2]))
    query = np.array([[1.0, 0.0]])
    similarities = neighbours.unit(samples.features_ND) @ neighbours.unit(query)[0]
    assert len(set(similarities.tolist())) == 3
    (scores_QC,) = neighbours.vote(samples, query, (1,), 3)
    assert scores_QC[0].round(2).tolist() == [0.33] * 3


def test_rows_of_unit_norm() -> None:
    found = neighbours.unit(np.array([[0.03, 0.04], [0, 0], [30, 40]]))
    np.testing.assert_allclose(found, [[0.6, 0.8], [0, 0], [0.6, 0.8]], rtol=1e-6)
    for bad in (np.nan, np.inf):
        with pytest.raises(DataError, match="no finite numbers"):
            neighbours.unit(np.array([[1.0, 2.0], [bad, 1.0]]))


def test_nearness_never_outvotes_a_vote() -> None:
    features_ND = np.repeat(np.array([[1.0, 0.0], [-1.0, 0.0]], np.float32), [500, 501], axis=0)
    samples = Labelled(features_ND, np.repeat([0, 1], [500, 501]))
    (scores_QC,) = neighbours.vote(samples, features_ND[:1], (1001,), 2)
    assert scores_QC.argmax() == 1


def test_neighbours_are_chosen_by_the_validation_split() -> None:
    train, validation, test = split(90), split(60, start=90), split(100, start=150)
    found = neighbours.nearest_neighbours(train, validation)
    assert list(found.metrics) == [1, 2, 5, 10, 20, 50]  # no more than there are samples
    for count, metric in found.metrics.items():  # of training samples alone, so that no sample votes for itself
        (scores_QC,) = neighbours.vote(train, validation.features_ND, (count,), 3)
        assert metric == probes.accuracy(scores_QC, validation.truth)
    best = max(found.metrics.values())
    assert found.count == min(count for count, value in found.metrics.items() if value == best)
    assert len(found.samples.truth) == 150
    assert probes.accuracy(found.scores(test.features_ND), test.truth) > 0.5
    assert neighbours.nearest_neighbours(train, validation, lambda *_: 0.5).count == 1  # of equals the fewest
    assert neighbours.nearest_neighbours(train, validation, counts=(91, 90)).count == 90
    with pytest.raises(ConfigError, match="of 90 samples"):
        neighbours.nearest_neighbours(train, validation, counts=(91,))
    both = neighbours.vote(Labelled(train.features_ND, several(train.truth, 3)), test.features_ND, (5,), 3)[0]
    assert both.shape == (100, 3)


def test_a_cache_adds_what_examples_say() -> None:
    generator = np.random.default_rng(0)
    weights_CE = generator.standard_normal((3, 8)).astype(np.float32)
    labels_N = np.arange(90) % 3
    true_CE = weights_CE + 1.5 * generator.standard_normal((3, 8))
    features_NE = true_CE[labels_N] + 0.7 * generator.standard_normal((90, 8))
    samples, validation = (Labelled(features_NE[rows], labels_N[rows]) for rows in (slice(30), slice(30, 90)))
    found = neighbours.cache(samples, validation, weights_CE)
    zero_shot = found.metrics[0.0, 1.0]
    assert found.metrics[found.weight, found.sharpness] == max(found.metrics.values()) > zero_shot
    for (weight, sharpness), metric in found.metrics.items():
        there = dataclasses.replace(found, weight=weight, sharpness=sharpness)
        assert metric == probes.accuracy(there.scores(validation.features_ND), validation.truth)
    query = neighbours.unit(validation.features_ND[:1])[0]
    keys = neighbours.unit(samples.features_ND)
    logits = 100 * neighbours.unit(weights_CE) @ query
    for key, label in zip(keys, samples.truth, strict=True):
        logits[label] += found.weight * math.exp(-found.sharpness * (1 - key @ query))
    np.testing.assert_allclose(found.scores(validation.features_ND[:1])[0], logits, rtol=1e-4)
    with pytest.raises(DataError, match="after the projection"):
        neighbours.cache(samples, validation, weights_CE[:, :5])
    nothing = neighbours.cache(samples, validation, weights_CE, lambda *_: 0.5)
    assert (nothing.weight, nothing.sharpness, nothing.at_edge) == (0.0, 0.25, False)


def test_a_cache_may_stand_alone_and_an_edge_is_told() -> None:
    generator = np.random.default_rng(0)
    samples, validation = split(30), split(60, start=30)
    misleading_CE = 100 * generator.standard_normal((3, 6))
    alone = neighbours.cache(samples, validation, misleading_CE)
    told = neighbours.recall(samples, validation.features_ND, alone.sharpness, 3)
    assert alone.metrics[math.inf, alone.sharpness] == probes.accuracy(told, validation.truth)
    assert alone.metrics[30.0, alone.sharpness] < max(alone.metrics.values())  # where the grid once ended
    # At its largest weight it is all but alone, so that none of what is between is missed.
    near = [alone.metrics[3e4, sharpness] - alone.metrics[math.inf, sharpness] for sharpness in neighbours.SHARPNESSES]
    assert max(map(abs, near)) <= 0.05

    one = Labelled(np.eye(1, 6), np.array([0]))  # says 1 of itself, however sharply

    def chosen(*weights: float, sharpnesses: tuple[float, ...] = (1, 2, 4)) -> tuple[float, bool]:
        told = {"weights": weights, "sharpnesses": sharpnesses}
        found = neighbours.cache(one, one, np.zeros((3, 6)), lambda scores_NC, _: float(scores_NC.max()), **told)
        return found.weight, found.at_edge

    assert chosen(0.0, 0.1, 5.0) == (5.0, True)
    assert chosen(0.0, 0.5, math.inf) == (math.inf, False)
    assert chosen(0.0) == (0.0, False)
    assert chosen(0.0, 0.5, math.inf, sharpnesses=(1, 2)) == (math.inf, True)  # there is no sharpness between


def test_examples_are_summed_alike_for_one_class_and_for_several() -> None:
    samples, queries = split(40, classes=5), split(7, start=40)
    samples = samples.take(np.flatnonzero(samples.truth != 2))  # a class without an example
    one = neighbours.recall(samples, queries.features_ND, 3.0, 5)
    many = neighbours.recall(Labelled(samples.features_ND, np.eye(5)[samples.truth]), queries.features_ND, 3.0, 5)
    np.testing.assert_allclose(one, many, rtol=1e-12)
    assert not one[:, 2].any()
    assert one[:, :2].all()
