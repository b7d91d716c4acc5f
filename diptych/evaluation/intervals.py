"""Confidence intervals of proportions, 95 % unless another level is asked for."""

from __future__ import annotations

import numpy as np

from diptych.evaluation.result import Interval

LEVEL = 0.95


def exact(hits: int, trials: int, level: float = LEVEL) -> Interval:
    """Clopper-Pearson: covers at least as often as it says, for any proportion."""
    from scipy.stats import binomtest

    interval = binomtest(int(hits), int(trials)).proportion_ci(level, method="exact")
    return float(interval.low), float(interval.high)


def bootstrap(
    hits_Q: np.ndarray, clusters_Q: np.ndarray, seed: int, draws: int = 1000, level: float = LEVEL
) -> Interval:
    """Percentile bootstrap of a mean of hits that come in clusters, such as the captions of one image.

    Clusters are drawn whole. Where all are hits, or all misses, nothing varies; the exact interval for as many
    clusters stands in.
    """
    _, cluster_Q = np.unique(clusters_Q, return_inverse=True)
    sizes_K = np.bincount(cluster_Q)
    sums_K = np.bincount(cluster_Q, weights=hits_Q)
    if (sums_K == 0).all() or (sums_K == sizes_K).all():
        return exact(len(sizes_K) if sums_K.any() else 0, len(sizes_K), level)
    generator = np.random.default_rng(seed)
    means = np.empty(draws)
    for draw in range(draws):
        chosen = generator.integers(len(sizes_K), size=len(sizes_K))
        means[draw] = sums_K[chosen].sum() / sizes_K[chosen].sum()
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def mean_of_proportions(hits_C: np.ndarray, trials_C: np.ndarray, seed: int, draws: int = 2000) -> Interval:
    """Bootstrap of the mean of several proportions, each resampled within itself (mean accuracy per class).

    What is resampled are the proportions with one hit and one miss added to each (Laplace): a class of which all or
    none are right would vary by nothing, and one with a single image is always such a class. The mean of the draws is
    then moved back to the mean that was observed. With few trials the interval is rather too wide than too narrow.
    """
    generator = np.random.default_rng(seed)
    smoothed_C = (hits_C + 1) / (trials_C + 2)
    means = (generator.binomial(trials_C, smoothed_C, size=(draws, len(trials_C))) / trials_C).mean(axis=1)
    means += (hits_C / trials_C).mean() - smoothed_C.mean()
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).clip(0, 1)
    return float(low), float(high)
