"""``diptych report``."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

if TYPE_CHECKING:
    from diptych.report.contents import Grid


def report(
    *results: Annotated[Path, Parameter(required=True)],
    out: Path,
    reference: str | None = None,
    source: str | None = None,
    shifted: tuple[str, ...] | None = None,
    baseline: tuple[str, ...] | None = None,
) -> int:
    """Compare results: a table of all, and the paper's figures that can be drawn from them.

    Writes report.html, which needs no other file; table.md and table.csv; and each figure as SVG and PDF, for a paper.
    Figures of an earlier report there that this one has not are removed, unless they were changed.

    Example:
        diptych report results --out report
        diptych report results theirs/ViT-B-32.json --reference my-clip --out report

    Parameters
    ----------
    results
        Folders that diptych evaluate --out has filled, and single results, CLIP_benchmark's among them.
    out
        Folder of the report.
    reference
        The model that others are compared with, by name or folder: by default each with each, of many the first.
    source
        For accuracy under shift: what others are shifted from; by default what results say, else the paper's.
    shifted
        A data set that is shifted from SOURCE; by default what the results say. May be repeated.
    baseline
        A model by whose accuracies the others are measured under shift. May be repeated: two or more.
    """
    from diptych.cli.output import check_writable
    from diptych.replacing import replacing
    from diptych.report import beside, shift, suite, tables
    from diptych.report.choosing import model_named
    from diptych.report.collected import collect
    from diptych.report.page import write_page

    check_writable(out / "report.html")
    entries = collect(results)
    reference = reference and model_named(entries, reference)
    under_shift = shift.asked(entries, source, shifted or (), baseline or ())
    drawings = suite.drawings(entries, under_shift)
    table = "\n".join(_markdown(grid) for grid in tables.results(entries))
    texts = {"table.md": table, "table.csv": tables.as_csv(entries)}
    figures = dict(suite.files(drawings))
    tables_as_bytes = {name: text.encode("utf-8", "backslashreplace") for name, text in texts.items()}
    for name, content in (tables_as_bytes | figures).items():
        with replacing(out / name) as partial:
            partial.write_bytes(content)
    page = suite.page(entries, drawings, under_shift, reference=reference)
    beside.remove_others(out / "report.html", figures)
    written = write_page(replace(page, beside=beside.told(figures)), out / "report.html")
    print(table, end="")
    told = f"{len(drawings)} figure{'' if len(drawings) == 1 else 's'}"
    print(f"the report is in {written}, with {told} beside it, each as SVG and PDF", file=sys.stderr)
    return 0


def _markdown(grid: Grid) -> str:
    from diptych.cli.output import markdown, markdown_text

    remarks = "".join(f"\n{markdown_text(remark)}\n" for remark in grid.remarks)
    return f"**{grid.title}**. {grid.note}\n\n{markdown(grid.header, grid.rows)}{remarks}"
