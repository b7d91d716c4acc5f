"""Classes of one data set found among those of another, by name or as a file says."""

from pathlib import Path

import numpy as np
import pytest

from diptych.errors import ConfigError, DataError
from diptych.evaluation.class_map import ClassMap, match, read_mapping


def of(own: str, others: str, mapping: dict[str, tuple[str, ...]] | None = None) -> ClassMap:
    both = ([tuple(name.split("|")) for name in names.split(", ")] for names in (own, others))
    return match(*both, name="drawings", other_name="photos", mapping=mapping)


@pytest.mark.parametrize(
    ("own", "others", "rows"),
    [
        ("crane, crane, bird", "crane, crane, bird", ((0,), (1,), (2,))),  # equal lists are themselves
        ("bird, cat", "cat, dog, bird", ((2,), (0,))),
        ("missile, cat", "missile, dog, missile, cat", ((0, 2), (3,))),  # no name tells the two apart
        ("Sea-Lake, tom", "sea lake|lake, cat|tom", ((0,), (1,))),
        ("mug|coffee cup", "coffee cup", ((0,),)),
        ("c, c++", "c++, c", ((1,), (0,))),  # a name as it is comes before its letters
    ],
)
def test_classes_are_found_by_name(own: str, others: str, rows: tuple[tuple[int, ...], ...]) -> None:
    assert of(own, others).rows == rows


def test_a_mapping_says_what_names_do_not() -> None:
    found = of("person, dog", "bridegroom, diver, dog, ballplayer", {"person": ("diver", "bridegroom")})
    assert found.rows == ((0, 1), (2,))
    assert found.mapping == {"person": ["bridegroom", "diver"], "dog": ["dog"]}
    assert of("cat, dog", "cat, dog").mapping == {}
    assert of("a, b", "a, b", {"a": ("b",), "b": ("a",)}).rows == ((1,), (0,))


@pytest.mark.parametrize(
    ("own", "others", "mapping", "error", "message"),
    [
        ("brid, cow, cat", "cat, dog, bird", None, DataError,
         r"2 of the 3 classes of drawings are none of .* photos: 'brid' \(did you mean 'bird'\?\), 'cow'.*--mapping"),
        ("crane, crane", "crane, bird", None, DataError, "1 names of drawings are those of several classes.*'crane'"),
        ("C", "c, c++", None, DataError, "none of the 2 of photos: 'C'"),  # which of both is not known
        ("tom, cat", "cat|tom, dog", None, DataError, "'tom' and 'cat' of drawings are one class of photos, 'cat'"),
        ("🙂, cat", "🙁, cat", None, DataError, "'🙂'"),
        ("cat", "cat, dog", {"cta": ("dog",)}, ConfigError, "'cta', which is no class of drawings; did you mean 'cat'"),
        ("cat", "cat, dog", {"cat": ("dgo",)}, ConfigError, "'dgo', which is no class of photos; did you mean 'dog'"),
        ("cat", "cat, dog", {"cat": ()}, ConfigError, "says of 'cat' nothing"),
        ("a, b", "x, y", {"a": ("x", "y"), "b": ("y",)}, DataError, "'a' and 'b' of drawings are one class"),
        ("a, b", "x, y", {"a": ("y",), "b": ("x", "y")}, DataError, "'a' and 'b' of drawings are one class"),
    ],
)  # fmt: skip
def test_classes_that_cannot_be_matched_are_named(
    own: str, others: str, mapping: dict[str, tuple[str, ...]] | None, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        of(own, others, mapping)


def test_scores_are_pooled_and_labels_found() -> None:
    classes = ClassMap(("animal", "car"), ("cat", "car", "dog", "sky"), ((0, 2), (1,)))
    scores_NC = np.array([[1, 2, 3, 9], [5, -np.inf, 4, 9]], np.float32)
    np.testing.assert_array_equal(classes.pooled(scores_NC), [[3, 2], [5, -np.inf]])
    assert classes.places(np.array([0, 1, 2, 3])).tolist() == [0, 1, 0, -1]
    twice = ClassMap(("a", "b", "c"), ("a", "a too", "c", "d"), ((0,), (1,), (2, 3)))
    assert twice.first(np.array([0, 0, 2, 3])).tolist() == [0, 0, 2]  # no model tells the first two apart


def test_a_file_of_a_mapping(tmp_path: Path) -> None:
    file = tmp_path / "names.txt"
    file.write_text("person = bridegroom | scuba diver\n\ncup=mug\n")
    assert read_mapping(file) == {"person": ("bridegroom", "scuba diver"), "cup": ("mug",)}
    assert read_mapping({"cup": "mug"}) == {"cup": ("mug",)}
    for content, message in (
        ("person\n", "line 1: 'person' is no NAME = NAME"),
        ("a = b\na = c\n", "line 2: 'a' is there twice"),
        ("a = b | \n", "blank name"),
        ("\n", "maps no class"),
    ):
        file.write_text(content)
        with pytest.raises(ConfigError, match=message):
            read_mapping(file)
    with pytest.raises(ConfigError, match="cannot read"):
        read_mapping(tmp_path / "none.txt")


def test_a_class_that_stands_for_none_is_never_answered() -> None:
    classes = ClassMap(("a", "none", "b"), tuple("uvwxy"), ((1, 2), (), (4,)))
    scores_NC = np.array([[9, 1, 2, 9, 0], [9, -3, -4, 9, -2]], np.float32)
    assert classes.pooled(scores_NC).tolist() == [[2, -np.inf, 0], [-3, -np.inf, -2]]
    assert classes.places(np.arange(5)).tolist() == [-1, 0, 0, -1, 2]
    assert classes.mapping == {"a": ["v", "w"], "none": [], "b": ["y"]}
