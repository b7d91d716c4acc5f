"""Confidence intervals, 95 % unless another level is asked for.

A *cluster* is what was drawn as one, such as an image with all of its captions: its members hit or miss together, so
clusters are what varies, and they are drawn whole. tests/evaluation/test_coverage.py holds every interval to its level.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from diptych.evaluation.result import Interval

LEVEL = 0.95
DRAWN_AT_ONCE = 2_000_000  # members of resampled data sets held at a time
_KINDS = 1000  # of clusters, up to which they are counted instead of drawn one by one


def exact(hits: int, trials: int, level: float = LEVEL) -> Interval:
    """Clopper-Pearson: covers at least as often as it says, for any proportion."""
    from scipy.stats import binomtest

    interval = binomtest(int(hits), int(trials)).proportion_ci(level, method="exact")
    return float(interval.low), float(interval.high)


def proportion(hits_Q: np.ndarray, clusters_Q: np.ndarray, level: float = LEVEL) -> Interval:
    """Share of hits that come in clusters, as Clopper-Pearson has it for as many independent trials as they are worth.

    That many are p (1 - p) over the variance of p between clusters, at most all trials, fewer where the variance comes
    of few clusters (Korn and Graubard, Survey Methodology 24, 1998). A percentile bootstrap covers 89 % at rates of
    99 % with 100 clusters of five; this does not fall short. With twenty members it covers 87 %, where a few clusters
    have all misses. Where all are hits, or all misses, clusters are the trials.
    """
    from scipy.stats import beta, norm, t

    sums_K, sizes_K = _clusters(np.asarray(hits_Q, np.float64), clusters_Q)
    clusters, trials = len(sizes_K), sizes_K.sum()
    share = sums_K.sum() / trials
    if share in (0, 1):
        return exact(clusters if share else 0, clusters, level)
    if clusters == 1:
        return 0.0, 1.0  # one cluster does not tell how clusters vary
    variance = clusters / (clusters - 1) * ((sums_K - share * sizes_K) ** 2).sum() / trials**2
    tail = (1 - level) / 2
    few = (norm.ppf(tail) / t.ppf(tail, clusters - 1)) ** 2
    worth = min(trials, few * share * (1 - share) / max(variance, np.finfo(float).tiny))
    hits, misses = worth * share, worth * (1 - share)
    return float(beta.ppf(tail, hits, misses + 1)), float(beta.ppf(1 - tail, hits + 1, misses))


def bootstrap(
    values_Q: np.ndarray, clusters_Q: np.ndarray, seed: int, draws: int = 1000, level: float = LEVEL
) -> Interval:
    """Percentile bootstrap of a mean of values that come in clusters; of hits, ``proportion`` is the better one.

    Where all values are 1, or all 0, nothing varies; the exact interval for as many clusters stands in.
    """
    sums_K, sizes_K = _clusters(np.asarray(values_Q, np.float64), clusters_Q)
    if (sums_K == 0).all() or (sums_K == sizes_K).all():
        return exact(len(sizes_K) if sums_K.any() else 0, len(sizes_K), level)
    mean = float(sums_K.sum() / sizes_K.sum())
    return percentiles(resampled_means(sums_K, sizes_K, seed, draws), len(sizes_K), mean, level)


def median(
    values_Q: np.ndarray, clusters_Q: np.ndarray, seed: int, draws: int = 1000, level: float = LEVEL
) -> Interval:
    """Percentile bootstrap of a median of values that come in clusters, such as the ranks of an image's captions."""
    values_Q = np.asarray(values_Q, np.float64)
    order_Q = np.argsort(values_Q, kind="stable")
    _, cluster_Q = np.unique(clusters_Q, return_inverse=True)
    clusters = int(cluster_Q.max()) + 1
    sorted_Q, cluster_Q = values_Q[order_Q], cluster_Q[order_Q]
    medians = []
    for chosen_DK in resamples(clusters, seed, draws, members=len(values_Q)):
        first_D1 = np.arange(len(chosen_DK))[:, None] * clusters
        times_DK = np.bincount((chosen_DK + first_D1).ravel(), minlength=chosen_DK.size).reshape(chosen_DK.shape)
        upto_DQ = np.cumsum(times_DK[:, cluster_Q], axis=1)
        # The two middle ones, counted from 1, are one where the number is odd.
        middles = ((upto_DQ[:, -1:] + 1) // 2, upto_DQ[:, -1:] // 2 + 1)
        medians.append(sum(sorted_Q[(upto_DQ >= middle).argmax(axis=1)] for middle in middles) / 2)
    return percentiles(np.concatenate(medians), clusters, float(np.median(values_Q)), level)


def mean_of_proportions(hits_C: np.ndarray, trials_C: np.ndarray, seed: int, draws: int = 2000) -> Interval:
    """Bootstrap of the mean of several proportions, each resampled within itself (mean accuracy per class).

    What is resampled are the proportions with one hit and one miss added to each (Laplace): a class of which all or
    none are right would vary by nothing, and one with a single image is always such a class. The mean of the draws is
    then moved back to the mean that was observed. With few trials the interval is rather too wide than too narrow.
    """
    generator = np.random.default_rng(seed)
    smoothed_C = (hits_C + 1) / (trials_C + 2)
    means = (generator.binomial(trials_C, smoothed_C, size=(draws, len(trials_C))) / trials_C).mean(axis=1)
    mean = (hits_C / trials_C).mean()
    means += mean - smoothed_C.mean()
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).clip(0, 1)
    return float(min(low, mean)), float(max(high, mean))


