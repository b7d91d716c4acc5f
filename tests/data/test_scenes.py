import pickle
import re
from collections import Counter
from random import Random

import numpy as np
import pytest
from PIL import Image

from diptych.data import scene_drawing, scene_grammar
from diptych.data.scene_grammar import COLOURS, PAIRS, RELATIONS, SEEN, SHAPES, UNSEEN, Scene, Thing, caption, compose
from diptych.data.scenes import Scenes
from diptych.errors import ConfigError, DataError

RED_STAR = Thing("red", "star", "plain", "big")
ORANGE_CROSS = Thing("orange", "cross", "striped", "small")


def test_scenes_depend_on_seed_split_and_index_alone():
    source, again = Scenes("train", count=50, size=64, seed=3), Scenes("train", count=50, size=64, seed=3)
    backwards = [again.read(i) for i in reversed(range(50))][::-1]
    for i, other in enumerate(backwards):
        sample = source.read(i)
        assert np.array_equal(sample.image, other.image)
        assert sample[1:] == other[1:]
    assert not np.array_equal(source.read(0).image, Scenes("train", count=50, size=64, seed=4).read(0).image)
    assert not np.array_equal(source.read(0).image, Scenes("held-out", count=50, size=64, seed=3).read(0).image)


def test_a_source_travels_to_a_worker():
    source = Scenes("unseen-pairs", count=5, size=64)
    assert pickle.loads(pickle.dumps(source)).read(2).key == source.read(2).key


@pytest.mark.parametrize("split", ["train", "held-out"])
def test_unseen_pairs_are_in_no_scene_and_no_caption(split):
    unseen = {f"{colour} {shape}" for colour, shape in UNSEEN}
    source = Scenes(split, count=3000, size=8)
    said = Counter()
    for i in range(len(source)):
        _, scene, _ = source._scene(i)
        assert not {(thing.colour, thing.shape) for thing in scene.things} & set(UNSEEN)
        for text in source.read(i).captions:
            found = re.findall(rf"({'|'.join(COLOURS)}) ({'|'.join(SHAPES)})", text)
            assert not {" ".join(pair) for pair in found} & unseen
            said.update(word for pair in found for word in pair)
    assert set(said) == {*COLOURS, *SHAPES}


def test_every_shape_has_one_unseen_colour():
    assert len(PAIRS) >= 48
    assert len(set(PAIRS)) == len(PAIRS) == len(SEEN) + len(UNSEEN)
    assert sorted(shape for _, shape in UNSEEN) == sorted(SHAPES)
    assert len({colour for colour, _ in UNSEEN}) == len(UNSEEN)


@pytest.mark.parametrize(("split", "pairs"), [("seen-pairs", SEEN), ("unseen-pairs", UNSEEN)])
def test_single_objects_are_labelled_among_all_pairs(split, pairs):
    source = Scenes(split, count=2 * len(pairs), size=8)
    labels = [source.read(i).label for i in range(len(source))]
    assert Counter(PAIRS[label] for label in labels) == dict.fromkeys(pairs, 2)
    assert len(source.class_names) == len(PAIRS)
    for i, label in enumerate(labels):
        assert source.captions_of(i) == (source.class_names[label],)


def test_captions_say_what_the_scene_is():
    two = Scene((RED_STAR, ORANGE_CROSS), "sand", relation="left")
    texts = {caption(two, Random(i), detail=1.0) for i in range(300)}
    assert "a big red star left of a small striped orange cross on sand" in texts
    assert "a small striped orange cross to the right of a big red star on the beach" in texts
    assert not any(re.search(r"star (right|to the right) of", text) for text in texts)
    many = {caption(Scene((ORANGE_CROSS,), "night", count=3), Random(i), detail=0.0) for i in range(300)}
    assert {"three orange crosses", "there are three crosses", "a picture of three orange crosses"} <= many
    assert "an orange cross" in {caption(Scene((ORANGE_CROSS,), "sky"), Random(i), detail=0.0) for i in range(99)}


def test_relations_are_drawn_as_they_are_said():
    for name, (_, opposite) in RELATIONS.items():
        assert RELATIONS[opposite][1] == name
        for i in range(50):
            (_, (x1, y1)), (_, (x2, y2)) = scene_drawing._places(
                Scene((RED_STAR, ORANGE_CROSS), "sky", relation=name), Random(i)
            )
            gap = {"left": x2 - x1, "right": x1 - x2, "above": y2 - y1, "below": y1 - y2}[name]
            assert gap > 0.4


def test_a_thing_is_drawn_in_its_colour_where_it_stands():
    for colour in COLOURS:
        thing = Thing(colour, "square", "plain", "big")
        image = np.asarray(scene_drawing.draw(Scene((thing,), "paper"), Random(1), 64), dtype=int)
        distance = np.abs(image - np.array(scene_drawing.RGB[colour])).max(axis=2)
        assert (distance < 50).mean() > 0.1


def test_shapes_differ_and_fill_their_circle():
    masks = {shape: np.asarray(scene_drawing._outline(shape, 30, 0)) > 0 for shape in SHAPES}
    for i, one in enumerate(SHAPES):
        assert 0.2 < masks[one].mean() < 0.8
        for other in SHAPES[i + 1 :]:
            assert (masks[one] != masks[other]).mean() > 0.05


def test_a_larger_picture_is_the_same_scene():
    source = Scenes("held-out", count=20, size=64)
    for i in range(20):
        small, large = source.read(i).image, source.picture(i, 256)
        assert large.size == (256, 256)
        shrunk = np.asarray(large.resize((64, 64), Image.Resampling.BOX), dtype=float)
        assert np.abs(shrunk - small).mean() < 8


def test_all_words_of_the_grammar_occur():
    scenes = [compose(Random(i), SEEN) for i in range(500)]
    assert {scene.background for scene in scenes} == set(scene_grammar.BACKGROUNDS)
    assert {scene.count for scene in scenes} == {1, *scene_grammar.COUNTS}
    assert {scene.relation for scene in scenes} == {None, *RELATIONS}


def test_wrong_use_is_told():
    with pytest.raises(ConfigError, match="did you mean 'unseen-pairs'"):
        Scenes("unseen_pairs", count=5, size=64)
    with pytest.raises(ConfigError, match="count of 1"):
        Scenes("train", count=0, size=64)
    with pytest.raises(DataError, match="no scene 5 of 5"):
        Scenes("train", count=5, size=64).read(5)
