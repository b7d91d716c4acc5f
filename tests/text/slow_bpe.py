"""Byte-pair encoding as the released models' rules put it, written plainly and slowly, to compare with."""

import gzip
import html
import itertools
import unicodedata
from pathlib import Path

import ftfy

START, END = "<|startoftext|>", "<|endoftext|>"
ABBREVIATIONS = ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d")


def byte_names() -> list[tuple[int, str]]:
    """The bytes in the order of their ids, each with the character that stands for it in the vocabulary."""
    shown = [b for b in range(256) if 33 <= b <= 126 or 161 <= b <= 172 or 174 <= b <= 255]
    hidden = [b for b in range(256) if b not in shown]
    return [(b, chr(b)) for b in shown] + [(b, chr(256 + i)) for i, b in enumerate(hidden)]


def is_letter(character: str) -> bool:
    # matching without case takes U+0345 for a letter, because the Greek iota is its other case
    return unicodedata.category(character).startswith("L") or character == "\u0345"


def is_number(character: str) -> bool:
    return unicodedata.category(character).startswith("N")


def words(text: str) -> list[str]:
    found, i = [], 0
    while i < len(text):
        folded = text[i:].lower().replace("\u017f", "s")  # a long s is an s but for its case
        literal = next((w for w in (START, END, *ABBREVIATIONS) if folded.startswith(w)), None)
        if literal:
            end = i + len(literal)
        elif text[i].isspace():
            i += 1
            continue
        elif is_number(text[i]):
            end = i + 1
        else:
            letters = is_letter(text[i])
            end = i + 1
            while end < len(text) and not text[end].isspace() and not is_number(text[end]):
                if is_letter(text[end]) != letters:
                    break
                end += 1
        found.append(text[i:end])
        i = end
    return found


class SlowTokenizer:
    def __init__(self, merges: list[tuple[str, str]]) -> None:
        self.name = dict(byte_names())
        tokens = [name for _, name in byte_names()]
        tokens += [f"{token}</w>" for token in tokens] + ["".join(merge) for merge in merges] + [START, END]
        self.ids = {token: i for i, token in enumerate(tokens)}
        self.rank = {merge: i for i, merge in enumerate(merges)}

    @classmethod
    def released(cls, path: Path) -> "SlowTokenizer":
        lines = gzip.decompress(path.read_bytes()).decode().split("\n")
        return cls([tuple(line.split(" ")) for line in lines[1 : 1 + 49152 - 256 - 2]])

    def encode(self, text: str) -> list[int]:
        text = html.unescape(html.unescape(ftfy.fix_text(text)))
        text = " ".join(text.split()).lower()
        ids = [self.ids[START]]
        for word in words(text):
            ids += [self.ids[word]] if word in (START, END) else [self.ids[symbol] for symbol in self.merge(word)]
        return [*ids, self.ids[END]]

    def merge(self, word: str) -> list[str]:
        symbols = [self.name[byte] for byte in word.encode()]
        symbols[-1] += "</w>"
        while len(symbols) > 1:
            pairs = list(itertools.pairwise(symbols))
            best = min(pairs, key=lambda pair: self.rank.get(pair, len(self.rank)))
            if best not in self.rank:
                break
            joined, i = [], 0
            while i < len(symbols):
                step = 2 if tuple(symbols[i : i + 2]) == best else 1
                joined.append("".join(symbols[i : i + step]))
                i += step
            symbols = joined
        return symbols
