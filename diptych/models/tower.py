"""What every tower returns: an embedding, and the named intermediates that were asked for."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from diptych.errors import ConfigError, nearest

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
