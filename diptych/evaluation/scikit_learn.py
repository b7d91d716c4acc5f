"""The same regression by scikit-learn: the reference that ours is held to."""

from __future__ import annotations

import warnings

import numpy as np

from diptych.errors import DataError
from diptych.evaluation.logistic import MOST_ITERATIONS, TOLERANCE, Probe
from diptych.models.libraries import library


def fit(
    features_ND: np.ndarray,
    truth: np.ndarray,
    strength: float,
    *,
    classes: int | None = None,
    tolerance: float = TOLERANCE,
    most_iterations: int = MOST_ITERATIONS,
) -> Probe:
    """As ``logistic.fit``, from zero. Raises MissingExtra without scikit-learn, DataError where classes are lacking.

    It works in the features' precision. Objective and gradient are evaluated in fp64 by plain numpy, and ``converged``
    tells whether that gradient is within the tolerance: in fp32 the solver ends, and calls that convergence, where the
    rounded objective falls no further.
    """
    linear_model = library("sklearn.linear_model", "eval")
    if truth.ndim == 1:
        present = np.unique(truth)
        classes = int(present[-1]) + 1 if classes is None else classes
        targets = [truth]
    else:
        present, classes = np.arange(truth.shape[1]), truth.shape[1]
        targets = list(truth.T)
    if any(len(np.unique(target)) < 2 for target in targets):
        raise DataError("scikit-learn fits no class that all samples have, or none; the solver `diptych` does")
    weights_CD, bias_C = np.zeros((classes, features_ND.shape[1])), np.full(classes, -np.inf)
    iterations, rows = 0, []
    for target in targets:
        model = linear_model.LogisticRegression(C=1 / strength, tol=tolerance, max_iter=most_iterations)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # whether it converged is in the result
            model.fit(features_ND, target)
        iterations = max(iterations, int(model.n_iter_.max()))
        rows.append((model.coef_.astype(float), model.intercept_.astype(float)))
    found_KD, found_K = (np.concatenate(part) for part in zip(*rows, strict=True))
    if truth.ndim == 1 and len(present) == 2:
        # Two classes are one vector to it, here as there two halves against each other.
        found_KD, found_K = np.concatenate([-found_KD, found_KD]) / 2, np.concatenate([-found_K, found_K]) / 2
    weights_CD[present], bias_C[present] = found_KD, found_K
    objective, gradient = _objective(features_ND, truth, weights_CD, bias_C, strength)
    return Probe(
        weights_CD=weights_CD,
        bias_C=bias_C,
        strength=strength,
        objective=objective,
        gradient=gradient,
        iterations=iterations,
        evaluations=iterations,
        converged=gradient <= tolerance,
    )


def _objective(
    features_ND: np.ndarray, truth: np.ndarray, weights_CD: np.ndarray, bias_C: np.ndarray, strength: float
) -> tuple[float, float]:
    features_ND = features_ND.astype(float)
    scores_NC = features_ND @ weights_CD.T + bias_C
    if truth.ndim == 1:
        scores_NC -= scores_NC.max(axis=1, keepdims=True)
        sums_N = np.exp(scores_NC).sum(axis=1)
        rows = np.arange(len(truth))
        loss = (np.log(sums_N) - scores_NC[rows, truth]).sum()
        residuals_NC = np.exp(scores_NC) / sums_N[:, None]
        residuals_NC[rows, truth] -= 1
    else:
        loss = np.logaddexp(0, np.where(truth > 0, -scores_NC, scores_NC)).sum()
        residuals_NC = 1 / (1 + np.exp(-scores_NC)) - truth
    if truth.ndim == 1 and len(np.unique(truth)) == 2:
        strength *= 2  # of the halves, so that of the whole it is what it was
    gradient_CD = (residuals_NC.T @ features_ND + strength * weights_CD) / len(truth)
    gradient = max(float(np.abs(gradient_CD).max()), float(np.abs(residuals_NC.mean(axis=0)).max()))
    return float(loss + 0.5 * strength * (weights_CD**2).sum()), gradient
