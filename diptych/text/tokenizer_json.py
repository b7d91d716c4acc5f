"""What a ``tokenizer.json`` may ask of the library that runs it, before that sees it.

The library does what the file says: it tries a regular expression that backtracks for minutes, replaces a letter by a
million, and makes a tree of a piece as long as the file, whose depth ends the process.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from diptych.errors import TokenizerError
from diptych.text.tokenizer_files import MOST_TOKENS, load_json

_STEPS = ("normalizer", "pre_tokenizer", "post_processor", "decoder")
_MOST_PARTS = 200  # of its steps, one in another
_MOST_GROWTH = 64  # times that cleaning may make a text longer
_LONGEST_TOKEN = 512  # letters
_MEAN_PIECE = 16  # letters; SentencePiece makes none that is longer, unless told to
_MOST_ADDED = 10_000  # tokens beside the vocabulary; real ones have hundreds
_LONGEST_WORD = 1000  # letters of a word that WordPiece tries

# Regular expressions that take time linear in a text from each of its places: letters and classes one after another, at
# most one of them repeated, no groups. They do for all vocabularies of BERT and SentencePiece.
_LONGEST_PATTERN = 256
_ESCAPE = r"\\(?:[sSdDwWtrn]|[pP]\{\^?\w+\}|[^\w\s])"
_ATOM = rf"(?:{_ESCAPE}|\[\^?(?:{_ESCAPE}|[^\[\]\\])+\]|[^\\\[\](){{}}|*+?^$])"
_TIMES = r"(?:[*+?]|\{\d{1,2}(?:,\d{0,2})?\})"
_ALTERNATIVE = rf"\^?{_ATOM}*(?:{_ATOM}{_TIMES}{_ATOM}*)?\$?"
_PATTERN = re.compile(rf"{_ALTERNATIVE}(?:\|{_ALTERNATIVE})*")


def check(content: str) -> None:
    """TokenizerError, which names what it was, for a file that the library should not be given."""
    data = load_json(content)
    try:
        _check_steps(data)
        _check_tokens(data.get("model") or {}, data.get("added_tokens") or [])
    except (AttributeError, LookupError, RecursionError, TypeError) as problem:
        raise TokenizerError(f"tokenizer.json is malformed: {problem!r:.80}") from problem


def _check_steps(data: dict[str, Any]) -> None:
    parts = [part for step in _STEPS for part in _objects(data.get(step))]
    if len(parts) > _MOST_PARTS:
        raise TokenizerError(f"tokenizer.json has {len(parts):,} steps and parts of steps; real ones have a dozen")
    for part in parts:
        if "Regex" in part:
            _check_pattern(part["Regex"])
    if _growth(data.get("normalizer") or {}) > _MOST_GROWTH:
        raise TokenizerError(f"tokenizer.json makes texts more than {_MOST_GROWTH} times longer (normalizer)")


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """All objects in one another."""
    if isinstance(value, dict):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _objects(item)


def _check_pattern(pattern: Any) -> None:
    if not isinstance(pattern, str) or len(pattern) > _LONGEST_PATTERN or not _PATTERN.fullmatch(pattern):
        raise TokenizerError(
            f"tokenizer.json has the regular expression {pattern!r:.80}, which may take for ever; known are letters "
            "and classes, at most one of them repeated"
        )


def _growth(normalizer: dict[str, Any]) -> int:
    """How many times longer a text can become, at most: replacements multiply."""
    if normalizer.get("type") == "Sequence":
        growth = 1
        for part in normalizer["normalizers"]:
            growth *= _growth(part)
        return growth
    if normalizer.get("type") == "Prepend":
        return 1 + len(normalizer["prepend"])
    if normalizer.get("type") != "Replace":
        return 1
    # A pattern that is empty, or an expression that fits nothing, is replaced between all letters.
    everywhere = 0 if normalizer["pattern"].get("String") else 1
    return max(1, len(normalizer["content"]) + everywhere)


def _check_tokens(model: dict[str, Any], added: list[Any]) -> None:
    if len(added) > _MOST_ADDED:
        raise TokenizerError(f"tokenizer.json adds {len(added):,} tokens to its vocabulary; real ones add hundreds")
    vocabulary = model.get("vocab") or ()
    if len(vocabulary) > MOST_TOKENS:
        raise TokenizerError(f"tokenizer.json has {len(vocabulary):,} tokens; no vocabulary has over {MOST_TOKENS:,}")
    tokens = [entry[0] if isinstance(entry, list) else entry for entry in vocabulary]
    lengths = [len(token) for token in (*tokens, *(entry["content"] for entry in added))]
    if max(lengths, default=0) > _LONGEST_TOKEN:
        raise TokenizerError(f"tokenizer.json has a token of {max(lengths):,} letters; none has over {_LONGEST_TOKEN}")
    if isinstance(vocabulary, list) and sum(lengths) > _MEAN_PIECE * (len(lengths) + _LONGEST_TOKEN):
        raise TokenizerError(f"tokenizer.json has pieces of more than {_MEAN_PIECE} letters on average")
    longest = model.get("max_input_chars_per_word") or 0
    if longest > _LONGEST_WORD:
        raise TokenizerError(f"tokenizer.json looks at words of {longest:,} letters; none has over {_LONGEST_WORD:,}")
