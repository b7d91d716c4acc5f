import itertools

import numpy as np
import pytest
from making import jpeg, tokenize
from test_loader import Memory

from diptych.data.buckets import BucketPlan, Buckets
from diptych.data.loader import Loader
from diptych.data.sources import Sample
from diptych.data.visits import Visits
from diptych.errors import ConfigError, DataError
from diptych.specs import PreprocessSpec

SPEC = PreprocessSpec(size=8)
BATCH, STEPS = 8, 4


def lengths_of(positions: np.ndarray) -> np.ndarray:
    return positions * 7919 % 61


def test_every_window_is_a_permutation_of_its_positions_cut_by_length():
    rows = np.arange(3 * BATCH * STEPS)
    positions = BucketPlan(Buckets(BATCH, STEPS), seed=1).positions(rows, lengths_of)
    for window in positions.reshape(3, -1):
        assert np.array_equal(np.sort(window), np.sort(window).min() + np.arange(BATCH * STEPS))
        batches = sorted((np.sort(lengths_of(batch)) for batch in window.reshape(STEPS, BATCH)), key=lambda b: b.sum())
        assert all(shorter[-1] <= longer[0] for shorter, longer in itertools.pairwise(batches))
    lengths = lengths_of(positions).reshape(-1, BATCH)
    assert any((np.diff(lengths.mean(axis=1)[: STEPS * 3]) < 0).tolist())  # steps do not go from short to long
    assert any((np.diff(batch) < 0).any() for batch in lengths)  # nor do the rows of one


def test_the_plan_depends_on_nothing_but_seed_and_rows():
    rows = np.arange(10**9, 10**9 + 200)
    expected = BucketPlan(Buckets(BATCH, STEPS), seed=1).positions(rows, lengths_of)
    shared = BucketPlan(Buckets(BATCH, STEPS), seed=1)
    for row in np.random.default_rng(0).permutation(200).tolist():
        assert shared.positions(rows[row : row + 1], lengths_of) == expected[row]
    other = BucketPlan(Buckets(BATCH, STEPS), seed=2).positions(rows, lengths_of)
    assert not np.array_equal(other, expected)


def source() -> Memory:
    words = [("kurz",), ("ein Satz von mittlerer Länge",), ("ein sehr viel längerer Satz, " * 3, "kurz")]
    samples = [Sample(jpeg(i, (8, 8)), words[i % 3], None, f"s{i}") for i in range(100)]
    samples[13] = DataError("gone")
    samples[14] = Sample(b"no image", ("kurz",), None, "s14")
    return Memory(samples)


def load(workers=0, batch_size=BATCH, start=0, stop=20, *, steps=STEPS, **parts):
    visits = Visits(seed=3, captions_per_image=2, buckets=Buckets(BATCH, steps) if steps else None)
    options = {"tokenizer": tokenize, "workers": workers, "visits": visits}
    with Loader(source(), SPEC, batch_size=batch_size, **options) as loader:
        return list(loader.batches(start, stop, **parts))


def test_windows_hold_the_same_samples_captions_and_crops_as_without():
    plain, sorted_ = load(steps=None), load()
    for window in range(0, 20, STEPS):
        before, after = (
            sorted(
                (key, batch.captions[2 * row : 2 * row + 2], batch.pixels_BCHW[row].sum().item())
                for batch in batches[window : window + STEPS]
                for row, key in enumerate(batch.keys)
            )
            for batches in (plain, sorted_)
        )
        assert before == after
    spans = [np.ptp([batch.tokens.lengths_B.max().item() for batch in batches]) for batches in (plain, sorted_)]
    assert spans[1] > spans[0]  # batches of short ones are short


def test_batches_do_not_depend_on_workers_start_or_processes():
    whole = load()
    assert all(a.keys == b.keys and a.captions == b.captions for a, b in zip(whole, load(workers=2), strict=True))
    assert [batch.keys for batch in load(start=7)] == [batch.keys for batch in whole[7:]]
    halves = [load(workers=2, batch_size=BATCH // 2, part=part, parts=2) for part in (0, 1)]
    assert [a.keys + b.keys for a, b in zip(*halves, strict=True)] == [batch.keys for batch in whole]


def test_buckets_are_positive():
    with pytest.raises(ConfigError, match="positive"):
        Buckets(8, 0)
