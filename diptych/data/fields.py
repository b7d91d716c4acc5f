"""The named fields of a sample (``jpg``, ``txt``, ``json`` ...): choosing its image, captions and label, and
filtering."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diptych.data.sources import IMAGE_EXTENSIONS, Sample
from diptych.errors import DataError

Fields = Mapping[str, bytes]


def sample_of(
    key: str, fields: Fields, captions: Sequence[str], class_captions: Sequence[Sequence[str]] = ()
) -> Sample:
    """The sample that the fields make: its image, the captions found in the fields named, its label (``cls``).

    ``class_captions``: captions for each label, for samples that have none of their own. Raises DataError where there
    is no image or a caption is not UTF-8.
    """
    image = next((fields[extension] for extension in IMAGE_EXTENSIONS if extension in fields), None)
    if image is None:
        raise DataError(f"{key} has no image; its fields are {', '.join(fields) or 'none'}")
    texts = tuple(dict.fromkeys(text for field in captions for text in texts_of(key, fields, field)))
    label = None
    if "cls" in fields:
        try:
            label = int(fields["cls"])
        except ValueError as error:
            raise DataError(f"{key}.cls is {fields['cls'][:40]!r}, not the number of a class") from error
        if class_captions and not 0 <= label < len(class_captions):
            raise DataError(f"{key}.cls is {label}, but there are {len(class_captions)} classes")
        if class_captions and not texts:
            texts = tuple(class_captions[label])
    return Sample(image, texts, label, key)


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
    field, equals, wanted = where.partition("=")
    try:
        value = value_of(key, fields, field)
    except DataError:
        return False
    if isinstance(value, str) and not equals:
        value = value.strip()
    return str(value).strip() == wanted if equals else bool(value)


def check_captions(fields: Fields, captions: Sequence[str], name: str) -> None:
    """Raise DataError if the fields, those of a source's first sample, hold none of the captions asked for."""
    if captions and all(value_of(name, fields, field) is None for field in captions):
        raise DataError(
            f"the first sample of {name} has no {' or '.join(captions)}; it has {', '.join(_names(fields))}"
        )


def _names(fields: Fields) -> list[str]:
    names = []
    for name in fields:
        names.append(name)
        if name == "json":
            try:
                content = json.loads(fields[name])
            except ValueError:
                continue
            names += _paths(content, "json")
    return names


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
    if not file.is_file():
        return None
    return tuple(line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip())
