"""What many results say together in tables beside the one of all: retrieval, prompts, model against model."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from diptych.evaluation.comparison import Comparison, holm
from diptych.report import pairing
from diptych.report.cells import PERCENT, bold, chance, gain, guessing, measured, shown
from diptych.report.choosing import models
from diptych.report.collected import Entry
from diptych.report.contents import CHANCE, Grid
from diptych.report.remarks import on_marks

_RECALLS = [
    (f"{kind}_retrieval_recall@{k}", f"{kind}s, R@{k}") for kind in ("text", "image") for k in (1, 5, 10)
]  # paper, table 13
_LEVEL = 0.05  # of a corrected p, below which two models are shown to differ
_IN_BOLD = f"In bold where the corrected p is below {_LEVEL}; all others show no difference."


def retrieval(entries: Sequence[Entry]) -> Grid | None:
    """Recall both ways among the first, five and ten; below the models of a data set what guessing gives."""
    known = [
        entry
        for entry in sorted(entries, key=lambda entry: entry.data)
        if entry.task == "retrieval" and sum(name in entry.result.metrics for name, _ in _RECALLS) > 1
    ]
    rows: list[tuple[str, ...]] = []
    for data, group in itertools.groupby(known, key=lambda entry: entry.data):
        own = list(group)
        for entry in own:
            told = [measured(entry.result, name) for name, _ in _RECALLS]
            rows.append((data, entry.model, *told, f"{entry.result.samples:,}" if entry.result.samples else ""))
        guessed = [guessing(chance([entry.result for entry in own], name)) for name, _ in _RECALLS]
        if any(guessed):
            rows.append((data, CHANCE, *guessed, ""))
    header = ("data", "model", *(title for _, title in _RECALLS), "images")
    note = (
        "In per cent: how often a right text is among the first that an image is answered with, and a right image "
        f"among those that a text is; with {PERCENT} intervals."
    )
    remarks = on_marks(known, [name for name, _ in _RECALLS])
    return Grid("Retrieval of texts and of images", header, tuple(rows), note, remarks, names=2) if rows else None


def prompts(entries: Sequence[Entry]) -> Grid | None:
    """What prompts give, where that was looked at (``--ablate-prompts``)."""
    rows = []
    for entry in entries:
        if study := entry.result.details.get("ablation"):
            told = gain(study["ensemble"]["gain"], study["ensemble"]["gain_interval"])
            shares = (shown(study[name]["acc1"]) for name in ("name", "template", "hint", "ensemble"))
            guessed = guessing(chance([entry.result], entry.metric))
            rows.append((entry.data, entry.model, guessed, *shares, told))
    header = ("data", "model", CHANCE, "name alone", "one template", "with a hint", "ensemble", "gain of the ensemble")
    note = f"Zero-shot accuracy in per cent; the gain over the name alone, image by image, with a {PERCENT} interval."
    return Grid("What prompts give", header, tuple(rows), note, names=2) if rows else None


def pairs(entries: Sequence[Entry], reference: str | None = None) -> Grid | None:
    """Models that classified the same images, two by two, with p-values corrected for their number (Holm)."""
    met = pairing.paired(entries, reference)
    found = [(one.entry, one.comparison) for one in met if one.comparison]
    corrected = holm([comparison.p for _, comparison in found])
    first = _only([comparison for _, comparison in found])
    rows = [
        (
            entry.data,
            entry.task,
            *(comparison.names[:1] if first else comparison.names),
            bold(gain(comparison.difference, comparison.interval), p < _LEVEL),
            _p(comparison.p),
            _p(p),
            f"{comparison.samples:,}",
        )
        for (entry, comparison), p in zip(found, corrected, strict=True)
    ]
    note = (
        f"Points of top-1 accuracy by which a model is ahead of {first or 'another'}, image by image, "
        f"with {PERCENT} intervals; of few-shot and its cache, points of the share of draws that are right. p is of "
        "McNemar's exact test, of draws of a bootstrap over images, and then corrected for the number of rows, "
        f"{len(rows)} (Holm). {_IN_BOLD}{_why(first, reference)}"
    )
    header = ("data", "task", "model", *(() if first else ("of",)), "ahead by", "p", "p, corrected", "images")
    remarks = _not_compared(met)
    if not rows and not remarks:
        return None
    names = header.index("ahead by")
    return Grid("Model against model", header, tuple(rows), note if rows else "", remarks, names=names)


def recalls(entries: Sequence[Entry], reference: str | None = None) -> Grid | None:
    """Models that retrieve the same, two by two, both ways; what is bold stands up to a correction for their number."""
    found = pairing.paired_recalls(entries, reference)
    every = [comparison for one in found for comparison in one.comparisons]
    corrected, first = iter(holm([comparison.p for comparison in every])), _only(every)
    rows = []
    for one in found:
        names = one.comparisons[0].names
        told = [bold(gain(own.difference, own.interval), next(corrected) < _LEVEL) for own in one.comparisons]
        asking = f"{one.comparisons[0].samples:,} {'images' if one.found == 'texts' else 'texts'}"
        rows.append((one.data, one.found, *(names[:1] if first else names), *told, asking))
    note = (
        f"Points of recall by which a model is ahead of {first or 'another'}, on the same images and "
        f"texts, with {PERCENT} intervals; the texts of an image are drawn with it. p, of McNemar's exact test for "
        f"images and of a bootstrap for texts, is corrected for all {len(every)} comparisons (Holm). "
        f"{_IN_BOLD}{_why(first, reference)}"
    )
    cuts = (f"R@{cut} ahead by" for cut in pairing.CUTS)
    header = ("data", "found", "model", *(() if first else ("of",)), *cuts, "asked by")
    doubted = tuple(
        f"Not compared: retrieval on {entry.data} of {entry.model}, as its predictions are not read: {entry.doubt}."
        for entry in entries
        if entry.task == pairing.RETRIEVAL and len(models(entries)) > 1 and entry.doubt
    )
    title = "Model against model: retrieval"
    if not rows and not doubted:
        return None
    return Grid(title, header, tuple(rows), note if rows else "", doubted, names=len(header) - len(pairing.CUTS) - 1)


def _not_compared(met: Sequence[pairing.Paired]) -> tuple[str, ...]:
    """What is compared with nothing, and why: a line for each reason."""
    found: dict[str, dict[str, None]] = {}
    for one in met:
        if one.why:
            found.setdefault(one.why, {})[f"{one.entry.task} on {one.entry.data}"] = None
    return tuple(f"Not compared: {', '.join(places)}, as {why}." for why, places in found.items())


def _only(comparisons: Sequence[Comparison]) -> str:
    """The model that all are compared with, where that is one."""
    firsts = {comparison.names[1] for comparison in comparisons}
    return firsts.pop() if len(firsts) == 1 else ""


def _why(first: str, reference: str | None) -> str:
    return f" {first} is the first of the models; --reference NAME chooses another." if first and not reference else ""


def _p(p: float) -> str:
    return f"{p:.2g}" if p >= 0.001 else "< 0.001"
