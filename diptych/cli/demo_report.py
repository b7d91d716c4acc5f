"""What the demo measures, and how its report shows it."""

from __future__ import annotations

import json
import os
import platform
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
import torch

import diptych
from diptych.data.scene_grammar import CLASS_NAMES, TEMPLATES, UNSEEN
from diptych.data.scenes import Scenes
from diptych.encoder.loading import default_device
from diptych.evaluation import intervals
from diptych.evaluation.tasks import evaluate
from diptych.report.contents import Chart, Curve, Matrix, Page, PredictionCard, Row, Table

if TYPE_CHECKING:
    from diptych.encoder.clip import Clip
    from diptych.evaluation.result import Result
    from diptych.training.loop import Run
    from diptych.training.recipe import Recipe

PICTURES = 960  # single objects of unseen and of seen pairs
SCENES = 500  # held-out scenes for retrieval
MATRIX = 12  # scenes in the similarity matrix
CARDS = 8  # predictions of each kind, good and bad, in the report
SHARP = 160  # pixels of the pictures in the report; the model sees its own size


@dataclass(frozen=True)
class Outcome:
    """The three results of the demo."""

    unseen: Result
    seen: Result
    scenes: Result


def evaluate_demo(clip: Clip) -> Outcome:
    """Zero-shot over all colour-shape pairs, on pictures of unseen and of seen ones; retrieval on held-out scenes."""
    size = clip.spec.preprocess.size
    return Outcome(
        unseen=evaluate(clip, Scenes("unseen-pairs", count=PICTURES, size=size)),
        seen=evaluate(clip, Scenes("seen-pairs", count=PICTURES, size=size)),
        scenes=evaluate(clip, Scenes("held-out", count=SCENES, size=size), "retrieval", distinct_captions=True),
    )


def pairs_named(clip: Clip) -> dict[str, float]:
    """How many of a hundred pictures of unseen and of seen pairs are named rightly: the same pictures as in the end."""
    size = clip.spec.preprocess.size
    kinds = ("unseen-pairs", "seen-pairs")
    return {
        f"{kind}-percent": 100 * evaluate(clip, Scenes(kind, count=PICTURES, size=size)).metrics["acc1"]
        for kind in kinds
    }


def page_of(run: Run, recipe: Recipe, outcome: Outcome, *, command: str) -> Page:
    """The demo's report; ``command`` is what made it."""
    lines = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    wrong = sum(rank > 1 for rank in outcome.unseen.predictions["rank"])
    minutes = max(line.get("seconds", 0) for line in lines) / 60
    return Page(
        title="A small CLIP, trained here",
        lead=(
            "It learned from drawn scenes and their captions alone. Some combinations of colour and shape never "
            f"occurred in training; shown one, it is asked which of all {len(CLASS_NAMES)} it is."
        ),
        tables=_tables(outcome),
        charts=_charts(lines, recipe, outcome),
        matrix=_matrix(run.clip),
        predictions=_cards(run.clip, outcome.unseen),
        choice=(
            f"All are of unseen pairs, where {wrong} of {outcome.unseen.samples} pictures are named wrongly. "
            f"Shown are, right and wrong, the first one of each pair, then the second and so on, up to {CARDS}."
        ),
        facts=_facts(run, recipe, minutes) | {"command": command},
    )


def _tables(outcome: Outcome) -> tuple[Table, ...]:
    unseen, seen, scenes = outcome.unseen, outcome.seen, outcome.scenes
    overall = (
        _row("unseen pairs, first guess", unseen, "acc1", "pictures"),
        _row("unseen pairs, among five guesses", unseen, "acc5", "pictures"),
        _row("seen pairs, first guess", seen, "acc1", "pictures"),
        _row("scene to caption, first guess", scenes, "text_retrieval_recall@1", "scenes"),
        _row("caption to scene, first guess", scenes, "image_retrieval_recall@1", "scenes"),
    )
    note = (
        f"First guesses. These {len(UNSEEN)} of the {len(CLASS_NAMES)} combinations never occurred in training, "
        "not even among other things."
    )
    return (
        Table("How well it does", overall, "All on pictures that training did not show."),
        Table("The unseen pairs, one by one", _each_pair(unseen), note),
    )


