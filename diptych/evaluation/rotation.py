"""Features seen from their mean along their principal axes: one change of variables for all strengths of a penalty."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from diptych.errors import DataError

_NUMBERS_AT_ONCE = 4_000_000  # 32 MB in fp64


@dataclass(frozen=True, eq=False)
class Rotation:
    """N features of D dimensions as ``(x - mean_D) @ basis_DR``, with columns of falling variance (R).

    R is D, or N where there are fewer samples than dimensions. The basis is orthonormal, so that a penalty on the norm
    of weights stays what it is; what weights have beyond the R axes never meets the features. Mean, basis and variances
    are fp64; the rotated features are rounded once, to the precision that they came in, so that axes of small variance
    keep all their digits, however far from zero the features lie or however large a few of their dimensions are.
    """

    features_NR: Tensor
    mean_D: Tensor
    basis_DR: Tensor
    variances_R: Tensor


def as_features(features_ND: np.ndarray | Tensor) -> Tensor:
    """A tensor (N, D), fp64 where it came so, else fp32, on the device where it was. Raises DataError."""
    features = torch.as_tensor(features_ND).detach()
    if features.ndim != 2 or not all(features.shape):
        raise DataError(f"features are one row a sample, (N, D), not of shape {tuple(features.shape)}")
    return features if features.dtype == torch.float64 else features.float()


def rotate(features_ND: np.ndarray | Tensor) -> Rotation:
    """Find mean and principal axes, and turn the features. Raises DataError for features that are no numbers.

    Costs two products of N x D x D in fp64 and one decomposition, and a copy of the features.
    """
    features_ND = as_features(features_ND)
    samples, dimensions = features_ND.shape
    starts = range(0, samples, max(1, _NUMBERS_AT_ONCE // dimensions))
    rows = starts.step
    mean_D = torch.zeros(dimensions, dtype=torch.float64, device=features_ND.device)
    for i in starts:
        mean_D += features_ND[i : i + rows].double().sum(0) / samples
    if not bool(torch.isfinite(mean_D).all()):
        raise DataError(_not_finite(features_ND))
    if samples > dimensions:
        products_DD = torch.zeros(dimensions, dimensions, dtype=torch.float64, device=features_ND.device)
        for i in starts:
            centred_BD = features_ND[i : i + rows].double() - mean_D
            products_DD.addmm_(centred_BD.T, centred_BD)
        squares_R, basis_DR = torch.linalg.eigh(products_DD)
    else:
        # Through an orthonormal basis of the few samples, since dividing by small singular values would not give one.
        spanning_DN, triangle_NN = torch.linalg.qr((features_ND.double() - mean_D).T)
        squares_R, axes_NN = torch.linalg.eigh(triangle_NN @ triangle_NN.T)
        basis_DR = spanning_DN @ axes_NN
    basis_DR = basis_DR.flip(1).contiguous()
    features_NR = features_ND.new_empty(samples, basis_DR.shape[1])
    for i in starts:
        features_NR[i : i + rows] = (features_ND[i : i + rows].double() - mean_D) @ basis_DR
    return Rotation(features_NR, mean_D, basis_DR, squares_R.flip(0).clamp(min=0) / samples)


def _not_finite(features_ND: Tensor) -> str:
    bad_ND = ~torch.isfinite(features_ND)
    if not bool(bad_ND.any()):
        return "features are too large: their sum is no number any more"
    sample, dimension = bad_ND.nonzero()[0].tolist()
    return (
        f"{int(bad_ND.any(1).sum())} of {len(features_ND)} samples have features that are no finite numbers; the "
        f"first: sample {sample}, dimension {dimension}: {float(features_ND[sample, dimension])}"
    )
