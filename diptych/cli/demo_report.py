"""What the demo measures, and how its report shows it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from diptych.data.scene_grammar import CLASS_NAMES, TEMPLATES
from diptych.data.scenes import Scenes
from diptych.evaluation.tasks import evaluate
from diptych.report.page import Curve, Matrix, Page, PredictionCard, Row

if TYPE_CHECKING:
    from diptych.encoder.clip import Clip
    from diptych.evaluation.result import Result
    from diptych.training.loop import Run
    from diptych.training.recipe import Recipe

PICTURES = 960  # single objects of unseen and of seen pairs
QUICK = 192  # of each, for the curves
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


def quick_accuracy(clip: Clip) -> dict[str, float]:
    """How often unseen and seen pairs are named rightly, on fewer pictures than in the end."""
    size = clip.spec.preprocess.size
    kinds = ("unseen-pairs", "seen-pairs")
    return {kind: evaluate(clip, Scenes(kind, count=QUICK, size=size)).metrics["acc1"] for kind in kinds}


def page_of(run: Run, recipe: Recipe, outcome: Outcome) -> Page:
    """The demo's report."""
    clip = run.clip
    lines = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    seconds = max(line.get("seconds", 0) for line in lines)
    return Page(
        title="A small CLIP, trained just now",
        lead=(
            "It learned from drawn scenes and their captions alone. Some combinations of colour and shape never "
            f"occurred in training; shown one, it is asked which of all {len(CLASS_NAMES)} it is."
        ),
        table=(
            _row("unseen pairs, first guess", outcome.unseen, "acc1"),
            _row("unseen pairs, among five guesses", outcome.unseen, "acc5"),
            _row("seen pairs, first guess", outcome.seen, "acc1"),
            _row("scene to caption, first guess", outcome.scenes, "text_retrieval_recall@1"),
            _row("caption to scene, first guess", outcome.scenes, "image_retrieval_recall@1"),
        ),
        curves=(
            _curve(lines, "loss", "loss", "of a batch"),
            _curve(lines, "demo/unseen-pairs", "unseen pairs", "share of pictures named rightly"),
            _curve(lines, "demo/seen-pairs", "seen pairs", "share of pictures named rightly"),
        ),
        matrix=_matrix(clip),
        predictions=_cards(clip, outcome.unseen),
        facts={
            "model": f"{clip.spec.name}, {sum(p.numel() for p in clip.model.parameters()):,} parameters",
            "training": f"{run.steps:,} steps of {recipe.batch_size} pairs, {seconds / 60:.1f} minutes",
            "pictures": f"{clip.spec.preprocess.size} x {clip.spec.preprocess.size} pixels",
            "seed": str(recipe.seed),
        },
    )


def _curve(lines: list[dict[str, float]], metric: str, name: str, description: str) -> Curve:
    return Curve(name, [(line["step"], line[metric]) for line in lines if metric in line], description)


def _row(name: str, result: Result, metric: str) -> Row:
    low, high = result.intervals[metric]
    return Row(name, result.metrics[metric], low, high, result.chance[metric])


def _matrix(clip: Clip) -> Matrix:
    """Cosine similarities of held-out scenes and their captions."""
    scenes = Scenes("held-out", count=MATRIX, size=clip.spec.preprocess.size)
    samples = [scenes.read(i) for i in range(MATRIX)]
    captions = tuple(sample.captions[0] for sample in samples)
    similarity = clip.encode_images(sample.image for sample in samples) @ clip.encode_texts(captions).T
    return Matrix(np.stack([np.asarray(scenes.picture(i, SHARP)) for i in range(MATRIX)]), captions, similarity)


def _cards(clip: Clip, unseen: Result) -> tuple[PredictionCard, ...]:
    """The first pictures of unseen pairs named rightly, each of another pair, and the first named wrongly."""
    scenes = Scenes("unseen-pairs", count=PICTURES, size=clip.spec.preprocess.size)
    ranks = unseen.predictions["rank"]
    good = [i for i, rank in enumerate(ranks) if rank == 1][:CARDS]
    bad = [i for i, rank in enumerate(ranks) if rank > 1][:CARDS]
    classifier = clip.classifier(CLASS_NAMES, TEMPLATES)
    cards = []
    for i in (*good, *bad):
        sample = scenes.read(i)
        ranked = list(classifier.rank(sample.image)[0])[:3]
        cards.append(
            PredictionCard(np.asarray(scenes.picture(i, SHARP)), CLASS_NAMES[sample.label or 0], tuple(ranked))
        )
    return tuple(cards)
