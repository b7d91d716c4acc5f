"""The guard against loss spikes: which steps make no update, and when the run goes back to a checkpoint."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from diptych.errors import ConfigError, TrainingError
from diptych.training import state


@dataclass(frozen=True, kw_only=True)
class GuardSpec:
    """A step whose loss or gradient norm is more than so many times its running median makes no update. Off as it is.

    loss, gradient_norm: how many times; null does not look at it. 2 and 5 are a start.
    window:   steps over which the medians run; before there are so many, every step counts as fine.
    patience: skipped steps in a row after which the weights of the last checkpoint come back. The run goes on with the
              next samples, so those that were skipped are passed over.
    """

    loss: float | None = None
    gradient_norm: float | None = None
    window: int = 100
    patience: int = 10

    def __post_init__(self) -> None:
        for name in ("loss", "gradient_norm"):
            times = getattr(self, name)
            if times is not None and not 1 < times < math.inf:
                raise ConfigError(f"guard.{name} must be more than 1 or null, not {times}")
        for name in ("window", "patience"):
            if getattr(self, name) < 1:
                raise ConfigError(f"guard.{name} must be positive, not {getattr(self, name)}")

    @property
    def watches(self) -> bool:
        """Whether there is anything to look at."""
        return self.loss is not None or self.gradient_norm is not None


@dataclass
class Guard:
    """What the guard remembers: losses and norms of the last updates, and what it did.

    spikes, rollbacks: how many there were in the whole run. in_a_row: skipped since the last update or rollback.
    back: rollbacks since the last update.
    """

    losses: list[float] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)
    spikes: int = 0
    rollbacks: int = 0
    in_a_row: int = 0
    back: int = 0

    def spike(self, spec: GuardSpec, loss: float, norm: float) -> str:
        """How a step stands out, empty where it does not; it is remembered accordingly."""
        said = _far(spec.loss, "loss", loss, self.losses, spec.window)
        said = said or _far(spec.gradient_norm, "gradient norm", norm, self.norms, spec.window)
        if said:
            self.spikes, self.in_a_row = self.spikes + 1, self.in_a_row + 1
        elif spec.watches and math.isfinite(loss) and math.isfinite(norm):
            self.in_a_row = self.back = 0
            self.losses = [*self.losses, loss][-spec.window :]
            self.norms = [*self.norms, norm][-spec.window :]
        return said

    def rolled_back(self) -> None:
        """Other weights begin with a clean sheet; what is usual stays that."""
        self.rollbacks, self.back, self.in_a_row = self.rollbacks + 1, self.back + 1, 0

    @property
    def troubled(self) -> bool:
        """Whether the last step made no update: weights of such a moment are none to go back to."""
        return bool(self.in_a_row or self.back)

    def metrics(self) -> dict[str, float]:
        """Of the run so far."""
        return {"spikes": self.spikes, "rollbacks": self.rollbacks}

    def state(self) -> dict[str, Any]:
        """For ``Guard(**state)``."""
        return dict(vars(self))


def before_the_spikes(folder: Path, guard: Guard) -> Path:
    """The checkpoint to go back to: the last one that was not saved among spikes, one further back each time that it
    did not help. Raises TrainingError where there is none."""
    sound = [path for path in state.checkpoints(folder) if not Guard(**state.load(path)[1].guard).troubled]
    if len(sound) <= guard.back:
        raise TrainingError(
            f"{guard.in_a_row} steps in a row stood out by their loss or gradient, and there is no "
            f"{'earlier ' * bool(sound)}checkpoint to go back to. A lower optimizer.learning_rate may help, or larger "
            "guard.loss and guard.gradient_norm"
        )
    return sound[-1 - guard.back]


def _far(times: float | None, name: str, value: float, before: list[float], window: int) -> str:
    if times is None or len(before) < window:
        return ""
    usual = median(before)
    # A number that is none is far from all others.
    return "" if value <= times * usual else f"a {name} of {value:.4g}, where {usual:.4g} is usual"
