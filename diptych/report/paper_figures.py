"""The paper's figures that results allow, each with its title and what is to be seen in words."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from diptych.evaluation.calibration import calibration_of_answers
from diptych.report import bar_plots, findings, matching, operations, point_plots, quantities, shift
from diptych.report.cells import PERCENT, count, with_minus
from diptych.report.collected import Entry
from diptych.report.drawable import COLUMN, SQUARE, WIDE, Drawing, Family, file_names
from diptych.report.labels import legend_height
from diptych.report.marks import Bar
from diptych.report.quantities import Measure
from diptych.report.shift import Shift
from diptych.report.shift_table import left_out

_SHORT = 18  # letters of a name that finds room beside a point
_NO_BETTER = "where zero-shot is not shown to be better than chance"
_LISTED = 8  # data sets in a sentence
_NAMED_DATA = 4  # more data sets than these are counted
_NAMES = "Names that would cover others are left out."


_DIFFERENCES = Family("Zero-shot less a linear probe", f"Points of the metric; lines are {PERCENT} intervals.")
_EXAMPLES = Family(
    "Examples that a probe needs to match zero-shot",
    "Labelled examples a class, interpolated log-linearly between the numbers that were tried, the whole training set "
    "being the last, and, hatched, extrapolated below the fewest. Lines go from the fewest to the most of the draws, "
    "each by its own curve. Median and mean are of what is reached.",
)
_RELIABILITY = Family(
    "Is each model as often right as it says?",
    f"Answers in bins by their confidence, larger points where there are more; lines are {PERCENT} intervals. On the "
    "dashed line accuracy is what confidence says.",
)


def differences(entries: Sequence[Entry]) -> Iterator[Drawing]:
    """Of each model zero-shot less a probe, by data set; where there is one data set, by model."""
    found = findings.zero_shot_less_probe(entries)
    shown: list[tuple[str, str, list[Bar], str, list[Measure]]] = []
    if own := findings.by_model({model: bars for (model, other), bars in found.items() if model == other}):
        (data, metric), bars = own
        title = f"{data}: zero-shot less a linear probe on the same model's features"
        shown.append((data, title, bars, "model", [(data, metric)]))
        found = {pair: bars for pair, bars in found.items() if pair[0] != pair[1]}
    for (model, other), bars in found.items():
        probe = "its own features" if other == model else other
        of = model if other == model else f"{model}, less {other}"
        title = f"{model}: zero-shot less a linear probe on {probe}"
        shown.append((of, title, list(bars.values()), "data set", list(bars)))
    names = file_names("zero-shot-less-probe", [of for of, *_ in shown])
    for name, (of, title, bars, thing, measures) in zip(names, shown, strict=True):
        wins = f"{sum(bar.value > 0 for bar in bars)} of {count(len(bars), thing)}"
        yield Drawing(
            name,
            title,
            f"Zero-shot is ahead {'on' if thing == 'data set' else 'with'} {wins}.{quantities.told(measures)}",
            "; ".join(f"{bar.name} {100 * bar.value:+.1f}" for bar in bars),
            partial(bar_plots.differences, bars=bars, of=quantities.axis(measures)),
            (WIDE, 0.65 + 0.3 * len(bars)),
            _DIFFERENCES,
            of,
        )


def few_shot(entries: Sequence[Entry]) -> Iterator[Drawing]:
    """Probes by labelled examples a class, beside zero-shot."""
    lines, common = findings.few_shot_lines(entries)
    if lines:
        over = _over(common) if common else "Mean over the data sets of each model, which differ"
        without = _named(findings.without_curve(entries, common))
        told = f" Without {without}: not all have them, or other results stand for them in a mean." if without else ""
        height = 3.4 + legend_height([*(line.name for line in lines), "zero-shot", "chance"], WIDE)
        chance = findings.few_shot_chance(entries, common)
        yield Drawing(
            "few-shot",
            "Linear probes by labelled examples a class",
            f"{over}, with a band from the worst to the best draw; hollow marks and dashed lines are zero-shot"
            f"{', the dotted line is chance' if math.isfinite(chance) else ''}."
            f"{quantities.told(common)}"
            f"{told}",
            "; ".join(f"{line.name}: {_list(line.x, line.y)}" for line in lines),
            partial(bar_plots.few_shot, lines=lines, up=_mean_over(common), chance=chance),
            (WIDE, height),
        )


def shots_to_match(entries: Sequence[Entry]) -> Iterator[Drawing]:
    """Of each model the examples that match zero-shot, by data set; where there is one data set, by model."""
    found = matching.examples_to_match(entries)
    shown = {model: (list(own.values()), list(own)) for model, own in found.bars.items()}
    unsure = {model: f"None on {_named(own)}, {_NO_BETTER}." for model, own in found.guessed.items()}
    if own := findings.by_model(found.bars):
        one, bars = own
        shown = {one[0]: (bars, [one])}
        told = "; ".join(f"of {model} on {_named(own)}" for model, own in found.guessed.items())
        unsure = {one[0]: f"None {told}, {_NO_BETTER}."} if told else {}
    for name, (thing, (bars, measures)) in zip(file_names("shots-to-match", shown), shown.items(), strict=True):
        yield Drawing(
            name,
            f"{thing}: examples that a probe needs to match zero-shot",
            " ".join(filter(None, (quantities.told(measures).strip(), unsure.get(thing, "")))),
            "; ".join(f"{bar.name} {bar.value:.1f}" for bar in bars),
            partial(bar_plots.shots_to_match, bars=bars),
            (WIDE, 1.0 + 0.3 * len(bars)),
            _EXAMPLES,
            thing,
        )


def against(entries: Sequence[Entry]) -> Iterator[Drawing]:
    """Zero-shot over probes, with Pearson's r of each model and of all."""
    points, measures = findings.zero_shot_against_probe(entries)
    if len(points) < 2:
        return
    told = {}
    for model in dict.fromkeys(point.group for point in points):
        r, low, high = findings.correlation([point for point in points if point.group == model])
        interval = f" ({_signed(low)} to {_signed(high)})" if math.isfinite(low) else ""
        told[model] = f"r = {_signed(r)}{interval}" if math.isfinite(r) else ""
    named, axis = point_plots.groups(points), quantities.axis(measures)
    shown = [replace(p, group=f"{p.group}, {told[p.group]}" if told[p.group] else p.group) for p in points]
    r, low, high = findings.correlation(points)
    of_all = f"Pearson's r of all {len(points)} points is {_signed(r)}" if math.isfinite(r) else ""
    if of_all and math.isfinite(low):
        of_all += f" ({PERCENT} interval {_signed(low)} to {_signed(high)})"
    yield Drawing(
        "zero-shot-against-probe",
        "Zero-shot against linear probes",
        f"{of_all}{'. ' if of_all else ''}A point a data set; on the dashed line both are equal."
        f"{quantities.told(measures)} {_NAMES}",
        "; ".join(f"{p.group}, {p.name}: {100 * p.x:.1f}, {100 * p.y:.1f}" for p in points),
        partial(point_plots.against, points=shown, across=f"linear probe, {axis}", up=f"zero-shot, {axis}"),
        (SQUARE[0], SQUARE[1] + (legend_height(point_plots.groups(shown), SQUARE[0]) if named else 0)),
    )


