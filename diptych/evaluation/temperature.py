"""Temperature scaling: one number by which logits are divided, so that confidence becomes honest; no answer changes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from diptych.errors import DataError
from diptych.evaluation.calibration import Calibration, calibration

_WIDEST = 1e4  # temperatures go from its inverse to it


@dataclass(frozen=True)
class Scaling:
    """Calibration of the samples on which no temperature was fitted, as the model gives it and after scaling.

    Logits of CLIP are similarities times its scale; ``scale / temperature`` would have been the better scale.
    """

    temperature: float
    fitted_on: int
    before: Calibration
    after: Calibration


def softmax(logits_NC: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Probabilities (N, C) of logits divided by a temperature, in double precision."""
    logits_NC = np.asarray(logits_NC, np.float64) / temperature
    exponentials_NC = np.exp(logits_NC - logits_NC.max(axis=1, keepdims=True))
    return exponentials_NC / exponentials_NC.sum(axis=1, keepdims=True)


def fit_temperature(logits_NC: np.ndarray, labels_N: np.ndarray) -> float:
    """The temperature of least negative log-likelihood (Guo et al., ICML 2017, section 4.2).

    Logarithms of probabilities are logits too. The loss is convex in 1 / temperature, so there is one minimum; where
    every answer is right, or the logits tell nothing, it lies at the end of all temperatures, which is a DataError.
    """
    from scipy.optimize import minimize_scalar

    logits_NC, labels_N = np.asarray(logits_NC, np.float64), np.asarray(labels_N, np.int64)
    if logits_NC.ndim != 2 or len(labels_N) != len(logits_NC) or not logits_NC.size:
        raise DataError(f"logits of shape {logits_NC.shape} do not fit {len(labels_N)} labels")
    if labels_N.min() < 0 or labels_N.max() >= logits_NC.shape[1]:
        raise DataError(f"labels go from {labels_N.min()} to {labels_N.max()}, of {logits_NC.shape[1]} classes")
    if not np.isfinite(logits_NC).all():
        raise DataError("logits that are not finite have no temperature; of probabilities of 0, take no logarithm")
    behind_NC = logits_NC - logits_NC[np.arange(len(labels_N)), labels_N][:, None]

    def loss(logarithm: float) -> float:
        scaled_NC = behind_NC / np.exp(logarithm)
        most_N = scaled_NC.max(axis=1)
        return float((most_N + np.log(np.exp(scaled_NC - most_N[:, None]).sum(axis=1))).mean())

    limit = np.log(_WIDEST)
    found = float(minimize_scalar(loss, bounds=(-limit, limit), method="bounded", options={"xatol": 1e-6}).x)
    if (behind_NC <= 0).all() or abs(found) > limit - 1e-3:
        raise DataError(
            f"no temperature is best for these {len(labels_N)} samples: "
            + ("every answer is right" if (behind_NC <= 0).all() else "the right classes are not the likelier ones")
        )
    return float(np.exp(found))


def scaled(logits_NC: np.ndarray, labels_N: np.ndarray, *, held_out: float = 0.5, seed: int = 0) -> Scaling:
    """Fit a temperature on a share ``held_out`` of the samples, drawn by seed, and calibration on the rest."""
    samples = len(labels_N)
    fitted = round(held_out * samples)
    if not 0 < fitted < samples:
        raise DataError(f"{held_out:.0%} of {samples} samples leaves none to fit on or none to measure")
    order_N = np.random.default_rng(seed).permutation(samples)
    fit_N, rest_N = order_N[:fitted], order_N[fitted:]
    temperature = fit_temperature(logits_NC[fit_N], labels_N[fit_N])
    before, after = (
        calibration(softmax(logits_NC[rest_N], t), labels_N[rest_N], seed=seed) for t in (1.0, temperature)
    )
    return Scaling(temperature, fitted, before, after)
