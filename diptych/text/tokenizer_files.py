"""Vocabularies on disk, read: files of merges, and the tokenizer files of Transformers and OpenCLIP."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Sequence
from io import BufferedReader
from pathlib import Path
from typing import Any, TypeAlias

from diptych.bounded import check_regular, read_bounded
from diptych.errors import TokenizerError
from diptych.text.tokenizer_checks import check_ids, check_steps

Merge: TypeAlias = tuple[str, str]

START, END, END_OF_WORD = "<|startoftext|>", "<|endoftext|>", "</w>"
RELEASED_MERGES = 48_894  # the released file holds 262,144; the released models use the first of them
LONGEST_LINE, LARGEST_MERGES = 4096, 16 << 20  # bytes; those of the released models have half a megabyte
MOST_TOKENS = 1 << 20  # the largest vocabularies of others have 900,000
LARGEST_FILE = 64 << 20  # that of SigLIP 2, with 256,000 entries, has 34 MB
LARGEST_CONFIG = 4 << 20
_LETTERS_A_LIST = 6  # at least, in any tokenizer's JSON: ["a",0],

# Words, as the released tokenizer finds them. It matches without regard to case, which makes a letter of U+0345, the
# one combining mark whose other case is a letter, and an abbreviation of an apostrophe before a long s.
_LETTER = r"\p{L}\x{345}"
WORDS = (
    r"<\|startoftext\|>|<\|endoftext\|>|(?i:'s|'t|'re|'ve|'m|'ll|'d)"
    rf"|[{_LETTER}]+|\p{{N}}|[^\s\p{{N}}{_LETTER}]+"
)


def _byte_symbols() -> dict[str, int]:
    """A printable character for each byte: itself where it is printable in Latin-1, else one past U+00FF."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}


BYTES = _byte_symbols()  # symbol to byte, in the order of the first 256 ids


def vocabulary(merges: Sequence[Merge]) -> list[str]:
    """The tokens of a list of merges in the order of their ids.

    Raises TokenizerError for a merge of symbols that are not there yet, or that makes a token that already is.
    """
    tokens = dict.fromkeys([*BYTES, *(symbol + END_OF_WORD for symbol in BYTES)])
    for i, (first, second) in enumerate(merges):
        for symbol in (first, second):
            if symbol not in tokens:
                raise TokenizerError(
                    f"merge {i + 1} joins {first!r:.80} and {second!r:.80}, but no token before is {symbol!r:.80}"
                )
        if first.endswith(END_OF_WORD):
            raise TokenizerError(f"merge {i + 1} goes on after the end of a word: {first!r:.80} and {second!r:.80}")
        if first + second in tokens:
            raise TokenizerError(f"merge {i + 1} makes {first + second!r:.80}, a token that is there already")
        tokens[first + second] = None
    return [*tokens, START, END]


def read_merges(path: Path) -> list[Merge]:
    """The merges of a text file, plain or gzip, with a header line: at most the 48,894 of the released models."""
    try:
        with _open(path) as lines:
            return list(_merge_lines(lines, path))
    except UnicodeDecodeError as problem:
        raise TokenizerError(f"{path} is not UTF-8 text, so it is no file of merges ({problem.reason})") from problem
    except (OSError, EOFError) as problem:  # a broken gzip stream is either
        raise TokenizerError(f"cannot read the merges file {path}: {problem}") from problem


def _open(path: Path) -> gzip.GzipFile | BufferedReader:
    check_regular(path)
    with path.open("rb") as file:
        is_gzip = file.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if is_gzip else path.open("rb")


def _merge_lines(lines: gzip.GzipFile | BufferedReader, path: Path) -> Iterator[Merge]:
    # Bounded reads: what claims to be merges may be a bomb of one endless line.
    read = 0
    for number in range(1, RELEASED_MERGES + 2):
        raw = lines.readline(LONGEST_LINE)
        if not raw:
            return
        if (read := read + len(raw)) > LARGEST_MERGES:
            raise TokenizerError(f"{path} unpacks to more than {LARGEST_MERGES >> 20} MB, so it is no file of merges")
        if len(raw) == LONGEST_LINE:
            raise TokenizerError(f"{path}, line {number}: longer than {LONGEST_LINE} bytes, so it is no file of merges")
        line = raw.decode("utf-8").rstrip("\r\n")
        if number == 1:
            if not line.lstrip('"').startswith(("#version", "bpe_simple_vocab")):
                raise TokenizerError(
                    f"{path}, line 1: {line!r:.60} is not the header of a file of merges ('#version: ...')"
                )
            continue
        parts = line.split(" ")
        if len(parts) != 2 or not all(parts):
            raise TokenizerError(f"{path}, line {number}: a merge is two symbols and a space, not {line!r:.60}")
        yield parts[0], parts[1]


