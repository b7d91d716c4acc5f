"""Where files of others come in: whatever one makes of its reader is an error of ours that names the file, and repeats
of its contents no more than can be read."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from itertools import islice

from diptych.errors import CheckpointError, MissingExtra


@contextmanager
def described_by(where: str) -> Generator[None]:
    """CheckpointError that names ``where`` for whatever goes wrong inside; one of ours says that itself already."""
    try:
        yield
    except (CheckpointError, MissingExtra):
        raise
    except Exception as error:  # JSON holds every type and every number at every place
        raise CheckpointError(f"{where} describes a model that Diptych cannot build: {error!s:.500}") from error


def listed(names: Iterable[str], most: int) -> str:
    """The first names of several, none of them longer than it can be read; "nothing" where there is none."""
    return ", ".join(f"{name:.80}" for name in islice(names, most)) or "nothing"
