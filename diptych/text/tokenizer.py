"""CLIP's byte-pair encoding: text to ``Tokens`` and back (paper, section 2.4).

The vocabulary is a list of merges and nothing else: 256 bytes, the same 256 bytes at the end of a word, one token a
merge, the start token, the end token. So the end token is the highest id, and the merges are all that travels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tokenizers
from tokenizers import models

from diptych.errors import ConfigError, TokenizerError
from diptych.text import learning, tokenizer_files, tokenizer_writing
from diptych.text.batching import to_tokens
from diptych.text.cleaning import clean
from diptych.text.tokenizer_files import BYTES, END, END_OF_WORD, START, Merge
from diptych.tokens import Tokens

if TYPE_CHECKING:
    from torch import Tensor

PAD_ID = 0
_RELEASED = "f61f2adf497e6f5357c347aeb4646fabe82f341e946de5bdec5d2858e41bef4a"  # SHA-256 of the released merges


class Tokenizer:
    """CLIP's byte-pair encoding over one list of merges. Cheap to pickle; starts no thread, survives a fork.

    merges:         pairs of symbols in the order in which they were learned.
    context_length: longer texts are cut to this many ids, the end token kept.

    Raises TokenizerError where the merges cannot be a vocabulary.

    >>> tokenizer = Tokenizer.train(["a red cat", "a red dog"], vocabulary_size=520, context_length=8)
    >>> tokenizer.decode(tokenizer.encode("A red   CAT"))
    'a red cat'
    """

    pad_id = PAD_ID
    family: Literal["clip_byte_pair"] = "clip_byte_pair"

    def __init__(self, merges: Sequence[Merge], *, context_length: int = 77) -> None:
        _check_context(context_length)
        self.context_length = context_length
        self._merges = tuple(merges)
        self._vocabulary = tokenizer_files.vocabulary(self._merges)
        self.vocabulary_size = len(self._vocabulary)
        self.start_id = self.vocabulary_size - 2
        self.end_id = self.vocabulary_size - 1
        self._splitter, self._pairs = learning.splitter(), _byte_pairs(self._vocabulary, self._merges)
        self._encoder = tokenizers.Tokenizer(self._pairs)
        self._encoder.pre_tokenizer = self._splitter

    @classmethod
    def from_merges(cls, path: str | Path, *, context_length: int = 77) -> Tokenizer:
        """From a file of merges, plain or gzip, such as the released ``bpe_simple_vocab_16e6.txt.gz``.

        Its first line is a header; of the released file only the first 48,894 merges count. Raises TokenizerError.
        """
        return cls(tokenizer_files.read_merges(Path(path)), context_length=context_length)

    @classmethod
    def from_json(cls, text: str, *, context_length: int = 77) -> Tokenizer:
        """From the text of a ``tokenizer.json`` that holds CLIP's byte-pair encoding. Raises TokenizerError."""
        return cls(tokenizer_files.parse_json(text), context_length=context_length)

    @classmethod
    def from_files(cls, folder: str | Path, context_length: int | None = None) -> Tokenizer:
        """From a folder with ``tokenizer.json`` or ``merges.txt``; where no ``context_length`` is given it is the one
        of ``tokenizer_config.json``, else 77. Raises TokenizerError."""
        merges, stored = tokenizer_files.read_folder(Path(folder))
        return cls(merges, context_length=context_length or stored or 77)

    @classmethod
    def train(cls, texts: Iterable[str], *, vocabulary_size: int, context_length: int = 77) -> Tokenizer:
        """Learn merges from texts; the vocabulary is smaller than asked for where the texts hold no more pairs.

        The same texts give the same merges, in any order; of a word of thousands of letters only the first
        count. Raises ConfigError where ``vocabulary_size`` has no room for the 512 byte tokens and the two special
        ones, or is beyond 4 million.
        """
        _check_context(context_length)  # before the work
        return cls(learning.merges(texts, vocabulary_size=vocabulary_size), context_length=context_length)

    def __call__(self, texts: str | Sequence[str]) -> Tokens:
        """``Tokens`` of one text or of several: int64 ids (B, longest of the batch) padded with 0.

        Texts past ``context_length`` are cut, their end token kept, and counted in ``Tokens.truncated``.
        A text with the end token's own name in it ends there: its length says so, as in the released model.
        """
        rows = [self.encode(text) for text in ([texts] if isinstance(texts, str) else texts)]
        return to_tokens(rows, limit=self.context_length, end_id=self.end_id, pad_id=PAD_ID)

    def encode(self, text: str) -> list[int]:
        """Ids of one text from start to end token, however many they are."""
        if not isinstance(text, str):
            raise TokenizerError(f"a text must be a string, not {type(text).__name__}: {text!r:.80}")
        text = clean(text)
        if START in text or END in text:
            return [self.start_id, *self._encode_with_special(text), self.end_id]
        return [self.start_id, *self._encoder.encode(text, add_special_tokens=False).ids, self.end_id]

    def _encode_with_special(self, text: str) -> Iterator[int]:
        """The released tokenizer takes the special tokens' names for the tokens where they stand as a word."""
        special = {START: self.start_id, END: self.end_id}
        for word, _ in self._splitter.pre_tokenize_str(text):
            if word in special:
                yield special[word]
            else:
                yield from (token.id for token in self._pairs.tokenize(word))

    def decode(self, ids: Sequence[int] | Tensor) -> str:
        """Readable text of ids: special tokens and what follows the end token left out, broken UTF-8 replaced.

        Raises TokenizerError for an id outside the vocabulary.
        """
        text = bytearray()
        for token_id in map(int, ids):
            if not 0 <= token_id < self.vocabulary_size:
                raise TokenizerError(f"there is no token {token_id}; ids go from 0 to {self.end_id}")
            if token_id == self.end_id:
                break
            if token_id == self.start_id:
                continue
            token = self._vocabulary[token_id]
            text += bytes(BYTES[symbol] for symbol in token.removesuffix(END_OF_WORD))
            if token.endswith(END_OF_WORD):
                text += b" "
        return text.decode("utf-8", errors="replace").strip()

    def to_json(self) -> str:
        """The text of a ``tokenizer.json``, with the normalisation and the special tokens that it needs on its own."""
        return tokenizer_writing.to_json(self._encoder.to_str(), self.start_id, self.end_id)

    def files(self) -> dict[str, bytes]:
        """Files that ``from_files`` reads and that Transformers' AutoTokenizer, and through it OpenCLIP, opens."""
        return tokenizer_writing.to_files(self.to_json(), self.context_length)

    def save(self, folder: str | Path) -> Path:
        """Write these files into a new folder, or over those of another vocabulary; TokenizerError where that cannot
        be, or the folder holds anything else, such as a model, which would get wrong ids."""
        return tokenizer_writing.write(Path(folder), self.files())

    @property
    def is_released(self) -> bool:
        """Whether the merges are those of the released models."""
        return hashlib.sha256("\n".join(map(" ".join, self._merges)).encode()).hexdigest() == _RELEASED

    @property
    def fingerprint(self) -> str:
        """SHA-256 over merges and context length: equal where every text gets equal ids."""
        content = "\n".join([str(self.context_length), *map(" ".join, self._merges)])
        return hashlib.sha256(content.encode()).hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tokenizer) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __repr__(self) -> str:
        return f"Tokenizer(vocabulary_size={self.vocabulary_size}, context_length={self.context_length})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, ("\n".join(map(" ".join, self._merges)), self.context_length)


def _check_context(length: int) -> None:
    if length < 2:
        raise ConfigError(f"context_length must leave room for the start and end token (2), not {length}")


def _restore(merges: str, context_length: int) -> Tokenizer:
    return Tokenizer([_pair(line) for line in merges.splitlines()], context_length=context_length)


def _pair(line: str) -> Merge:
    first, second = line.split(" ")
    return first, second


def _byte_pairs(vocabulary: Sequence[str], merges: Sequence[Merge]) -> models.BPE:
    ids = {token: token_id for token_id, token in enumerate(vocabulary)}
    return models.BPE(vocab=ids, merges=list(merges), end_of_word_suffix=END_OF_WORD)