def compute(entries: Sequence[Entry]) -> Iterator[Drawing]:
    """Of each task but few-shot the mean over data sets by the operations of an image."""
    tasks = list(dict.fromkeys(entry.task for entry in entries if entry.task != findings.FEW_SHOT))
    for name, task in zip(file_names("compute", tasks), tasks, strict=True):
        points, common = operations.accuracy_over_compute(entries, task)
        if not points:
            continue
        if len(points) <= point_plots.LEGENDS and max(len(point.name) for point in points) > _SHORT:
            points = [replace(point, name="", group=point.name) for point in points]
        named = point_plots.groups(points)
        of = f"{task}, {quantities.axis(common)}"
        up = f"{of}, mean of {len(common)} data sets" if len(common) > 1 else f"{of} on {common[0][0]}"
        sizes = Counter(point.group for point in points).values()
        joined = any(1 < size <= point_plots.LEGENDS for size in sizes)
        yield Drawing(
            name,
            f"{task[:1].upper() + task[1:]} by the operations of an image",
            f"{_over(common)}, with {PERCENT} intervals."
            f"{quantities.told(common)} " + (f"Models of one family are joined. {_NAMES}" if joined else ""),
            "; ".join(f"{p.name or p.group}: {p.x:g} gigaflops, {100 * p.y:.1f}" for p in points),
            partial(point_plots.compute, points=points, up=up),
            (WIDE, 3.6 + (legend_height(named, WIDE) if named else 0)),
        )


