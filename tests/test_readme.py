"""What the README says of the code comes from the code."""

from pathlib import Path
from typing import get_args

from diptych.checkpoints.formats import READ, SUPPORTED
from diptych.checkpoints.supported import table
from diptych.checkpoints.writing import FormatName

ROOT = Path(__file__).resolve().parents[1]


def test_the_table_of_checkpoints_is_the_codes() -> None:
    assert table() in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_table_holds_every_format() -> None:
    assert {id(row.format) for row in SUPPORTED} >= {id(format) for format in READ}
    assert {row.written for row in SUPPORTED} - {None} == set(get_args(FormatName))


def test_the_chinese_readme_lists_the_same_checkpoints() -> None:
    chinese = (ROOT / "README.zh.md").read_text(encoding="utf-8")
    listed = [line.split(" | ")[-2:] for line in chinese.splitlines() if line.startswith("| ")][1:]
    assert [example.removesuffix(" |") for _, example in listed] == [row.example for row in SUPPORTED]
    assert [written.strip("`") for written, _ in listed] == [row.written or "否" for row in SUPPORTED]
