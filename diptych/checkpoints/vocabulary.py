"""The tokenizer that belongs to a checkpoint: found beside it or given, and held to what the model says of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from diptych.checkpoints.contents import TOKENIZER, Contents
from diptych.errors import CheckpointError, TokenizerError
from diptych.specs import ModelSpec, SiglipTextSpec

if TYPE_CHECKING:
    from diptych.text.pretrained import AnyTokenizer

# Real files have up to 134, and a table of cleaning of some hundred kB. What a file of more would be read into costs
# memory in proportion.
_BYTES_A_TOKEN, _BYTES_BESIDE = 192, 1 << 20


def tokenizer_of(argument: str | Path | None, folder: Path, contents: Contents, spec: ModelSpec) -> AnyTokenizer | None:
    """The one that was given, else the folder's, None where there is neither; CheckpointError where it is of another
    size than the model."""
    if argument is None and not contents.tokenizer:
        return None
    path = folder if argument is None else Path(argument)
    _check_sizes(path, spec.text.vocabulary_size)
    tokenizer = read_tokenizer(path, spec)
    # An embedding may be a little taller than a vocabulary that was trained elsewhere, and never smaller.
    fits = tokenizer.vocabulary_size == spec.text.vocabulary_size
    if not fits and not (spec.tokenizer != "clip_byte_pair" and tokenizer.vocabulary_size < spec.text.vocabulary_size):
        raise CheckpointError(
            f"the tokenizer in {path} has {tokenizer.vocabulary_size} tokens, the model {spec.text.vocabulary_size}; "
            "pass the one it was trained with as tokenizer= (--tokenizer)"
        )
    return tokenizer


def read_tokenizer(path: Path, spec: ModelSpec) -> AnyTokenizer:
    """The tokenizer of a folder or a file, of the family that the model has, with its length. Raises TokenizerError."""
    from diptych.text.pretrained import PretrainedTokenizer
    from diptych.text.tokenizer import Tokenizer
    from diptych.text.tokenizer_files import read_text

    length = spec.text.context_length
    if spec.tokenizer != "clip_byte_pair":
        padding = spec.text.padding_id if isinstance(spec.text, SiglipTextSpec) else None
        return PretrainedTokenizer.from_files(path, family=spec.tokenizer, context_length=length, pad_id=padding)
    if path.is_dir():
        return Tokenizer.from_files(path, context_length=length)
    if path.suffix == ".json":
        return Tokenizer.from_json(read_text(path), context_length=length)
    return Tokenizer.from_merges(path, context_length=length)


def is_noted(tokenizer: AnyTokenizer, noted: str, folder: Path, spec: ModelSpec) -> bool:
    """Whether a folder's tokenizer is the one of this hash, perhaps with texts cut shorter than the model has to."""
    from diptych.text.tokenizer_files import stored_context_length

    if tokenizer.fingerprint == noted:
        return True
    shorter = stored_context_length(folder / "tokenizer_config.json") or spec.text.context_length
    as_stored = dataclasses.replace(spec, text=dataclasses.replace(spec.text, context_length=shorter))
    return read_tokenizer(folder, as_stored).fingerprint == noted


def padded_as(tokenizer: AnyTokenizer | None, spec: ModelSpec) -> ModelSpec:
    """What SigLIP's texts are padded with is its tokenizer's affair: OpenCLIP and Transformers ask nobody else."""
    if tokenizer is None or not isinstance(spec.text, SiglipTextSpec):
        return spec
    return dataclasses.replace(spec, text=dataclasses.replace(spec.text, padding_id=tokenizer.pad_id))


def _check_sizes(path: Path, vocabulary: int) -> None:
    most = _BYTES_BESIDE + _BYTES_A_TOKEN * vocabulary
    for file in [path / name for name in TOKENIZER] if path.is_dir() else [path]:
        if file.is_file() and (size := file.stat().st_size) > most:
            raise TokenizerError(
                f"{file} has {size >> 20} MB, more than a vocabulary of {vocabulary:,} tokens takes; pass the one that "
                "the model was trained with as tokenizer= (--tokenizer)"
            )
