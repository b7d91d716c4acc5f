"""Whether two sources are the same data, or share some: what is measured must not be learned from."""

from __future__ import annotations

from diptych.data.fingerprint import fingerprint
from diptych.data.sources import Source, is_remote


def overlap(first: Source, second: Source) -> bool:
    """Whether a file is read by both, or each file of one is as one of the other: a copy, or behind a link.

    Of sources that tell neither files nor what they list (see `Source`) nothing is known.
    """
    if first is second:
        return True
    fewer, more = (getattr(source, "files", tuple) for source in sorted((first, second), key=len))
    read = set(map(str, fewer()))
    if any(str(file) in read for file in more()):
        return True
    # What lies elsewhere lists no more than names and sizes.
    if len(first) != len(second) or any(is_remote(file) for file in read):
        return False
    known = fingerprint(first)
    return known != "" and known == fingerprint(second)