def scaling(entries: Sequence[Entry]) -> Iterator[Drawing]:
    """Zero-shot error by the operations of an image, with its power law."""
    if found := operations.error_over_compute(entries):
        lines, points, (power, factor, r2), common = found
        pale = "Pale: each data set. " if len(points) <= point_plots.CROWD else ""
        yield Drawing(
            "zero-shot-error-by-compute",
            "Zero-shot error by the operations of an image",
            f"Both axes are logarithmic. {pale}Points: the mean error over {count(len(lines), 'data set')} that all "
            f"models have. Dashed: it goes as the power {_signed(power)} of the operations (r² of the logarithms "
            f"{r2:.2f}).{quantities.told(common)} {_NAMES}",
            "; ".join(f"{p.name}: {p.x:g} gigaflops, {100 * p.y:.1f}" for p in points),
            partial(point_plots.scaling, lines=lines, points=points, fit=(power, factor)),
            (WIDE, 3.8),
        )


def reliability(entries: Sequence[Entry]) -> Iterator[Drawing]:
    """Of each model how often its zero-shot answers are right, by how sure it is."""
    answers = findings.answers(entries)
    for name, (model, said) in zip(file_names("reliability", answers), answers.items(), strict=True):
        found = calibration_of_answers(said.confidence_N, said.right_N)
        total = len(said.right_N)
        bins = [
            (own.confidence, Bar("", own.accuracy, *own.interval), own.count / total)
            for own in found.equal_width
            if own.confidence is not None and own.accuracy is not None
        ]
        low, high = (100 * limit for limit in found.intervals["ece"])
        few = len(said.data) <= _NAMED_DATA
        data = ", ".join(said.data) if few else f"{len(said.data)} data sets and splits"
        yield Drawing(
            name,
            f"{model}: is it as often right as it says?",
            f"{total:,} zero-shot answers on {data}, each image once, in {count(len(bins), 'bin')}. Expected "
            f"calibration error: {100 * found.metrics['ece']:.1f} points ({low:.1f} to {high:.1f}).",
            "; ".join(f"{100 * sure:.0f} % sure: {100 * bar.value:.0f} % right" for sure, bar, _ in bins),
            partial(
                point_plots.reliability,
                bars=[bar for _, bar, _ in bins],
                confidences=[sure for sure, _, _ in bins],
                shares=[share for _, _, share in bins],
                answers=total,
            ),
            COLUMN,
            _RELIABILITY,
            model,
        )


def under_shift(entries: Sequence[Entry], asked: Shift) -> Iterator[Drawing]:
    """Accuracy under shift over that without, of each model and kind of classifier."""
    known, _ = shift.pairs(entries, asked)
    means = shift.means(known)
    if not means.points:
        return
    line = shift.line(means, asked)
    over = {kind: ", ".join(one.dataset for one in sets) for kind, sets in means.sets.items()}
    of = next(iter(over.values())) if len(set(over.values())) == 1 else "; ".join(f"{k}: {v}" for k, v in over.items())
    left = "".join(f" In no mean: {one}." for one in left_out(means.left))
    yield Drawing(
        "under-shift",
        f"Under shift from {asked.group.source}",
        f"Means over {of}, with {PERCENT} intervals as lines. Both axes are logits. Dashed: nothing is lost"
        f"{'; solid: the fit over the baselines' if line else '' if asked.baselines else '. No baselines were named'}. "
        f"{_NAMES}{left}",
        "; ".join(f"{p.name}, {p.group}: {100 * p.x:.1f}, {100 * p.y:.1f}" for p in means.points),
        partial(point_plots.robustness, points=means.points, fit=line),
        SQUARE,
    )


def _over(measures: Sequence[Measure]) -> str:
    several = len(measures) > 1
    return f"Mean over the {len(measures)} data sets that all models have" if several else f"On {measures[0][0]}"


def _mean_over(measures: Sequence[Measure]) -> str:
    if len(measures) == 1:
        return quantities.axis(measures)
    of = quantities.axis(measures) if len({metric for _, metric in measures}) == 1 else "metric"
    return f"mean {of}, {len(measures)} data sets" if measures else "mean metric"


def _named(names: Sequence[str]) -> str:
    """The first of many."""
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def _signed(number: float) -> str:
    return with_minus(f"{number:z.2f}")


def _list(x: Sequence[float], y: Sequence[float]) -> str:
    return ", ".join(f"{100 * value:.1f} with {shot:g}" for shot, value in zip(x, y, strict=True))
