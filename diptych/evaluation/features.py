"""The embeddings and features of a source's images, and what is known of each: made once, kept where that is asked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from diptych import distributed
from diptych.data.fingerprint import stamp
from diptych.data.sources import damage_of
from diptych.errors import DataError, TooManyFailures, UnknownClass
from diptych.evaluation import embedding, feature_files
from diptych.evaluation.embedding import made, parts_of
from diptych.evaluation.feature_files import Part, Wanted
from diptych.evaluation.subjects import Subject, identity
from diptych.progress import say
from diptych.replacing import replacing

if TYPE_CHECKING:
    from diptych.data.sources import Source

Need = Literal["label", "caption"]
_LACKING: dict[Need, str] = {
    "label": "has no label, so its class is not known",
    "caption": "has no caption, which retrieval needs",
}
_NOT_FINITE = "is embedded as what is no finite number"


@dataclass(frozen=True)
class Features:
    """What is known of the N images of a source that could be read, in the source's order.

    embeddings_NE: as ``Clip.encode_images`` gives them; features_ND: before the projection. Each (N, 0) where it was
                   not wanted, or there is none.
    label_sets, unjudged: of images that may show several classes, as in ``Sample``.
    failures:      why other images could not; passing: of these what may pass, since it was the system that did not let
                   them be read; damage: why others are not even counted (see ``damage_of``).
    fingerprint:   SHA-256 over keys, captions, labels and bytes of what was read; images: of the bytes of each image.
    folder:        where they are kept, with what is learned from them; None where they are not.
    """

    embeddings_NE: np.ndarray
    features_ND: np.ndarray
    captions: tuple[tuple[str, ...], ...]
    labels: tuple[int | None, ...]
    label_sets: tuple[tuple[int, ...] | None, ...]
    unjudged: tuple[tuple[int, ...], ...]
    keys: tuple[str, ...]
    failures: tuple[str, ...]
    fingerprint: str
    images: tuple[bytes, ...]
    folder: Path | None = None
    passing: tuple[str, ...] = ()
    damage: tuple[str, ...] = ()


def embed(
    subject: Subject,
    source: Source,
    need: Need | None = None,
    *,
    wanted: tuple[Wanted, ...] = ("embeddings",),
    allowed_failures: float = 0.1,
    folder: Path | None = None,
) -> Features:
    """Embed every image of a source; processes that torchrun has started share the work, and each gets all of it.

    need:   what a sample must have, else it counts as one that cannot be read; so does one of which the model gives
            what is no finite number.
    folder: where embeddings and features are kept, in a folder for each subject and data; those there are not made
            again. Data that cannot be known again (drawn scenes) are not kept.

    Raises TooManyFailures where more than the share ``allowed_failures`` cannot be used, DataError where none can,
    UnknownClass for a label that is none.
    """
    kept = _Place.of(subject, source, folder) if folder else None
    own = parts_of(source)[distributed.rank() :: distributed.world_size()]
    parts = {n: part for n in own if kept and (part := feature_files.read(kept.file(n), wanted))}
    if parts:
        say(f"{source.name}: {sum(len(part.keys) for part in parts.values())} images were embedded before")
    unusable: list[str] = []
    passing: list[str] = []
    wrong: list[UnknownClass] = []
    try:
        for number, part, unread in made(subject, source, [n for n in own if n not in parts]):
            passing += unread
            # What may be read another time, and what a tar has lost, is not kept as if it were known.
            if kept and not unread and not damage_of(source) and not kept.write(number, part):
                kept = None
            parts[number] = part.of(wanted)
            unusable += _unusable(parts[number], need)
            if distributed.world_size() == 1:  # of several all must end, and they do below
                _check(unusable, source, allowed_failures)
    except UnknownClass as problem:
        wrong.append(problem)
    if wrong := distributed.all_of(wrong):
        raise wrong[0]
    together = distributed.all_of(sorted(parts.items(), key=lambda numbered: numbered[0]))
    ordered = [part for _, part in sorted(together, key=lambda numbered: numbered[0])]
    _check([why for part in ordered for why in _unusable(part, need)], source, allowed_failures)
    found = replace(_joined(ordered, source, need, wanted), folder=kept.folder if kept else None)
    lost = dict.fromkeys(distributed.all_of(damage_of(source)))
    return replace(found, passing=tuple(distributed.all_of(passing)), damage=tuple(lost))


def check_whole(features: Features, source: Source) -> None:
    """Raises DataError where samples are missing that the data have: the numbers would be of others."""
    check_damage(source.name, features.damage)
    if features.passing:
        raise DataError(
            f"{len(features.passing)} of the {len(source)} samples of {source.name} cannot be read now, so it is not "
            f"measured on: {features.passing[0]}; with --out the rest is kept, and the same command goes on"
        )


def check_damage(name: str, damage: Sequence[str]) -> None:
    """Raises DataError for tars that have lost samples: of which classes, and how many, is not known."""
    if damage:
        more = f", and {len(damage) - 1} more tars" if len(damage) > 1 else ""
        raise DataError(f"{name} has lost samples, so it is not measured on: {damage[0]}{more}")


@dataclass(frozen=True)
class _Place:
    """The folder of what one subject sees in one source; ``about`` tells people what it is."""

    folder: Path
    about: dict[str, Any]

    @classmethod
    def of(cls, subject: Subject, source: Source, folder: Path) -> _Place | None:
        """None for data that cannot be known again."""
        data = stamp(source)
        if not data:
            return None
        sizes = [embedding.BATCH, embedding.BATCHES]
        known = {**identity(subject), "data": data, "torch": torch.__version__, "batch": sizes}
        name = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:16]
        return cls(folder / name, {"source": source.name, "samples": len(source), **known})

    def file(self, number: int) -> Path:
        return self.folder / f"{number:05}.parquet"

    def write(self, number: int, part: Part) -> bool:
        """Whether that went well: a full disk costs what would be kept, not what was asked for."""
        try:
            feature_files.write(part, self.file(number))
            if not (self.folder / "about.json").exists():
                with replacing(self.folder / "about.json") as partial:
                    partial.write_text(json.dumps(self.about, indent=1) + "\n", encoding="utf-8")
        except OSError as problem:
            say(f"warning: embeddings cannot be kept: {problem.strerror or problem}")
            return False
        return True


def _joined(parts: Sequence[Part], source: Source, need: Need | None, wanted: tuple[Wanted, ...]) -> Features:
    usable = [np.flatnonzero([not lack for lack in _lacks(part, need)]) for part in parts]
    rows = [(part, i) for part, own in zip(parts, usable, strict=True) for i in own.tolist()]
    if not rows:
        raise DataError(f"{source.name} holds no image that can be read")
    arrays: dict[Wanted, np.ndarray] = {"embeddings": np.empty((len(rows), 0)), "features": np.empty((len(rows), 0))}
    for name in wanted:
        arrays[name] = np.concatenate(
            [part.arrays[name][own] for part, own in zip(parts, usable, strict=True) if len(own)]
        )
    problems = dict.fromkeys(problem for part in parts for problem in part.problems)
    return Features(
        embeddings_NE=arrays["embeddings"],
        features_ND=arrays["features"],
        captions=tuple(part.captions[i] for part, i in rows),
        labels=tuple(part.labels[i] for part, i in rows),
        label_sets=tuple(part.label_sets[i] for part, i in rows),
        unjudged=tuple(part.unjudged[i] for part, i in rows),
        keys=tuple(part.keys[i] for part, i in rows),
        failures=(*problems, *(why for part in parts for why in _unusable(part, need))),
        fingerprint=hashlib.sha256(b"".join(part.digests[i] for part, i in rows)).hexdigest(),
        images=tuple(part.images[i] for part, i in rows),
    )


def _lacks(part: Part, need: Need | None) -> list[str]:
    """Why each sample cannot be used; empty where it can."""
    finite_n = np.ones(len(part.keys), bool)
    for array in part.arrays.values():
        finite_n &= np.isfinite(array).all(axis=1)
    has_n = {
        None: [True] * len(part.keys),
        "label": [a is not None or b is not None for a, b in zip(part.labels, part.label_sets, strict=True)],
        "caption": [bool(own) for own in part.captions],
    }[need]
    return [
        _LACKING[need] if need and not has else "" if finite else _NOT_FINITE
        for has, finite in zip(has_n, finite_n.tolist(), strict=True)
    ]


def _unusable(part: Part, need: Need | None) -> list[str]:
    """Why samples cannot be used, in their order."""
    lacking = [
        (int(place), f"{key} {lack}")
        for place, key, lack in zip(part.places_n, part.keys, _lacks(part, need), strict=True)
        if lack
    ]
    return [why for _, why in sorted((*part.failures, *lacking))]


def _check(unusable: Sequence[str], source: Source, allowed: float) -> None:
    rows_lost = getattr(source, "rows_lost", 0)
    lost, whole = len(unusable) + rows_lost, len(source) + rows_lost
    if lost / max(1, whole) > allowed:
        first = [*unusable, *getattr(source, "problems", ())][0]
        share = f"more than {allowed:.0%} of its {whole}"
        raise TooManyFailures(f"{lost} samples of {source.name} cannot be used, {share}; the first: {first}")