def parse_json(text: str) -> list[Merge]:
    """The merges of a ``tokenizer.json``; its ids must be those that the merges give."""
    data, merges = load_json(text), parse_merges(text)
    expected = vocabulary(merges)
    check_ids(data["model"].get("vocab"), expected, "tokenizer.json")
    check_steps(data, len(expected))
    return merges


def parse_merges(text: str) -> list[Merge]:
    """The list of merges of a ``tokenizer.json``, written as pairs or as strings with a space."""
    model = load_json(text).get("model")
    if (
        not isinstance(model, dict)
        or model.get("type", "BPE") != "BPE"
        or model.get("end_of_word_suffix") != END_OF_WORD
    ):
        raise TokenizerError(
            f"tokenizer.json holds no byte-pair encoding with {END_OF_WORD!r} at the end of words, as CLIP's is"
        )
    merges = model.get("merges")
    if not isinstance(merges, list):
        raise TokenizerError("tokenizer.json has no list of merges")
    pairs = [tuple(merge.split(" ")) if isinstance(merge, str) else merge for merge in merges]
    for i, pair in enumerate(pairs):
        if (
            not isinstance(pair, list | tuple)
            or len(pair) != 2
            or not all(isinstance(part, str) and part for part in pair)
        ):
            raise TokenizerError(f"tokenizer.json, merge {i + 1}: a merge is two symbols, not {merges[i]!r:.60}")
    return [(first, second) for first, second in pairs]


def load_json(text: str, where: str = "tokenizer.json") -> dict[str, Any]:
    """The object in a text; TokenizerError where there is none, or where it is mostly brackets: each becomes a list of
    dozens of bytes."""
    if text.count("[") + text.count("{") > 1000 + len(text) // _LETTERS_A_LIST:
        raise TokenizerError(f"{where} is not JSON of a tokenizer: it is mostly brackets")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise TokenizerError(f"{where} is not JSON: {problem}") from problem
    if not isinstance(data, dict):
        raise TokenizerError(f"{where} holds {type(data).__name__}, not an object")
    return data


def read_folder(folder: Path) -> tuple[list[Merge], int | None]:
    """Merges and, where ``tokenizer_config.json`` says it, context length of a folder."""
    if (folder / "tokenizer.json").is_file():
        merges = parse_json(read_text(folder / "tokenizer.json"))
    elif (folder / "merges.txt").is_file():
        merges = read_merges(folder / "merges.txt")
        if (beside := folder / "vocab.json").is_file():
            check_ids(load_json(read_text(beside), str(beside)), vocabulary(merges), str(beside))
    else:
        raise TokenizerError(f"{folder} holds neither tokenizer.json nor merges.txt")
    return merges, stored_context_length(folder / "tokenizer_config.json")


def stored_context_length(path: Path) -> int | None:
    """The length of texts that ``tokenizer_config.json`` gives, if it does."""
    if not path.is_file():
        return None
    length = read_config(path).get("model_max_length")
    # Transformers writes 1e30 for "no limit".
    return length if isinstance(length, int) and 2 <= length < 1_000_000 else None


def stored_padding(path: Path) -> str | None:
    """The padding token that ``tokenizer_config.json`` names, if it does."""
    token = read_config(path).get("pad_token") if path.is_file() else None
    token = token.get("content") if isinstance(token, dict) else token
    return token if isinstance(token, str) else None


def read_config(path: Path) -> dict[str, Any]:
    """What a ``tokenizer_config.json`` says; TokenizerError."""
    return load_json(read_text(path, LARGEST_CONFIG), str(path))


def read_text(path: Path, most: int = LARGEST_FILE) -> str:
    """A file of a tokenizer as text; TokenizerError where it cannot be read or has more than ``most`` bytes."""
    try:
        return read_bytes(path, most).decode("utf-8")
    except UnicodeDecodeError as problem:
        raise TokenizerError(f"cannot read {path}: {problem}") from problem


def read_bytes(path: Path, most: int = LARGEST_FILE) -> bytes:
    """The same as it lies there."""
    try:
        return read_bounded(path, most)
    except OSError as problem:
        raise TokenizerError(f"cannot read {path}: {problem}") from problem
