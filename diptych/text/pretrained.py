"""Tokenizers that other models bring: WordPiece (BERT's) and SentencePiece (SigLIP's), as they were trained."""

from __future__ import annotations

import hashlib
import json
import string
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from diptych.errors import ConfigError, TokenizerError
from diptych.text import tokenizer_files, word_pieces
from diptych.text.batching import to_tokens
from diptych.text.engines import Engine, JsonEngine, SentencePieceEngine
from diptych.text.tokenizer import Tokenizer
from diptych.text.tokenizer_files import read_bytes, read_text
from diptych.tokens import Tokens

if TYPE_CHECKING:
    from torch import Tensor

Family = Literal["sentence_piece", "word_piece"]

_PUNCTUATION = str.maketrans("", "", string.punctuation)


def canonical(text: str) -> str:
    """A text as SigLIP was trained on it: no punctuation, lower case, single spaces, underscores being spaces.

    >>> canonical("A  photo_of AT&T's café!")
    'a photo of atts café'
    """
    return " ".join(text.replace("_", " ").translate(_PUNCTUATION).lower().split())


def as_it_is(text: str) -> str:
    """WordPiece cleans by itself."""
    return text


_CLEANING: dict[Family, Callable[[str], str]] = {"sentence_piece": canonical, "word_piece": as_it_is}
_FILES = ("tokenizer.json", "vocab.txt", "spiece.model", "tokenizer.model")
_PADDING, _ENDS = ("<pad>", "[PAD]"), ("</s>", "<eos>", "[SEP]")


