"""Files of class names, the names that come with Diptych, and the mean of several names."""

import numpy as np
import pytest

from diptych.errors import DataError
from diptych.text import class_names


def test_a_line_is_a_class_and_may_hold_several_names(tmp_path):
    path = tmp_path / "names.txt"
    path.write_bytes("\ufeffhappy | glad\r\nsad\r\nso-called  thing\u2028x\r\n\r\n".encode())
    assert class_names.read(path) == (("happy", "glad"), ("sad",), ("so-called  thing\u2028x",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no class name"),
        (b"\n \n", "no class name"),
        (b"a\n\nb\n", "line 2: '' has a blank name"),
        (b"a|\nb\n", r"line 1: 'a\|' has a blank name"),
        (b"a\nb|b\n", "line 2: .* has a name twice"),
        (b"\xff\xfe", "cannot read"),
        (None, "cannot read"),
    ],
)
def test_files_that_are_wrong(tmp_path, content, message):
    path = tmp_path / "names.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        class_names.read(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("mnist", 10), ("gtsrb", 43), ("fer2013", 7), ("eurosat", 10), ("country211", 211), ("clevr-count", 8),
        ("kitti-distance", 4), ("patch-camelyon", 2), ("hateful-memes", 2),
        ("flowers102", 102),
    ],
)  # fmt: skip
def test_names_that_come_with_diptych(name, classes):
    found = class_names.packaged(name)
    assert len(found) == classes
    every = [one for names in found for one in names]
    assert len(set(every)) == len(every)  # a name of two classes could not be told apart


def test_names_that_do_not_come_with_diptych():
    with pytest.raises(DataError, match="did you mean 'mnist'"):
        class_names.packaged("nmist")


def test_classes_are_matched_whatever_their_names_are_written_like():
    known = (("sea lake", "a lake"), ("forest",))
    assert class_names.matched(["SeaLake", "FOREST", "Desert"], known) == (*known, ("Desert",))


def test_several_names_are_averaged_class_by_class():
    names_ME = np.array([[1, 0], [0, 1], [0, 1], [1, 0], [-1, 0]], np.float32)
    means_CE = class_names.averaged(names_ME, [("a", "b"), ("c",), ("d", "e")])
    assert means_CE.dtype == np.float32
    np.testing.assert_allclose(means_CE, [[0.5**0.5, 0.5**0.5], [0, 1], [0, 0]], atol=1e-7)
    with pytest.raises(ValueError, match="5 vectors"):
        class_names.averaged(names_ME, [("a",)])


ALONE = [("red",), ("green",), ("blue",)]


@pytest.mark.parametrize(
    ("own", "given", "found"),
    [
        (["blue", "green", "red"], ALONE, ["blue", "green", "red"]),
        (["Blue", "Green", "Red_"], ALONE, ["blue", "green", "red"]),
        (["blau", "grün", "rot"], ALONE, ["red", "green", "blue"]),  # others than the data's: in their order
        (["C", "C#", "C++"], [("C++",), ("C#",), ("C",)], ["C", "C#", "C++"]),
        (["C", "C#", "C++"], [("c lang",), ("C++",), ("C#",)], DataError),  # by letters all are one
        (["puss", "tom"], [("tomcat", "tom"), ("kitty", "puss")], ["kitty", "tomcat"]),
        (["crane", "crane"], [("crane", "bird"), ("crane", "machine")], ["crane", "crane"]),
        (["a", "b", "c"], [("b",), ("a",), ("z",)], DataError),
        (["black", "blue", "green", "red"], [("red",), ("green",), ("canary",), ("blue",)], DataError),
        (["0", "1", "10", "2"], [("zero",), ("one",), ("two",), ("ten",)], ["zero", "one", "ten", "two"]),
        (["0", "1", "10", "2"], [("0",), ("1",), ("2",), ("10",)], ["0", "1", "10", "2"]),
        (["0", "1", "2"], [("1",), ("2",), ("3",)], ["1", "2", "3"]),  # how many things a class shows
        (["1", "x", "y"], [("2",), ("1",), ("ypsilon",)], ["2", "1", "ypsilon"]),
        (["\U0001f600", "\U0001f640"], [("\U0001f640",), ("\U0001f600",)], ["\U0001f600", "\U0001f640"]),
    ],
)
def test_names_are_given_to_the_classes_that_they_are_of(own, given, found):
    if isinstance(found, list):
        assert [names[0] for names in class_names.in_order(given, own, "x")] == found
    else:
        with pytest.raises(found, match=r"x: the class .* is number .* go in the order of the classes"):
            class_names.in_order(given, own, "x")


def test_a_name_of_another_class_among_many_that_stand_right_is_a_warning():
    own, given = ["ant", "bee", "crane", "lift"], [("ant",), ("bee",), ("crane bird",), ("crane",)]
    with pytest.warns(
        UserWarning, match=r"the class 'crane' is number 3, and of the names given .* 'crane' is number 4"
    ):
        assert class_names.in_order(given, own, "x") == tuple(given)
