"""What every tower is and returns: an embedding, and the named intermediates that were asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from diptych.errors import ConfigError, nearest
from diptych.tokens import Tokens

TowerOutput = tuple[Tensor, dict[str, Tensor]]


class Intermediates(dict[str, Tensor]):
    """Collects the tensors named in ``keep`` and refuses names that the tower does not have."""

    def __init__(self, keep: Sequence[str], names: Sequence[str]) -> None:
        super().__init__()
        self.keep = frozenset(keep)
        for name in keep:
            if name not in names:
                raise ConfigError(f"this tower has no intermediate {name!r}; {nearest(name, names)}")

    def offer(self, name: str, tensor: Tensor) -> None:
        """Keep ``tensor`` if it was asked for."""
        if name in self.keep:
            self[name] = tensor


class Tower(nn.Module, ABC):
    """One half of a CLIP. ``intermediates``: the names that ``keep`` may hold."""

    intermediates: tuple[str, ...]

    @abstractmethod
    def initialise(self, generator: torch.Generator) -> None:
        """Draw fresh weights; norms have been reset already."""


class ImageTower(Tower):
    """``pixels_BCHW`` to ``embedding_BE``."""

    @abstractmethod
    def forward(self, pixels_BCHW: Tensor, keep: Sequence[str] = ()) -> TowerOutput:
        """Unnormalised embeddings, and what was to be kept."""


class TextTower(Tower):
    """``Tokens`` to ``embedding_BE``."""

    @abstractmethod
    def forward(self, tokens: Tokens, keep: Sequence[str] = ()) -> TowerOutput:
        """Unnormalised embeddings, and what was to be kept."""

    @abstractmethod
    def lengths(self, ids_BL: Tensor) -> Tensor:
        """How many ids each text has, (B,), where bare ids come without lengths, padded as is usual for the tower."""
