"""``diptych report``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def report(
    *results: Annotated[Path, Parameter(required=True)],
    out: Path,
    source: str | None = None,
    shifted: tuple[str, ...] | None = None,
    baseline: tuple[str, ...] | None = None,
) -> int:
    """Compare results: a table of all, and the paper's figures that can be drawn from them.

    Writes report.html, which needs no other file, table.md, table.csv, and each figure as an SVG file.

    Example:
        diptych report results --out report

    Parameters
    ----------
    results
        Folders that diptych evaluate --out has filled, and single results, CLIP_benchmark's among them.
    out
        Folder of the report.
    source
        For accuracy under shift: the data set that others are shifted from; by default what the results say, else the
        paper's.
    shifted
        A data set that is shifted from SOURCE; by default what the results say. May be repeated.
    baseline
        A model by whose accuracies the others are measured under shift. May be repeated: two or more.
    """
    from diptych.cli.output import check_writable, markdown
    from diptych.replacing import replacing
    from diptych.report import shift, suite, tables
    from diptych.report.collected import collect
    from diptych.report.page import write_page

    check_writable(out / "report.html")
    entries = collect(results)
    under_shift = shift.asked(entries, source, shifted or (), baseline or ())
    drawings = suite.drawings(entries, under_shift)
    header, rows = tables.comparison(entries)
    table = markdown(header, rows) + "".join(f"\n{remark}\n" for remark in tables.remarks(entries))
    texts = {"table.md": table, "table.csv": tables.as_csv(entries), **suite.files(drawings)}
    for name, text in texts.items():
        with replacing(out / name) as partial:
            partial.write_text(text, encoding="utf-8", errors="backslashreplace")
    written = write_page(suite.page(entries, drawings, under_shift), out / "report.html")
    print(table, end="")
    print(f"the report is in {written}, with {len(drawings)} figures beside it", file=sys.stderr)
    return 0
