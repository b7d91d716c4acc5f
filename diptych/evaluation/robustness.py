"""Effective robustness: accuracy under shift above what accuracy in distribution lets expect (paper, section 3.3).

Over ordinarily trained models, the logits of accuracy under shift lie on a line over those of accuracy in distribution
(Taori et al., NeurIPS 2020). The line is fitted to baselines that the caller names, on any group of data sets.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from diptych.errors import DataError, nearest
from diptych.evaluation import intervals
from diptych.evaluation.comparison import Comparison, Measured, compare
from diptych.evaluation.result import Interval

_DRAWS = 10_000
_LARGEST = 30.0  # of a logit: what it stands for differs from 1 by 1e-13


@dataclass(frozen=True)
class Group:
    """A data set and those to which it is shifted, by their names in ``diptych.evaluation.datasets``."""

    source: str
    shifted: tuple[str, ...]


GROUPS = {
    "natural": Group(  # paper, figure 13
        "imagenet1k",
        ("imagenetv2", "imagenet-r", "imagenet-a", "imagenet_sketch", "objectnet", "imagenet_vid", "youtube_bb"),
    ),
}


@dataclass(frozen=True)
class Counts:
    """Hits of a model in distribution and under shift, each of so many images; on the same classes."""

    model: str
    source_hits: int
    source_images: int
    shifted_hits: int
    shifted_images: int

    def __post_init__(self) -> None:
        for hits, images in ((self.source_hits, self.source_images), (self.shifted_hits, self.shifted_images)):
            if not 0 <= hits <= images or not images:
                raise DataError(f"{self.model} has {hits} hits of {images} images")

    @property
    def source(self) -> float:
        """Accuracy in distribution."""
        return self.source_hits / self.source_images

    @property
    def shifted(self) -> float:
        """Accuracy under shift."""
        return self.shifted_hits / self.shifted_images


@dataclass(frozen=True, kw_only=True)
class Line:
    """logit(accuracy under shift) = intercept + slope * logit(accuracy in distribution), of n baselines.

    covariance: of intercept and slope. freedom: n - 2 degrees of it; with two baselines it is 0, the line goes through
                both, and the uncertainty is that of their counts alone.
    deviation:  standard deviation of a model's logit about the line.
    """

    intercept: float
    slope: float
    covariance: tuple[tuple[float, float], tuple[float, float]]
    deviation: float
    freedom: int
    baselines: tuple[str, ...]

    def __call__(self, accuracy: float) -> float:
        """Accuracy under shift that the line expects at this accuracy, from 0 to 1, in distribution."""
        with np.errstate(divide="ignore"):
            logit = np.clip(np.log(accuracy) - np.log1p(-accuracy), -_LARGEST, _LARGEST)
        return float(_sigmoid(self.intercept + self.slope * logit))


@dataclass(frozen=True, kw_only=True)
class Robustness:
    """A model against the baselines' line; intervals are of 95 %, from draws of the line and of the model's accuracies.

    effective: accuracy under shift less ``expected``, that of the line. closed: the share of the line's gap between
    accuracy in distribution and under shift that the model does not have; None where the line has no gap.
    """

    model: str
    source: float
    shifted: float
    expected: float
    expected_interval: Interval
    effective: float
    effective_interval: Interval
    closed: float | None
    closed_interval: Interval | None


def fit(baselines: Iterable[Counts]) -> Line:
    """The line of ordinary least squares on logits of accuracies, with its uncertainty.

    Logits are those of counts with half a hit and half a miss added, so accuracies of 0 and 1 have one (Haldane and
    Anscombe). The scatter about the line is that of the baselines, but never less than their counts alone explain.

    Raises DataError for fewer than two baselines, or ones that are all as accurate in distribution.
    """
    baselines = tuple(baselines)
    if len(baselines) < 2:
        raise DataError(f"a line needs two baselines or more; {len(baselines)} given")
    x_B, x_variance_B = np.array([_logit(one.source_hits, one.source_images) for one in baselines]).T
    y_B, y_variance_B = np.array([_logit(one.shifted_hits, one.shifted_images) for one in baselines]).T
    if np.ptp(x_B) < 1e-9:
        raise DataError(
            f"the {len(baselines)} baselines are all as accurate in distribution, {baselines[0].source:.4f}, so no "
            "line goes through them; name some that are better or worse"
        )
    design_B2 = np.stack([np.ones_like(x_B), x_B], axis=1)
    intercept, slope = np.linalg.lstsq(design_B2, y_B, rcond=None)[0]
    freedom = len(baselines) - 2
    counted = float((y_variance_B + slope**2 * x_variance_B).mean())
    residual = float(((y_B - design_B2 @ [intercept, slope]) ** 2).sum() / freedom) if freedom else 0.0
    covariance = max(counted, residual) * np.linalg.inv(design_B2.T @ design_B2)
    return Line(
        intercept=float(intercept),
        slope=float(slope),
        covariance=((covariance[0, 0], covariance[0, 1]), (covariance[1, 0], covariance[1, 1])),
        deviation=max(counted, residual) ** 0.5,
        freedom=freedom,
        baselines=tuple(one.model for one in baselines),
    )


def effective(model: Counts, line: Line, *, seed: int = 0) -> Robustness:
    """Effective robustness of a model: that of its accuracy under shift above the line."""
    generator = np.random.default_rng(seed)
    drawn_D2 = generator.multivariate_normal((0, 0), line.covariance, size=_DRAWS)
    if line.freedom:  # Student's distribution, whose scale was estimated from so few models
        drawn_D2 *= np.sqrt(line.freedom / generator.chisquare(line.freedom, size=_DRAWS))[:, None]
    # Jeffreys' posterior: proper for accuracies of 0 and 1 too.
    source_D = generator.beta(model.source_hits + 0.5, model.source_images - model.source_hits + 0.5, size=_DRAWS)
    shifted_D = generator.beta(model.shifted_hits + 0.5, model.shifted_images - model.shifted_hits + 0.5, size=_DRAWS)
    source_D = source_D.clip(1e-12, 1 - 1e-12)
    logits_D = np.log(source_D) - np.log1p(-source_D)
    expected_D = _sigmoid(line.intercept + drawn_D2[:, 0] + (line.slope + drawn_D2[:, 1]) * logits_D)
    expected = float(_sigmoid(line.intercept + line.slope * _logit(model.source_hits, model.source_images)[0]))
    gap, gap_D = model.source - expected, source_D - expected_D
    # A share of a gap means something only where there surely is one.
    certain = gap > 0 and bool(np.quantile(gap_D, 0.025) > 0)
    return Robustness(
        model=model.model,
        source=model.source,
        shifted=model.shifted,
        expected=expected,
        expected_interval=_middle(expected_D),
        effective=model.shifted - expected,
        effective_interval=_middle(shifted_D - expected_D),
        closed=(model.shifted - expected) / gap if gap > 0 else None,
        closed_interval=_middle((shifted_D - expected_D)[gap_D > 0] / gap_D[gap_D > 0]) if certain else None,
    )


def relative(adapted: Measured, original: Measured, *, seed: int = 0) -> Comparison:
    """Relative robustness: the gain under shift of a model over the one that it was adapted from, image by image."""
    return compare(adapted, original, seed=seed)


def average(hits_S: np.ndarray, images_S: np.ndarray, *, seed: int = 0) -> tuple[float, Interval]:
    """Mean accuracy over S shifted sets, each counting the same, with a bootstrap within each."""
    hits_S, images_S = np.asarray(hits_S), np.asarray(images_S)
    if not len(hits_S) or not (images_S > 0).all():
        raise DataError("an average needs a shifted set, and each of them an image")
    return float((hits_S / images_S).mean()), intervals.mean_of_proportions(hits_S, images_S, seed)


def group(name: str) -> Group:
    """The group of a name. Raises DataError with the nearest one."""
    if name not in GROUPS:
        raise DataError(f"there is no group of data sets {name!r}; {nearest(name, GROUPS)}")
    return GROUPS[name]


def _logit(hits: int, images: int) -> tuple[float, float]:
    """Empirical logit and its variance (Cox, Analysis of Binary Data, section 3.2)."""
    hit, missed = hits + 0.5, images - hits + 0.5
    return float(np.log(hit / missed)), 1 / hit + 1 / missed


def _sigmoid(x: float | np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.asarray(x, np.float64).clip(-700, 700)))


def _middle(values_D: np.ndarray) -> Interval:
    low, high = np.quantile(values_D, [(1 - intervals.LEVEL) / 2, (1 + intervals.LEVEL) / 2])
    return float(low), float(high)
