"""``diptych convert``."""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import Literal


def convert(
    model: str,
    destination: Path,
    /,
    *,
    format: Literal["diptych", "open_clip", "huggingface", "openai"],
    tokenizer: Path | None = None,
    activation: Literal["gelu", "quick_gelu", "gelu_tanh"] | None = None,
    image_size: int | None = None,
    context_length: int | None = None,
    json: bool = False,
) -> None:
    """Write a checkpoint in the format of another tool, and prove that it embeds images and texts as before.

    Example:
        diptych convert ViT-B-32.pt for-transformers --format huggingface --tokenizer bpe_simple_vocab_16e6.txt.gz

    Parameters
    ----------
    model
        A folder, a .pt, .npz or .safetensors file, or hf:org/name[@revision].
    destination
        The folder to write.
    format
        diptych, open_clip (its local-dir:), huggingface (Transformers) or openai (a model.pt for clip.load, which
        brings its own tokenizer).
    tokenizer
        A file of merges, a tokenizer.json, a vocab.txt or a folder, for a checkpoint that brings none.
    activation
        gelu, quick_gelu or gelu_tanh, where the file itself cannot say which.
    image_size
        Another resolution in pixels; position embeddings are resampled.
    context_length
        Texts of up to so many tokens; likewise.
    json
        Print the proof as JSON.
    """
    from diptych.checkpoints import convert as conversion
    from diptych.checkpoints.bundle import as_written, read
    from diptych.errors import CheckpointError

    if any(place.exists() and destination.exists() and place.samefile(destination) for place in _places(model)):
        raise CheckpointError(f"{destination} is where {model} lies, and would be replaced; give another folder")
    bundle = read(
        model, tokenizer=tokenizer, activation=activation, image_size=image_size, context_length=context_length
    )
    if as_written(bundle) is False:  # the copy would have a hash of its own, and nothing tell of the damage any more
        raise CheckpointError(
            f"{model}: the weights are not those that were written, by the SHA-256 noted with them; they are damaged "
            "or were changed. Fetch or write them again"
        )
    proof = conversion.convert(bundle, destination, format)
    if json:
        print(json_format.dumps({"folder": str(destination), "images": proof.images, "texts": proof.texts}))
        return
    print(f"{destination}: {bundle.spec.name} for {format}")
    told = f"images {proof.images:.1e}, texts {proof.texts:.1e} (at most {conversion.TOLERANCE:.0e})"
    print(f"largest difference of embeddings: {told}")
    if bundle.tokenizer is None:
        print("it has no tokenizer; random tokens were compared. Pass --tokenizer to convert that as well")


def _places(model: str) -> tuple[Path, ...]:
    return Path(model), Path(model).parent
