"""Which activation weights were trained with, found out by trying: the right one finds more captions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np

from diptych.errors import CheckpointError, DataError, UnknownActivation
from diptych.tower_specs import Activation

PAIRS = 500  # are enough to tell: a wrong activation loses a tenth of the captions or more


_HITS = 4  # of images whose caption is the nearest; one comes by chance, more than so many hardly ever


def examine(location: str, pairs: str, captions: Sequence[str] | None, tokenizer: Path | None) -> dict[str, Any]:
    """The share of images whose own caption is the nearest of all, under each activation, and what that means.

    Raises CheckpointError where the file says its activation, or all models of its kind have the same.
    """
    from diptych.data.sources import open_source, read
    from diptych.encoder.loading import load

    _check_unknown(location, tokenizer)
    source = open_source(pairs, captions=captions)
    samples = [read(source, int(i)) for i in np.linspace(0, len(source) - 1, min(PAIRS, len(source))).round()]
    chosen = {sample.captions[0]: sample.image for sample in samples if sample.captions}
    if len(chosen) < 2:
        raise DataError(f"{pairs} holds {len(chosen)} different captions; pass pairs of images and captions")
    found: dict[str, float] = {}
    for activation in get_args(Activation):
        clip = load(location, activation=activation, tokenizer=tokenizer)
        similarities = clip.encode_images(list(chosen.values())) @ clip.encode_texts(list(chosen)).T
        found[activation] = float((similarities.argmax(axis=1) == np.arange(len(chosen))).mean())
    return {
        "pairs": len(chosen),
        **{f"found with {activation}": f"{share:.1%}" for activation, share in found.items()},
        "chance": f"{1 / len(chosen):.1%}",
        "answer": answer(found, len(chosen)),
    }


def answer(found: Mapping[str, float], pairs: int) -> str:
    """What shares of captions found say: one activation, several that chance does not tell apart, or nothing."""
    best = max(found.values())
    if best * pairs <= _HITS:
        return "none: no activation finds more captions than chance would; pass more pairs, or such as the model knows"
    error = (best * (1 - best) / pairs) ** 0.5
    close = [activation for activation in found if best - found[activation] <= 2 * error]
    if len(close) == 1:
        return close[0]
    listed = f"{', '.join(close[:-1])} or {close[-1]}"
    return f"{listed}: the difference is within chance; pass more or other pairs"


def _check_unknown(location: str, tokenizer: Path | None) -> None:
    from diptych.checkpoints.bundle import read

    try:
        known = read(location, tokenizer=tokenizer)
    except UnknownActivation:
        return
    activations = {str(getattr(tower, "activation", "none")) for tower in (known.spec.image, known.spec.text)}
    told = (
        f"it is {' and '.join(sorted(activations - {'none'}))}" if activations != {"none"} else "its towers have none"
    )
    source = known.provenance.get("activation_from", "its own description")
    raise CheckpointError(f"{location}: there is nothing to find out, {told} ({source})")
