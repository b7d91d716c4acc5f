"""``diptych inspect``."""

from __future__ import annotations

import json as json_format
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from diptych.checkpoints.bundle import Bundle


def inspect(
    model: str,
    /,
    *,
    tokenizer: Path | None = None,
    activation: Literal["gelu", "quick_gelu", "gelu_tanh"] | None = None,
    pairs: str | None = None,
    captions: tuple[str, ...] | None = None,
    json: bool = False,
) -> None:
    """Tell what a checkpoint is: towers, sizes, tokenizer, preprocessing, and where each of these is known from.

    Example:
        diptych inspect runs/flickr8k/model
        diptych inspect epoch_32.pt --tokenizer bpe_simple_vocab_16e6.txt.gz --pairs "val/*.tar"

    Parameters
    ----------
    model
        A folder, a .pt, .npz or .safetensors file, or hf:org/name[@revision].
    tokenizer
        A file of merges, a tokenizer.json, a vocab.txt or a folder, for a model that brings none.
    activation
        gelu, quick_gelu or gelu_tanh, where the file itself cannot say which.
    pairs
        Images with captions: find out the activation by which of them finds more captions.
    captions
        Where captions stand in PAIRS: txt, json.captions.en, a column's name. May be repeated.
    json
        Print everything, the recipe of a training included, as one JSON object.
    """
    from diptych.cli.inspect_report import sections
    from diptych.cli.output import print_table
    from diptych.printable import printable

    if pairs:
        from diptych.cli.doctor import examine

        facts: dict[str, Any] = examine(model, pairs, captions or None, tokenizer)
    else:
        facts = describe(*_read(model, tokenizer, activation))
    if json:
        print(json_format.dumps(facts, indent=2, ensure_ascii=False))
    elif pairs:
        print_table(["", ""], [[name, str(value)] for name, value in facts.items()])
    else:
        told = sections(facts)
        width = max(len(name) for rows in told.values() for name in rows)
        for i, (heading, rows) in enumerate(told.items()):
            print("\n" * (i > 0) + printable(heading, lines=False))
            print_table(["", ""], [[f"  {name:{width}}", value] for name, value in rows.items()])


def _read(model: str, tokenizer: Path | None, activation: Any) -> tuple[Bundle, list[str]]:
    """A checkpoint, or as much of it as can be told where an extra is missing, and which that is."""
    from diptych.checkpoints.bundle import outline, read
    from diptych.errors import MissingExtra

    try:
        return read(model, tokenizer=tokenizer, activation=activation), []
    except MissingExtra:
        return outline(model, tokenizer=tokenizer, activation=activation)


def describe(bundle: Bundle, missing: Sequence[str] = ()) -> dict[str, Any]:
    """What there is to know about a bundle, as JSON would hold it; ``missing``: extras, and what each is needed for."""
    from diptych.checkpoints.bundle import as_written
    from diptych.checkpoints.writing import inexpressible
    from diptych.config import to_dict
    from diptych.encoder.loading import default_device

    counts = {"image": 0, "text": 0}
    for name, tensor in bundle.weights.items():
        tower = name.split(".")[0]
        if tower in counts and not name.endswith(("running_mean", "running_var", "num_batches_tracked")):
            counts[tower] += tensor.numel()
    scalars = 2 if "logit_bias" in bundle.weights else 1
    whole = not any(tensor.is_meta for tensor in bundle.weights.values())
    tokenizer = bundle.tokenizer
    unread = "not read" if missing else "none; pass --tokenizer to encode texts"
    return {
        **to_dict(bundle.spec),
        "parameters": {**counts, "total": sum(counts.values()) + scalars},
        "gigaflops": _gigaflops(bundle) if whole else None,
        "vocabulary": f"{tokenizer.vocabulary_size} entries" if tokenizer else unread,
        "missing": list(missing),
        "runs": {"precision": "fp32, or fast (bf16)", "device": str(default_device())},
        "licence": bundle.provenance.get("licence", "not said"),
        "converts_to": {format: problem or "yes" for format, problem in inexpressible(bundle).items()},
        "provenance": to_dict(bundle.provenance),
        # Beside the hash that is shown: whoever doubts a file looks here, and waits a second for the pass over it.
        "weights_as_written": {True: "yes", False: "no, they are damaged or were changed", None: "not known"}[
            as_written(bundle) if whole else None
        ],
    }


def _gigaflops(bundle: Bundle) -> dict[str, float]:
    from diptych.checkpoints.bundle import build
    from diptych.models.flops import flops

    cost = flops(build(bundle))
    operations = {"image": cost.image.forward, "text": cost.text(bundle.spec.text.context_length).forward}
    return {tower: float(f"{count / 1e9:.3g}") for tower, count in operations.items()}
