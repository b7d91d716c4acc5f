"""``diptych evaluate``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

from diptych.cli.reading import PLAIN, Reading


def evaluate(
    model: str,
    source: str,
    /,
    *,
    task: Literal["zero-shot", "retrieval"] | None = None,
    reading: Reading = PLAIN,
    distinct_captions: bool = False,
    templates: str | None = None,
    tokenizer: Path | None = None,
    activation: Literal["gelu", "quick_gelu", "gelu_tanh"] | None = None,
    precision: Literal["fp32", "fast"] = "fp32",
    out: Path | None = None,
    json: bool = False,
) -> None:
    """Evaluate a model on a data set, with 95 % intervals and chance beside each number.

    Example:
        diptych evaluate my-clip caltech101 --split test
        diptych evaluate my-clip "flickr8k/val-*.tar" --captions json.captions.en

    Parameters
    ----------
    model
        A folder, a .pt or .safetensors file, or hf:org/name[@revision].
    source
        Class folders, a CLIP_benchmark folder, webdataset tars, or a CSV, TSV, JSONL or Parquet file.
    task
        zero-shot or retrieval; by default what the source is made for.
    distinct_captions
        Equal captions of several images are one text with several right images.
    templates
        The prompts around a label: a built-in set (name, photo, photo-ensemble ...), or a file with one a line.
    tokenizer
        A file of merges, a tokenizer.json, a vocab.txt or a folder, for a model that brings none.
    activation
        gelu, quick_gelu or gelu_tanh, where the model's file itself cannot say which.
    precision
        fp32 or fast (bfloat16).
    out
        Write the whole result, predictions included, to this JSON file.
    json
        Print the result as JSON instead of a table.
    """
    from diptych.cli.output import check_writable
    from diptych.data.sources import open_source
    from diptych.encoder.loading import load
    from diptych.evaluation import tasks

    if out is not None:
        check_writable(out)
    opened = open_source(source, split=reading.split, captions=reading.captions or None, where=reading.where)
    clip = load(model, tokenizer=tokenizer, activation=activation, precision=precision)
    result = tasks.evaluate(clip, opened, task, templates=templates, distinct_captions=distinct_captions)
    print(result.to_json().rstrip("\n") if json else result)
    if out is not None:  # after it was shown, lest a disk that is full lose it
        print(f"the result is in {result.save(out)}", file=sys.stderr)  # stdout may be read as JSON
    for problem in result.skipped[:10]:
        print(f"skipped: {problem}", file=sys.stderr)
