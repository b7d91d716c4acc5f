from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.data.order import WINDOW, Walk, mixed, permuted, uniforms

seeds = st.integers(0, 2**64 - 1)


@given(length=st.integers(1, 3000), key=seeds)
@settings(max_examples=40, deadline=None)
def test_permuted_is_a_bijection(length, key):
    assert np.array_equal(np.sort(permuted(np.arange(length), length, key)), np.arange(length))


@given(sizes=st.lists(st.integers(0, 40), min_size=1, max_size=50).filter(sum), seed=seeds, epoch=st.integers(0, 999))
@settings(max_examples=40, deadline=None)
def test_an_epoch_visits_every_sample_once(sizes, seed, epoch):
    total = sum(sizes)
    seen = Walk(sizes, seed).visited(np.arange(total) + epoch * total)
    assert np.array_equal(np.sort(seen), np.arange(total))


@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=50), seed=seeds, start=st.integers(0, 10**12))
@settings(max_examples=10, deadline=None)
def test_the_order_does_not_depend_on_what_is_asked_together(sizes, seed, start):
    positions = np.arange(start, start + 50)
    apart = [Walk(sizes, seed).visited(positions[i : i + 1])[0] for i in range(50)]
    assert Walk(sizes, seed).visited(positions).tolist() == apart


def test_all_orders_of_three_are_equally_likely():
    counts = Counter(tuple(permuted(np.arange(3), 3, key)) for key in range(1800))
    assert len(counts) == 6
    assert max(abs(count - 300) for count in counts.values()) < 80  # five standard deviations


@pytest.mark.parametrize("length", [17, 1000, 6000])
def test_shuffles_look_random(length):
    """Neighbours are as far apart, and as little correlated with their place, as in a fair shuffle."""
    orders = np.stack([permuted(np.arange(length), length, key) for key in range(200)])
    steps = np.abs(np.diff(orders, axis=1)).mean() / (length + 1)
    assert abs(steps - 1 / 3) < 0.01
    correlation = np.mean([np.corrcoef(order, np.arange(length))[0, 1] for order in orders])
    assert abs(correlation) < 5 / np.sqrt(200 * length)
    fixed = (orders == np.arange(length)).sum(axis=1).mean()  # one on average
    assert abs(fixed - 1) < 0.4
    first = np.bincount(orders[:, 0] * 4 // length, minlength=4)
    assert first.min() > 25  # of 50 expected


def test_shards_are_mixed_within_windows_only():
    sizes = [10] * (4 * WINDOW)
    shards = Walk(sizes, seed=3).visited(np.arange(sum(sizes))) // 10
    windows = [set(part) for part in np.split(shards, 4)]
    assert all(len(window) == WINDOW for window in windows)
    assert len(set(shards[:20].tolist())) > 8
    assert windows[0] != set(range(WINDOW))


def test_seeds_and_epochs_differ():
    orders = {tuple(Walk([100], seed).visited(np.arange(100) + 100 * epoch)) for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25


def test_uniforms_are_uniform_and_belong_to_their_key():
    numbers = uniforms(7, np.arange(2000), count=8)
    assert numbers.shape == (2000, 8)
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert np.abs(numbers.mean(axis=0) - 0.5).max() < 0.04
    assert np.abs(np.corrcoef(numbers.T) - np.eye(8)).max() < 0.12
    assert np.array_equal(uniforms(7, 5, count=8), numbers[5])
    assert not np.array_equal(uniforms(8, 5, count=8), numbers[5])


def test_mixed_tells_the_places_of_values_apart():
    assert mixed(1, 2) != mixed(2, 1)
    assert mixed(0) != mixed(0, 0)
    assert len({int(mixed(a, b)) for a in range(20) for b in range(20)}) == 400
    assert int(mixed(-1)) == int(mixed(2**64 - 1))
