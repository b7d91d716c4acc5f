"""Two models, or two prompts, on the same samples: which is better, by how much, and whether that may be luck."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from diptych.errors import DataError
from diptych.evaluation import intervals
from diptych.evaluation.result import Interval

_LISTED = 4  # keys in a message


@dataclass(frozen=True, eq=False)
class Measured:
    """A metric of N samples: hits as true and false, or any numbers, each with the sample's key.

    clusters: what was drawn as one, such as the image of each caption; without it, each sample was.
    """

    name: str
    keys: Sequence[Hashable]
    values_N: np.ndarray
    clusters: Sequence[Hashable] | None = None


@dataclass(frozen=True)
class McNemar:
    """Two-sided p-values of hits of A alone and of B alone being as likely: exact, and mid-p.

    The exact one is rather too large; mid-p, which counts the observed outcome half, is wrong as often as it says, on
    average, and seldom more often (Fagerland et al., BMC Medical Research Methodology 13, 2013).
    """

    only_a: int
    only_b: int
    p: float
    mid_p: float


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A paired comparison; as a string, a sentence.

    difference: mean of A less mean of B, with the interval of a bootstrap over samples or clusters, drawn whole.
    p:          two-sided: McNemar's exact one where the metric is hits that are not in clusters, else the bootstrap's.
    mcnemar:    None where the metric is no hits, or samples come in clusters, which it does not know.
    """

    names: tuple[str, str]
    means: tuple[float, float]
    samples: int
    difference: float
    interval: Interval
    p: float
    mcnemar: McNemar | None
    lower_is_better: bool = False
    points: bool = True  # told in points of 100, as fractions are

    def __str__(self) -> str:
        a_leads = (self.difference > 0) != self.lower_is_better
        ahead, behind = self.names if a_leads else self.names[::-1]
        size, (low, high) = abs(self.difference), self.interval
        if self.difference < 0:
            low, high = -high, -low
        if self.points:
            told = f"{100 * size:.1f} points ({100 * low:.1f} to {100 * high:.1f})"
        else:
            told = f"{size:.4g} ({low:.4g} to {high:.4g})"
        p = f"p = {self.p:.2g}" if self.p >= 0.001 else "p < 0.001"
        if self.difference == 0:
            return f"{self.names[0]} and {self.names[1]} are equal within {told}, {p}, {self.samples} samples"
        if low <= 0 <= high or self.p >= 1 - intervals.LEVEL:
            told = f"{ahead} is ahead of {behind} by {told}"
            return f"no difference is shown: {told}, {p}, {self.samples} samples"
        return f"{ahead} is better by {told}, {p}, {self.samples} samples"


def compare(a: Measured, b: Measured, *, lower_is_better: bool = False, seed: int = 0, draws: int = 2000) -> Comparison:
    """Compare two measurements of the same samples, in whatever order each has them.

    Of hits, the bootstrap draws from the samples and two more, one that A alone hits and one that B alone does, and
    its draws are moved back by what that changes: where hardly any sample tells the two apart, or none, resampling
    alone would be too sure. No p of so many draws is less than 2 / (draws + 1), so that tests that are corrected for
    their number need more. Raises DataError where the samples, or their clusters, are not the same.
    """
    order_N = _matched(a, b)
    values_a, values_b = np.asarray(a.values_N), np.asarray(b.values_N)[order_N]
    hits = all(np.isin(values, (0, 1)).all() for values in (values_a, values_b))
    values_a, values_b = values_a.astype(np.float64), values_b.astype(np.float64)
    for measured, values_N in ((a, values_a), (b, values_b)):
        if unknown := int((~np.isfinite(values_N)).sum()):
            raise DataError(f"{unknown} of the {len(values_N)} values of {measured.name} are not finite")
    difference_N = values_a - values_b
    cluster_N = _clusters(a, b, order_N)
    sums_K, sizes_K = np.bincount(cluster_N, weights=difference_N), np.bincount(cluster_N)
    mean = float(difference_N.mean())
    drawn = _drawn(sums_K, sizes_K, hits, seed, draws) + mean
    mcnemar_of_hits = None
    if hits and len(sizes_K) == len(difference_N):
        mcnemar_of_hits = mcnemar(int((difference_N > 0).sum()), int((difference_N < 0).sum()))
    return Comparison(
        names=(a.name, b.name),
        means=(float(values_a.mean()), float(values_b.mean())),
        samples=len(difference_N),
        difference=mean,
        interval=intervals.percentiles(drawn, len(sizes_K), mean),
        p=mcnemar_of_hits.p if mcnemar_of_hits else _bootstrap_p(drawn, len(sizes_K)),
        mcnemar=mcnemar_of_hits,
        lower_is_better=lower_is_better,
        points=all(values.min() >= 0 and values.max() <= 1 for values in (values_a, values_b)),
    )


