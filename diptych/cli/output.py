"""How verbs print: aligned columns that read as well in a pipe as on a terminal."""

from __future__ import annotations

from collections.abc import Sequence


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under a header (left out where it is empty), each column as wide as its widest cell."""
    table = [list(header), *map(list, rows)] if any(header) else [list(row) for row in rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(header))]
    for row in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
