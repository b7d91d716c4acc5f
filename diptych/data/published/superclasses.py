"""Which of ImageNet's 1,000 classes a class of ObjectNet, ImageNet-Vid or YouTube-BB stands for, by the files that come
with these data sets (paper, section 3.3)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from diptych.data.files import printable, read_bytes
from diptych.data.published.text_lists import numbered_lines
from diptych.errors import DataError, nearest

CLASSES = 1000  # of ImageNet, in the order of their WordNet numbers, which is that of class folders
BESIDE = ("", "mappings", "misc", "metadata")  # where the files lie, of a data set's folder
OBJECTNET = "objectnet_to_imagenet_1k.json"

_VID, _INDEX = "rev_wnid_map.json", "rev_class_idx_map.json"

Groups = dict[str, tuple[int, ...]]


def superclasses(base: Path) -> Groups:
    """For each class, by the name that the files give it, the numbers of those of ImageNet that it stands for: one,
    several in ascending order, or none where ImageNet has nothing of the kind. Empty where no such file lies in the
    folder, or in its ``mappings/``, ``misc/`` or ``metadata/``.

    Raises DataError, naming the file, for one that is missing beside another, malformed, or has a class of ImageNet
    twice or none of the 1,000.
    """
    readers: dict[str, Callable[[Path], Groups]] = {OBJECTNET: _objectnet, _VID: _vid, _INDEX: _youtube_bb}
    for name, reader in readers.items():
        folder = next((base / sub for sub in BESIDE if (base / sub / name).is_file()), None)
        if folder is not None:
            return _checked(folder / name, reader(folder))
    return {}


def read_object(file: Path) -> dict[str, Any]:
    """A JSON object. Raises DataError that names the file where it is missing or holds anything else."""
    try:
        found = json.loads(read_bytes(file))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{printable(file)} is no JSON: {error}; is it cut off?") from error
    if not isinstance(found, dict):
        raise DataError(f"{printable(file)} holds {type(found).__name__}, not an object of names")
    return found


def index_of(file: Path, fields: int) -> dict[str, list[str]]:
    """A JSON object of so many texts each. Raises DataError that names the file for anything else."""
    found = {key: [own] if isinstance(own, str) else own for key, own in read_object(file).items()}
    for key, own in found.items():
        if not isinstance(own, list) or len(own) != fields or not all(isinstance(text, str) for text in own):
            raise DataError(f"{printable(file)}: {key!r} is {own!r:.80}, not {fields} text{'s' * (fields > 1)}")
    return found


def _objectnet(folder: Path) -> Groups:
    """``{"Alarm clock": "analog clock; digital clock"}``; each of these is a line of ``imagenet_to_label_2012_v2``,
    whose number, from 0, ``pytorch_to_imagenet_2012_id.json`` has for each of ImageNet's classes in order."""
    lines = folder / "imagenet_to_label_2012_v2"
    numbers = {line: row for row, line in read_object(folder / "pytorch_to_imagenet_2012_id.json").items()}
    places: dict[str, list[Any]] = {}
    for number, name in numbered_lines(lines):
        places.setdefault(name, []).append(numbers.get(number - 1))
    groups: Groups = {}
    for own, names in read_object(folder / OBJECTNET).items():
        rows = []
        for name in str(names).split("; "):
            if len(places.get(name, ())) != 1:
                has = f"{len(places[name])} lines" if name in places else f"no line; {nearest(name, places)}"
                raise DataError(
                    f"{printable(folder / OBJECTNET)}: {own!r} stands for {name!r}, of which {lines} has {has}"
                )
            rows.append(places[name][0])
        groups[own] = _numbers(folder / OBJECTNET, own, rows)
    return groups


def _vid(folder: Path) -> Groups:
    """``{"n02691156": ["n02690373"]}``, with ``imagenet_vid_class_index.json``, ``{"0": ["n02691156", "airplane"]}``,
    and ``imagenet_class_index.json``, ``{"404": ["n02690373", "airliner"]}``."""
    theirs = {own[0]: row for row, own in index_of(folder / "imagenet_class_index.json", 2).items()}
    members = read_object(folder / _VID)
    groups: Groups = {}
    for synset, name in index_of(folder / "imagenet_vid_class_index.json", 2).values():
        known = members.get(synset, [])
        rows = [theirs.get(str(one), one) for one in known] if isinstance(known, list) else known
        groups[name] = _numbers(folder / _VID, name, rows)
    return groups


def _youtube_bb(folder: Path) -> Groups:
    """``{"13": [404]}``, with ``ytbb_class_index.json``, ``{"13": "airplane"}``."""
    members = read_object(folder / _INDEX)
    names = index_of(folder / "ytbb_class_index.json", 1)
    return {name: _numbers(folder / _INDEX, name, members.get(row, [])) for row, (name,) in names.items()}


def _numbers(file: Path, name: str, rows: Any) -> tuple[int, ...]:
    """Ascending. Raises DataError for what is not the number of a class of ImageNet."""
    if not isinstance(rows, list):
        raise DataError(f"{printable(file)}: {name!r} stands for {rows!r:.40}, which is no list")
    texts = [str(row) for row in rows]
    if wrong := [text for text in texts if not text.isdecimal() or not int(text) < CLASSES]:
        raise DataError(
            f"{printable(file)}: {name!r} stands for {wrong[0]:.40}, which is none of ImageNet's 1,000 classes"
        )
    return tuple(sorted(map(int, texts)))


def _checked(file: Path, groups: Mapping[str, tuple[int, ...]]) -> Groups:
    owner: dict[int, str] = {}
    for name, rows in groups.items():
        for row in rows:
            if row in owner:
                raise DataError(
                    f"{printable(file)}: {owner[row]!r} and {name!r} both stand for class {row} of ImageNet"
                )
            owner[row] = name
    if not owner:
        raise DataError(f"{printable(file)} groups no class of ImageNet")
    return dict(groups)
