"""Logistic regression against finite differences, scikit-learn and itself seen otherwise."""

import numpy as np
import pytest
import torch
from scipy import optimize

from diptych.errors import ConfigError, DataError
from diptych.evaluation.lbfgs import Point, minimise
from diptych.evaluation.linear import Linear
from diptych.evaluation.logistic import Probe, _minimum, fit, solve
from diptych.evaluation.logistic_problem import prepare
from diptych.evaluation.probes import accuracy
from diptych.evaluation.rotation import rotate


def drawn(samples: int, dimensions: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Overlapping classes, falling variances, a mean far from zero, two huge dimensions."""
    generator = np.random.default_rng(seed)
    spread_D = np.arange(1, dimensions + 1) ** -0.5
    means_CD = 0.7 * spread_D * generator.standard_normal((classes, dimensions))  # first: the same for any number
    labels_N = generator.permutation(np.arange(samples) % classes)
    features_ND = means_CD[labels_N] + spread_D * generator.standard_normal((samples, dimensions))
    features_ND[:, -1] *= 30
    features_ND[:, -2] += 10
    return features_ND + 0.3, labels_N


def several(labels_N: np.ndarray, classes: int, seed: int = 0) -> np.ndarray:
    also_NC = np.random.default_rng(seed).random((len(labels_N), classes)) < 0.2
    return (also_NC | (np.eye(classes)[labels_N] > 0)).astype(np.int64)


def plain_objective(
    features_ND: np.ndarray, truth: np.ndarray, weights_CD: np.ndarray, bias_C: np.ndarray, strength: float
) -> float:
    scores_NC = features_ND.astype(float) @ weights_CD.T + bias_C
    if truth.ndim == 1:
        loss = np.logaddexp.reduce(scores_NC, axis=1) - scores_NC[np.arange(len(truth)), truth]
    else:
        loss = np.logaddexp(0, scores_NC) - truth * scores_NC
    return float(loss.sum() + 0.5 * strength * (weights_CD**2).sum())


def objective(probe: Probe, features_ND: np.ndarray, truth: np.ndarray) -> float:
    return plain_objective(features_ND, truth, probe.weights_CD, probe.bias_C, probe.strength)


@pytest.mark.parametrize("exclusive", [True, False])
@pytest.mark.parametrize(("samples", "dimensions"), [(60, 6), (9, 14)])
def test_objective_and_gradient(exclusive: bool, samples: int, dimensions: int) -> None:
    features_ND, labels_N = drawn(samples, dimensions, 4)
    truth = labels_N if exclusive else several(labels_N, 4)
    problem, strength = prepare(features_ND, truth), 3.0
    parameters = torch.from_numpy(np.random.default_rng(1).standard_normal(problem.start(None).shape))
    point = problem.evaluate(strength, torch.float64, parameters)
    expected = plain_objective(features_ND, truth, *problem.original(parameters), strength) / samples
    assert point.objective == pytest.approx(expected, rel=1e-10)

    def value(weights_CD: np.ndarray, bias_C: np.ndarray) -> float:
        return plain_objective(features_ND, truth, weights_CD, bias_C, strength) / samples

    weights_CD, bias_C = problem.original(parameters)
    slopes = []
    for array in (weights_CD, bias_C):
        for place in np.ndindex(array.shape):
            kept, values = array[place], []
            for step in (1e-6, -1e-6):
                array[place] = kept + step
                values.append(value(weights_CD, bias_C))
            array[place] = kept
            slopes.append((values[0] - values[1]) / 2e-6)
    if samples > dimensions:  # else the rotated parameters do not reach what no sample has
        assert problem.steepest(point.gradient_CP) == pytest.approx(np.abs(slopes).max(), rel=1e-5)
    direction = torch.from_numpy(np.random.default_rng(2).standard_normal(parameters.shape))
    ahead, behind = (problem.evaluate(strength, torch.float64, parameters + s * direction) for s in (1e-6, -1e-6))
    slope = float((point.gradient_CP * direction).sum())
    assert (ahead.objective - behind.objective) / 2e-6 == pytest.approx(slope, rel=1e-5)


def test_blocks_of_samples_are_summed(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = prepare(*drawn(50, 6, 4))
    parameters = torch.from_numpy(np.random.default_rng(1).standard_normal((4, 7)))
    whole = problem.evaluate(1.0, torch.float64, parameters)
    monkeypatch.setattr("diptych.evaluation.logistic_problem._SCORES_AT_ONCE", {"cpu": 28})
    parts = problem.evaluate(1.0, torch.float64, parameters)
    assert parts.objective == pytest.approx(whole.objective, rel=1e-12)
    torch.testing.assert_close(parts.gradient_CP, whole.gradient_CP)
    torch.testing.assert_close(parts.curvature_CP, whole.curvature_CP)


def test_rotation_changes_nothing_but_the_axes() -> None:
    for samples, dimensions in ((40, 7), (7, 40)):
        features_ND, _ = drawn(samples, dimensions, 3)
        features_ND[:, 1] = features_ND[:, 0]  # an axis of no variance
        found = rotate(features_ND)
        basis_DR = found.basis_DR.numpy()
        assert basis_DR.shape == (dimensions, min(samples, dimensions))
        variances_R = ((features_ND - features_ND.mean(axis=0)) @ basis_DR).var(axis=0)
        np.testing.assert_allclose(found.variances_R.numpy(), variances_R, atol=1e-9)
        assert (found.variances_R.numpy() >= 0).all()
        np.testing.assert_allclose(basis_DR.T @ basis_DR, np.eye(basis_DR.shape[1]), atol=1e-12)
        back_ND = found.features_NR.numpy() @ basis_DR.T + found.mean_D.numpy()
        np.testing.assert_allclose(back_ND, features_ND, atol=1e-10)
        assert (np.diff(found.variances_R.numpy()) <= 1e-9).all()


def test_features_keep_the_precision_that_they_came_in() -> None:
    features_ND, labels_N = drawn(40, 6, 3)
    probe = fit(features_ND, labels_N, 1.0)
    for given, kept in ((np.float64, np.float64), (np.float32, np.float32), (np.float16, np.float32)):
        cast_ND = features_ND.astype(given)
        assert rotate(cast_ND).features_NR.numpy().dtype == kept
        assert probe.scores(cast_ND).dtype == kept


@pytest.mark.parametrize("strength", [1e4, 1.0, 1e-2])
@pytest.mark.parametrize("kind", ["exclusive", "two classes", "several"])
def test_scikit_learns_optimum(strength: float, kind: str) -> None:
    """To 1e-4 relative in objective, as the project asks, where both are converged: in fp64, to a small gradient."""
    pytest.importorskip("sklearn", reason="scikit-learn, the reference, is not installed (extra `eval`)")
    from diptych.evaluation import scikit_learn

    features_ND, labels_N = drawn(200, 12, 2 if kind == "two classes" else 5)
    truth = several(labels_N, 5) if kind == "several" else labels_N
    theirs = scikit_learn.fit(features_ND, truth, strength, tolerance=1e-7, most_iterations=20_000)
    for precision in (np.float32, np.float64):
        ours = fit(features_ND.astype(precision), truth, strength)
        assert ours.objective == pytest.approx(theirs.objective, rel=1e-4)
        assert ours.converged
        assert ours.gradient <= 1e-4
    if truth.ndim == 1:
        held_ND, held_N = drawn(4000, 12, 2 if kind == "two classes" else 5, seed=0)
        assert accuracy(ours.scores(held_ND), held_N) == pytest.approx(
            accuracy(theirs.scores(held_ND), held_N), abs=1.001e-3
        )
        if strength >= 1:  # a weak penalty leaves directions in which scores change much and the objective hardly
            np.testing.assert_allclose(ours.scores(held_ND), theirs.scores(held_ND), atol=0.05, rtol=0.01)


def test_scikit_learns_objective_at_its_own_tolerance() -> None:
    pytest.importorskip("sklearn", reason="scikit-learn, the reference, is not installed (extra `eval`)")
    from diptych.evaluation import scikit_learn

    features_ND, labels_N = drawn(300, 20, 5)
    for strength in (1e2, 1.0, 1e-2, 1e-4):
        ours, theirs = fit(features_ND, labels_N, strength), scikit_learn.fit(features_ND, labels_N, strength)
        assert ours.objective <= theirs.objective * (1 + 1e-4)
        assert ours.iterations < theirs.iterations


@pytest.mark.parametrize("exclusive", [True, False])
@pytest.mark.parametrize("strength", [10.0, 1e-3])
def test_fp32_suffices(exclusive: bool, strength: float) -> None:
    """The objective of fp32 products, evaluated in fp64 by plain numpy, is that of fp64 products."""
    features_ND, labels_N = drawn(400, 16, 6)
    features_ND = features_ND.astype(np.float32)
    truth = labels_N if exclusive else several(labels_N, 6)
    single, double = (fit(features_ND.astype(dtype), truth, strength) for dtype in (np.float32, np.float64))
    assert single.objective == pytest.approx(objective(single, features_ND, truth), rel=1e-6)
    assert objective(single, features_ND, truth) == pytest.approx(objective(double, features_ND, truth), rel=2e-5)


def test_beyond_fp32_the_fit_goes_on_in_fp64() -> None:
    features_ND, labels_N = drawn(200, 10, 4)
    problem = prepare(features_ND.astype(np.float32), labels_N)
    in_fp32 = _minimum(problem, 1.0, torch.float32, problem.start(None), 1e-9, 1000)
    assert in_fp32.end == "stalled"  # and soon, rather than after all of its iterations
    assert in_fp32.iterations < 200
    probe = solve(problem, 1.0, tolerance=1e-9)
    assert probe.converged
    assert probe.gradient <= 1e-9
    cut = solve(problem, 1.0, tolerance=1e-9, most_iterations=in_fp32.iterations + 1)  # of both precisions together
    assert (cut.iterations, cut.converged) == (in_fp32.iterations + 1, False)
    assert not solve(problem, 1.0, tolerance=0).converged  # where fp64 stalls too


@pytest.mark.parametrize("exclusive", [True, False])
def test_gradients_keep_their_digits_where_probabilities_near_one(exclusive: bool) -> None:
    """In fp32, 1 - p of a sample that is right by 20 is 2e-9, and p - 1 would be 0."""
    features_ND, labels_N = np.eye(4, dtype=np.float32), np.arange(4)
    problem = prepare(features_ND, labels_N if exclusive else np.eye(4, dtype=int)[labels_N])
    parameters = problem.start(Linear(40 * np.eye(4), np.full(4, -20.0)))
    single, double = (problem.evaluate(1e-12, dtype, parameters) for dtype in (torch.float32, torch.float64))
    assert 0 < double.gradient_CP.abs().max() < 1e-7
    torch.testing.assert_close(single.gradient_CP, double.gradient_CP, rtol=1e-4, atol=1e-14)
    assert single.objective == pytest.approx(double.objective, rel=1e-4)


def test_a_search_counts_its_steps_and_looks() -> None:
    bends_CP = torch.tensor([[1.0, 5.0, 100.0]], dtype=torch.float64)
    looks = []

    def parabola(parameters_CP: torch.Tensor) -> Point:
        looks.append(parameters_CP)
        value = 0.5 * float((bends_CP * parameters_CP.square()).sum())
        return Point(parameters_CP, value, bends_CP * parameters_CP, torch.ones_like(bends_CP))

    begin = torch.ones_like(bends_CP)
    newton = Point(begin, 53.0, bends_CP, bends_CP)
    assert newton.decrease == pytest.approx(53)  # with the diagonal as it is, a step takes off all
    for most in (0, 1, 3):
        looks.clear()
        found = minimise(parabola, begin, lambda _: False, most_iterations=most, rounding=1e-15)
        assert (found.end, found.iterations, found.evaluations) == ("cut off", most, len(looks))
        assert len(looks) > most
    whole = minimise(parabola, begin, lambda point: point.objective < 1e-12, most_iterations=99, rounding=1e-15)
    assert (whole.end, whole.evaluations) == ("done", len(looks) - found.evaluations)
    few = minimise(parabola, begin, lambda _: False, most_iterations=whole.iterations - 1, rounding=1e-15)
    assert few.point.objective >= 1e-12  # one step less does not get there


def noisy(parameters_CP: torch.Tensor, generator: torch.Generator) -> Point:
    """A parabola above one of which neither value nor slope is known below a thousandth of its width."""
    noise_CP = 1e-3 * torch.randn(parameters_CP.shape, generator=generator, dtype=torch.float64)
    value = 1 + 0.5 * float(parameters_CP.square().sum())
    return Point(parameters_CP, round(value, 5), parameters_CP + noise_CP, torch.ones_like(parameters_CP))


def test_a_search_that_only_noise_leads_on_is_given_up() -> None:
    generator = torch.Generator().manual_seed(0)
    found = minimise(
        lambda parameters_CP: noisy(parameters_CP, generator),
        torch.full((3, 4), 5.0, dtype=torch.float64),
        lambda _: False,
        most_iterations=10_000,
        rounding=1e-5,
    )
    assert found.end == "stalled"
    assert found.iterations < 300
    assert found.point.parameters_CP.abs().max() < 0.02


@pytest.mark.parametrize("strength", [1e-2, 1e-4, 1e-6])
def test_a_weak_penalty_does_not_end_a_fit_early(strength: float) -> None:
    """The gradient alone is within the tolerance where the objective is yet two or three times too large."""
    problem = prepare(*drawn(400, 60, 4))
    least = solve(problem, strength, tolerance=1e-11, most_iterations=5000)
    assert solve(problem, strength).objective == pytest.approx(least.objective, rel=1e-4)


def test_where_it_starts_decides_only_how_long_it_takes() -> None:
    features_ND, labels_N = drawn(300, 12, 5)
    problem = prepare(features_ND, labels_N)
    cold = solve(problem, 1.0, tolerance=1e-9)
    far = Linear(np.random.default_rng(0).standard_normal((5, 12)), np.full(5, 3.0))
    odd = solve(problem, 1.0, start=far, tolerance=1e-9)
    warm = solve(problem, 1.0, start=cold, tolerance=1e-9)
    np.testing.assert_allclose(odd.weights_CD, cold.weights_CD, atol=1e-5)
    np.testing.assert_allclose(warm.weights_CD, cold.weights_CD, atol=1e-5)
    assert warm.iterations == 0
    assert solve(problem, 1.2, start=cold).iterations < solve(problem, 1.2).iterations


@pytest.mark.parametrize(("samples", "classes"), [(80, 4), (7, 4), (60, 2)])
@pytest.mark.parametrize("exclusive", [True, False])
def test_the_optimum_of_a_penalty_that_draws_elsewhere_is_scipys(samples: int, classes: int, exclusive: bool) -> None:
    features_ND, labels_N = drawn(samples, 9, classes)
    truth = labels_N if exclusive else several(labels_N, classes)
    towards = Linear(np.random.default_rng(2).standard_normal((classes, 9)), np.zeros(classes))
    if exclusive:
        towards.weights_CD[:] -= towards.weights_CD.mean(axis=0)  # what all exclusive classes share is not looked at
    probe = solve(prepare(features_ND, truth, classes, towards), 0.7, tolerance=1e-9)

    def value(parameters: np.ndarray) -> float:
        weights_CD, bias_C = parameters[: classes * 9].reshape(classes, 9), parameters[classes * 9 :]
        beyond_CD = weights_CD - towards.weights_CD
        # Of two exclusive classes the difference of both vectors is penalised, as in scikit-learn.
        penalty = 2 if exclusive and classes == 2 else 1
        loss = plain_objective(features_ND, truth, weights_CD, bias_C, 0.0)
        return loss + 0.5 * penalty * 0.7 * float((beyond_CD**2).sum())

    begin = np.concatenate([towards.weights_CD.ravel(), np.zeros(classes)])
    found = optimize.minimize(value, begin, method="BFGS", options={"gtol": 1e-5})
    assert probe.objective == pytest.approx(found.fun, rel=1e-6)
    np.testing.assert_allclose(probe.weights_CD, found.x[: classes * 9].reshape(classes, 9), atol=2e-3)


def test_shift_and_order_of_classes_do_not_matter() -> None:
    features_ND, labels_N = drawn(200, 9, 4)
    plain = fit(features_ND, labels_N, 2.0, tolerance=1e-8)
    shift_D = np.linspace(-50, 50, 9)
    shifted = fit(features_ND + shift_D, labels_N, 2.0, tolerance=1e-8)
    np.testing.assert_allclose(shifted.weights_CD, plain.weights_CD, atol=1e-5)
    np.testing.assert_allclose(shifted.scores(features_ND + shift_D), plain.scores(features_ND), atol=1e-4)
    order = np.array([2, 0, 3, 1])
    permuted = fit(features_ND, order[labels_N], 2.0, tolerance=1e-8)
    np.testing.assert_allclose(permuted.weights_CD[order], plain.weights_CD, atol=1e-5)


def test_a_penalty_is_isotropic_and_more_dimensions_than_samples_are_no_other_problem() -> None:
    features_ND, labels_N = drawn(30, 80, 3)
    axes_DD = np.linalg.qr(np.random.default_rng(0).standard_normal((80, 80)))[0]
    plain, turned = (fit(x, labels_N, 0.5, tolerance=1e-9) for x in (features_ND, features_ND @ axes_DD))
    np.testing.assert_allclose(turned.weights_CD @ axes_DD.T, plain.weights_CD, atol=1e-6)
    copies = fit(
        np.tile(features_ND, (4, 1)), np.tile(labels_N, 4), 2.0, tolerance=1e-9
    )  # more samples, four times all
    np.testing.assert_allclose(copies.weights_CD, plain.weights_CD, atol=1e-6)


def test_what_says_nothing_gets_no_weight() -> None:
    features_ND, labels_N = drawn(100, 6, 3)
    features_ND[:, 2] = 1234.5
    features_ND[:, 4] = features_ND[:, 3]
    probe = fit(features_ND, labels_N, 1.0, tolerance=1e-8)
    np.testing.assert_allclose(probe.weights_CD[:, 2], 0, atol=1e-9)
    np.testing.assert_allclose(probe.weights_CD[:, 4], probe.weights_CD[:, 3], atol=1e-6)


def test_classes_without_samples() -> None:
    features_ND, labels_N = drawn(90, 6, 3)
    plain, gapped = fit(features_ND, labels_N, 1.0), fit(features_ND, labels_N * 2, 1.0, classes=6)
    np.testing.assert_allclose(gapped.weights_CD[[0, 2, 4]], plain.weights_CD, atol=1e-9)
    assert (gapped.scores(features_ND)[:, [1, 3, 5]] == -np.inf).all()
    again = fit(features_ND, labels_N, 1.0, classes=6, start=gapped)  # a start without a class that is there now
    assert again.objective == pytest.approx(plain.objective, rel=1e-4)
    alone = fit(features_ND, np.zeros(90, np.int64), 1.0, classes=2)
    assert alone.scores(features_ND).argmax(1).max() == 0
    assert alone.objective == pytest.approx(0, abs=1e-9)
    every = fit(features_ND, np.stack([np.ones(90), np.zeros(90), labels_N == 0], 1).astype(int), 1.0)
    assert every.bias_C[:2].tolist() == [np.inf, -np.inf]
    assert np.isfinite(every.bias_C[2])


def test_too_few_iterations_are_told() -> None:
    features_ND, labels_N = drawn(100, 6, 3)
    with pytest.warns(UserWarning, match=r"after 2 iterations the probe of strength 1e-06 has a gradient"):
        probe = fit(features_ND, labels_N, 1e-6, most_iterations=2)
    assert not probe.converged
    assert probe.iterations == 2


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_features_that_are_no_numbers(bad: float) -> None:
    features_ND, labels_N = drawn(20, 4, 2)
    features_ND[7, 2] = bad
    with pytest.raises(DataError, match=r"1 of 20 samples .* sample 7, dimension 2"):
        fit(features_ND, labels_N, 1.0)


def test_what_cannot_be_fitted() -> None:
    features_ND, labels_N = drawn(20, 4, 2)
    for truth, message in (
        (labels_N[:5], "20 samples and the truth of 5"),
        (labels_N - 1, "labels go from -1"),
        (labels_N.astype(float), "an integer"),
        (several(labels_N, 2) * 2, "0 or 1"),
    ):
        with pytest.raises(DataError, match=message):
            fit(features_ND, truth, 1.0)
    with pytest.raises(DataError, match="labels go from 0 to 1, but there are 1 classes"):
        fit(features_ND, labels_N, 1.0, classes=1)
    for strength in (0.0, np.inf, np.nan):
        with pytest.raises(ConfigError, match=f"above 0, not {strength}"):
            fit(features_ND, labels_N, strength)
    probe = fit(features_ND, labels_N, 1.0)
    with pytest.raises(DataError, match="3 features a sample, and the probe takes 4"):
        probe.scores(features_ND[:, :3])
    with pytest.raises(DataError, match=r"shape \(2, 4\) here"):
        fit(features_ND, labels_N, 1.0, start=Linear(np.zeros((3, 4)), np.zeros(3)))
