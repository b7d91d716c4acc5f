"""``diptych report``."""

from __future__ import annotations

import sys
from pathlib import Path

from diptych.errors import ConfigError


def report(*results: Path, out: Path) -> int:
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
    """
    from diptych.cli.output import check_writable, markdown
    from diptych.replacing import replacing
    from diptych.report import suite, tables
    from diptych.report.collected import collect
    from diptych.report.page import write_page

    if not results:
        raise ConfigError("there is nothing to report on; give a folder of results")
    check_writable(out / "report.html")
    entries = collect(results)
    drawings = suite.drawings(entries)
    header, rows = tables.comparison(entries)
    table = markdown(header, rows) + "".join(f"\n{remark}\n" for remark in tables.remarks(entries))
    texts = {"table.md": table, "table.csv": tables.as_csv(entries), **suite.files(drawings)}
    for name, text in texts.items():
        with replacing(out / name) as partial:
            partial.write_text(text, encoding="utf-8", errors="backslashreplace")
    written = write_page(suite.page(entries, drawings), out / "report.html")
    print(table, end="")
    print(f"the report is in {written}, with {len(drawings)} figures beside it", file=sys.stderr)
    return 0