def _charts(lines: list[dict[str, float]], recipe: Recipe, outcome: Outcome) -> tuple[Chart, ...]:
    named = [
        _curve(lines, "demo/unseen-pairs-percent", "unseen pairs", scale=0.01),
        _curve(lines, "demo/seen-pairs-percent", "seen pairs", scale=0.01),
    ]
    chance = outcome.unseen.chance["acc1"]
    about = f"of {outcome.unseen.samples} pictures each, at the first guess"
    return (
        Chart("loss", [_curve(lines, "loss", "loss")], f"of a batch of {recipe.batch_size}"),
        Chart("named rightly", named, about, fractions=True, chance=chance),
    )


def _facts(run: Run, recipe: Recipe, minutes: float) -> dict[str, str]:
    spec, captions = run.clip.spec, recipe.data.captions_per_image
    return {
        "model": f"{spec.name}, {sum(p.numel() for p in run.clip.model.parameters()):,} parameters",
        "training": f"{run.steps:,} steps of {recipe.batch_size} scenes, {captions} captions each; {minutes:.1f} min",
        "pictures": f"{spec.preprocess.size} x {spec.preprocess.size} pixels",
        "seed": str(recipe.seed),
        "written": f"{datetime.now().astimezone():%Y-%m-%d %H:%M %Z}, by Diptych {diptych.__version__}",
        "machine": (
            f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
            f"PyTorch {torch.__version__} on {default_device()}, threads: {torch.get_num_threads()}"
        ),
    }


def _curve(lines: list[dict[str, float]], metric: str, name: str, scale: float = 1.0) -> Curve:
    return Curve(name, [(line["step"], scale * line[metric]) for line in lines if metric in line])


def _row(name: str, result: Result, metric: str, unit: str) -> Row:
    low, high = result.intervals[metric]
    return Row(name, result.metrics[metric], low, high, result.chance[metric], f"{result.samples} {unit}")


def _each_pair(unseen: Result) -> list[Row]:
    """How often each unseen pair is named rightly, and what it is most often taken for."""
    rows = []
    labels, ranks, guesses = (np.array(unseen.predictions[column]) for column in ("label", "rank", "predicted"))
    for label in dict.fromkeys(labels.tolist()):
        own = labels == label
        count, hits = int(own.sum()), int((ranks[own] == 1).sum())
        basis = f"{count} pictures"
        for other, times in Counter(guesses[own & (guesses != label)].tolist()).most_common(1):
            basis += f", {times} taken for {CLASS_NAMES[other]}"
        rows.append(Row(CLASS_NAMES[label], hits / count, *intervals.exact(hits, count), 1 / len(CLASS_NAMES), basis))
    return rows


def _matrix(clip: Clip) -> Matrix:
    """Cosine similarities of held-out scenes and their captions."""
    scenes = Scenes("held-out", count=MATRIX, size=clip.spec.preprocess.size)
    samples = [scenes.read(i) for i in range(MATRIX)]
    captions = tuple(sample.captions[0] for sample in samples)
    similarity = clip.encode_images(sample.image for sample in samples) @ clip.encode_texts(captions).T
    pictures = np.stack([np.asarray(scenes.picture(i, SHARP)) for i in range(MATRIX)])
    return Matrix(pictures, captions, similarity, f"The first {MATRIX} of the {SCENES} scenes.")


def _cards(clip: Clip, unseen: Result) -> tuple[PredictionCard, ...]:
    """Pictures of unseen pairs named rightly, and others named wrongly, of as many different pairs as there are."""
    scenes = Scenes("unseen-pairs", count=PICTURES, size=clip.spec.preprocess.size)
    ranks, labels = unseen.predictions["rank"], unseen.predictions["label"]
    good = [i for i, rank in enumerate(ranks) if rank == 1]
    bad = [i for i, rank in enumerate(ranks) if rank > 1]
    classifier = clip.classifier(CLASS_NAMES, TEMPLATES)
    cards = []
    for i in (*_in_turn(good, labels)[:CARDS], *_in_turn(bad, labels)[:CARDS]):
        ranked = list(classifier.rank(scenes.read(i).image)[0])[:3]
        cards.append(PredictionCard(np.asarray(scenes.picture(i, SHARP)), CLASS_NAMES[labels[i]], tuple(ranked)))
    return tuple(cards)


def _in_turn(indices: list[int], labels: tuple[int, ...]) -> list[int]:
    """The first index of each label, then the second of each, and so on; within a turn in their own order."""
    turns: Counter[int] = Counter()
    turn = {}
    for i in indices:
        turn[i] = turns[labels[i]]
        turns[labels[i]] += 1
    return sorted(indices, key=lambda i: (turn[i], i))
