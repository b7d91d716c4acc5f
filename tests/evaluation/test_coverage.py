"""How often 95 % intervals hold the truth, over simulated data sets, within what so few of them can tell.

The quick tests have tens to hundreds of data sets a case, the long ones several hundred, small samples, extreme rates
and strong clusters. An interval passes where it holds the truth so often that fewer would be rarer than one in a
thousand if it did in 95 % of cases; one that is never wrong, where it is not made to be careful, fails too.
"""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import binom, norm

from diptych.evaluation import calibration_intervals, intervals, multilabel
from diptych.evaluation.abstention import risk_coverage
from diptych.evaluation.calibration import calibration
from diptych.evaluation.calibration_intervals import Binned, error_interval, expected, largest
from diptych.evaluation.comparison import Measured, compare
from diptych.evaluation.result import Interval
from diptych.evaluation.shot_tasks import _of_draws

Case = Callable[[np.random.Generator, int], Interval]


def check(truth: float, case: Case, data_sets: int, *, careful: bool = False, level: float = 0.95) -> None:
    generator = np.random.default_rng(20)
    found = [case(generator, seed) for seed in range(data_sets)]
    held = sum(low <= truth <= high for low, high in found)
    assert held >= binom.ppf(0.001, data_sets, level), f"{held} of {data_sets} hold {truth}"
    if not careful:
        # 98 % at most: what is discrete, or allows for Student's tails, is a little wider than it must be.
        assert held <= binom.ppf(0.999, data_sets, 0.98), f"{held} of {data_sets} hold {truth}"


def clustered(generator: np.random.Generator, clusters: int, size: int, rate: float, strength: float) -> np.ndarray:
    """Hits in clusters whose rates follow a beta distribution; the smaller the strength, the more they are alike."""
    rates_K = generator.beta(rate * strength, (1 - rate) * strength, clusters)
    return generator.random(clusters * size) < np.repeat(rates_K, size)


@pytest.mark.parametrize("rate", [0.01, 0.3, 0.9, 0.99])
@pytest.mark.parametrize("trials", [10, 200])
def test_exact_intervals_cover_exactly(rate: float, trials: int) -> None:
    """No simulation: the probability of every number of hits is known."""
    inside = [
        hits
        for hits in range(trials + 1)
        if binom.pmf(hits, trials, rate) > 1e-12
        and intervals.exact(hits, trials)[0] <= rate <= intervals.exact(hits, trials)[1]
    ]
    assert binom.pmf(inside, trials, rate).sum() >= 0.95 - 1e-9


@pytest.mark.parametrize(("clusters", "size", "rate", "strength"), [(80, 5, 0.5, 1), (100, 5, 0.99, 0.5)])
def test_shares_in_clusters(clusters: int, size: int, rate: float, strength: float) -> None:
    def case(generator: np.random.Generator, _: int) -> Interval:
        hits_Q = clustered(generator, clusters, size, rate, strength)
        return intervals.proportion(hits_Q, np.repeat(np.arange(clusters), size))

    check(rate, case, 300, careful=rate > 0.9)


