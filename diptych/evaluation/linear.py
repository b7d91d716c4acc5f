"""A linear classifier as two arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from diptych.errors import DataError
from diptych.evaluation.rotation import as_features

_SMALLEST = 1e-10  # share of the largest variance below which an axis of the features is rounding


@dataclass(frozen=True, eq=False)
class Linear:
    """Scores as weights (C, D) times features + bias (C); fp64. Such as zero-shot weights, with a bias of zero.

    A class that no sample has, or that all have where each class is for itself, has its bias at minus or plus infinity,
    where the optimum lies.
    """

    weights_CD: np.ndarray
    bias_C: np.ndarray

    def scores(self, features_ND: np.ndarray | Tensor) -> np.ndarray:
        """Scores (N, C) in the features' precision: logits of the softmax, or of a sigmoid for each class."""
        features_ND = as_features(features_ND)
        if features_ND.shape[1] != self.weights_CD.shape[1]:
            raise DataError(f"{features_ND.shape[1]} features a sample, and the probe takes {self.weights_CD.shape[1]}")
        weights_DC = torch.from_numpy(self.weights_CD).T.to(features_ND.device)
        bias_C = torch.from_numpy(self.bias_C).to(features_ND.device)
        scores_NC = np.empty((len(features_ND), len(bias_C)), str(features_ND.dtype).removeprefix("torch."))
        rows = max(1, 4_000_000 // sum(self.weights_CD.shape))
        for i in range(0, len(features_ND), rows):  # in fp64, so that a large mean of the features takes no digits
            scores_NC[i : i + rows] = torch.addmm(bias_C, features_ND[i : i + rows].double(), weights_DC).cpu().numpy()
        return scores_NC


def approximating(features_ND: np.ndarray, scores_NC: np.ndarray) -> Linear:
    """The linear classifier of features whose scores are nearest to given ones, by least squares.

    Such as to those of a zero-shot classifier, which looks at embeddings of unit norm: after the projection, and not
    linear in features before it. Of several that are as near the one of the smallest weights.
    """
    features_ND, scores_NC = np.asarray(features_ND, np.float64), np.asarray(scores_NC, np.float64)
    mean_D, mean_C = features_ND.mean(axis=0), scores_NC.mean(axis=0)
    centred_ND = features_ND - mean_D
    products_DD, products_DC = centred_ND.T @ centred_ND, centred_ND.T @ (scores_NC - mean_C)
    weights_CD = (np.linalg.pinv(products_DD, rcond=_SMALLEST, hermitian=True) @ products_DC).T
    return Linear(weights_CD, mean_C - weights_CD @ mean_D)