def resampled_means(sums_K: np.ndarray, sizes_K: np.ndarray, seed: int, draws: int) -> np.ndarray:
    """Means of ``draws`` data sets of as many clusters, drawn with replacement, from each cluster's sum and size."""
    kinds_U2, count_U = np.unique(np.stack([sums_K, sizes_K], axis=1), axis=0, return_counts=True)
    if len(kinds_U2) <= min(_KINDS, len(sizes_K) / 4):  # hits and misses: how many of each kind are drawn is enough
        times_DU = np.random.default_rng(seed).multinomial(len(sizes_K), count_U / len(sizes_K), size=draws)
        sums_D2 = times_DU @ np.asarray(kinds_U2, np.float64)
        return sums_D2[:, 0] / sums_D2[:, 1]
    means = [
        sums_K[chosen_DK].sum(axis=1) / sizes_K[chosen_DK].sum(axis=1)
        for chosen_DK in resamples(len(sizes_K), seed, draws)
    ]
    return np.concatenate(means)


def resamples(clusters: int, seed: int, draws: int, *, members: int = 0) -> Iterator[np.ndarray]:
    """``draws`` rows of so many cluster indices drawn with replacement, some at a time: memory is bounded.

    members: of all clusters together, where the caller makes an array of them for each row.
    """
    generator = np.random.default_rng(seed)
    at_once = max(1, DRAWN_AT_ONCE // max(clusters, members))
    for start in range(0, draws, at_once):
        yield generator.integers(clusters, size=(min(at_once, draws - start), clusters))


def percentiles(statistics: np.ndarray, members: int, estimate: float, level: float = LEVEL) -> Interval:
    """The interval of resampled statistics, whose tails are cut so much later as few members demand; with the estimate
    in it, which skewed statistics may miss.

    Resampling n members knows a variance only (n - 1) / n as large, and the normal distribution's tails where
    Student's belong (Hesterberg, The American Statistician 69, 2015, section 3.2).
    """
    from scipy.stats import norm, t

    tail = (1 - level) / 2
    if members > 1:
        tail = float(norm.cdf(np.sqrt(members / (members - 1)) * t.ppf(tail, members - 1)))
    low, high = np.quantile(statistics, [tail, 1 - tail])
    return float(min(low, estimate)), float(max(high, estimate))


def _clusters(values_Q: np.ndarray, clusters_Q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sum and size of each cluster."""
    _, cluster_Q = np.unique(clusters_Q, return_inverse=True)
    return np.bincount(cluster_Q, weights=values_Q), np.bincount(cluster_Q)
