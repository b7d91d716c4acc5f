"""A row's data wherever they lie, and whether they are the paper's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from diptych.data.described import TEMPLATES
from diptych.data.fields import class_captions
from diptych.data.files import printable
from diptych.data.label_tables import LabelTable, label_column
from diptych.data.published import layouts as published
from diptych.data.relabelled import Renamed, own_names, shows_several
from diptych.data.source_spec import CacheSpec
from diptych.data.sources import Source, damage_of, is_remote, labels_of, open_source, read
from diptych.data.tables import TableSource
from diptych.errors import ConfigError, DataError, UnknownClass
from diptych.evaluation.datasets import LAYOUTS, Row, metric_misfit
from diptych.progress import progress
from diptych.text import class_names, prompts

_LOOKED_AT = 20  # samples, to see what labels are like
_SAID = {"clip_benchmark": "as in CLIP_benchmark's copy", "published": "as published"}


def open_dataset(
    row: Row,
    location: str | Path,
    split: str | None,
    *,
    captions: Sequence[str] | None = None,
    where: str | None = None,
    cache: CacheSpec | None = None,
) -> Source:
    """The split of a data set at a location: a CLIP_benchmark folder, the form it is published in, class folders, or
    whatever else ``diptych.data.sources.open_source`` opens.

    ``location``: a folder or file, or a folder elsewhere: ``hf:clip-benchmark/wds_mnist``, or any that fsspec knows;
    then it must be a CLIP_benchmark folder. ``split``: None for a set that has none. ``captions``, ``where``: which
    fields and samples of tars and tables are taken. ``cache``: where remote shards are kept. Raises DataError that
    names what is missing and what there is.
    """
    location = remote_location(str(location))
    if layout := published_form(row, location):
        _check_fields(row, captions, where)
        return _named(row, published.open_layout(layout, Path(location), _asked(row, Path(location), split)))
    try:
        source = open_source(location, split=split, captions=captions, where=where, cache=cache)
        return _named(row, _labelled(row, source, where))
    except DataError as problem:
        if not row.published or is_remote(location) or not Path(location).is_dir() or _is_tars(Path(location)):
            raise
        forms = " or ".join(f"{name} ({', '.join(published.LAYOUTS[name].marks)})" for name in row.published)
        raise DataError(f"{problem}; nor is it {row.title} in its published form, {forms}") from problem


def published_form(row: Row, location: str | Path) -> str | None:
    """The form of ``diptych.data.published`` in which a folder here has the data set; None where it has none, is of
    CLIP_benchmark's tars, or is no folder."""
    folder = Path(location)
    if not folder.is_dir() or _is_tars(folder):
        return None
    return next((layout for layout in row.published if published.found(layout, folder)), None)


def remote_location(location: str) -> str:
    """``hf:org/name`` as fsspec has it, ``hf://datasets/org/name``; any other location as it is."""
    if location.startswith("hf:") and "://" not in location:
        return f"hf://datasets/{location.removeprefix('hf:').strip('/')}"
    return location


def names_of(row: Row, source: Source) -> tuple[tuple[str, ...], ...]:
    """The names, one or several, of each class of a source: the row's own, else those that come with Diptych for
    it, else the source's. Raises DataError where there are none, not as many as the source has classes, or in an order
    that is none of theirs (see ``class_names.in_order``)."""
    known = row.class_names or (class_names.packaged(row.names) if row.names else ())
    own = own_names(source)
    if row.class_names:
        if own is not None and len(own) != len(known):
            raise DataError(f"{source.name} has {len(own)} classes, but the row of {row.name} names {len(known)}")
        return known if own is None else class_names.in_order(known, own, f"the row of {row.name}")
    if own is None and not known:
        raise DataError(
            f"{source.name} only numbers its classes; put their names into classnames.txt beside the data, a line each"
        )
    if own is None:
        return known
    # A folder or file that names a class by its number means the one of that number.
    numbers = [known[int(name)] if name.isdecimal() and int(name) < len(known) else (name,) for name in own]
    matched = class_names.matched(own, known)
    return tuple(
        names if names != (name,) else number for name, names, number in zip(own, matched, numbers, strict=True)
    )