class PretrainedTokenizer:
    """A vocabulary that is used as it is found; texts to ``Tokens`` and back.

    content: the text of a ``tokenizer.json``, or the bytes of a SentencePiece model.
    family:  decides how texts are cleaned.
    pad_id:  what follows a text; by default the vocabulary's padding token, else its end token. SigLIP's has a padding
             token and was trained with the end token all the same.

    Raises TokenizerError where the content is no tokenizer or has no end token.
    """

    def __init__(self, content: str | bytes, *, family: Family, context_length: int, pad_id: int | None = None) -> None:
        if context_length < 2:
            raise ConfigError(f"context_length must leave room for an end token, not {context_length}")
        self.content, self.family, self.context_length = content, family, context_length
        engine: Engine = JsonEngine(content) if isinstance(content, str) else SentencePieceEngine(content)
        self._engine = engine
        self.vocabulary_size = engine.size
        self.end_id = _first(engine, _ENDS, "end token")
        self._own_padding = next((i for token in _PADDING if (i := engine.id_of(token)) is not None), self.end_id)
        self.pad_id = self._own_padding if pad_id is None else pad_id
        self.start_id = engine.id_of("[CLS]")

    @classmethod
    def from_files(
        cls, folder: str | Path, *, family: Family, context_length: int, pad_id: int | None = None
    ) -> PretrainedTokenizer:
        """From a folder with a ``tokenizer.json``, BERT's ``vocab.txt`` or a SentencePiece model; or from one of these
        files. The folder's ``tokenizer_config.json`` says what pads, else ``pad_id``. Raises TokenizerError."""
        path, padding = Path(folder), None
        if path.is_dir():
            there = [path / name for name in _FILES if (path / name).is_file()]
            if not there:
                raise TokenizerError(f"{path} holds no tokenizer; expected one of {', '.join(_FILES)}")
            path, padding = there[0], tokenizer_files.stored_padding(path / "tokenizer_config.json")
        config = path.with_name("tokenizer_config.json")
        cleaning = word_pieces.cleaning(config) if config.is_file() and path.suffix != ".model" else {}
        most = word_pieces.LARGEST_FILE if path.suffix == ".txt" else tokenizer_files.LARGEST_FILE
        content = read_bytes(path, most) if path.suffix == ".model" else read_text(path, most)
        if path.suffix == ".txt":
            content = word_pieces.to_json(str(content), cleaning, path)
        elif isinstance(content, str):
            word_pieces.check_case(content, cleaning, path)
        read = cls(content, family=family, context_length=context_length, pad_id=pad_id)
        return read if padding is None else read.padded_with(padding, config)

    def padded_with(self, token: str | int, where: str | Path = "the model") -> PretrainedTokenizer:
        """The same vocabulary, texts being followed by this token or id; TokenizerError where it is not there."""
        pad_id = self._engine.id_of(token) if isinstance(token, str) else token
        if pad_id is None or not 0 <= pad_id < self.vocabulary_size:
            raise TokenizerError(f"{where} pads with {token!r:.80}, which the vocabulary does not have")
        return _restore(self.content, self.family, self.context_length, pad_id)

    def __call__(self, texts: str | Sequence[str]) -> Tokens:
        """``Tokens`` of one text or of several; past ``context_length`` they are cut, their end token kept."""
        rows = [self.encode(text) for text in ([texts] if isinstance(texts, str) else texts)]
        return to_tokens(rows, limit=self.context_length, end_id=self.end_id, pad_id=self.pad_id)

    def encode(self, text: str) -> list[int]:
        """Ids of one text, special tokens included, however many they are."""
        if not isinstance(text, str):
            raise TokenizerError(f"a text must be a string, not {type(text).__name__}: {text!r:.80}")
        whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # halves of pairs are no text
        ids = self._engine.encode(_CLEANING[self.family](whole))
        return ids if ids and ids[-1] == self.end_id else [*ids, self.end_id]

    def decode(self, ids: Sequence[int] | Tensor) -> str:
        """Readable text of ids, special tokens and what follows the end token left out."""
        plain = [int(i) for i in ids]
        if wrong := [i for i in plain if not 0 <= i < self.vocabulary_size]:
            raise TokenizerError(f"there is no token {wrong[0]}; ids go from 0 to {self.vocabulary_size - 1}")
        return self._engine.decode(plain[: plain.index(self.end_id)] if self.end_id in plain else plain)

    def files(self) -> dict[str, bytes]:
        """The files that ``from_files`` reads and that Transformers' AutoTokenizer, and through it OpenCLIP, opens."""
        token = self._engine.token_of
        config: dict[str, Any] = {"pad_token": token(self.pad_id), "eos_token": token(self.end_id)}
        config |= {"unk_token": token(self._engine.unknown)} if self._engine.unknown is not None else {}
        config |= (
            {"cls_token": token(self.start_id), "sep_token": token(self.end_id)} if self.start_id is not None else {}
        )
        if isinstance(self.content, bytes):
            name, content, kind = "spiece.model", self.content, "SiglipTokenizer"
        else:
            name, content, kind = "tokenizer.json", self.content.encode(), "PreTrainedTokenizerFast"
        config |= {"tokenizer_class": kind, "model_max_length": self.context_length}
        return {name: content, "tokenizer_config.json": json.dumps(config, indent=2).encode()}

    @property
    def fingerprint(self) -> str:
        """SHA-256 over vocabulary, family, context length, and padding where that is not the vocabulary's own."""
        content = self.content if isinstance(self.content, bytes) else self.content.encode()
        padding = "" if self.pad_id == self._own_padding else f" {self.pad_id}"
        return hashlib.sha256(f"{self.family} {self.context_length}{padding}\n".encode() + content).hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PretrainedTokenizer) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __repr__(self) -> str:
        return f"PretrainedTokenizer({self.family}, {self.vocabulary_size} entries, {self.context_length} long)"

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self.content, self.family, self.context_length, self.pad_id)


AnyTokenizer = Tokenizer | PretrainedTokenizer


def _restore(content: str | bytes, family: Family, context_length: int, pad_id: int) -> PretrainedTokenizer:
    return PretrainedTokenizer(content, family=family, context_length=context_length, pad_id=pad_id)


def _first(engine: Engine, names: Sequence[str], what: str) -> int:
    for name in names:
        if (found := engine.id_of(name)) is not None:
            return found
    raise TokenizerError(f"the tokenizer has no {what} ({', '.join(names)})")
