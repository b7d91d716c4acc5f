"""Loss scaling for fp16, in which the small gradients of a tower would be zero (arXiv 1710.03740, section 3.2)."""

from __future__ import annotations

from typing import Any

INITIAL = 2.0**16
GROWTH_INTERVAL = 2000  # steps


class LossScale:
    """A factor on the loss's gradient that is halved where a gradient overflows, and doubled after 2000 steps at which
    none did: the rule and the numbers of ``torch.amp.GradScaler``. Powers of two leave all bits of a gradient alone.
    """

    def __init__(self, factor: float = INITIAL, held: int = 0, overflows: int = 0) -> None:
        self.factor, self.held = factor, held  # and for how many steps since it changed
        self.overflows = overflows  # in the whole run

    def update(self, *, overflow: bool) -> None:
        """What a step tells: whether its gradient was not finite."""
        self.held = 0 if overflow else self.held + 1
        self.overflows += overflow
        if overflow:
            self.factor /= 2
        elif self.held == GROWTH_INTERVAL:
            self.factor, self.held = 2 * self.factor, 0

    @property
    def collapsed(self) -> bool:
        """Whether gradients overflow though they are made smaller, not larger: they are no numbers."""
        return self.factor < 1

    def state(self) -> dict[str, Any]:
        """For ``LossScale(**state)``."""
        return dict(vars(self))