def templates_of(row: Row | None, source: Source | None = None) -> tuple[str, ...]:
    """The templates of data: the row's own, or the ensemble of its prompt set; else those that the source brings, else
    a photo. Raises DataError for those of the source that are none."""
    if row is not None and (row.templates or row.prompts):
        return row.templates or prompts.templates(row.prompts)
    if source is None or not source.templates:
        return prompts.templates("photo")
    try:
        return prompts.templates(source.templates)
    except ConfigError as problem:
        raise DataError(f"{TEMPLATES} of {source.name}: {problem}") from problem


@dataclass(frozen=True)
class Verdict:
    """``layouts``: those whose sizes a split has. ``note``: empty, or a sentence on why it is not the paper's."""

    layouts: tuple[str, ...]
    note: str


def check(row: Row, source: Source, split: str | None) -> Verdict:
    """Whose split this is, by the number of its samples and classes.

    Every label is looked at; images are not decoded. Raises DataError for an empty split, a shard that is cut off or
    damaged, a wrong number of classes, a label that is none of them, and labels of another kind than the row's.
    """
    if not len(source):
        raise DataError(f"{row.title} has no samples in the split {split!r} ({source.name})")
    if row.kind != "retrieval":
        _check_classes(row, source)
        _check_kind(row, source)
        if not check_labels(source, len(source.class_names or row.class_names)):
            raise DataError(f"no sample of {source.name} has a label{_why(source)}")
    elif not read(source, 0).captions:
        raise DataError(f"{read(source, 0).key} of {source.name} has no caption, which {row.title} is about")
    elif _is_of_classes(source):
        raise DataError(
            f"{source.name} has {len(source.class_names or ()):,} classes and no captions, but {row.title} is of "
            f"{row.metric}, which is about captions; a metric for classes is acc1"
        )
    if lost := damage_of(source):
        more = f", and {len(lost) - 1} more like it" if len(lost) > 1 else ""
        raise DataError(f"{row.title} {split or ''} is damaged, so its numbers would be of a part: {lost[0]}{more}")
    layouts = tuple(
        layout for layout in LAYOUTS if _size(row, layout, split) == len(source) and _fits(row, layout, source)
    )
    return Verdict(layouts, "" if "paper" in layouts else _note(row, source, split, layouts))


def _is_of_classes(source: Source) -> bool:
    """Whether captions are but what templates make of the names of classes."""
    sample = read(source, 0)
    made = class_captions(source.class_names or (), source.templates)
    return sample.label is not None and sample.label in range(len(made)) and sample.captions == made[sample.label]


def _check_classes(row: Row, source: Source) -> None:
    known = {number for number in (row.classes, *row.classes_in.values()) if number is not None}
    classes = len(source.class_names or row.class_names)
    if not classes:
        raise DataError(f"{source.name} has no class names; put them into classnames.txt beside the data, a line each")
    if not known and (misfit := metric_misfit(row.metric, classes)):
        raise DataError(f"{source.name}, which is measured on as {row.title}: {misfit}")
    if known and classes not in known:
        expected = " or ".join(f"{number:,}" for number in sorted(known))
        raise DataError(
            f"{source.name} has {classes:,} classes, but {row.title} has {expected}; without {row.name + '='!r} before "
            "its place it is measured on as it is, and a row of a TOML file gives it a metric and prompts"
        )


def _check_kind(row: Row, source: Source) -> None:
    several = shows_several(source)
    if several and row.kind != "multi-label":
        raise DataError(f"{source.name} has several labels an image, but {row.title} is {row.kind}")
    if not several and row.kind == "multi-label":
        labelled = any(labels_of(source, i) for i in range(min(len(source), _LOOKED_AT)))
        raise DataError(
            f"{source.name} has {'one label an image' if labelled else 'no labels that are read'}, but {row.title} is "
            "multi-label; several are in KEY.npy of tars, one number a class, beside a dataset_type.txt that says "
            "multilabel, or in the column 'labels' of a table"
        )


