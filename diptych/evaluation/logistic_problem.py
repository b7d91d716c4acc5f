"""What logistic regression minimises: the mean objective, its gradient and about its curvature, in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from diptych.errors import DataError
from diptych.evaluation.lbfgs import Point
from diptych.evaluation.linear import Linear
from diptych.evaluation.rotation import Rotation, rotate

_SCORES_AT_ONCE = {"cpu": 2**18, "cuda": 2**26}  # of a processor, what its cache holds


@dataclass(frozen=True, eq=False)
class Problem:
    """Features and truth, ready to be fitted at any strength; made by ``prepare``.

    present: the indices among ``classes`` of those that are fitted, K of them. target is (N), an index into these, or
    (N, K) of bools. absent_bias_C: the biases of all the others.
    centre_KP: the parameters that the penalty draws to; outside_KD: what their weights have that meets no feature here,
    and that a fit leaves as it is.
    """

    rotation: Rotation
    target: Tensor
    present: Tensor
    absent_bias_C: np.ndarray
    centre_KP: Tensor
    outside_KD: Tensor

    @property
    def exclusive(self) -> bool:
        """Whether a sample has one class and no other."""
        return self.target.ndim == 1

    @property
    def scale_of_penalty(self) -> int:
        """Of two exclusive classes only the difference w of their weights counts, and scikit-learn penalises that: with
        the two at -w/2 and w/2, 1/2 strength ||w||^2 is twice what 1/2 strength ||W||^2 would be."""
        return 2 if self.exclusive and len(self.present) == 2 else 1

    def start(self, start: Linear | None) -> Tensor:
        """Parameters (K, R + 1), the bias last, of given weights or of those that the penalty draws to."""
        if start is None:
            return self.centre_KP.clone()
        rotation, expected = self.rotation, (len(self.absent_bias_C), len(self.rotation.mean_D))
        if start.weights_CD.shape != expected or start.bias_C.shape != expected[:1]:
            raise DataError(f"a start has weights of shape {expected} here, not {start.weights_CD.shape}")
        weights_KD = torch.from_numpy(start.weights_CD).to(rotation.mean_D)[self.present]
        bias_C = torch.from_numpy(start.bias_C).to(rotation.mean_D)
        finite_C = bias_C[torch.isfinite(bias_C)]
        lowest, highest = (float(finite_C.min()), float(finite_C.max())) if len(finite_C) else (0.0, 0.0)
        bias_K = bias_C.nan_to_num(0.0, posinf=highest, neginf=lowest)[self.present]
        parameters = torch.cat([weights_KD @ rotation.basis_DR, (bias_K + weights_KD @ rotation.mean_D)[:, None]], 1)
        # What all exclusive classes share changes no probability, and costs.
        return parameters - parameters.mean(0) if self.exclusive else parameters

    def original(self, parameters_KP: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Weights (C, D) and bias (C) for the features as they were given."""
        weights_KD = parameters_KP[:, :-1] @ self.rotation.basis_DR.T + self.outside_KD
        present = self.present.cpu().numpy()
        weights_CD, bias_C = np.zeros((len(self.absent_bias_C), weights_KD.shape[1])), self.absent_bias_C.copy()
        weights_CD[present] = weights_KD.cpu().numpy()
        bias_C[present] = (parameters_KP[:, -1] - weights_KD @ self.rotation.mean_D).cpu().numpy()
        return weights_CD, bias_C

    def steepest(self, gradient_KP: Tensor) -> float:
        """The largest absolute gradient with respect to weights and bias for the features as they were given."""
        bias_K = gradient_KP[:, -1]
        weights_KD = gradient_KP[:, :-1] @ self.rotation.basis_DR.T + bias_K[:, None] * self.rotation.mean_D
        return float(torch.cat([weights_KD, bias_K[:, None]], 1).abs().max()) if len(bias_K) else 0.0

    def evaluate(self, strength: float, dtype: torch.dtype, parameters_KP: Tensor) -> Point:
        """The mean objective in one pass over the features, a block of samples at a time."""
        features_NR, variances_R = self.rotation.features_NR, self.rotation.variances_R
        beyond_KR = parameters_KP[:, :-1] - self.centre_KP[:, :-1]
        samples, penalty = len(features_NR), self.scale_of_penalty * strength / len(features_NR)
        weights_KR = parameters_KP[:, :-1]
        weights_RK, bias_K = weights_KR.T.to(dtype).contiguous(), parameters_KP[:, -1].to(dtype)
        gradient_KR, sums_3K = torch.zeros_like(weights_KR, dtype=dtype), parameters_KP.new_zeros(3, len(bias_K))
        rows = max(1, _SCORES_AT_ONCE.get(features_NR.device.type, 2**20) // len(bias_K))
        for i in range(0, samples, rows):
            features_BR = features_NR[i : i + rows].to(dtype)
            scores_BK = torch.addmm(bias_K, features_BR, weights_RK)
            residuals = _exclusive if self.exclusive else _independent
            sums_3K[0, 0] += residuals(scores_BK, self.target[i : i + rows])
            gradient_KR.addmm_(scores_BK.T, features_BR)
            sums_3K[1] += scores_BK.sum(0)
            scores_BK.abs_()
            sums_3K[2] += scores_BK.sum(0) - scores_BK.square_().sum(0)  # p (1 - p), whichever of both r is
        loss, bias_gradient_K, bend_K = sums_3K / samples
        gradient_KP = torch.cat([gradient_KR.double() / samples + penalty * beyond_KR, bias_gradient_K[:, None]], 1)
        curvature_KP = torch.cat([bend_K[:, None] * variances_R + penalty, bend_K[:, None]], 1)
        objective = float(loss[0] + 0.5 * penalty * beyond_KR.square().sum())
        return Point(parameters_KP, objective, gradient_KP, curvature_KP)


def prepare(
    features_ND: np.ndarray | Tensor,
    truth: np.ndarray | Tensor,
    classes: int | None = None,
    towards: Linear | None = None,
) -> Problem:
    """Rotate features and check truth; once for all strengths.

    truth: indices (N) of classes, or (N, C) of 0 and 1. classes: how many there are, by default as many as occur, or C.
    towards: weights W0 that the penalty draws to, in place of zeros: 1/2 strength ||W - W0||^2.
    What is multiplied is where the features are: a CUDA tensor is fitted on its GPU. Raises DataError.
    """
    target = torch.as_tensor(truth).detach()
    if not len(target) or len(target) != len(features_ND):
        raise DataError(f"{len(features_ND)} samples and the truth of {len(target)}; a probe needs one for each")
    if target.ndim == 1:
        if target.is_floating_point() or target.dtype == torch.bool:
            raise DataError(f"classes are told by their index, an integer, not by {target.dtype}")
        classes = int(target.max()) + 1 if classes is None else classes
        if int(target.min()) < 0 or int(target.max()) >= classes:
            raise DataError(
                f"labels go from {int(target.min())} to {int(target.max())}, but there are {classes} classes"
            )
        present, target = torch.unique(target.long(), return_inverse=True)
        absent_bias_C = np.full(classes, -np.inf)
    elif target.ndim == 2:
        if classes not in (None, target.shape[1]) or not bool(((target == 0) | (target == 1)).all()):
            raise DataError(f"truth of several classes a sample is 0 or 1 for each of {classes or target.shape[1]}")
        share_C = target.double().mean(0)
        present = ((share_C > 0) & (share_C < 1)).nonzero()[:, 0]
        absent_bias_C = np.where(share_C.cpu().numpy() > 0, np.inf, -np.inf)
        target = target[:, present].bool()
    else:
        raise DataError(f"truth is (N) or (N, C), not of shape {tuple(target.shape)}")
    rotation = rotate(features_ND)
    device = rotation.mean_D.device
    target, present = target.to(device), present.to(device)
    zeros_KP = torch.zeros(len(present), len(rotation.variances_R) + 1, dtype=torch.float64, device=device)
    zeros_KD = torch.zeros(len(present), len(rotation.mean_D), dtype=torch.float64, device=device)
    problem = Problem(rotation, target, present, absent_bias_C, zeros_KP, zeros_KD)
    return problem if towards is None else _drawn(problem, towards)


def _drawn(problem: Problem, towards: Linear) -> Problem:
    centre_KP, basis_DR = problem.start(towards), problem.rotation.basis_DR
    weights_KD = torch.from_numpy(towards.weights_CD).to(basis_DR)[problem.present]
    if problem.exclusive:
        weights_KD = weights_KD - weights_KD.mean(0)
    return replace(problem, centre_KP=centre_KP, outside_KD=weights_KD - weights_KD @ basis_DR @ basis_DR.T)


def _exclusive(scores_BK: Tensor, target_B: Tensor) -> Tensor:
    """The sum of cross-entropies of a softmax; scores become probability - truth, in place.

    The true class is left out of sums, so that 1 - p and log p keep their digits where p nears 1.
    """
    target_B1 = target_B[:, None]
    scores_BK.sub_(scores_BK.amax(1, keepdim=True))
    true_B1 = scores_BK.gather(1, target_B1)
    scores_BK.exp_()
    own_B1 = scores_BK.gather(1, target_B1)
    scores_BK.scatter_(1, target_B1, 0.0)
    others_B1 = scores_BK.sum(1, keepdim=True)
    total_B1 = own_B1 + others_B1
    scores_BK.mul_(1 / total_B1)
    scores_BK.scatter_(1, target_B1, -others_B1 / total_B1)
    return (torch.log1p((own_B1 - 1) + others_B1) - true_B1).double().sum()


def _independent(scores_BK: Tensor, target_BK: Tensor) -> Tensor:
    """The sum of the cross-entropies of a sigmoid for each class; scores become probability - truth, in place."""
    sign_BK = torch.where(target_BK, -1.0, 1.0).to(scores_BK)
    scores_BK.mul_(sign_BK)
    loss = torch.nn.functional.softplus(scores_BK, threshold=80).double().sum()
    scores_BK.sigmoid_().mul_(sign_BK)
    return loss
