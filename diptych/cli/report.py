"""``diptych report``."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

if TYPE_CHECKING:
    from diptych.report.contents import Grid


def report(
    *results: Annotated[Path, Parameter(required=True)],
    out: Path,
    source: str | None = None,
    shifted: tuple[str, ...] | None = None,
    baseline: tuple[str, ...] | None = None,
) -> int:
    """Compare results: a table of all, and the paper's figures that can be drawn from them.

    Writes report.html, which needs no other file; table.md and table.csv; and each figure as SVG and PDF, for a paper.

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
    from diptych.cli.output import check_writable
    from diptych.replacing import replacing
    from diptych.report import shift, suite, tables
    from diptych.report.collected import collect
    from diptych.report.page import write_page

    check_writable(out / "report.html")
    entries = collect(results)
    under_shift = shift.asked(entries, source, shifted or (), baseline or ())
    drawings = suite.drawings(entries, under_shift)
    table = "\n".join(_markdown(grid) for grid in tables.results(entries))
    texts = {"table.md": table, "table.csv": tables.as_csv(entries)}
    tables_as_bytes = ((name, text.encode("utf-8", "backslashreplace")) for name, text in texts.items())
    for name, content in itertools.chain(tables_as_bytes, suite.files(drawings)):
        with replacing(out / name) as partial:
            partial.write_bytes(content)
    written = write_page(suite.page(entries, drawings, under_shift), out / "report.html")
    print(table, end="")
    figures = f"{len(drawings)} figure{'' if len(drawings) == 1 else 's'}"
    print(f"the report is in {written}, with {figures} beside it, each as SVG and PDF", file=sys.stderr)
    return 0


def _markdown(grid: Grid) -> str:
    from diptych.cli.output import markdown, markdown_text

    remarks = "".join(f"\n{markdown_text(remark)}\n" for remark in grid.remarks)
    return f"**{grid.title}**. {grid.note}\n\n{markdown(grid.header, grid.rows)}{remarks}"