def check_labels(source: Source, classes: int) -> int:
    """How many labels the samples have. Raises UnknownClass where one is none of so many classes."""
    seen: Counter[int] = Counter()
    first = 0  # that has a label which is none of the classes
    for i in progress(range(len(source)), f"looking at the labels of {source.name}"):
        labels = labels_of(source, i)
        seen.update(labels)
        if not first and any(not 0 <= label < classes for label in labels):
            first = i + 1
    if seen and (min(seen) < 0 or max(seen) >= classes):
        wrong = sum(count for label, count in seen.items() if not 0 <= label < classes)
        hint = "; are they numbered from 1?" if min(seen) == 1 and max(seen) == classes else ""
        raise UnknownClass(
            f"the labels of {source.name} go from {min(seen)} to {max(seen)}, but there are {classes} classes, from 0 "
            f"on: {wrong} of {sum(seen.values())} are none of them, first sample {first:,}{hint}"
        )
    return sum(seen.values())


def _why(source: Source) -> str:
    """What is wrong with the first sample, if it cannot be read."""
    try:
        read(source, 0)
    except DataError as problem:
        return f"; of the first: {problem}"
    return ""


def _size(row: Row, layout: str, split: str | None) -> int | None:
    """The samples that a layout has; None where that is not known. The paper's test split is the one evaluated."""
    named = "test" if layout == "paper" and split == row.split else split or "all"
    return row.sizes.get(layout, {}).get(named)


def _fits(row: Row, layout: str, source: Source) -> bool:
    classes = row.classes_in.get(layout, row.classes)
    return row.kind == "retrieval" or classes is None or classes == len(source.class_names or row.class_names)


def _note(row: Row, source: Source, split: str | None, layouts: Sequence[str]) -> str:
    known = {layout: size for layout in LAYOUTS if (size := _size(row, layout, split)) is not None}
    what = f"{row.title} {split}" if split else row.title
    there = f"{what} has {len(source):,} images here"
    if source.class_names and row.classes and len(source.class_names) != row.classes:
        there += f" of {len(source.class_names):,} classes"
    if layouts:
        there += f", {' and '.join(_SAID[layout] for layout in layouts)}"
    if "paper" in known:
        classes = f" of {row.classes:,} classes" if " classes" in there else ""
        return f"not the paper's split: {there}; the paper's has {known['paper']:,}{classes}"
    if "paper" in row.sizes:
        return f"not the paper's split: {there}; the paper has train and test alone"
    if layouts or not known:
        return ""
    expected = ", ".join(f"{size:,} {_SAID[layout]}" for layout, size in known.items())
    return f"not a split that is known: {there}; it has {expected}"


def _named(row: Row, source: Source) -> Source:
    """The source with the names that it lacks, or that it writes as numbers or codes."""
    if row.kind == "retrieval" or (source.class_names is None and not (row.names or row.class_names)):
        return source
    describes_itself = source.class_names is not None and source.templates is not None
    names = tuple(several[0] for several in names_of(row, source))
    if names == source.class_names or (describes_itself and not row.class_names):
        return source
    return Renamed(source, names)


def _asked(row: Row, folder: Path, split: str | None) -> str:
    if split is None:
        raise DataError(f"{printable(folder)} has {row.title} in several splits; say which with split= (--split)")
    return split


def _labelled(row: Row, source: Source, where: str | None) -> Source:
    """Of a table with captions and labels the labels, where those are asked for."""
    if row.kind == "retrieval" or not isinstance(source, TableSource) or isinstance(source, LabelTable):
        return source
    column = label_column(source.paths[0], captions=True)
    if column is None:
        raise DataError(f"{source.paths[0]} has no column 'label' or 'labels', and {row.title} is {row.kind}")
    return LabelTable(source.name, source.paths, column, where=where)


def _check_fields(row: Row, captions: Sequence[str] | None, where: str | None) -> None:
    """Refuse what would be left out in silence."""
    for option, asked in (("where= (--where)", where), ("captions= (--captions)", captions)):
        if asked is not None:
            raise DataError(f"{option} does not apply to {row.title} as published: tars and tables have fields")


def _is_tars(folder: Path) -> bool:
    return any(next(folder.glob(pattern), None) for pattern in ("*.tar", "*/*.tar", "*/nshards.txt"))