@pytest.mark.long
@pytest.mark.parametrize("clusters", [15, 40, 300])
@pytest.mark.parametrize("size", [1, 5, 20])
@pytest.mark.parametrize("rate", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("strength", [0.3, 2, 50])
def test_shares_in_clusters_at_length(clusters: int, size: int, rate: float, strength: float) -> None:
    def case(generator: np.random.Generator, _: int) -> Interval:
        hits_Q = clustered(generator, clusters, size, rate, strength)
        return intervals.proportion(hits_Q, np.repeat(np.arange(clusters), size))

    # Where few large clusters have all misses, most data sets do not show how much clusters vary.
    check(rate, case, 400, careful=True, level=0.87 if size == 20 and rate >= 0.9 else 0.95)


def test_clusters_taken_for_samples_would_be_too_sure() -> None:
    generator = np.random.default_rng(0)
    held = 0
    for _ in range(100):
        low, high = intervals.exact(int(clustered(generator, 80, 5, 0.5, 0.5).sum()), 400)
        held += low <= 0.5 <= high
    assert held < 80


def test_means_of_values_in_clusters() -> None:
    def case(generator: np.random.Generator, seed: int) -> Interval:
        values_Q = np.repeat(generator.exponential(size=40), 3) + generator.normal(size=120)
        return intervals.bootstrap(values_Q, np.repeat(np.arange(40), 3), seed, draws=400)

    check(1, case, 150)


@pytest.mark.parametrize(("rates", "trials"), [((0.9, 0.5, 0.2, 0.7), (40, 80, 60, 30)), ((0.99,) * 30, (5,) * 30)])
def test_means_of_proportions(rates: tuple[float, ...], trials: tuple[int, ...]) -> None:
    trials_C = np.array(trials)

    def case(generator: np.random.Generator, seed: int) -> Interval:
        return intervals.mean_of_proportions(generator.binomial(trials_C, rates), trials_C, seed, draws=300)

    check(float(np.mean(rates)), case, 200, careful=True)


@pytest.mark.long
@pytest.mark.parametrize("rate", [0.3, 0.9, 0.99, 0.999])
@pytest.mark.parametrize("images", [1, 3, 30])
@pytest.mark.parametrize("classes", [3, 40])
def test_means_of_proportions_at_length(rate: float, images: int, classes: int) -> None:
    trials_C = np.full(classes, images)

    def case(generator: np.random.Generator, seed: int) -> Interval:
        return intervals.mean_of_proportions(generator.binomial(trials_C, rate), trials_C, seed)

    check(rate, case, 400, careful=True)


def ranks_in_clusters(generator: np.random.Generator, clusters: int, size: int, alike: float) -> np.ndarray:
    """Ranks whose logarithms are half above and half below that of 20, alike within clusters by so much."""
    own = generator.normal(size=(clusters, size)) * (1 - alike) ** 0.5
    return 20 * np.exp(own + generator.normal(size=(clusters, 1)) * alike**0.5).ravel()


def test_median_ranks() -> None:
    def case(generator: np.random.Generator, seed: int) -> Interval:
        values_Q = ranks_in_clusters(generator, 60, 5, 0.6)
        return intervals.median(values_Q, np.repeat(np.arange(60), 5), seed, draws=200)

    check(20, case, 100)


@pytest.mark.long
@pytest.mark.parametrize(("clusters", "size"), [(15, 5), (40, 1), (40, 5), (300, 5)])
@pytest.mark.parametrize("alike", [0.0, 0.5, 0.95])
def test_median_ranks_at_length(clusters: int, size: int, alike: float) -> None:
    def case(generator: np.random.Generator, seed: int) -> Interval:
        values_Q = ranks_in_clusters(generator, clusters, size, alike)
        return intervals.median(values_Q, np.repeat(np.arange(clusters), size), seed)

    check(20, case, 400, careful=True)


CONFIDENT = {"sure": (5.0, 0.5), "surer": (30.0, 0.5), "unsure": (2.0, 1.0), "middling": (4.0, 6.0)}
RIGHT: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "calibrated": lambda confidence: confidence,
    "overconfident": lambda confidence: 0.75 * confidence,
    "slightly overconfident": lambda confidence: confidence**1.1,
    "hardly ever right": lambda confidence: 0.15 * confidence,
    "wavy": lambda confidence: np.clip(confidence + 0.05 * np.sin(9 * confidence), 0, 1),
}
EDGES = np.linspace(0, 1, 16)


def errors_cover(confident: str, right: str, samples: int, data_sets: int) -> None:
    """The truth is that of the bins: what infinitely many samples would show.

    The largest error of a bin is left out where a bin that few samples reach has it: no data set of so few tells that.
    """
    many = np.random.default_rng(1).beta(*CONFIDENT[confident], 400_000)
    bin_N = np.searchsorted(EDGES[1:-1], many)
    share_B = np.bincount(bin_N, minlength=15) / len(many)
    gap_B = np.bincount(bin_N, weights=RIGHT[right](many) - many, minlength=15) / (share_B * len(many)).clip(1e-9)
    for statistic in (expected, largest) if (share_B * samples)[np.abs(gap_B).argmax()] > 5 else (expected,):

        def case(generator: np.random.Generator, seed: int, statistic: Callable = statistic) -> Interval:
            confidence_N = generator.beta(*CONFIDENT[confident], samples)
            correct_N = generator.random(samples) < RIGHT[right](confidence_N)
            return error_interval(Binned.of(confidence_N, correct_N, EDGES), statistic, seed)[0]

        check(float(statistic(gap_B, share_B)), case, data_sets, careful=True)


