"""The table of data sets as the guide shows it."""

from __future__ import annotations

from diptych.data.published.layouts import LAYOUTS
from diptych.evaluation.datasets import DATASETS, Row


def table() -> str:
    """Markdown: one line a data set, with the paper's test size, and the files that tell its published form."""
    head = "| name | data set | classes | the paper's test | reported | published form, by its file | tars |\n"
    return head + "|---|---|---|---|---|---|---|\n" + "".join(f"{_line(row)}\n" for row in DATASETS.values())


def _line(row: Row) -> str:
    size = row.sizes.get("paper", {}).get("test")
    cells = (
        f"`{row.name}`",
        row.title,
        "" if row.classes is None else f"{row.classes:,}",
        "" if size is None else f"{size:,}",
        f"`{row.metric}`",
        " or ".join(_marks(layout) for layout in row.published) or "class folders",
        f"`hf:clip-benchmark/{row.hub}`" if row.hub else "",
    )
    return f"| {' | '.join(cells)} |"


def _marks(layout: str) -> str:
    """The first of the files or folders by which a form is known."""
    return f"`{LAYOUTS[layout].marks[0]}`"
