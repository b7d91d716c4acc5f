"""Learned position embeddings of an image tower: resized to another resolution, and patches that are left out."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from diptych.errors import ConfigError


def resize_positions(positions_ND: Tensor, grid: int, *, first: int = 1) -> Tensor:
    """Position embeddings (first + old * old, D) resampled to (first + grid * grid, D); the first rows (class token or
    mean feature, if there is one) stay as they are. Bicubic with anti-aliasing, in fp32 (paper, section 2.5: the extra
    epoch at 336 px)."""
    old = round((len(positions_ND) - first) ** 0.5)
    if old * old != len(positions_ND) - first:
        raise ConfigError(f"{len(positions_ND)} position embeddings are not {first} and a square grid")
    if old == grid:
        return positions_ND
    width = positions_ND.shape[1]
    image = positions_ND[first:].float().T.reshape(1, width, old, old)
    image = F.interpolate(image, size=(grid, grid), mode="bicubic", antialias=True, align_corners=False)
    resized = image.reshape(width, grid * grid).T.to(positions_ND.dtype)
    return torch.cat([positions_ND[:first], resized])


def at_places(x_BND: Tensor, places_BK: Tensor | None) -> Tensor:
    """The tokens at the places given for each image (B, K, D); all of them without places."""
    if places_BK is None:
        return x_BND
    return x_BND.gather(1, places_BK[..., None].expand(-1, -1, x_BND.shape[2]))
