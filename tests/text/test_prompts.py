from pathlib import Path

import pytest

from diptych.errors import ConfigError
from diptych.text.prompts import TEMPLATES, fill, templates


def test_every_set_is_valid_and_without_repetition() -> None:
    for name, found in TEMPLATES.items():
        assert templates(name) == found
        assert len({fill(template, "x") for template in found}) == len(found)
    assert 75 <= len(TEMPLATES["photo-ensemble"]) <= 85


def test_a_choice_is_a_name_a_file_a_template_or_a_sequence(tmp_path: Path) -> None:
    path = tmp_path / "templates.txt"
    path.write_text("\ufeffa {c}, of course\n\n  one {}  \n", encoding="utf-8")
    assert templates(path) == templates(str(path)) == ("a {c}, of course", "one {}")
    assert templates("a {} here") == ("a {} here",)
    assert templates(["{}", "x {c}"]) == ("{}", "x {c}")


def test_the_class_goes_where_the_placeholder_is() -> None:
    assert fill("a {} and {c} {x} {{}}", "ca{c}t{}") == "a ca{c}t{} and ca{c}t{} {x} {ca{c}t{}}"


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("phoot", "did you mean 'photo'"),
        ([], "no template"),
        (["a {}", "a cat"], "number 2"),
        ([3], "number 1"),
        (Path("nowhere.txt"), "neither a set of templates nor a file"),
    ],
)
def test_wrong_choices(choice: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        templates(choice)


def test_wrong_files(tmp_path: Path) -> None:
    path = tmp_path / "templates.txt"
    path.write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(ConfigError, match="cannot read"):
        templates(path)
    path.write_text("a {}\na cat\n")
    with pytest.raises(ConfigError, match="number 2, 'a cat'"):
        templates(path)
