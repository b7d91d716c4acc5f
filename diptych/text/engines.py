"""The libraries that run a tokenizer as it was trained: ``tokenizers`` and, an extra, ``sentencepiece``."""

from __future__ import annotations

import importlib
from collections.abc import Generator
from contextlib import contextmanager

import tokenizers

from diptych.errors import MissingExtra, TokenizerError
from diptych.text import tokenizer_json

_UNKNOWN = ("<unk>", "[UNK]")
_PROBE = "A photo of 2 cats, 猫 é"
_MOST_SPECIAL = 16  # tokens around a text
_MOST_TOKENS = 10_000_000
_PANIC = "PanicException"  # what code in Rust that trips becomes, which is no Exception


@contextmanager
def _told(what: str) -> Generator[None]:
    """TokenizerError for whatever the library raises inside."""
    try:
        yield
    except BaseException as problem:
        if not isinstance(problem, Exception) and type(problem).__name__ != _PANIC:
            raise
        raise TokenizerError(f"{what}: {problem!s:.300}") from problem


class JsonEngine:
    """``tokenizer.json`` by the library that wrote it.

    Raises TokenizerError for one that cannot be read, that cannot encode a plain text, or that asks for too much.
    """

    def __init__(self, content: str) -> None:
        tokenizer_json.check(content)
        with _told("tokenizer.json cannot be read"):
            self.tokenizer = tokenizers.Tokenizer.from_str(content)
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        self.size = 1 + max(self.tokenizer.get_vocab().values(), default=-1)
        self.unknown = next((i for token in _UNKNOWN if (i := self.id_of(token)) is not None), None)
        self._check()

    def id_of(self, token: str) -> int | None:
        return self.tokenizer.token_to_id(token)

    def token_of(self, token_id: int) -> str | None:
        return self.tokenizer.id_to_token(token_id)

    def encode(self, text: str) -> list[int]:
        with _told(f"the tokenizer cannot encode {text!r:.80}"):
            return self.tokenizer.encode(text).ids

    def decode(self, ids: list[int]) -> str:
        with _told(f"the tokenizer cannot decode {ids!r:.80}"):
            return self.tokenizer.decode(ids)

    def _check(self) -> None:
        around = self.encode("")
        if self.size > _MOST_TOKENS or len(around) > _MOST_SPECIAL:
            raise TokenizerError(f"tokenizer.json has {self.size:,} ids and puts {len(around):,} tokens around a text")
        if wrong := [token_id for token_id in (*around, *self.encode(_PROBE)) if token_id >= self.size]:
            raise TokenizerError(f"tokenizer.json makes the id {wrong[0]}, but its vocabulary ends at {self.size - 1}")


class SentencePieceEngine:
    """A SentencePiece model by its own library."""

    def __init__(self, content: bytes) -> None:
        try:
            library = importlib.import_module("sentencepiece")
        except ImportError as error:
            raise MissingExtra("SentencePiece is an extra: pip install 'diptych[sentencepiece]'") from error
        try:
            self.processor = library.SentencePieceProcessor(model_proto=content)
        except RuntimeError as problem:
            raise TokenizerError(f"this is no SentencePiece model: {problem}") from problem
        self.size, self.unknown = self.processor.vocab_size(), self.processor.unk_id()
        if not self.size:
            raise TokenizerError("this is no SentencePiece model: it is empty")

    def id_of(self, token: str) -> int | None:
        found = self.processor.piece_to_id(token)
        return found if found != self.processor.unk_id() else None

    def token_of(self, token_id: int) -> str | None:
        return self.processor.id_to_piece(token_id)

    def encode(self, text: str) -> list[int]:
        return self.processor.encode(text)

    def decode(self, ids: list[int]) -> str:
        return self.processor.decode(ids)


Engine = JsonEngine | SentencePieceEngine
