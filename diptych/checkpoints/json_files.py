"""The small JSON files of a checkpoint: configs, descriptions, preprocessors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from diptych.bounded import read_bounded
from diptych.checkpoints.contents import PREPROCESSOR, PROCESSOR, Contents
from diptych.errors import CheckpointError

_LARGEST_CONFIG = 4 << 20
_LETTERS_A_LIST = 6
_NOTES = ("image_processor_type", "feature_extractor_type", "processor_class", "data_format", "device")


def read_json(path: Path) -> dict[str, Any]:
    """The object in a small file; CheckpointError where there is none."""
    try:
        return parsed(read_bounded(path, _LARGEST_CONFIG).decode("utf-8"), path)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{path} is not JSON: {error}") from error


def parsed(text: str, path: Path) -> dict[str, Any]:
    """The object in a text that was found in ``path``; CheckpointError where there is none."""
    if text.count("[") + text.count("{") > 1000 + len(text) // _LETTERS_A_LIST:  # each becomes dozens of bytes
        raise CheckpointError(f"{path} is not JSON of a model: it is mostly brackets")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} holds no JSON object")
    return value


def read_preprocessor(folder: Path, contents: Contents) -> dict[str, Any] | None:
    """What Transformers' image processor is told: ``preprocessor_config.json``, or, as Transformers 5 writes it, the
    ``image_processor`` in ``processor_config.json``; None where neither says.

    Raises CheckpointError where both do and they disagree.
    """
    old = read_json(folder / PREPROCESSOR) if PREPROCESSOR in contents.configs else None
    new = read_json(folder / PROCESSOR).get("image_processor") if PROCESSOR in contents.configs else None
    if new is None:
        return old
    if not isinstance(new, dict):
        raise CheckpointError(f"{folder / PROCESSOR}: image_processor is {new!r:.80}, but must be an object")
    new = {key: value for key, value in new.items() if value is not None}  # it writes out what it leaves open
    keys = sorted({*(old or {}), *new} - {*_NOTES})
    if old is not None and (differing := [key for key in keys if old.get(key) != new.get(key)]):
        raise CheckpointError(
            f"{PREPROCESSOR} and {PROCESSOR} of {folder} disagree about {', '.join(differing[:4])}; take the wrong one "
            "out"
        )
    return new
