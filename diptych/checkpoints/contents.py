"""Which files of a folder, here or on a hub, make up a checkpoint."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from diptych.errors import CheckpointError

DESCRIPTION = "diptych.json"
CONFIG = "open_clip_config.json"
HUGGINGFACE_CONFIG, PREPROCESSOR, PROCESSOR = "config.json", "preprocessor_config.json", "processor_config.json"
DESCRIBING = frozenset({DESCRIPTION, CONFIG, HUGGINGFACE_CONFIG})  # each says what the weights beside it are
WEIGHTS = "open_clip_model.safetensors"

# As OpenCLIP's own loader prefers them; the same weights often lie there in two formats.
_WEIGHTS = (
    WEIGHTS,
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
    "model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.pth",
    "model.pth",
)
SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".npz")
TOKENIZER = ("tokenizer.json", "merges.txt", "vocab.txt", "spiece.model", "tokenizer.model")
_BESIDE_A_TOKENIZER = ("tokenizer_config.json", "vocab.json")  # say more of one, and are none


class Contents(NamedTuple):
    """File names: weights always, the others where they are there. ``configs``: those of OpenCLIP and Transformers."""

    weights: str
    description: str | None
    configs: tuple[str, ...]
    tokenizer: tuple[str, ...]

    def files(self) -> list[str]:
        """All of them, small ones first."""
        return [name for name in (self.description, *self.configs, *self.tokenizer, self.weights) if name]


def find_contents(names: Iterable[str], where: str) -> Contents:
    """The files that matter among ``names``; CheckpointError where there is no weights file or no telling which."""
    there = sorted(names)
    weights = [name for name in _WEIGHTS if name in there] or [name for name in there if name.endswith(SUFFIXES)]
    if not weights:
        listed = ", ".join(there[:6])
        raise CheckpointError(
            f"{where} holds no weights ({listed or 'it is empty'}); expected {WEIGHTS}, or another "
            ".safetensors, .pt, .pth, .bin or .npz file"
        )
    configs = tuple(name for name in (CONFIG, HUGGINGFACE_CONFIG, PREPROCESSOR, PROCESSOR) if name in there)
    if DESCRIPTION not in there and len(weights) > 1 and weights[0] not in _WEIGHTS:
        raise CheckpointError(f"{where} holds several files of weights: {', '.join(weights[:8])}; give one of them")
    tokenizer = tuple(name for name in TOKENIZER if name in there)
    if tokenizer:
        tokenizer += tuple(name for name in _BESIDE_A_TOKENIZER if name in there)
    return Contents(weights[0], DESCRIPTION if DESCRIPTION in there else None, configs, tokenizer)
