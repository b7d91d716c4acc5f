"""Files of records of one size without a header."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from diptych.data.files import read_bytes
from diptych.errors import DataError


def records(path: Path, size: int) -> np.ndarray:
    """A file as rows of so many bytes, uint8. Raises DataError for an empty file, and for a row that is cut off."""
    content = read_bytes(path)
    if not content or len(content) % size:
        whole = f"{len(content) // size:,} images of {size:,} bytes and {len(content) % size:,} more"
        raise DataError(f"{path} has {len(content):,} bytes, {whole}; is it cut off, or another file?")
    return np.frombuffer(content, np.uint8).reshape(-1, size)
