"""The report on many results: the table of all, and the paper's figures that can be drawn from them."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from diptych.evaluation.calibration import calibration_of_answers
from diptych.evaluation.comparison import holm
from diptych.report import adapting, findings, paper_plots, shift, tables
from diptych.report.collected import Entry, models
from diptych.report.contents import Figure, Grid, Page
from diptych.report.drawing import Draw, alone, inline
from diptych.report.paper_plots import Bar
from diptych.report.shift import Shift

WIDE, SQUARE = 6.4, (5.0, 4.4)
NATURAL = Shift()


@dataclass(frozen=True)
class Drawing:
    """A figure that can be drawn: ``name`` of its file, what it shows, and in words what is to be seen."""

    name: str
    title: str
    note: str
    alt: str
    draw: Draw
    size: tuple[float, float]


def page(entries: Sequence[Entry], drawings: Sequence[Drawing], under_shift: Shift = NATURAL) -> Page:
    """The page of a report."""
    header, rows = tables.comparison(entries)
    data, known = {entry.data for entry in entries}, _count(len(models(entries)), "model")
    return Page(
        title="Evaluation",
        lead=f"{known} on {_count(len(data), 'data set')}, {_count(len(entries), 'result')}.",
        grids=(
            Grid(
                "All results",
                tuple(header),
                tuple(tuple(row) for row in rows),
                "In per cent, with 95 % intervals; the best of a row in bold.",
                tuple(tables.remarks(entries)),
            ),
            *(grid for grid in (prompts(entries), pairs(entries), *adapting.grids(entries, under_shift)) if grid),
        ),
        figures=tuple(
            Figure(d.title, inline(d.draw, d.size, prefix=d.name, alt=html.escape(d.alt)), d.note) for d in drawings
        ),
        facts=_facts(entries),
    )


def prompts(entries: Sequence[Entry]) -> Grid | None:
    """What prompts give, where that was looked at (``--ablate-prompts``)."""
    rows = []
    for entry in entries:
        if study := entry.result.details.get("ablation"):
            gain = study["ensemble"]
            told = (
                f"{100 * gain['gain']:+.1f} ({' to '.join(f'{100 * limit:+.1f}' for limit in gain['gain_interval'])})"
            )
            shares = (tables.shown(study[name]["acc1"]) for name in ("name", "template", "hint", "ensemble"))
            rows.append((entry.data, entry.model, *shares, told))
    header = ("data", "model", "name alone", "one template", "with a hint", "ensemble", "gain of the ensemble")
    note = "Zero-shot accuracy in per cent; the gain over the name alone, image by image, with a 95 % interval."
    return Grid("What prompts give", header, tuple(rows), note) if rows else None


def pairs(entries: Sequence[Entry]) -> Grid | None:
    """The first model against each other on the same images, with p-values corrected for their number (Holm)."""
    found = findings.paired(entries)
    corrected = holm([comparison.p for _, comparison in found])
    rows = [
        (
            entry.data,
            entry.task,
            " and ".join(comparison.names),
            str(comparison),
            f"{p:.2g}" if p >= 0.001 else "< 0.001",
        )
        for (entry, comparison), p in zip(found, corrected, strict=True)
    ]
    note = "Top-1, by McNemar's exact test; the last column is corrected for the number of rows (Holm)."
    return (
        Grid("Model against model", ("data", "task", "models", "finding", "p, corrected"), tuple(rows), note)
        if rows
        else None
    )


def files(drawings: Sequence[Drawing]) -> dict[str, str]:
    """Each drawing as an SVG file of its own, by name."""
    return {f"{drawing.name}.svg": alone(drawing.draw, drawing.size) for drawing in drawings}


def drawings(entries: Sequence[Entry], under_shift: Shift = NATURAL) -> list[Drawing]:
    """All that these results allow."""
    return [
        *_shift(entries, under_shift),
        *_differences(entries),
        *_few_shot(entries),
        *_shots_to_match(entries),
        *_against(entries),
        *_compute(entries),
        *_reliability(entries),
    ]


def _differences(entries: Sequence[Entry]) -> Iterator[Drawing]:
    for number, ((model, other), bars) in enumerate(findings.zero_shot_less_probe(entries).items(), start=1):
        wins = sum(bar.value > 0 for bar in bars)
        probe = "its own features" if other == model else other
        yield Drawing(
            f"zero-shot-less-probe-{number}",
            f"{model}: zero-shot less a linear probe on {probe}",
            f"Points of accuracy. Zero-shot is ahead on {wins} of {_count(len(bars), 'data set')}.",
            "; ".join(f"{bar.name} {100 * bar.value:+.1f}" for bar in bars),
            partial(paper_plots.differences, bars=bars),
            (WIDE, 1.0 + 0.3 * len(bars)),
        )


def _few_shot(entries: Sequence[Entry]) -> Iterator[Drawing]:
    if lines := findings.few_shot_lines(entries):
        yield Drawing(
            "few-shot",
            "Linear probes by labelled examples a class",
            "Mean over the data sets of each model, a band from the worst to the best draw; stars and dashed lines are "
            "zero-shot.",
            "; ".join(f"{line.name}: {_list(line.x, line.y)}" for line in lines),
            partial(paper_plots.few_shot, lines=lines),
            (WIDE, 3.8),
        )


def _shots_to_match(entries: Sequence[Entry]) -> Iterator[Drawing]:
    for number, (model, bars) in enumerate(findings.examples_to_match(entries).items(), start=1):
        yield Drawing(
            f"shots-to-match-{number}",
            f"{model}: examples that a probe needs to match zero-shot",
            "Labelled examples a class, interpolated log-linearly between the numbers that were tried.",
            "; ".join(f"{bar.name} {bar.value:.1f}" for bar in bars),
            partial(paper_plots.shots_to_match, bars=bars),
            (WIDE, 1.3 + 0.3 * len(bars)),
        )


def _against(entries: Sequence[Entry]) -> Iterator[Drawing]:
    points, r = findings.zero_shot_against_probe(entries)
    if len(points) > 1:
        told = f"Pearson's r is {r:.2f} over {len(points)} points. " if math.isfinite(r) else ""
        yield Drawing(
            "zero-shot-against-probe",
            "Zero-shot against linear probes",
            f"{told}A point a data set; on the dashed line both are equal.",
            "; ".join(f"{p.group}, {p.name}: {100 * p.x:.1f}, {100 * p.y:.1f}" for p in points),
            partial(paper_plots.against, points=points, across="linear probe", up="zero-shot"),
            SQUARE,
        )


def _compute(entries: Sequence[Entry]) -> Iterator[Drawing]:
    if points := findings.accuracy_over_compute(entries):
        yield Drawing(
            "compute",
            "By the operations of an image",
            "Mean over the data sets that all models have.",
            "; ".join(f"{p.name}, {p.group}: {p.x:g} gigaflops, {100 * p.y:.1f}" for p in points),
            partial(paper_plots.compute, points=points, up="mean over data sets"),
            (WIDE, 3.8),
        )


def _shift(entries: Sequence[Entry], under_shift: Shift) -> Iterator[Drawing]:
    if points := shift.points(entries, under_shift):
        line = shift.line(points, under_shift)
        yield Drawing(
            "under-shift",
            f"Under shift from {under_shift.group.source}",
            "Both axes are logits. Dashed: nothing is lost"
            + ("; solid: the fit over the baselines." if line else ". No baselines were named."),
            "; ".join(f"{p.name}, {p.group}: {100 * p.x:.1f}, {100 * p.y:.1f}" for p in points),
            partial(paper_plots.robustness, points=points, fit=line),
            SQUARE,
        )


def _reliability(entries: Sequence[Entry]) -> Iterator[Drawing]:
    for number, (model, (confidence_N, correct_N)) in enumerate(findings.answers(entries).items(), start=1):
        found = calibration_of_answers(confidence_N, correct_N)
        bins = [
            (own.confidence, Bar("", own.accuracy, *own.interval), own.count / len(correct_N))
            for own in found.equal_width
            if own.confidence is not None and own.accuracy is not None
        ]
        yield Drawing(
            f"reliability-{number}",
            f"{model}: is it as often right as it says?",
            f"All zero-shot answers, {len(correct_N):,}; expected calibration error {100 * found.metrics['ece']:.1f} "
            "points. On the dashed line accuracy is what confidence says.",
            "; ".join(f"{100 * said:.0f} % sure: {100 * bar.value:.0f} % right" for said, bar, _ in bins),
            partial(
                paper_plots.reliability,
                bars=[bar for _, bar, _ in bins],
                confidences=[said for said, _, _ in bins],
                shares=[share for _, _, share in bins],
            ),
            SQUARE,
        )


def _facts(entries: Sequence[Entry]) -> dict[str, str]:
    results = [entry.result for entry in entries]
    precisions = dict.fromkeys(result.precision for result in results)
    backends = dict.fromkeys(result.backend for result in results if result.backend)
    return {"precision": ", ".join(precisions), "computed by": ", ".join(backends) or "not noted"}


def _list(x: Sequence[float], y: Sequence[float]) -> str:
    return ", ".join(f"{100 * value:.1f} with {shot:g}" for shot, value in zip(x, y, strict=True))


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"
