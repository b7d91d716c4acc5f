"""Vocabularies on disk, written: the tokenizer files that Transformers and OpenCLIP open."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from diptych.errors import TokenizerError
from diptych.text.tokenizer_files import BYTES, END, END_OF_WORD, START

# Lower-casing one letter at a time misses the one letter whose lower case depends on its place, the Greek sigma.
_FINAL_SIGMA = r"(?<=\p{Cased}\p{Case_Ignorable}*)Σ(?!\p{Case_Ignorable}*\p{Cased})"


def write(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Write files into a folder of nothing else, each whole or not at all; TokenizerError where that cannot be."""
    partial = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if others := sorted(path.name for path in folder.iterdir() if path.name not in files):
            raise TokenizerError(f"{folder} holds other files ({', '.join(others[:3])}); write to a new folder")
        for name, content in files.items():
            partial = folder / f".{name}.partial"
            partial.write_bytes(content)
            partial.replace(folder / name)
    except OSError as problem:
        if partial:
            partial.unlink(missing_ok=True)
        raise TokenizerError(f"cannot write {folder}: {problem}") from problem
    return folder


def to_json(bare: str, start_id: int, end_id: int) -> str:
    """A ``tokenizer.json`` from the bare encoder's: it normalises, adds start and end token, knows their names.

    ftfy and HTML unescaping cannot be written in this format: OpenCLIP does both before it, others should.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, processors

    whole = Tokenizer.from_str(bare)
    whole.add_special_tokens([AddedToken(token, normalized=True, special=True) for token in (START, END)])
    whole.normalizer = normalizers.Sequence(
        [
            normalizers.Replace(Regex(r"\s+"), " "),
            normalizers.Replace(Regex(_FINAL_SIGMA), "ς"),
            normalizers.Lowercase(),
        ]
    )
    whole.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=[(START, start_id), (END, end_id)]
    )
    whole.decoder = decoders.Sequence(
        [decoders.ByteLevel(), decoders.Replace(END_OF_WORD, " "), decoders.Strip(" ", 0, 1)]
    )
    return whole.to_str()


def to_files(tokenizer_json: str, context_length: int) -> dict[str, bytes]:
    """The folder that Transformers opens.

    Padding has to go by the name of the token with id 0, an exclamation mark inside a word. Special tokens are not
    looked for in texts, so exclamation marks stay what they are.
    """
    special = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": next(iter(BYTES))}
    config = {
        **special,
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": context_length,
        "padding_side": "right",
        "truncation_side": "right",
        "split_special_tokens": True,
        "clean_up_tokenization_spaces": False,
    }
    return {
        "tokenizer.json": tokenizer_json.encode(),
        "tokenizer_config.json": json.dumps(config, indent=2).encode(),
        "special_tokens_map.json": json.dumps(special, indent=2).encode(),
    }
