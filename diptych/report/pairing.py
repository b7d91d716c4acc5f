"""Model against model on the very same images, or texts: in which results they meet, and who is ahead."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from diptych.evaluation.comparison import Comparison, Measured, compare
from diptych.report.choosing import by_data, models
from diptych.report.collected import Entry
from diptych.report.metric_words import quantity, word

ZERO_SHOT, PROBE, RETRIEVAL = "zero-shot", "linear probe", "retrieval"
CLASSIFIERS = (ZERO_SHOT, "few-shot", "few-shot cache", PROBE, "supervised adaptation", "nearest neighbours")
OF_ALL = ("roc_auc", "map11", "mean_average_precision")  # metrics that are no means over images
FEW = 4  # models of which each is compared with each
CUTS = (1, 5, 10)
_MOST_DRAWS = 100_000  # enough for thousands of tests, and for the patience of who waits
_DRAWS, _DRAWS_A_TEST = 2000, 200  # with the latter, p of 0.01 can be told when it is corrected for all tests


@dataclass(frozen=True)
class Recalls:
    """Two models that find texts for the same images, or images for the same texts (``found``); a comparison a cut."""

    data: str
    found: str
    comparisons: tuple[Comparison, ...]


@dataclass(frozen=True)
class Paired:
    """Two results of one task and data set, and how they compare; ``why`` not, where they do not."""

    entry: Entry
    comparison: Comparison | None
    why: str = ""


def paired(entries: Sequence[Entry], reference: str | None = None) -> list[Paired]:
    """Top-1 answers of classifiers, task by task and data set by data set, where two models saw the same images: each
    with the reference; without one, each with each where they are few, else each with the first."""
    met = [(other, first) for task in CLASSIFIERS for other, first in _meetings(entries, task, reference)]
    draws = min(max(_DRAWS, _DRAWS_A_TEST * len(met)), _MOST_DRAWS)
    found = [(other, first, compared(other, first, draws=draws)) for other, first in met]
    return [Paired(first, own, "" if own else _why(other, first)) for other, first, own in found]


def _why(a: Entry, b: Entry) -> str:
    """What keeps two results from being compared."""
    if doubt := a.doubt or b.doubt:
        return f"predictions of {a.model if a.doubt else b.model} are not looked at: {doubt}"
    if not _same_data(a, b):
        return "the data are not known to be the same"
    if not a.predictions or not b.predictions:
        return "not both have predictions that can be read"
    if quantity(a.metric) in OF_ALL:
        return f"{word(quantity(a.metric))} is of the scores of all images together, and not of answers one by one"
    return "predictions are not of the same images"


def paired_recalls(entries: Sequence[Entry], reference: str | None = None) -> list[Recalls]:
    """Likewise of retrieval both ways, by what is among the first, five and ten."""
    ranked = [
        (first.data, way, (other.model, first.model), ranks)
        for other, first in _meetings(entries, RETRIEVAL, reference)
        if _same_data(other, first)
        for way, ranks in (("texts", _of_images(other, first)), ("images", _of_texts(other, first)))
        if ranks
    ]
    draws = max(_DRAWS, _DRAWS_A_TEST * len(CUTS) * len(ranked))
    return [Recalls(data, way, _at_cuts(names, *ranks, draws=draws)) for data, way, names, ranks in ranked]


def compared(a: Entry, b: Entry, *, draws: int = _DRAWS) -> Comparison | None:
    """Image by image, where both have answers to the same images; of few examples by the share of draws that are
    right."""
    if not _same_data(a, b):
        return None
    if ranks := _of_images(a, b):
        return _at_cuts((a.model, b.model), *ranks, cuts=(1,), draws=_DRAWS)[0]
    one, two = a.draws, b.draws
    if a.metric != b.metric or one is None or two is None or not one.keys or set(one.keys) != set(two.keys):
        return None
    shares = (Measured(own.model, known.keys, known.right_N) for own, known in ((a, one), (b, two)))
    return compare(*shares, draws=draws)


def _meetings(entries: Sequence[Entry], task: str, reference: str | None) -> Iterator[tuple[Entry, Entry]]:
    """Results of two models on one data set, the one that is compared with last."""
    table = by_data(entries, task)
    ordered = [model for model in models(entries) if model in table]
    if reference is None and len(ordered) > FEW:
        reference = ordered[0]
    for data in sorted({data for model in ordered for data in table[model]}):
        there = [table[model][data] for model in ordered if data in table[model]]
        for first, other in itertools.combinations(there, 2):
            if reference is None or first.model == reference:
                yield other, first
            elif other.model == reference:
                yield first, other


def _same_data(a: Entry, b: Entry) -> bool:
    return a.result.fingerprints.get("data") == b.result.fingerprints.get("data")


_Ranked = tuple[Sequence[object], np.ndarray, Sequence[object] | None]  # keys, ranks and clusters


def _of_images(a: Entry, b: Entry) -> tuple[_Ranked, _Ranked] | None:
    one, two = a.answers, b.answers
    if one is None or two is None or not one.keys or set(one.keys) != set(two.keys):
        return None
    return (one.keys, one.rank_N, None), (two.keys, two.rank_N, None)


def _of_texts(a: Entry, b: Entry) -> tuple[_Ranked, _Ranked] | None:
    """Texts of one image are drawn with it, a text of several with the first."""
    one, two = a.text_answers, b.text_answers
    if one is None or two is None or not one.images or (one.texts, one.images) != (two.texts, two.images):
        return None
    numbers = range(len(one.images))
    clusters = [own[0] for own in one.images]
    return (numbers, one.rank_M, clusters), (numbers, two.rank_M, clusters)


def _at_cuts(
    names: tuple[str, str], one: _Ranked, two: _Ranked, *, cuts: Sequence[int] = CUTS, draws: int
) -> tuple[Comparison, ...]:
    """Hits among the first, at each cut."""
    both = tuple(zip(names, (one, two), strict=True))
    return tuple(
        compare(*(Measured(name, keys, ranks <= cut, clusters) for name, (keys, ranks, clusters) in both), draws=draws)
        for cut in cuts
    )
