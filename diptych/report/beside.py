"""Which figures lie beside a report because it was written with them, so that another report can take them away.

The page keeps their names and what they hold; a file that was changed since, or made by others, is nobody's to remove.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping
from pathlib import Path

_TOLD = re.compile(r'<meta name="figures-beside" content="([\w.: -]*)">')
_FIGURE = re.compile(r"([\w-]+\.(?:svg|pdf)):([0-9a-f]{64})")


def told(files: Mapping[str, bytes]) -> str:
    """Names and SHA-256 of figures, as a page keeps them."""
    return " ".join(f"{name}:{hashlib.sha256(content).hexdigest()}" for name, content in files.items())


def remove_others(page: Path, kept: Collection[str]) -> None:
    """Remove the figures that were written with the page that is there, but for these names."""
    known = _TOLD.search(page.read_text("utf-8", "replace")) if page.is_file() else None
    for name, digest in _FIGURE.findall(known[1]) if known else ():
        file = page.with_name(name)
        if name not in kept and file.is_file() and hashlib.sha256(file.read_bytes()).hexdigest() == digest:
            file.unlink()
