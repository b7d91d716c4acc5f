"""Calibration errors over bins, and intervals for them that hold where a model is well calibrated too.

Resampling does not do here. An error is a mean of absolute differences, which noise only makes larger, and resampling
adds the noise once more: the plain bootstrap of a perfectly calibrated model never holds its error, 0. So a test is
inverted: the interval is of those errors under which the observed one is not unusual. What varies under them is drawn,
bin by bin, from binomial distributions whose rates are the confidences moved, all by one factor, the way that the
accuracies were seen to be off (a parametric bootstrap). The larger the factor, the larger are error and what is drawn,
so both ends are found by halving.

In simulations the interval of an expected error covers about 92 % to 100 %, from a calibrated model to one that is
hardly ever right (tests/evaluation/test_coverage.py); where the error is beyond noise it is as wide as the plain
bootstrap's. Of the largest error of a bin it is wide, and a bin in which a data set has hardly an answer is not known
from it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from diptych.evaluation.intervals import LEVEL
from diptych.evaluation.result import Interval

Statistic = Callable[[np.ndarray, np.ndarray], np.ndarray]
DRAWS = 1000
HALVINGS = 12


def expected(gap_xB: np.ndarray, share_xB: np.ndarray) -> np.ndarray:
    """Mean absolute gap between accuracy and confidence, each bin as much as it has of the samples."""
    return (np.abs(gap_xB) * share_xB).sum(axis=-1)


def largest(gap_xB: np.ndarray, share_xB: np.ndarray) -> np.ndarray:
    """Largest absolute gap of a bin with samples."""
    return np.abs(gap_xB).max(axis=-1, where=share_xB > 0, initial=0)


@dataclass(frozen=True, eq=False)
class Binned:
    """Answers in bins by confidence: count, hits, and mean confidence, 0 in a bin without answers."""

    count_B: np.ndarray
    hits_B: np.ndarray
    confidence_B: np.ndarray

    @classmethod
    def of(cls, confidence_N: np.ndarray, correct_N: np.ndarray, edges: np.ndarray) -> Binned:
        """A confidence on the edge of two bins is in the lower one."""
        bins = len(edges) - 1
        bin_N = np.searchsorted(edges[1:-1], confidence_N, side="left")
        count_B = np.bincount(bin_N, minlength=bins)
        hits_B = np.bincount(bin_N, weights=correct_N, minlength=bins).astype(np.int64)
        sums_B = np.bincount(bin_N, weights=confidence_N, minlength=bins)
        return cls(count_B, hits_B, sums_B / np.maximum(count_B, 1))

    def gap(self) -> np.ndarray:
        """Accuracy less confidence (B), 0 in a bin without answers."""
        return self.hits_B / np.maximum(self.count_B, 1) - self.confidence_B

    def error(self, statistic: Statistic) -> float:
        """The calibration error as it was observed."""
        return float(statistic(self.gap(), self.count_B / self.count_B.sum()))


def error_interval(binned: Binned, statistic: Statistic, seed: int, level: float = LEVEL) -> tuple[Interval, float]:
    """The interval of a calibration error, and the mean of it that a perfectly calibrated model would show."""
    tail, observed, family = (1 - level) / 2, binned.error(statistic), _Family(binned, statistic, seed)
    calibrated = family.drawn(0)
    # Rounding must not part an observed error from the same error drawn.
    least, most = observed - 1e-9, observed + 1e-9
    beyond = 1.0
    while np.mean(family.drawn(beyond) <= most) >= tail and family.moves(beyond):
        beyond *= 2
    low, high = 0.0, family.error(beyond)
    if np.mean(calibrated >= least) < tail:
        low = family.halved(lambda errors: bool(np.mean(errors >= least) >= tail), beyond)
    if np.mean(family.drawn(beyond) <= most) < tail:
        high = family.halved(lambda errors: bool(np.mean(errors <= most) < tail), beyond)
    else:  # no rate can move further, yet other samples may have more of the confidences that are furthest off
        high = min(1.0, 2 * high - float(np.quantile(family.drawn(beyond), tail)))
    return (min(low, observed), max(high, observed)), float(calibrated.mean())


class _Family:
    """Calibration errors by one factor: what they are, and what is observed where they are that."""

    def __init__(self, binned: Binned, statistic: Statistic, seed: int) -> None:
        filled_B = binned.count_B > 0
        self.count_B1, self.confidence_B1 = (of_B[filled_B, None] for of_B in (binned.count_B, binned.confidence_B))
        self.direction_B1 = _direction(binned)[filled_B, None]
        self.statistic, self.seed = statistic, seed
        samples = self.count_B1.sum()
        self.share_B = self.count_B1[:, 0] / samples
        self.share_DB = np.random.default_rng(seed).multinomial(samples, self.share_B, size=DRAWS) / samples

    def _rates(self, factor: float) -> np.ndarray:
        return (self.confidence_B1 + factor * self.direction_B1).clip(0, 1)

    def moves(self, factor: float) -> bool:
        """Whether a larger factor changes any rate."""
        return not np.isin(self._rates(factor), (0, 1)).all()

    def error(self, factor: float) -> float:
        return float(self.statistic((self._rates(factor) - self.confidence_B1)[:, 0], self.share_B))

    def drawn(self, factor: float) -> np.ndarray:
        # One bin after the other: NumPy prepares a binomial once for all draws of it.
        generator = np.random.default_rng(self.seed)
        hits_BD = generator.binomial(self.count_B1, self._rates(factor), size=(len(self.count_B1), DRAWS))
        return self.statistic((hits_BD / self.count_B1 - self.confidence_B1).T, self.share_DB)

    def halved(self, reached: Callable[[np.ndarray], bool], beyond: float) -> float:
        """The error from which on what is drawn has reached something, which it has at ``beyond``."""
        below = 0.0
        for _ in range(HALVINGS):
            middle = (below + beyond) / 2
            below, beyond = (below, middle) if reached(self.drawn(middle)) else (middle, beyond)
        return self.error((below + beyond) / 2)


def _direction(binned: Binned) -> np.ndarray:
    """The way (B) in which rates are moved: the observed gaps, or noise's size where they are smaller than noise.

    Those go toward one half, where there is room to go.
    """
    count_B, gap_B = np.maximum(binned.count_B, 1), binned.gap()
    smoothed_B = (binned.hits_B + 1) / (count_B + 2)
    noise_B = np.sqrt(smoothed_B * (1 - smoothed_B) / count_B)
    inward_B = np.where(binned.confidence_B > 0.5, -1, 1)
    return np.where(np.abs(gap_B) < noise_B, inward_B * noise_B, gap_B)
