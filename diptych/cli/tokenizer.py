"""``diptych tokenizer``: vocabularies of one's own."""

from __future__ import annotations

from pathlib import Path

from cyclopts import App

from diptych.cli.help import add_verb


def train(
    source: str,
    /,
    *,
    out: Path,
    size: int = 49_408,
    context_length: int = 77,
    split: str | None = None,
    captions: tuple[str, ...] | None = None,
    where: str | None = None,
) -> None:
    """Learn a byte-level byte-pair encoding with CLIP's conventions from the captions of a data set.

    Example:
        diptych tokenizer train flickr8k --split train --captions json.captions.zh --size 8192 --out zh
        diptych train small-photographs --data flickr8k --set vocabulary=zh --out runs/zh

    Parameters
    ----------
    source
        Class folders, webdataset tars, or a CSV, TSV, JSONL or Parquet file.
    out
        The folder to write; train takes it as its vocabulary, and Transformers' AutoTokenizer opens it.
    size
        Entries: 512 bytes, the two special tokens, and as many merges as fill the rest.
    context_length
        Longer texts will be cut to this many tokens.
    split
        Which part of a folder that has several: train, val, test.
    captions
        Where captions stand: txt, json.captions.en, a column's name. May be repeated.
    where
        Take only samples in which this field is true: json.base.
    """
    from diptych.cli.output import print_table
    from diptych.data.sources import captions_of, open_source
    from diptych.progress import progress
    from diptych.text.tokenizer import Tokenizer

    opened = open_source(source, split=split, captions=captions or None, where=where)
    samples = progress(range(len(opened)), "reading captions")
    texts = [caption for index in samples for caption in captions_of(opened, index)]
    learned = Tokenizer.train(texts, vocabulary_size=size, context_length=context_length)
    learned.save(out)
    lengths = [len(learned.encode(text)) for text in texts]
    cut = sum(length > context_length for length in lengths)
    rows = [
        ["texts", f"{len(texts):,}"],
        ["entries", f"{learned.vocabulary_size:,}"],
        ["tokens a text, start and end included", f"{sum(lengths) / max(1, len(lengths)):.1f}"],
        [f"texts longer than {context_length}", f"{cut:,}"],
    ]
    for text in texts[:2]:
        pieces = [learned.decode([token]) for token in learned.encode(text)[1:-1]]
        rows.append([text[:40], " | ".join(pieces)[:80]])
    print_table(["", ""], rows)
    print(f"the vocabulary is in {out}")


tokenizer = App(name="tokenizer", help="Learn a vocabulary from captions, in any language.", help_format="plaintext")
add_verb(tokenizer, train)
