"""Vocabularies on disk: files of merges, and the tokenizer files that Transformers and OpenCLIP open."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from io import BufferedReader
from pathlib import Path
from typing import Any, TypeAlias

from diptych.bounded import check_regular, read_bounded
from diptych.errors import TokenizerError
from diptych.text.tokenizer_checks import check_ids, check_steps

Merge: TypeAlias = tuple[str, str]

START, END, END_OF_WORD = "<|startoftext|>", "<|endoftext|>", "</w>"
RELEASED_MERGES = 48_894  # the released file holds 262,144; the released models use the first of them
LONGEST_LINE = 4096
LARGEST_FILE = 64 << 20  # that of SigLIP 2, with 256,000 entries, has 34 MB

# Words, as the released tokenizer finds them. It matches without regard to case, which makes a letter of U+0345, the
# one combining mark whose other case is a letter, and an abbreviation of an apostrophe before a long s.
_LETTER = r"\p{L}\x{345}"
WORDS = (
    r"<\|startoftext\|>|<\|endoftext\|>|(?i:'s|'t|'re|'ve|'m|'ll|'d)"
    rf"|[{_LETTER}]+|\p{{N}}|[^\s\p{{N}}{_LETTER}]+"
)
# Lower-casing one letter at a time misses the one letter whose lower case depends on its place, the Greek sigma.
_FINAL_SIGMA = r"(?<=\p{Cased}\p{Case_Ignorable}*)Σ(?!\p{Case_Ignorable}*\p{Cased})"


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
    for number in range(1, RELEASED_MERGES + 2):
        raw = lines.readline(LONGEST_LINE)
        if not raw:
            return
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
    """The object in a text; TokenizerError where there is none."""
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
    return merges, _stored_context_length(folder / "tokenizer_config.json")


def _stored_context_length(path: Path) -> int | None:
    if not path.is_file():
        return None
    length = load_json(read_text(path)).get("model_max_length")
    # Transformers writes 1e30 for "no limit".
    return length if isinstance(length, int) and 2 <= length < 1_000_000 else None


def read_text(path: Path) -> str:
    """A file of a tokenizer as text; TokenizerError where it cannot be read or is larger than any of them."""
    try:
        return read_bytes(path).decode("utf-8")
    except UnicodeDecodeError as problem:
        raise TokenizerError(f"cannot read {path}: {problem}") from problem


def read_bytes(path: Path) -> bytes:
    """The same as it lies there."""
    try:
        return read_bounded(path, LARGEST_FILE)
    except OSError as problem:
        raise TokenizerError(f"cannot read {path}: {problem}") from problem


def write(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Write files into a folder, each whole or not at all; TokenizerError where that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            partial = folder / f".{name}.partial"
            partial.write_bytes(content)
            partial.replace(folder / name)
    except OSError as problem:
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
