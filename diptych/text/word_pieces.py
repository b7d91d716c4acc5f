"""BERT's vocabularies: a ``vocab.txt``, and how texts are cleaned for it, which lies in a file beside."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers.implementations import BertWordPieceTokenizer

from diptych.errors import TokenizerError
from diptych.text.tokenizer_files import MOST_TOKENS, load_json, read_config

LARGEST_FILE = 16 << 20  # of a vocab.txt; that of all languages has one megabyte
_CASED = 28_996  # entries of BERT's vocabulary with capitals, which ConVIRT's texts are of (arXiv 2010.00747)
_NAMES = {
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "handle_chinese_chars",
}


def cleaning(path: Path) -> dict[str, bool]:
    """What a ``tokenizer_config.json`` says of cleaning, by the names of the library; TokenizerError where it says
    something else than yes or no."""
    config = read_config(path)
    told = {name: config[name] for name in _NAMES if config.get(name) is not None}
    for name, value in told.items():
        if not isinstance(value, bool):
            raise TokenizerError(f"{path}: {name} is {value!r:.80}, but must be true or false")
    return {_NAMES[name]: value for name, value in told.items()}


def to_json(vocabulary: str, cleaning: Mapping[str, bool], path: Path) -> str:
    """The ``tokenizer.json`` of a ``vocab.txt``: a line is a token, its number the id. Raises TokenizerError."""
    if (lines := vocabulary.count("\n")) > MOST_TOKENS:
        raise TokenizerError(f"{path} has {lines:,} lines; no vocabulary has over {MOST_TOKENS:,}")
    tokens = [line.removesuffix("\r") for line in vocabulary.removesuffix("\n").split("\n")]
    ids = {token: i for i, token in enumerate(tokens)}
    if missing := {"[CLS]", "[SEP]", "[PAD]", "[UNK]"} - set(tokens):
        raise TokenizerError(f"{path} is no vocabulary of BERT: it has no {', '.join(sorted(missing))}")
    if len(ids) < len(tokens):
        twice = next(token for i, token in enumerate(tokens) if ids[token] != i)
        raise TokenizerError(f"{path} has {twice!r:.80} twice, so which id it has is not known")
    options: dict[str, Any] = {"lowercase": len(tokens) != _CASED, **cleaning}
    return BertWordPieceTokenizer(ids, **options).to_str()


def check_case(content: str, cleaning: Mapping[str, bool], path: Path) -> None:
    """TokenizerError where a ``tokenizer.json`` cleans texts for BERT otherwise than the config beside it says."""
    normalizer = load_json(content).get("normalizer") if cleaning else None
    if not isinstance(normalizer, dict) or normalizer.get("type") != "BertNormalizer":
        return
    wrong = [name for name, value in cleaning.items() if normalizer.get(name) not in (None, value)]
    if wrong:
        raise TokenizerError(f"{path} and tokenizer_config.json beside it disagree about {', '.join(wrong)}")