def mcnemar(only_a: int, only_b: int) -> McNemar:
    """McNemar's test of paired hits, by the binomial distribution whatever their number."""
    from scipy.stats import binom

    fewer, trials = min(only_a, only_b), only_a + only_b
    if not trials:
        return McNemar(0, 0, 1.0, 1.0)
    both_tails = 2 * float(binom.cdf(fewer, trials, 0.5))
    return McNemar(only_a, only_b, min(1.0, both_tails), min(1.0, both_tails - float(binom.pmf(fewer, trials, 0.5))))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values of several tests, such as one a data set, adjusted so that all together mislead as seldom as one does.

    Holm's step-down method, for tests that may depend on one another. Raises DataError for what is no p-value.
    """
    p_T = np.asarray(p_values, np.float64)
    if not ((p_T >= 0) & (p_T <= 1)).all():
        raise DataError(f"p-values are between 0 and 1, not {p_T[~((p_T >= 0) & (p_T <= 1))][0]}")
    order_T = np.argsort(p_T, kind="stable")
    adjusted_T = np.empty(len(p_T))
    adjusted_T[order_T] = np.maximum.accumulate(p_T[order_T] * np.arange(len(p_T), 0, -1)).clip(max=1)
    return adjusted_T.tolist()


def _drawn(sums_K: np.ndarray, sizes_K: np.ndarray, hits: bool, seed: int, draws: int) -> np.ndarray:
    """Resampled means of differences, less the mean of what they are drawn from."""
    if hits:
        size = max(1, math.ceil(sizes_K.mean()))
        sums_K, sizes_K = np.append(sums_K, [size, -size]), np.append(sizes_K, [size, size])
    return intervals.resampled_means(sums_K, sizes_K, seed, draws) - sums_K.sum() / sizes_K.sum()


def _bootstrap_p(draws: np.ndarray, members: int) -> float:
    """Twice the smaller share of draws on one side of no difference; a draw there is counted in, so it is never 0.

    What few members do to the tails is taken back as `intervals.percentiles` takes it back, so that p is 5 % where the
    interval of 95 % ends at no difference.
    """
    from scipy.stats import norm, t

    side = min(int((draws <= 0).sum()), int((draws >= 0).sum()))
    share = min(0.5, (side + 1) / (len(draws) + 1))
    if members < 2:
        return 1.0
    return 2 * float(t.cdf(np.sqrt((members - 1) / members) * norm.ppf(share), members - 1))


def _matched(a: Measured, b: Measured) -> np.ndarray:
    """Where each sample of A stands in B."""
    for measured in (a, b):
        if len(measured.keys) != len(measured.values_N):
            raise DataError(f"{measured.name} has {len(measured.keys)} keys for {len(measured.values_N)} values")
        if twice := _repeated(measured.keys):
            raise DataError(f"{len(twice)} keys of {measured.name} occur more than once: {_listed(twice)}")
    place = {key: number for number, key in enumerate(b.keys)}
    only_a = [key for key in a.keys if key not in place]
    known = set(a.keys)
    only_b = [key for key in b.keys if key not in known]
    if only_a or only_b:
        told = [
            f"{len(keys)} only of {measured.name}: {_listed(keys)}"
            for measured, keys in ((a, only_a), (b, only_b))
            if keys
        ]
        raise DataError(
            f"{a.name} and {b.name} are not of the same samples, {len(known) - len(only_a)} are of both; "
            + "; ".join(told)
        )
    if not len(a.keys):
        raise DataError(f"there is no sample to compare {a.name} and {b.name} on")
    return np.array([place[key] for key in a.keys])


def _clusters(a: Measured, b: Measured, order_N: np.ndarray) -> np.ndarray:
    """The number of each sample's cluster."""
    given = [None if m.clusters is None else list(m.clusters) for m in (a, b)]
    for measured, clusters in zip((a, b), given, strict=True):
        if clusters is not None and len(clusters) != len(order_N):
            raise DataError(f"{measured.name} has {len(clusters)} clusters for {len(order_N)} samples")
    if given[1] is not None:
        given[1] = [given[1][place] for place in order_N]
    chosen = given[0] if given[0] is not None else given[1]
    if chosen is None:
        return np.arange(len(order_N))
    if given[1] is not None and given[1] != chosen:
        differ = [key for key, one, other in zip(a.keys, chosen, given[1], strict=True) if one != other]
        raise DataError(f"{len(differ)} samples are in other clusters of {a.name} than of {b.name}: {_listed(differ)}")
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(cluster, len(numbers)) for cluster in chosen])


def _repeated(keys: Sequence[Hashable]) -> list[Hashable]:
    return [key for key, times in Counter(keys).items() if times > 1]


def _listed(keys: Sequence[Hashable]) -> str:
    return ", ".join(str(key) for key in keys[:_LISTED]) + (" ..." if len(keys) > _LISTED else "")
