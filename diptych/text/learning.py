"""Learning the merges of CLIP's byte-pair encoding from texts."""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Generator, Iterable
from contextlib import contextmanager

import tokenizers
from tokenizers import Regex, models, pre_tokenizers, trainers

from diptych.errors import ConfigError
from diptych.text import tokenizer_files
from diptych.text.cleaning import clean
from diptych.text.tokenizer_files import BYTES, END_OF_WORD, Merge

SMALLEST, LARGEST = 2 * len(BYTES) + 2, 1 << 22
_ENDLESS = re.compile(r"(\S{5000})\S+")  # learning takes time quadratic in the length of a word


def merges(texts: Iterable[str], *, vocabulary_size: int) -> list[Merge]:
    """The merges that fill a vocabulary of this size, fewer where the texts hold no more pairs."""
    check_size(vocabulary_size)
    trainer = trainers.BpeTrainer(
        # All of them at once: by themselves, word-final symbols would get ids in an order that changes from call to
        # call, and ids decide between pairs that are equally frequent.
        special_tokens=[symbol + END_OF_WORD for symbol in sorted(BYTES)],
        vocab_size=vocabulary_size,
        initial_alphabet=sorted(BYTES),
        end_of_word_suffix=END_OF_WORD,
        show_progress=False,
    )
    learner = tokenizers.Tokenizer(models.BPE(end_of_word_suffix=END_OF_WORD))
    learner.pre_tokenizer = splitter()
    with _one_thread(), _interruptible():
        learner.train_from_iterator((_ENDLESS.sub(r"\1", clean(text)) for text in texts), trainer)
    return tokenizer_files.parse_merges(learner.to_str())[: vocabulary_size - SMALLEST]


def check_size(vocabulary_size: int) -> None:
    """Raises ConfigError for a size that no vocabulary can have."""
    if not SMALLEST <= vocabulary_size <= LARGEST:
        raise ConfigError(
            f"vocabulary_size is {vocabulary_size}, but must be from {SMALLEST}, which bytes and special tokens alone "
            f"take, to {LARGEST:,}"
        )


def splitter() -> pre_tokenizers.PreTokenizer:
    """Texts to words, as the released tokenizer finds them, and words to the symbols of their bytes."""
    pattern = Regex(tokenizer_files.WORDS)
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(pattern, behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


@contextmanager
def _interruptible() -> Generator[None]:
    """Let Ctrl-C end the process while the library learns: Python would tell of it only afterwards."""
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def _one_thread() -> Generator[None]:
    """Keep ``tokenizers`` from starting threads: it warns, on stderr, in every process forked after it once did."""
    before = os.environ.get("TOKENIZERS_PARALLELISM")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    try:
        yield
    finally:
        if before is None:
            del os.environ["TOKENIZERS_PARALLELISM"]
        else:
            os.environ["TOKENIZERS_PARALLELISM"] = before
