"""Where descriptions of models come in: whatever one makes of its reader is an error of ours that names the file."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

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
