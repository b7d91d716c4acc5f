"""Whether files of a tokenizer say what its merges make CLIP's byte-pair encoding of them say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from diptych.errors import TokenizerError


def check_ids(ids: Any, expected: Sequence[str], where: str) -> None:
    """TokenizerError unless these are the ids of ``expected``. Its last two, start and end, may have other names."""
    if not isinstance(ids, dict) or len(ids) != len(expected):
        found = len(ids) if isinstance(ids, dict) else "no"
        raise TokenizerError(f"{where} holds {found} tokens, but its merges make {len(expected)}")
    for token_id, token in enumerate(expected):
        special = token_id >= len(expected) - 2 and token not in ids
        if not special and ids.get(token) != token_id:
            raise TokenizerError(
                f"{where} gives {token!r:.40} the id {ids.get(token)!r:.80}, CLIP's byte-pair encoding {token_id}; its "
                "vocabulary is 256 bytes, 256 bytes at the end of a word, merges, start and end token"
            )
    last = [len(expected) - 2, len(expected) - 1]
    if others := [token_id for token_id in last if token_id not in ids.values()]:
        raise TokenizerError(f"{where} has no token with the id {others[0]}, which is the start or end token's")


def check_steps(data: dict[str, Any], size: int) -> None:
    """TokenizerError for a ``tokenizer.json`` that does not lower-case texts, or puts other tokens around them than
    the last two of its ``size``."""
    try:
        lowers, around = _lowers(data.get("normalizer")), _around(data.get("post_processor"))
    except (AttributeError, IndexError, KeyError, TypeError) as problem:
        raise TokenizerError(
            f"tokenizer.json has a malformed normalizer or post_processor: {problem!r:.80}"
        ) from problem
    if not lowers:
        raise TokenizerError("tokenizer.json does not lower-case texts (normalizer), as CLIP's tokenizer does")
    if around not in (None, [size - 2, size - 1]):
        raise TokenizerError(
            f"tokenizer.json puts the ids {around!r:.80} around a text; start and end are {size - 2} and {size - 1}"
        )


def _lowers(normalizer: Any) -> bool:
    if not normalizer:
        return False
    if normalizer["type"] == "Sequence":
        return any(_lowers(part) for part in normalizer["normalizers"])
    return normalizer["type"] == "Lowercase" or (normalizer["type"] == "BertNormalizer" and normalizer["lowercase"])


def _around(processor: Any) -> list[int] | None:
    """The ids that are put around a text, where the post-processor is of a kind that puts some."""
    if not processor:
        return None
    if processor["type"] in ("RobertaProcessing", "BertProcessing"):
        return [processor["cls"][1], processor["sep"][1]]
    if processor["type"] == "TemplateProcessing":
        names = [part["SpecialToken"]["id"] for part in processor["single"] if "SpecialToken" in part]
        return [token_id for name in names for token_id in processor["special_tokens"][name]["ids"]]
    parts = processor["processors"] if processor["type"] == "Sequence" else []
    return next((ids for part in parts if (ids := _around(part)) is not None), None)