@pytest.mark.parametrize(
    ("confident", "right"), [("sure", "calibrated"), ("sure", "overconfident"), ("middling", "hardly ever right")]
)
def test_calibration_errors(confident: str, right: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration_intervals, "DRAWS", 200)
    errors_cover(confident, right, 300, 40)


@pytest.mark.parametrize("rate", [0.02, 0.07, 0.93, 0.98])
def test_an_error_that_cannot_grow_much_is_not_said_to_be_as_large_as_it_can_be(rate: float) -> None:
    """Where noise hides no error, an interval is about as wide as that of a bootstrap, and as far to both sides."""
    generator = np.random.default_rng(0)
    confidence_N = (0.3 if rate < 0.5 else 0.1) + 0.6 * generator.beta(4, 4, 2000)
    correct_N = generator.random(2000) < rate
    binned = Binned.of(confidence_N, correct_N, EDGES)
    (low, high), _ = error_interval(binned, expected, 0)
    drawn = [
        Binned.of(confidence_N[rows_N], correct_N[rows_N], EDGES).error(expected)
        for rows_N in generator.integers(2000, size=(300, 2000))
    ]
    deviation, error = float(np.std(drawn)), binned.error(expected)
    assert 1.5 * deviation < error - low < 2.5 * deviation
    assert 1.5 * deviation < high - error < 2.5 * deviation


