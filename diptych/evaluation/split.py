"""Features with their truth, and parts of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from diptych.errors import DataError


@dataclass(frozen=True, eq=False)
class Labelled:
    """Features (N, D), as an array or a tensor on any device, and truth: class indices (N), or 0 and 1 (N, C)."""

    features_ND: np.ndarray | Tensor
    truth: np.ndarray

    def __post_init__(self) -> None:
        if len(self.features_ND) != len(self.truth) or not len(self.truth):
            raise DataError(
                f"{len(self.features_ND)} samples with the truth of {len(self.truth)}; a split has one for each"
            )

    def take(self, rows: np.ndarray) -> Labelled:
        """These samples, in this order."""
        features_ND = self.features_ND
        chosen = torch.from_numpy(rows).to(features_ND.device) if isinstance(features_ND, Tensor) else rows
        return Labelled(features_ND[chosen], self.truth[rows])


def joined(first: Labelled, second: Labelled) -> Labelled:
    """The samples of both. Raises DataError where their widths differ."""
    widths = [(split.features_ND.shape[1:], split.truth.shape[1:]) for split in (first, second)]
    if widths[0] != widths[1]:
        raise DataError(f"features and truth of one split are {widths[0]} wide, of the other {widths[1]}")
    one, two = first.features_ND, second.features_ND
    if isinstance(one, Tensor) or isinstance(two, Tensor):
        features_ND = torch.cat([torch.as_tensor(one), torch.as_tensor(two)])
    else:
        features_ND = np.concatenate([one, two])
    return Labelled(features_ND, np.concatenate([first.truth, second.truth]))


def held_out(split: Labelled, share: float, seed: int) -> tuple[Labelled, Labelled]:
    """Two parts, the second with about ``share`` of each class, drawn with ``seed``.

    A class gives at least one sample to each part where it has two; its only sample stays in the first. Where samples
    have several classes, the share is of all samples, for there is no partition that is right for each class.
    Raises DataError where nothing can be held out.
    """
    second = []
    for label in np.unique(split.truth) if split.truth.ndim == 1 else (0,):
        rows = np.flatnonzero(split.truth == label) if split.truth.ndim == 1 else np.arange(len(split.truth))
        count = min(max(1, round(share * len(rows))), len(rows) - 1)
        second.append(np.random.default_rng([seed, int(label)]).permutation(rows)[:count])
    chosen = np.zeros(len(split.truth), bool)
    chosen[np.concatenate(second)] = True
    if not chosen.any():
        raise DataError(f"no class has two samples, so none of these {len(chosen)} can be held out for validation")
    return split.take(np.flatnonzero(~chosen)), split.take(np.flatnonzero(chosen))
