"""What a CLIP_benchmark folder says of itself beside its tars: classes, templates, and which kind of labels it has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from diptych.data.fields import checked_class_names
from diptych.data.files import printable, read_lines, text_lines
from diptych.errors import DataError, nearest

CLASSES, TEMPLATES, TYPE = "classnames.txt", "zeroshot_classification_templates.txt", "dataset_type.txt"
TYPES = ("classification", "multilabel", "retrieval")


@dataclass(frozen=True)
class Described:
    """``multilabel``: labels are in ``KEY.npy``, one number a class, 1 where it is shown; else in ``KEY.cls``."""

    class_names: tuple[str, ...] | None = None
    templates: tuple[str, ...] | None = None
    multilabel: bool = False


def described(folder: Path) -> Described:
    """By the files in a folder here, none of which need be there. Raises DataError where one makes no sense."""
    return of_lines(str(folder), {name: read_lines(folder / name) for name in (CLASSES, TEMPLATES, TYPE)})


def of_bytes(where: str, files: dict[str, bytes | None]) -> Described:
    """By what the files of those names hold; None for one that is not there."""
    found = {}
    for name, content in files.items():
        try:
            found[name] = None if content is None else text_lines(content)
        except UnicodeDecodeError as error:
            raise DataError(f"{where}/{name} is not UTF-8 ({error})") from error
    return of_lines(where, found)


def of_lines(where: str, files: dict[str, list[str] | None]) -> Described:
    """By the lines of the files of those names; None for one that is not there."""
    names, templates, kind = (files.get(name) for name in (CLASSES, TEMPLATES, TYPE))
    return Described(
        None if names is None else checked_class_names(f"{where}/{CLASSES}", names),
        None if templates is None else tuple(line for line in templates if line),
        _type(f"{where}/{TYPE}", kind) == "multilabel",
    )


def _type(file: str, lines: Sequence[str] | None) -> str:
    if not lines:
        return "classification"
    kind = lines[0].lower()
    if kind not in TYPES:
        raise DataError(f"{printable(file)} holds {kind[:40]!r}; {nearest(kind, TYPES)}")
    return kind
