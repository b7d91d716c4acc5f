"""What the README says of the code comes from the code."""

from pathlib import Path
from typing import get_args

from diptych.checkpoints.formats import READ
from diptych.checkpoints.supported import SUPPORTED, table
from diptych.checkpoints.writing import FormatName

README = Path(__file__).resolve().parents[1] / "README.md"


def test_the_table_of_checkpoints_is_the_codes() -> None:
    assert table() in README.read_text(encoding="utf-8")


def test_the_table_holds_every_format() -> None:
    assert {id(row.format) for row in SUPPORTED} >= {id(format) for format in READ}
    assert {row.written for row in SUPPORTED} - {None} == set(get_args(FormatName))
