from pathlib import Path

import pytest

from diptych.errors import ConfigError
from diptych.text.prompt_sets import PROMPT_SETS
from diptych.text.prompts import TEMPLATES, ablation, fill, templates


def test_every_set_is_valid_and_without_repetition() -> None:
    for name, found in TEMPLATES.items():
        assert templates(name) == found
        assert len({" ".join(fill(template, "x").casefold().split()) for template in found}) == len(found)
        assert {template.count("{}") for template in found} == {1}, name
        assert not any("{" in template.replace("{}", "") for template in found), name
    assert len(TEMPLATES["photo-ensemble"]) == 80  # as many as the paper's


def test_no_template_is_of_two_domains() -> None:
    """Each says what kind of thing the classes are."""
    of = [(template, name) for name, domain in PROMPT_SETS.items() for template in domain.ensemble]
    assert len(dict(of)) == len(of)
    photos = set(TEMPLATES["photo-ensemble"])
    assert [(template, name) for template, name in of if template in photos] == []


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


@pytest.mark.parametrize("name", ["photo-ensemble", *PROMPT_SETS])
def test_an_ablation_goes_from_the_name_to_the_ensemble(name: str) -> None:
    found = ablation(name)
    assert list(found) == ["name", "template", "hint", "ensemble"]
    assert found["name"] == ("{}",)
    assert [len(found[part]) for part in ("template", "hint")] == [1, 1]
    assert found["template"] != found["hint"]
    assert found["ensemble"] == templates(name)
    assert len(found["ensemble"]) >= 4
    for part in found.values():
        assert templates(part) == part  # each has a placeholder


def test_an_ablation_of_what_is_not_there() -> None:
    with pytest.raises(ConfigError, match="did you mean 'pets'"):
        ablation("pest")


def test_the_templates_are_of_our_own_writing(shared_data: Path) -> None:
    """None of the sentences that the paper and CLIP_benchmark publish is in an ensemble, or is a hint."""
    folder = shared_data / "prompts"
    if not folder.is_dir():
        pytest.skip(f"the published prompts are not at {folder}")
    theirs = "\n".join(
        path.read_text(encoding="utf-8") for path in folder.rglob("*") if path.suffix in (".md", ".json")
    ).replace("{c}", "{}")
    ours = {template for domain in PROMPT_SETS.values() for template in (domain.hint, *domain.ensemble)}
    ours |= set(TEMPLATES["photo-ensemble"]) | {ablation("photo-ensemble")["hint"][0]}
    same = {template for template in ours if f"'{template}'" in theirs or f'"{template}"' in theirs}
    assert not same
