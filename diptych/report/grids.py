"""What many results say together in tables beside the one of all: retrieval, prompts, model against model."""

from __future__ import annotations

from collections.abc import Sequence

from diptych.evaluation.comparison import holm
from diptych.report import findings
from diptych.report.collected import Entry
from diptych.report.contents import Grid
from diptych.report.tables import PERCENT, cell, gain, shown

_RECALLS = [
    (f"{kind}_retrieval_recall@{k}", f"{kind}s, R@{k}") for kind in ("text", "image") for k in (1, 5, 10)
]  # paper, table 13


def retrieval(entries: Sequence[Entry]) -> Grid | None:
    """Recall both ways among the first, five and ten."""
    rows = []
    for entry in sorted(entries, key=lambda entry: entry.data):
        result = entry.result
        if entry.task == "retrieval" and sum(name in result.metrics for name, _ in _RECALLS) > 1:
            told = [
                cell(result.metrics[name], result.intervals.get(name)) if name in result.metrics else ""
                for name, _ in _RECALLS
            ]
            rows.append((entry.data, entry.model, *told, f"{result.samples:,}" if result.samples else ""))
    header = ("data", "model", *(title for _, title in _RECALLS), "images")
    note = (
        "In per cent: how often a right text is among the first that an image is answered with, and a right image "
        f"among those that a text is; with {PERCENT} intervals."
    )
    return Grid("Retrieval of texts and of images", header, tuple(rows), note) if rows else None


def prompts(entries: Sequence[Entry]) -> Grid | None:
    """What prompts give, where that was looked at (``--ablate-prompts``)."""
    rows = []
    for entry in entries:
        if study := entry.result.details.get("ablation"):
            told = gain(study["ensemble"]["gain"], study["ensemble"]["gain_interval"])
            shares = (shown(study[name]["acc1"]) for name in ("name", "template", "hint", "ensemble"))
            rows.append((entry.data, entry.model, *shares, told))
    header = ("data", "model", "name alone", "one template", "with a hint", "ensemble", "gain of the ensemble")
    note = f"Zero-shot accuracy in per cent; the gain over the name alone, image by image, with a {PERCENT} interval."
    return Grid("What prompts give", header, tuple(rows), note) if rows else None


def pairs(entries: Sequence[Entry]) -> Grid | None:
    """Each model less the first on the same images, with p-values corrected for their number (Holm)."""
    found = findings.paired(entries)
    corrected = holm([comparison.p for _, comparison in found])
    firsts = list(dict.fromkeys(comparison.names[1] for _, comparison in found))
    rows = [
        (
            entry.data,
            entry.task,
            *comparison.names[: len(firsts)],  # with the first one, where that is not the same for all
            gain(comparison.difference, comparison.interval),
            _p(comparison.p),
            _p(p),
            f"{comparison.samples:,}",
        )
        for (entry, comparison), p in zip(found, corrected, strict=True)
    ]
    note = (
        f"Points of top-1 accuracy by which a model is ahead of {firsts[0] if len(firsts) == 1 else 'another'}, image "
        f"by image, with {PERCENT} intervals; p is of McNemar's exact test, and then corrected for the number of rows, "
        f"{len(rows)} (Holm)."
    )
    header = ("data", "task", "model", *(("of",) if len(firsts) > 1 else ()), "ahead by", "p", "p, corrected", "images")
    return Grid("Model against model", header, tuple(rows), note) if rows else None


def _p(p: float) -> str:
    return f"{p:.2g}" if p >= 0.001 else "< 0.001"
