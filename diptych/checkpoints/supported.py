"""The README's table of checkpoints: ``python -m diptych.checkpoints.supported`` prints it."""

from __future__ import annotations

from diptych.checkpoints.formats import SUPPORTED


def table() -> str:
    """The table as Markdown."""
    rows = [
        "| what | architecture told by | must be passed | written by `--format` | example |",
        "|---|---|---|---|---|",
    ]
    rows += [
        f"| {row.what} | {row.told_by} | {row.passed} | {f'`{row.written}`' if row.written else 'no'} | {row.example} |"
        for row in SUPPORTED
    ]
    return "\n".join(rows)


if __name__ == "__main__":
    print(table())
