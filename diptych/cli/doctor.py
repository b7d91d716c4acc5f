"""Which activation weights were trained with, found out by trying: the right one finds more captions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np

from diptych.errors import CheckpointError, DataError
from diptych.tower_specs import Activation

PAIRS = 500  # are enough to tell: a wrong activation loses a tenth of the captions or more


def examine(location: str, pairs: str, captions: Sequence[str] | None, tokenizer: Path | None) -> dict[str, Any]:
    """The share of images whose own caption is the nearest of all, under each activation, and what that means.

    Raises CheckpointError where the file says its activation and so cannot be read with another.
    """
    from diptych.data.sources import open_source, read
    from diptych.encoder.loading import load

    source = open_source(pairs, captions=captions)
    samples = [read(source, int(i)) for i in np.linspace(0, len(source) - 1, min(PAIRS, len(source))).round()]
    chosen = {sample.captions[0]: sample.image for sample in samples if sample.captions}
    if len(chosen) < 2:
        raise DataError(f"{pairs} holds {len(chosen)} different captions; pass pairs of images and captions")
    found: dict[str, float] = {}
    for activation in get_args(Activation):
        try:
            clip = load(location, activation=activation, tokenizer=tokenizer)
        except CheckpointError as error:
            if "contradicts" not in str(error):
                raise
            continue
        similarities = clip.encode_images(list(chosen.values())) @ clip.encode_texts(list(chosen)).T
        found[activation] = float((similarities.argmax(axis=1) == np.arange(len(chosen))).mean())
    if len(found) < 2:
        [only] = found
        raise CheckpointError(f"{location} says itself that its activation is {only}, so there is nothing to find out")
    best, second = sorted(found, key=found.__getitem__, reverse=True)[:2]
    error = (found[best] * (1 - found[best]) / len(chosen)) ** 0.5
    clear = found[best] - found[second] > 2 * error
    return {
        "pairs": len(chosen),
        **{f"found with {activation}": f"{share:.1%}" for activation, share in found.items()},
        "chance": f"{1 / len(chosen):.1%}",
        "answer": best if clear else f"{best} or {second}: the difference is within chance; pass more or other pairs",
    }
