import numpy as np
import pytest

from diptych.data.failures import Failure, Failures
from diptych.errors import TooManyFailures


def visit(failures: Failures, shares: list[float], *, size: int = 200) -> int:
    """Windows of so many positions, of which these shares fail; how many windows went well."""
    index = 0
    for window, share in enumerate(shares):
        for _ in range(size // 20):
            bad = round(20 * share)
            failed = [Failure(index + i, "gone") for i in range(bad)]
            index += bad
            failures.add(failed, replaced=bad, visited=20, window=window)
    return len(shares)


def test_a_source_that_is_bad_in_every_window_is_found_out_after_a_few():
    draws = np.random.default_rng(0)
    failures = Failures(allowed=0.05, samples=10**6, one_window=False)
    with pytest.raises(
        TooManyFailures, match=r"2\d\.\d% of the samples in 16 windows .* than the 5\.0% allowed; .*gone"
    ):
        visit(failures, draws.uniform(0.1, 0.4, 100).tolist())


def test_windows_that_are_lost_altogether_are_no_proof_against_the_others():
    draws = np.random.default_rng(0)
    for _ in range(20):
        shares = draws.permutation([1.0] * 4 + [0.0] * 96).tolist()  # 4 % of the source, 5 % allowed
        assert visit(Failures(allowed=0.05, samples=20_000, one_window=False), shares) == 100


def test_a_lost_shard_counts_once_by_its_samples():
    failures = Failures(allowed=0.02, samples=1000, one_window=False)
    for _ in range(30):
        failures.add([Failure(100, "all 10 samples of x.tar", 10)], replaced=1, visited=32, window=0)
    failures.add([Failure(500, "all 10 samples of y.tar", 10)], replaced=1, visited=32, window=0)
    assert failures.summary() == "20 sample(s) failed: all 10 samples of x.tar | all 10 samples of y.tar"
    with pytest.raises(TooManyFailures, match=r"21 of the 1,000"):
        failures.add([Failure(7, "gone")], replaced=1, visited=32, window=0)
