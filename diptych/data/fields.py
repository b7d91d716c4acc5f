"""The named fields of a sample (``jpg``, ``txt``, ``json`` ...): choosing its image, captions and label, and
filtering."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from diptych.data.files import read_lines
from diptych.data.multi_hot import labels_of_npy
from diptych.data.sources import IMAGE_EXTENSIONS, Sample
from diptych.errors import DataError, UnknownClass
from diptych.progress import say

Fields = Mapping[str, bytes]

LOOKED_AT = 100  # samples, before a source is said to have no such captions


def sample_of(
    key: str,
    fields: Fields,
    captions: Sequence[str],
    class_captions: Sequence[Sequence[str]] = (),
    *,
    multilabel: bool = False,
) -> Sample:
    """The sample that the fields make: its image, the captions found in the fields named, its label (``cls``).

    ``class_captions``: captions for each label, for samples that have none of their own. ``multilabel``: labels are
    several, in ``npy``. Raises DataError where there is no image, a caption is not UTF-8 or a label is none.
    """
    image = next((fields[extension] for extension in IMAGE_EXTENSIONS if extension in fields), None)
    if image is None:
        raise DataError(f"{key} has no image; its fields are {', '.join(fields) or 'none'}")
    texts = tuple(dict.fromkeys(text for field in captions for text in texts_of(key, fields, field)))
    if multilabel:
        labels = labels_of_npy(key, fields["npy"], len(class_captions) or None) if "npy" in fields else None
        return Sample(image, texts, None, key, labels=labels)
    label = number_of_class(key, fields)
    if label is not None and class_captions:
        if not 0 <= label < len(class_captions):
            raise UnknownClass.of(f"{key}.cls is", label, len(class_captions))
        texts = texts or tuple(class_captions[label])
    return Sample(image, texts, label, key)


def number_of_class(key: str, fields: Fields) -> int | None:
    """The label in ``cls``; None where there is none."""
    if "cls" not in fields:
        return None
    try:
        return int(fields["cls"])
    except ValueError as error:
        raise DataError(f"{key}.cls is {fields['cls'][:40]!r}, not the number of a class") from error


def texts_of(key: str, fields: Fields, field: str) -> list[str]:
    """The captions in one field, stripped, empty ones left out: the lines of ``txt``, or what a path into JSON leads
    to."""
    value = value_of(key, fields, field)
    if isinstance(value, str) and "." not in field:
        value = value.splitlines()
    values = value if isinstance(value, list) else [value]
    return [text for item in values if isinstance(item, str) and (text := item.strip())]


def value_of(key: str, fields: Fields, field: str) -> Any:
    """What a field such as ``txt`` or ``json.captions.en`` holds; None where it is not there."""
    name, *path = field.split(".")
    if name not in fields:
        return None
    try:
        value: Any = json.loads(fields[name]) if path else fields[name].decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{key}.{name} is not UTF-8") from error
    except ValueError as error:
        raise DataError(f"{key}.{name} is not JSON: {error}") from error
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    return value


def kept(key: str, fields: Fields, where: str) -> bool:
    """Whether a sample passes a filter: ``json.base`` (is true) or ``json.vendor=noto`` (has this value)."""
    try:
        return passes(value_of(key, fields, where.partition("=")[0]), where)
    except DataError:
        return False


def passes(value: Any, where: str) -> bool:
    """Whether what the field of a filter holds lets a sample pass. Text that says no is not true."""
    _, equals, wanted = where.partition("=")
    if equals:
        return str(value).strip() == wanted
    return value.strip().lower() not in ("", "0", "false", "no") if isinstance(value, str) else bool(value)


def check_captions(samples: Iterable[Fields], captions: Sequence[str], name: str) -> None:
    """Look for the captions asked for in the first samples of a source. Raises DataError if none of them is there, and
    warns of one that is not."""
    looked_at, missing = [], list(captions)
    for fields in itertools.islice(samples, LOOKED_AT):
        missing = [field for field in missing if not _holds(name, fields, field)]
        if not missing:
            return
        looked_at.append(fields)
    if looked_at and len(missing) == len(captions):
        raise DataError(
            f"the first sample of {name} has no {' or '.join(captions)}; it has {', '.join(names(looked_at[0]))}"
        )
    if missing:
        say(f"warning: none of the first {len(looked_at)} samples of {name} has {' or '.join(missing)}")


def _holds(name: str, fields: Fields, field: str) -> bool:
    try:
        return value_of(name, fields, field) is not None
    except DataError:
        return False


def names(fields: Fields) -> list[str]:
    """The fields of a sample by all their paths: ``txt``, ``json``, ``json.captions`` ..."""
    found = []
    for name in fields:
        found.append(name)
        if name == "json":
            try:
                content = json.loads(fields[name])
            except ValueError:
                continue
            found += _paths(content, "json")
    return found


def _paths(value: Any, path: str) -> list[str]:
    if not isinstance(value, dict):
        return []
    return [found for key in value for found in (f"{path}.{key}", *_paths(value[key], f"{path}.{key}"))]


def class_captions(class_names: Sequence[str], templates: Sequence[str] | None) -> tuple[tuple[str, ...], ...]:
    """What the templates (``{c}`` or ``{}`` is the class) make of each class name; the names alone without
    templates."""
    return tuple(
        tuple(
            name.join(part.replace("{c}", name) for part in template.split("{}")) for template in templates or ("{}",)
        )
        for name in class_names
    )


def lines(file: Path) -> tuple[str, ...] | None:
    """The lines of a text file that are not blank; None where there is no such file."""
    found = read_lines(file)
    return None if found is None else tuple(line for line in found if line)


def class_names(file: Path) -> tuple[str, ...] | None:
    """The class that each line of a text file names; None where there is no such file.

    Raises DataError for a blank line, which would give every class after it another number.
    """
    found = read_lines(file)
    return None if found is None else checked_class_names(str(file), found)


def checked_class_names(file: str, found: Sequence[str]) -> tuple[str, ...]:
    """The names, a line each. Raises DataError, naming the file they are of, for a blank line."""
    if "" in found:
        raise DataError(f"{file}: line {found.index('') + 1} is blank; every line names the class of its number")
    return tuple(found)
