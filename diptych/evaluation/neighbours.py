"""Classifiers without training: nearest neighbours, and a cache of examples beside zero-shot weights."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from diptych.errors import ConfigError, DataError
from diptych.evaluation.probes import Metric, accuracy
from diptych.evaluation.split import Labelled, joined

COUNTS = (1, 2, 5, 10, 20, 50, 100, 200)  # neighbours that are tried
# Of the cache beside zero-shot logits of 100 times the cosine: from zero-shot alone to the cache alone.
WEIGHTS = (0.0, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1e3, 3e3, 1e4, 3e4, math.inf)
SHARPNESSES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)  # of how similarity to an example falls off
_SCALE = 100.0  # of cosines beside a cache; only what a cache weighs beside it decides
_SIMILARITIES_AT_ONCE = 16_000_000
_EQUAL = 1e-6  # of cosines, which are no more exact in fp32
_NEARNESS = 1e-3  # times the similarity: decides between classes of as many votes, and between no others


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The chosen number of neighbours, the metric of each on the validation split, and the samples that vote."""

    count: int
    metrics: dict[int, float]
    samples: Labelled
    classes: int

    def scores(self, features_QD: np.ndarray | Tensor) -> np.ndarray:
        """Votes (Q, C) of the nearest samples for their classes."""
        return vote(self.samples, features_QD, (self.count,), self.classes)[0]


def nearest_neighbours(
    train: Labelled,
    validation: Labelled,
    metric: Metric = accuracy,
    *,
    classes: int | None = None,
    counts: Sequence[int] = COUNTS,
) -> Neighbours:
    """Choose by the validation split how many neighbours vote, by cosine; afterwards those of both splits do.

    Numbers above that of the training samples are left out; of equal metrics the fewest neighbours are taken.
    """
    possible = [count for count in sorted(set(counts)) if 1 <= count <= len(train.truth)]
    if not possible:
        raise ConfigError(f"none of {list(counts)} neighbours can be had of {len(train.truth)} samples")
    both = joined(train, validation)
    classes = _classes(both, classes)
    scores = vote(train, validation.features_ND, possible, classes)
    metrics = {
        count: float(metric(scores_QC, validation.truth)) for count, scores_QC in zip(possible, scores, strict=True)
    }
    best = max(possible, key=lambda count: (metrics[count], -count))
    return Neighbours(best, metrics, both, classes)


