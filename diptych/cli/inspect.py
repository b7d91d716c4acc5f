"""``diptych inspect``."""

from __future__ import annotations

import json as json_format
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from diptych.checkpoints.bundle import Bundle


def inspect(
    model: str,
    /,
    *,
    activation: Literal["gelu", "quick_gelu"] | None = None,
    json: bool = False,
) -> None:
    """Tell what a checkpoint is: towers, sizes, tokenizer, preprocessing, and where each of these is known from.

    Example:
        diptych inspect runs/flickr8k/model

    Parameters
    ----------
    model
        A folder, a .pt or .safetensors file, or hf:org/name[@revision].
    activation
        gelu or quick_gelu, where the file itself cannot say which.
    json
        Print one JSON object instead of a table.
    """
    from diptych.checkpoints.bundle import read
    from diptych.cli.output import print_table

    facts = describe(read(model, activation=activation))
    if json:
        print(json_format.dumps(facts, indent=2, ensure_ascii=False))
    else:
        print_table(["", ""], [[name, _plain(value)] for name, value in _flat(facts)])


def describe(bundle: Bundle) -> dict[str, Any]:
    """What there is to know about a bundle, as JSON would hold it."""
    from diptych.config import to_dict

    counts = {"image": 0, "text": 0}
    for name, tensor in bundle.weights.items():
        tower = name.split(".")[0]
        if tower in counts and not name.endswith(("running_mean", "running_var", "num_batches_tracked")):
            counts[tower] += tensor.numel()
    tokenizer = bundle.tokenizer
    return {
        **to_dict(bundle.spec),
        "parameters": {**counts, "total": sum(counts.values()) + 1},
        "vocabulary": f"{tokenizer.vocabulary_size} entries" if tokenizer else "none; pass tokenizer= to encode texts",
        "provenance": to_dict(bundle.provenance),
    }


def _flat(facts: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for name, value in facts.items():
        if isinstance(value, dict):
            rows += _flat(value, f"{prefix}{name}.")
        else:
            rows.append((prefix + name, value))
    return rows


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
