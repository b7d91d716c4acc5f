"""Weight-space interpolation between a model and its fine-tuned self (WiSE-FT, arXiv 2109.01903)."""

from __future__ import annotations

import copy
from collections.abc import Mapping

from torch import Tensor, nn

from diptych.encoder.clip import Clip
from diptych.errors import ConfigError


def check_alpha(alpha: float) -> None:
    """Raise ConfigError for an alpha outside of 0 to 1."""
    if not 0 <= alpha <= 1:
        raise ConfigError(f"alpha must be from 0, the model before, to 1, the fine-tuned one, not {alpha}")


def interpolated(before: Mapping[str, Tensor], after: Mapping[str, Tensor], alpha: float) -> dict[str, Tensor]:
    """``(1 - alpha) * before + alpha * after``, weight by weight and running statistics too (equation 1).

    Exactly ``before`` at 0 and ``after`` at 1; counts, which are no weights, are those of ``after``. Raises ConfigError
    for an alpha outside of 0 to 1, or weights that are not of one model.
    """
    check_alpha(alpha)
    if odd := sorted(before.keys() ^ after.keys()):
        raise ConfigError(f"these are weights of different models: {odd[0]} is in one of them only")
    mixed = {}
    for name, end in after.items():
        if before[name].shape != end.shape:
            raise ConfigError(
                f"these are weights of different models: {name} is {tuple(before[name].shape)} and {tuple(end.shape)}"
            )
        mixed[name] = before[name].to(end.device).lerp(end, alpha) if end.is_floating_point() else end.clone()
    return mixed


def between(before: nn.Module, after: Clip, alpha: float) -> Clip:
    """The model, with its head where both have one, at ``alpha`` of the way; neither of the two is changed."""
    model = copy.deepcopy(after.model)
    model.load_state_dict(interpolated(before.state_dict(), after.model.state_dict(), alpha))
    return Clip(model, after.tokenizer, {**after.provenance, "interpolation": alpha}, after.precision)
