"""Which classes of the set that another is shifted from are one class there, where more than names tell.

ImageNet-R and ImageNet-A have 200 of ImageNet's classes, told by their WordNet numbers; a class of ObjectNet,
ImageNet-Vid or YouTube-BB is one of ImageNet's or a group of them, told by the files of these data sets.
"""

from __future__ import annotations

from diptych.data.published.superclasses import CLASSES
from diptych.data.sources import Source
from diptych.errors import DataError

Members = tuple[tuple[int, ...], ...]  # of each class of a shifted set, numbers of its source's classes


def members(shifted: Source, source: Source) -> Members | None:
    """For each class of a shifted set the classes of its source, by their numbers, that it stands for: one, several, or
    none. None where neither the files of the data nor WordNet numbers tell; then names must.

    Raises DataError where the source has not ImageNet's 1,000 classes, of which the files tell, or lacks one of the
    WordNet numbers.
    """
    known: Members | None = getattr(shifted, "members", None)
    if known is not None:
        if len(source.class_names or ()) != CLASSES:
            raise DataError(
                f"the classes of {shifted.name} are groups of ImageNet's {CLASSES:,}, but {source.name} has "
                f"{len(source.class_names or ()):,}"
            )
        return known
    own, theirs = (getattr(one, "class_ids", None) for one in (shifted, source))
    if own is None or theirs is None:
        return None
    places = {number: row for row, number in enumerate(theirs)}
    if missing := [number for number in own if number not in places]:
        raise DataError(
            f"{len(missing)} of the {len(own)} classes of {shifted.name} are none of the {len(theirs)} of "
            f"{source.name}: {', '.join(missing[:4])}{' ...' if len(missing) > 4 else ''}"
        )
    return tuple((places[number],) for number in own)
