"""``diptych tokenizer``: vocabularies of one's own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import App

from diptych.cli.help import add_verb

if TYPE_CHECKING:
    from diptych.text.tokenizer import Tokenizer

LEARNED_FROM = 512  # the ids before are bytes


def train(
    source: str,
    /,
    *,
    out: Path,
    size: int = 49_408,
    split: str | None = None,
    captions: tuple[str, ...] | None = None,
    where: str | None = None,
) -> None:
    """Learn a byte-level byte-pair encoding with CLIP's conventions from the captions of a data set.

    Example:
        diptych tokenizer train pairs.csv --captions zh --size 8192 --out words
        diptych train small-photographs --data pairs.csv --captions zh --set vocabulary=words --out runs/zh

    Parameters
    ----------
    source
        A text file with a caption a line, a CSV, TSV, JSONL or Parquet file, which needs no images, or any other
        source.
    out
        A new folder; train takes it as its vocabulary, and Transformers' AutoTokenizer opens it.
    size
        Entries: 512 bytes, the two special tokens, and as many merges as fill the rest.
    split
        Which part of a folder that has several: train, val, test.
    captions
        Where captions stand: txt, json.captions.en, a column's name. May be repeated.
    where
        Take only samples in which this field is true: json.base.
    """
    from diptych.cli.output import check_writable, print_table
    from diptych.data.captions import captions_in
    from diptych.errors import DataError, TokenizerError
    from diptych.text.learning import check_size
    from diptych.text.tokenizer import Tokenizer

    check_size(size)  # before anything is read
    check_writable(out / "tokenizer.json")
    if out.is_dir() and (there := sorted(path.name for path in out.iterdir())):
        raise TokenizerError(f"{out} holds files already ({', '.join(there[:3])}); give a new folder")
    texts = list(captions_in(source, split=split, captions=captions or None, where=where))
    if not texts:
        raise DataError(f"{source} has no captions; give one that has")
    learned = Tokenizer.train(texts, vocabulary_size=size)
    learned.save(out)
    print_table(["", ""], _facts(learned, texts, size))
    print(f"the vocabulary is in {out}")


def _facts(learned: Tokenizer, texts: Sequence[str], size: int) -> list[list[str]]:
    encoded = [learned.encode(text) for text in texts]
    lengths = sorted(map(len, encoded))
    used = Counter(token for ids in encoded for token in set(ids))
    alone = sum(count == 1 for token, count in used.items() if token >= LEARNED_FROM)
    fewer = f" of {size:,} asked for; the texts hold no more pairs to merge" if learned.vocabulary_size < size else ""
    rows = [
        ["texts", f"{len(texts):,}"],
        ["entries", f"{learned.vocabulary_size:,}{fewer}"],
        ["learned for one text alone", f"{alone:,}{'; a smaller --size learns fewer by heart' if alone else ''}"],
        ["tokens a text, start and end included", f"{sum(lengths) / len(lengths):.1f}, at most {lengths[-1]}"],
    ]
    for text in texts[:2]:
        pieces = [learned.decode([token]) for token in learned.encode(text)[1:-1]]
        rows.append([text.strip()[:40], " | ".join(pieces)[:80]])
    return rows


tokenizer = App(name="tokenizer", help="Learn a vocabulary from captions, in any language.", help_format="plaintext")
add_verb(tokenizer, train)