def vote(samples: Labelled, features_QD: np.ndarray | Tensor, counts: Sequence[int], classes: int) -> list[np.ndarray]:
    """Scores (Q, C) for each number of neighbours: a vote of each for its class, or for each of its classes.

    Samples that are as near as the last that votes share the votes that are left, so that no order decides. Classes of
    as many votes are told apart by how near their voters are, in sum. Memory does not grow with Q x N.
    """
    keys_NE, queries_QE = unit(samples.features_ND), unit(features_QD)
    targets_NC = _targets(samples.truth, classes)
    most = max(counts)
    if not 1 <= min(counts) <= most <= len(keys_NE):
        raise ConfigError(f"{list(counts)} neighbours cannot be had of {len(keys_NE)} samples")
    results = [np.zeros((len(queries_QE), classes)) for _ in counts]
    at_once = max(1, _SIMILARITIES_AT_ONCE // max(len(keys_NE), most * classes))
    for start in range(0, len(queries_QE), at_once):
        similarity_BN = queries_QE[start : start + at_once] @ keys_NE.T
        near_BK = np.argpartition(-similarity_BN, most - 1, axis=1)[:, :most]
        similarity_BK = np.take_along_axis(similarity_BN, near_BK, axis=1)
        votes = _votes(similarity_BK, targets_NC[near_BK], counts)
        for result_QC, votes_BC in zip(results, votes, strict=True):
            result_QC[start : start + at_once] = votes_BC
        # Where the last is one of more that are as near, all of these have a part in its vote.
        least_B1 = similarity_BK.min(axis=1, keepdims=True) - _EQUAL
        for row in np.flatnonzero((similarity_BN >= least_B1).sum(axis=1) > most).tolist():
            [all_K] = np.nonzero(similarity_BN[row] >= least_B1[row])
            votes = _votes(similarity_BN[row : row + 1, all_K], targets_NC[None, all_K], counts)
            for result_QC, votes_1C in zip(results, votes, strict=True):
                result_QC[start + row] = votes_1C[0]
    return results


def _votes(similarity_BK: np.ndarray, targets_BKC: np.ndarray, counts: Sequence[int]) -> Iterator[np.ndarray]:
    """Votes (B, C) for each number of neighbours, of samples among which the nearest are, in any order."""
    order_BK = np.argsort(-similarity_BK, axis=1, kind="stable")
    ordered_BK = np.take_along_axis(similarity_BK, order_BK, axis=1).astype(np.float64)
    targets_BKC = np.take_along_axis(targets_BKC, order_BK[:, :, None], axis=1)
    # Products of matrices round equal similarities differently, by place: one after the other as near is as near.
    first_BK = np.diff(ordered_BK, axis=1, prepend=np.inf) < -_EQUAL
    first_BK = np.maximum.accumulate(np.where(first_BK, np.arange(first_BK.shape[1]), 0), axis=1)
    ordered_BK = np.take_along_axis(ordered_BK, first_BK, axis=1)
    # In sum below half a vote, however many the neighbours.
    weight_BK = 1 + ordered_BK * min(_NEARNESS, 0.25 / max(counts))
    upto_BKC = np.cumsum(targets_BKC * weight_BK[:, :, None], axis=1)
    upto_BKC = np.concatenate([np.zeros_like(upto_BKC[:, :1]), upto_BKC], axis=1)
    rows_B = np.arange(len(ordered_BK))
    for count in counts:
        last_B1 = ordered_BK[:, count - 1 : count]
        nearer_B, equal_B = (ordered_BK > last_B1).sum(axis=1), (ordered_BK == last_B1).sum(axis=1)
        nearer_BC, equal_BC = upto_BKC[rows_B, nearer_B], upto_BKC[rows_B, nearer_B + equal_B]
        share_B1 = ((count - nearer_B) / equal_B)[:, None]
        # Sums in another order differ by rounding, which must not break a tie either.
        yield (nearer_BC + share_B1 * (equal_BC - nearer_BC)).round(10)


@dataclass(frozen=True, eq=False)
class Cache:
    """Zero-shot logits, and ``weight`` times what examples near by say, with a ``sharpness``, both chosen.

    weight:  beside logits of 100 times the cosine, as Tip-Adapter's alpha is; infinite: the cache alone.
    metrics: of each (weight, sharpness) on the validation split.
    at_edge: what was chosen is the end of what was searched, no pair further inside is as good, and the end is no
             limit, as zero-shot alone and the cache alone are: a better one may lie beyond.
    """

    weight: float
    sharpness: float
    metrics: dict[tuple[float, float], float]
    samples: Labelled
    weights_CE: np.ndarray
    at_edge: bool = False

    def scores(self, features_QE: np.ndarray | Tensor) -> np.ndarray:
        """Logits (Q, C)."""
        logits_QC = _SCALE * unit(features_QE) @ unit(self.weights_CE).T
        return _beside(logits_QC, self.weight, recall(self.samples, features_QE, self.sharpness, len(self.weights_CE)))


def cache(
    samples: Labelled,
    validation: Labelled,
    weights_CE: np.ndarray,
    metric: Metric = accuracy,
    *,
    weights: Sequence[float] = WEIGHTS,
    sharpnesses: Sequence[float] = SHARPNESSES,
) -> Cache:
    """A key-value cache of few examples beside zero-shot weights (Tip-Adapter, Zhang et al. 2022), without training.

    Features and weights are of the joint space. Nothing but weight and sharpness is chosen, by the validation split; of
    equal metrics the smallest weight, then the smallest sharpness. A model's own scale, 100 for CLIP and often far less
    for others, changes no order of classes, so the cache stands beside 100 times the cosine whatever the model.
    """
    if weights_CE.shape[1:] != samples.features_ND.shape[1:]:
        raise DataError(
            f"zero-shot weights are {weights_CE.shape[1]} wide and features {samples.features_ND.shape[1]}; the cache "
            "needs features after the projection"
        )
    logits_QC = _SCALE * unit(validation.features_ND) @ unit(weights_CE).T
    metrics: dict[tuple[float, float], float] = {}
    for sharpness in sharpnesses:
        recalled_QC = recall(samples, validation.features_ND, sharpness, len(weights_CE))
        for weight in weights:
            metrics[weight, sharpness] = float(metric(_beside(logits_QC, weight, recalled_QC), validation.truth))
    weight, sharpness = max(metrics, key=lambda pair: (metrics[pair], -pair[0], -pair[1]))
    ends = {min(weights), max(weights)} - {0, math.inf}, {min(sharpnesses), max(sharpnesses)}
    best = [pair for pair, value in metrics.items() if value == metrics[weight, sharpness]]
    at_edge = all(own[0] in ends[0] or own[1] in ends[1] for own in best)
    return Cache(weight, sharpness, metrics, samples, weights_CE, at_edge)


def _beside(logits_QC: np.ndarray, weight: float, recalled_QC: np.ndarray) -> np.ndarray:
    return recalled_QC if math.isinf(weight) else logits_QC + weight * recalled_QC


def recall(samples: Labelled, features_QE: np.ndarray | Tensor, sharpness: float, classes: int) -> np.ndarray:
    """What a cache says (Q, C): the sum over examples of a class of exp(-sharpness (1 - cosine)). In double precision,
    where neither a large weight nor a large sharpness makes ties of it."""
    keys_NE, queries_QE = unit(samples.features_ND), unit(features_QE)
    targets_NC, one_each = _targets(samples.truth, classes), samples.truth.ndim == 1
    # A product with targets would be of zeros mostly, where examples of a class can be summed side by side.
    order_N = np.argsort(samples.truth, kind="stable") if one_each else np.arange(len(keys_NE))
    keys_NE, (shown_P, first_P) = keys_NE[order_N], np.unique(samples.truth[order_N], return_index=True)
    result_QC = np.zeros((len(queries_QE), classes))
    at_once = max(1, _SIMILARITIES_AT_ONCE // len(keys_NE))
    for start in range(0, len(queries_QE), at_once):
        cosine_BN = (queries_QE[start : start + at_once] @ keys_NE.T).astype(np.float64)
        near_BN = np.exp(sharpness * (cosine_BN - 1))
        if one_each:
            result_QC[start : start + at_once, shown_P] = np.add.reduceat(near_BN, first_P, axis=1)
        else:
            result_QC[start : start + at_once] = near_BN @ targets_NC
    return result_QC


def unit(features_ND: np.ndarray | Tensor) -> np.ndarray:
    """Rows of unit norm in fp32, in main memory; zeros stay. Raises DataError for what is no finite number."""
    if isinstance(features_ND, Tensor):
        features_ND = features_ND.cpu().numpy()
    features_ND = np.asarray(features_ND, np.float32)
    if not np.isfinite(features_ND).all():
        raise DataError("features are no finite numbers")
    norms_N1 = np.linalg.norm(features_ND, axis=1, keepdims=True)
    return features_ND / np.where(norms_N1 > 0, norms_N1, 1)


def _targets(truth: np.ndarray, classes: int) -> np.ndarray:
    if truth.ndim == 2:
        return truth.astype(np.float32)
    if truth.min() < 0 or truth.max() >= classes:
        raise DataError(f"labels go from {truth.min()} to {truth.max()}, but there are {classes} classes")
    return np.eye(classes, dtype=np.float32)[truth]


def _classes(both: Labelled, classes: int | None) -> int:
    if both.truth.ndim == 2:
        return both.truth.shape[1]
    return int(both.truth.max()) + 1 if classes is None else classes
