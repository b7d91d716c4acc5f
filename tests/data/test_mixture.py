import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from making import pairs, tar, tokenize

from diptych.config import from_dict, to_dict
from diptych.data.fingerprint import fingerprint
from diptych.data.loader import Loader
from diptych.data.mixture import BLOCK, Mixture, opened
from diptych.data.order import WINDOW
from diptych.data.source_spec import SourceSpec
from diptych.data.sources import Sample
from diptych.data.visits import Visits
from diptych.errors import ConfigError, DataError
from diptych.specs import PreprocessSpec
from diptych.training.recipe import DataSpec

BATCH = 64


class Numbers:
    """A source of so many numbered samples in shards of ten."""

    class_names = None
    templates = None

    def __init__(self, count: int, name: str = "numbers", *, bad: bool = False) -> None:
        self.name, self.count, self.bad, self.asked = name, count, bad, []
        self.shard_sizes = (10,) * (count // 10) + ((count % 10,) if count % 10 else ())

    def __len__(self) -> int:
        return self.count

    def read(self, i: int) -> Sample:
        if self.bad and i % 7 == 0:
            raise DataError(f"{self.name} {i} is gone")
        return Sample(np.full((4, 4, 3), i % 256, np.uint8), (f"{self.name} {i}",), None, f"{self.name}{i}")

    def prefetch(self, shards) -> None:
        self.asked.append(shards)


def mixture(counts, weights, batch_size=BATCH) -> Mixture:
    sources = [Numbers(count, name) for count, name in zip(counts, "abc", strict=False)]
    return Mixture(sources, weights, batch_size=batch_size)


def shares(walk, start, stop, sources=2) -> np.ndarray:
    drawn, _ = walk.draws(np.arange(start, stop))
    return np.bincount(drawn, minlength=sources) / (stop - start)


@given(
    counts=st.lists(st.integers(700, 4000), min_size=1, max_size=3),
    weights=st.lists(st.floats(0.1, 5), min_size=3, max_size=3),
    seed=st.integers(0, 2**64 - 1),
)
@settings(max_examples=5, deadline=None)
def test_every_source_is_walked_through_epoch_by_epoch_without_waste(counts, weights, seed):
    walk = mixture(counts, weights[: len(counts)]).walk(seed)
    indices = walk.visited(np.arange(3 * BLOCK))
    first = 0
    for count in counts:
        own = indices[(indices >= first) & (indices < first + count)] - first
        epochs = len(own) // count
        assert len(own) > 0
        assert np.array_equal(
            np.sort(own[: epochs * count].reshape(epochs, count)), np.tile(np.arange(count), (epochs, 1))
        )
        assert len(set(own[epochs * count :].tolist())) == len(own) % count
        first += count


def test_places_are_computed_from_the_position_alone():
    weights = [((0, 1.0), (400, 0.2)), ((0, 0.0), (200, 3.0)), 0.5]
    walk = mixture([5000, 3000, 900], weights).walk(5)
    whole = walk.visited(np.arange(6 * BLOCK))
    fresh = mixture([5000, 3000, 900], weights).walk(5)
    for start in (5 * BLOCK + 17, 3, 2 * BLOCK - 5, 4 * BLOCK):
        assert np.array_equal(fresh.visited(np.arange(start, start + 40)), whole[start : start + 40])
    assert not np.array_equal(mixture([5000, 3000, 900], weights).walk(6).visited(np.arange(100)), whole[:100])
    sources, numbers = walk.draws(np.arange(6 * BLOCK))
    for k in range(3):
        assert np.array_equal(numbers[sources == k], np.arange((sources == k).sum()))
    far = walk.draws(np.arange(10**12, 10**12 + 3 * BLOCK))
    assert all(np.array_equal(np.diff(far[1][far[0] == k]), np.ones((far[0] == k).sum() - 1)) for k in range(3))


def test_shares_are_the_weights_and_even_within_a_block():
    walk = mixture([1000, 1000], [3, 1]).walk(1)
    assert np.allclose(shares(walk, 0, 4 * BLOCK), [0.75, 0.25])
    for start in range(0, 2 * BLOCK, 400):  # a jitter of one draw at either end
        assert np.abs(shares(walk, start, start + 400) * 400 - [300, 100]).max() <= 2
    drawn, _ = walk.draws(np.arange(4000))
    assert len(set(np.diff(np.flatnonzero(drawn == 1)).tolist())) > 4  # and yet not like clockwork


def test_weights_change_linearly_by_step():
    steps = 10 * BLOCK // BATCH
    walk = mixture([100, 100], [((0, 1.0), (steps, 0.0)), ((0, 0.0), (steps, 1.0))]).walk(1)
    for block in range(10):
        expected = 1 - block / 10  # the weights of a block's first step
        assert abs(shares(walk, block * BLOCK, (block + 1) * BLOCK)[0] - expected) < 1 / BLOCK
    assert shares(walk, 30 * BLOCK, 31 * BLOCK).tolist() == [0, 1]
    assert not set(walk.window(40 * BLOCK).tolist()) & set(range(10))  # of a source that is drawn no more


def test_the_window_holds_what_is_drawn_and_replacements_stay_with_their_source():
    walk = mixture([2000, 900], [2, 1]).walk(3)
    sizes = [10] * 290
    for position in (0, 333, BLOCK - 40, 5 * BLOCK + 7):
        near = {shard for ahead in (0, 1) for shard in walk.window(position, ahead).tolist()}
        assert len(near) == 4 * WINDOW or len(near) > 2 * WINDOW  # at an epoch's end a window is short
        positions = np.arange(position, position + 60)
        assert set((walk.visited(positions) // 10).tolist()) <= near
        [source], _ = walk.draws(np.array([position]))
        refills = walk.near(position, np.arange(200, dtype=np.uint64) * np.uint64(7919))
        assert set((refills >= 2000).tolist()) == {source == 1}
        assert set((refills // 10).tolist()) <= near
    assert walk.shard(2005) == range(2000, 2010)
    assert sum(sizes) == len(walk)


def test_loading_does_not_depend_on_workers_or_processes():
    def source() -> Mixture:
        return Mixture([Numbers(70, "a", bad=True), Numbers(50, "b")], [1, ((0, 0.5), (900, 4))], batch_size=BATCH)

    options = {"tokenizer": tokenize, "visits": Visits(seed=4), "max_failures": 0.5}
    spec = PreprocessSpec(size=4)
    with Loader(source(), spec, batch_size=BATCH, workers=0, **options) as loader:
        whole = list(loader.batches(254, 258))
    assert {key[0] for batch in whole for key in batch.keys} == {"a", "b"}
    with Loader(source(), spec, batch_size=BATCH // 2, workers=2, **options) as loader:
        for part in (0, 1):
            for expected, found in zip(whole, loader.batches(254, 258, part=part, parts=2), strict=True):
                half = slice(part * BATCH // 2, (part + 1) * BATCH // 2)
                assert found.keys == expected.keys[half]
                assert found.captions == expected.captions[half]
    assert {index for index in loader.failures.reasons if index < 70} == set(loader.failures.reasons)


def test_sources_are_told_of_their_own_shards():
    mixed = mixture([600, 600], [1, 1])
    mixed.prefetch(mixed.walk(0).window(0).tolist())
    for source in mixed._sources:
        [asked] = source.asked
        assert len(asked) == WINDOW
        assert set(asked) <= set(range(60))


def test_what_a_recipe_says(tmp_path):
    for name in ("a", "b"):
        tar(tmp_path / f"{name}.tar", pairs(0, 6 if name == "a" else 9))
    data = from_dict(
        DataSpec,
        {
            "source": str(tmp_path / "a.tar"),
            "weight": 2,
            "mixture": [
                {"source": str(tmp_path / "b.tar"), "captions": ["json.captions.en"], "weight": [[0, 0], [500, 1.5]]}
            ],
        },
    )
    assert from_dict(DataSpec, to_dict(data)) == data
    source = opened([data, *data.mixture], cache=data.cache, batch_size=4)
    assert len(source) == 15
    assert source.read(2).captions == ("image 2",)
    assert source.read(8).captions == ("a 2", "b 2")
    assert source.captions_of(8) == ("a 2", "b 2")
    assert fingerprint(source) != fingerprint(opened(list(data.mixture), cache=data.cache, batch_size=4)) != ""


@pytest.mark.parametrize(
    ("weights", "message"),
    [([1, 0], "b is never drawn"), ([1, 1e-6], "b is never drawn"), ([((0, 1), (300, 0)), 0], "zero at step|never")],
)
def test_weights_that_mean_nothing_are_refused(weights, message):
    with pytest.raises(ConfigError, match=message):
        mixture([10, 10], weights)


@pytest.mark.parametrize("weight", [-1.0, (), ((5, 1.0), (5, 2.0)), ((9, 1.0), (5, 2.0)), ((0, -1.0),), float("nan")])
def test_weights_that_are_none_are_refused(weight):
    with pytest.raises(ConfigError, match="must be a number from 0, or"):
        SourceSpec(source="a", weight=weight)
