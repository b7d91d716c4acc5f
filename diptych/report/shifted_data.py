"""Of data that models are measured on under shift, which are one and the same, and how they are told apart."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

from diptych.report.choosing import plainness
from diptych.report.collected import Entry


@dataclass(frozen=True)
class Data:
    """Images under shift and those of their source: results on equal ones are comparable.

    images, source: fingerprints of both; mapping: of classes, as JSON. ``told``: what the table of all results calls
    other data of this name by, where there are some.
    """

    dataset: str
    split: str
    images: str
    source: str
    mapping: str = ""
    told: str = field(default="", compare=False)


def data_of(entry: Entry, source: str | None = None) -> Data:
    """Of a result that tells of a shift; or of one on data as such, with the fingerprint of its source."""
    prints = entry.result.fingerprints
    if source is None:
        source = prints.get("data of source", "")
    mapping = entry.result.details.get("shift", {}).get("mapping")
    told = ", ".join(filter(None, (entry.split, entry.images)))
    classes = json.dumps(mapping, sort_keys=True) if mapping else ""
    return Data(entry.result.dataset, entry.result.split, prints.get("data", ""), source, classes, told)


def titles(known: Iterable[Data]) -> dict[Data, str]:
    """What each is called: by its name, and by what tells it from the others of this name."""
    found: dict[str, list[Data]] = {}
    for one in dict.fromkeys(known):
        found.setdefault(one.dataset, []).append(one)
    return {one: _title(one, own) for own in found.values() for one in own}


def _title(one: Data, own: list[Data]) -> str:
    parts = [one.told] if one.told else []
    if not one.told and len({other.split for other in own}) > 1:
        parts.append(one.split)
    if not one.told and len({other.images for other in own if other.split == one.split}) > 1:
        parts.append(one.images[:6])
    alike = [other for other in own if (other.split, other.images) == (one.split, one.images)]
    if len({other.source for other in alike}) > 1:
        parts.append(f"source {one.source[:6] or 'not known'}")
    if mappings := list(dict.fromkeys(other.mapping for other in alike if other.source == one.source)):
        parts += [f"mapping {mappings.index(one.mapping) + 1}"] if len(mappings) > 1 else []
    told = ", ".join(filter(None, parts))
    return one.dataset + (f" ({told})" if told else "")


def variant_of(entry: Entry) -> str:
    """What it was told that others were not, its language among this, where that is not English."""
    language = entry.result.language if entry.result.language != "en" else ""
    return ", ".join(filter(None, (language, entry.variant)))


def plainest(entries: Iterable[Entry]) -> dict[str, Entry]:
    """Of each variant the result with the fewest options, the plainest variant first."""
    found: dict[str, Entry] = {}
    for entry in sorted(entries, key=plainness):
        found.setdefault(variant_of(entry), entry)
    return found


def several(known: Iterable[Data]) -> dict[str, list[Data]]:
    """The names that stand for several data of one split, or for one whose source differs: these."""
    found: dict[str, list[Data]] = {}
    for one in dict.fromkeys(known):
        found.setdefault(one.dataset, []).append(one)
    return {name: own for name, own in found.items() if len({one.split for one in own}) < len(own)}
