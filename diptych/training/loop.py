"""The training loop: recipe in, run folder and bundle out.

out/recipe.json        the resolved recipe
out/metrics.jsonl      one line a step, and one an evaluation
out/tensorboard/       the same for TensorBoard
out/checkpoints/       the last few checkpoints, each a bundle that ``diptych.load`` opens
out/model/             the finished bundle
out/skipped.json       samples that could not be read, and why
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from diptych.data.loader import Loader
from diptych.data.memory import InMemory
from diptych.data.sources import Source, captions_of, open_source
from diptych.encoder.clip import Clip
from diptych.progress import progress, say
from diptych.text.tokenizer import Tokenizer
from diptych.training import state
from diptych.training.interrupt import Interrupt
from diptych.training.recipe import Recipe
from diptych.training.session import Evaluator, Session
from diptych.training.watch import Watch

PROBLEMS_TOLD = 5  # damaged files that are named before the first step; all of them are in the end


@dataclass(frozen=True)
class Run:
    """What ``train`` gives back. ``finished`` is false after Ctrl-C or SIGTERM: resume goes on from ``step``."""

    folder: Path
    step: int
    steps: int
    clip: Clip

    @property
    def finished(self) -> bool:
        """Whether every step of the recipe was done."""
        return self.step == self.steps


def train(
    recipe: Recipe,
    out: str | Path,
    *,
    resume: bool = False,
    evaluators: Mapping[str, Evaluator] | None = None,
    source: Source | None = None,
) -> Run:
    """Train a model from random weights as ``recipe`` says and leave everything in the folder ``out``.

    ``resume`` goes on from the last checkpoint in ``out``, bit for bit on the same machine; with none there it begins.
    ``evaluators`` get a ``Clip`` every ``recipe.evaluate_every`` steps and at the end, and return named numbers.
    ``source`` replaces the one that ``recipe.data.source`` names, for pairs that exist in memory only.
    Raises TrainingError, NonFiniteLoss or TooManyFailures; the last checkpoint is then still whole.
    """
    folder = Path(out)
    if source is None:
        data = recipe.data
        source = open_source(
            data.source, split=data.split, captions=data.captions, keywords=data.keywords, where=data.where
        )
    if recipe.data.in_memory:
        say(f"decoding {len(source):,} images into memory")
        source = InMemory(source, side=2 * recipe.model.preprocess.size)
    state.claim(folder, recipe, resume=resume)
    session = Session.begin(recipe, folder, tokenizer=lambda: prepare_tokenizer(recipe, source), samples=len(source))
    steps = recipe.steps(len(source))

    def evaluation_due() -> bool:
        return bool(evaluators) and (session.step == steps or session.step % recipe.evaluate_every == 0)

    with (
        closing(Watch(folder, first_step=session.step, steps=steps)) as watch,
        session.loader(source) as loader,
        Interrupt() as interrupt,
    ):
        for problem in getattr(source, "problems", ())[:PROBLEMS_TOLD]:
            watch.say(problem)
        if session.step and evaluation_due() and not watch.evaluated:  # killed between a checkpoint and its evaluation
            watch.evaluation(session.step, session.evaluate(evaluators or {}))
        try:
            for batch in loader.batches(session.step, steps):
                watch.step(session.step + 1, session.advance(batch, steps))
                if session.step == steps or interrupt.asked or session.checkpoint_due():
                    session.save()
                if evaluation_due():
                    watch.evaluation(session.step, session.evaluate(evaluators or {}))
                if interrupt.asked:
                    break
        finally:
            _list_failures(folder / "skipped.json", loader, watch)
    if session.step == steps:
        session.finish()
    return Run(folder, session.step, steps, session.clip)


def _list_failures(path: Path, loader: Loader, watch: Watch) -> None:
    """Say what could not be read, and add the samples to those that earlier parts of the run have listed."""
    if loader.failures.reasons:
        before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        state.write_json(path, before | {str(index): reason for index, reason in loader.failures.reasons.items()})
        watch.say(f"all samples that could not be read are listed in {path}")
    if report := loader.report():
        watch.say(report)


def prepare_tokenizer(recipe: Recipe, source: Source) -> Tokenizer:
    """The tokenizer a recipe asks for: read from a path, or learned from every caption of the source."""
    context_length = recipe.model.text.context_length
    if isinstance(recipe.vocabulary, int):
        say(f"learning a vocabulary from the captions of {len(source):,} samples")
        indices = progress(range(len(source)), "reading captions")
        captions = (caption for index in indices for caption in captions_of(source, index))
        return Tokenizer.train(captions, vocabulary_size=recipe.vocabulary, context_length=context_length)
    path = Path(recipe.vocabulary)
    from_path = Tokenizer.from_files if path.is_dir() else Tokenizer.from_merges
    return from_path(path, context_length=context_length)
