"""Data sets of one's own, described in a TOML file, one ``[[dataset]]`` each.

[[dataset]]
name = "our-cats"                # needed
location = "data/cats"           # needed; a path is relative to this file
metric = "acc1"                  # or mean_per_class_recall, map11, roc_auc, mean_acc1_acc5
split = "test"
templates = ["a cat called {}."] # or the name of a prompt set, or a file of templates; by default those of the data
classes = ["tom|tomcat", "puss"] # or a file of class names; by default those of the data
classes_of = "pets"              # whose classes it has, for accuracy under shift
"""

from __future__ import annotations

import tomllib
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from diptych.bounded import read_bounded
from diptych.errors import ConfigError, DataError, nearest
from diptych.evaluation.datasets import DATASETS, Kind, Metric, Row, metric_misfit
from diptych.text import class_names, prompts

KEYS = ("name", "location", "metric", "split", "templates", "classes", "classes_of")
_LARGEST = 1 << 20
_KINDS: dict[str, Kind] = {"map11": "multi-label", "roc_auc": "binary", "image_retrieval_recall@1": "retrieval"}


def read_rows(path: str | Path) -> tuple[Row, ...]:
    """The rows of a TOML file. Raises ConfigError that names file, row and key for whatever is wrong in it."""
    path = Path(path)
    try:
        data = tomllib.loads(read_bounded(path, _LARGEST).decode("utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as problem:
        raise ConfigError(f"cannot read the data sets of {path}: {problem}") from problem
    rows = data.pop("dataset", None)
    if data:
        unknown = next(iter(data))
        raise ConfigError(f"{path}: there is no {unknown!r} at its top; {nearest(unknown, ['dataset'])}")
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise ConfigError(f"{path} has no rows; each begins with [[dataset]]")
    found = tuple(_row(row, f"{path}, row {number}", path.parent) for number, row in enumerate(rows, 1))
    names = [row.name for row in found]
    for row in found:
        if row.classes_of and row.classes_of not in (*names, *DATASETS):
            others = nearest(row.classes_of, (*names, *DATASETS))
            raise ConfigError(f"{path} ({row.name}): there is no data set {row.classes_of!r} (classes_of); {others}")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(f"{path}: two rows are called {twice!r}")
    return found


def _row(data: Mapping[str, Any], where: str, folder: Path) -> Row:
    for key in data:
        if key not in KEYS:
            raise ConfigError(f"{where}: there is no key {key!r}; {nearest(key, KEYS)}")
    name, location = (_text(data, key, where, needed=True) for key in ("name", "location"))
    where = f"{where} ({name})"
    if name in DATASETS:
        raise ConfigError(f"{where}: {name!r} is the name of a data set that is known; take another")
    metric = _choice(data, "metric", get_args(Metric), "acc1", where)
    names = _classes(data.get("classes"), f"{where}: classes", folder)
    if names and (misfit := metric_misfit(metric, len(names))):
        raise ConfigError(f"{where}: {misfit}")
    return Row(
        name=name,
        title=name,
        metric=metric,
        kind=_KINDS.get(metric, "single label"),
        classes=len(names) or None,
        split=_text(data, "split", where) or "test",
        prompts="",
        location=location if ":" in location.partition("/")[0] else str(folder / location),
        templates=_templates(data.get("templates"), f"{where}: templates", folder),
        class_names=names,
        classes_of=_text(data, "classes_of", where),
    )


def _text(data: Mapping[str, Any], key: str, where: str, *, needed: bool = False) -> str:
    value = data.get(key, "")
    if not isinstance(value, str) or (needed and not value.strip()):
        raise ConfigError(f"{where}: {key} must be a text{' and be there' if needed else ''}, not {value!r:.80}")
    if wrong := [character for character in value if unicodedata.category(character) == "Cc"]:
        raise ConfigError(f"{where}: {key} is {value!r:.80}, with the control character {wrong[0]!r}")
    return value


def _choice(data: Mapping[str, Any], key: str, choices: tuple[Any, ...], default: Any, where: str) -> Any:
    value = data.get(key, default)
    if value not in choices:
        raise ConfigError(f"{where}: there is no {key} {value!r:.80}; {nearest(str(value), choices)}")
    return value


def _templates(value: Any, where: str, folder: Path) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, str | list):
        raise ConfigError(f"{where} must be a name, a file or a list of texts, not {value!r:.80}")
    file = folder / value if isinstance(value, str) and value not in prompts.TEMPLATES else None
    try:
        return prompts.templates(file if file and file.is_file() else value)
    except ConfigError as problem:
        raise ConfigError(f"{where}: {problem}") from problem


def _classes(value: Any, where: str, folder: Path) -> tuple[tuple[str, ...], ...]:
    if value is None:
        return ()
    try:
        if isinstance(value, str):
            return class_names.read(folder / value)
        if isinstance(value, list) and value and all(isinstance(line, str) for line in value):
            return tuple(class_names.split(line, f"number {number}") for number, line in enumerate(value, 1))
    except DataError as problem:
        raise ConfigError(f"{where}: {problem}") from problem
    raise ConfigError(f"{where} must be a file or a list of texts, not {value!r:.80}")