@pytest.mark.parametrize("rate", [0.0, 0.002, 1.0])
def test_errors_that_cannot_grow(rate: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where answers are never or always right, an error varies by how sure the answers of a data set happen to be."""
    monkeypatch.setattr(calibration_intervals, "DRAWS", 200)

    def case(generator: np.random.Generator, seed: int) -> Interval:
        confidence_N = 0.3 + 0.6 * generator.beta(4, 4, 300)
        return error_interval(Binned.of(confidence_N, generator.random(300) < rate, EDGES), expected, seed)[0]

    check(abs(0.6 - rate), case, 60, careful=True)


@pytest.mark.long
@pytest.mark.parametrize("confident", list(CONFIDENT))
@pytest.mark.parametrize("right", list(RIGHT))
@pytest.mark.parametrize("samples", [100, 2000])
def test_calibration_errors_at_length(confident: str, right: str, samples: int) -> None:
    errors_cover(confident, right, samples, 200)


@pytest.mark.long
@pytest.mark.parametrize("name", ["brier", "nll"])
def test_brier_score_and_likelihood(name: str) -> None:
    def drawn(generator: np.random.Generator, samples: int) -> tuple[np.ndarray, np.ndarray]:
        probabilities_NC = generator.dirichlet((0.3, 0.3, 0.3), samples)
        # Labels by a tempered version of them: too sure, so that the likelihood has a long tail.
        honest_NC = np.sqrt(probabilities_NC)
        honest_NC /= honest_NC.sum(axis=1, keepdims=True)
        return probabilities_NC, (generator.random(samples)[:, None] > honest_NC.cumsum(axis=1)).sum(axis=1).clip(0, 2)

    truth = np.mean([calibration(*drawn(np.random.default_rng(seed), 3_000)).metrics[name] for seed in range(200, 300)])
    check(truth, lambda generator, seed: calibration(*drawn(generator, 300), seed=seed).intervals[name], 200)


def accuracies_of_draws(generator: np.random.Generator, draws: int, classes: int, shots: int) -> np.ndarray:
    """Exact accuracies, on all images that there could be, of classifiers by the nearest mean of ``shots`` examples a
    class: pairs of classes in ten dimensions, five standard deviations apart."""
    middle_D = np.eye(1, 10)[0] * 2.5
    own_KD, other_KD = generator.normal(size=(2, draws * classes // 2, 10)) / shots**0.5
    weights_KD, middle_KD = own_KD - other_KD + 2 * middle_D, (own_KD + other_KD) / 2
    sizes_K, shift_K = np.linalg.norm(weights_KD, axis=1), (middle_KD * weights_KD).sum(axis=1)
    right_K2 = norm.cdf((weights_KD @ middle_D + np.outer((-1, 1), shift_K)) / sizes_K)
    return right_K2.mean(axis=0).reshape(draws, -1).mean(axis=1)


@pytest.mark.parametrize("shots", [1, 4, 16])
@pytest.mark.parametrize("draws", [3, 5])
def test_means_over_draws_of_few_shots(draws: int, shots: int) -> None:
    truth = accuracies_of_draws(np.random.default_rng(1), 200_000, 2, shots).mean()
    check(truth, lambda generator, _: _of_draws(accuracies_of_draws(generator, draws, 20, shots)), 400)
    few = [_of_draws(accuracies_of_draws(np.random.default_rng(seed), draws, 2, shots)) for seed in range(400)]
    # Of two classes draws are skewed, and it holds less often than it says, as docs/measuring.md has it.
    assert 0.75 < np.mean([low <= truth <= high for low, high in few]) < 0.95


def hits_of_two(generator: np.random.Generator, samples: int, only_a: float, only_b: float) -> tuple[np.ndarray, ...]:
    drawn_N = generator.random(samples)
    both_N = drawn_N > only_a + only_b
    return both_N | (drawn_N < only_a), both_N | ((drawn_N >= only_a) & (drawn_N < only_a + only_b))


def paired(samples: int, only_a: float, only_b: float, size: int = 1) -> Case:
    def case(generator: np.random.Generator, seed: int) -> Interval:
        a_N, b_N = (np.repeat(hits, size) for hits in hits_of_two(generator, samples // size, only_a, only_b))
        clusters = None if size == 1 else np.repeat(np.arange(samples // size), size).tolist()
        keys = range(len(a_N))
        return compare(Measured("A", keys, a_N, clusters), Measured("B", keys, b_N), seed=seed).interval

    return case


@pytest.mark.parametrize(("only_a", "only_b"), [(0.15, 0.1), (0.01, 0.0)])
def test_paired_differences(only_a: float, only_b: float) -> None:
    check(only_a - only_b, paired(150, only_a, only_b), 100, careful=True)


@pytest.mark.long
@pytest.mark.parametrize("samples", [40, 500])
@pytest.mark.parametrize(("only_a", "only_b"), [(0.2, 0.2), (0.03, 0.01), (0.01, 0.0), (0.0, 0.0)])
@pytest.mark.parametrize("size", [1, 5])
def test_paired_differences_at_length(samples: int, only_a: float, only_b: float, size: int) -> None:
    check(only_a - only_b, paired(samples, only_a, only_b, size), 400, careful=True)


@pytest.mark.long
def test_areas_under_risk_coverage() -> None:
    def drawn(generator: np.random.Generator, samples: int) -> tuple[np.ndarray, np.ndarray]:
        confidence_N = generator.beta(3, 1, samples)
        return confidence_N, generator.random(samples) < confidence_N

    truth = risk_coverage(*drawn(np.random.default_rng(1), 200_000), draws=1).area
    check(truth, lambda generator, seed: risk_coverage(*drawn(generator, 300), seed=seed, draws=400).interval, 200)


def ranked(generator: np.random.Generator, images: int, share: float, gain: float) -> tuple[np.ndarray, np.ndarray]:
    """Scores of twelve classes and labels; the larger the gain, the further apart."""
    labels_NC = generator.random((images, 12)) < share
    labels_NC[0] = True
    return generator.standard_normal(labels_NC.shape) + gain * labels_NC, labels_NC


def average_precisions_cover(images: int, share: float, gain: float, data_sets: int) -> None:
    """The truth is what data sets of this size show on average."""
    generator, found = np.random.default_rng(10_000), []
    for _ in range(300):
        scores_NC, labels_NC = ranked(generator, images, share, gain)
        found += [multilabel.average_precision(scores_NC[:, c], labels_NC[:, c]) for c in range(12)]

    def case(generator: np.random.Generator, _: int) -> Interval:
        return multilabel.score(*ranked(generator, images, share, gain)).intervals["map11"]

    check(float(np.mean(found)), case, data_sets, careful=True)


@pytest.mark.parametrize(("images", "share", "gain"), [(300, 0.01, 0.0), (300, 0.02, 1.0), (200, 0.2, 3.0)])
def test_average_precisions(images: int, share: float, gain: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multilabel, "DRAWS", 80)
    average_precisions_cover(images, share, gain, 60)


@pytest.mark.long
@pytest.mark.parametrize("images", [300, 2000])
@pytest.mark.parametrize("share", [0.01, 0.03, 0.2])
@pytest.mark.parametrize("gain", [0.3, 1.0, 3.0])
def test_average_precisions_at_length(images: int, share: float, gain: float) -> None:
    average_precisions_cover(images, share, gain, 200)
