"""The moving parts of one run: model, optimiser, place in the data, clock."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diptych import config, distributed
from diptych.checkpoints.bundle import Bundle
from diptych.checkpoints.writing import write
from diptych.data.loader import Batch
from diptych.encoder.loading import default_device
from diptych.errors import NonFiniteLoss
from diptych.models.clip import CLIP
from diptych.progress import say
from diptych.text.pretrained import AnyTokenizer
from diptych.training import adapters, parallel, state
from diptych.training.average import Average
from diptych.training.batch_norms import share_statistics
from diptych.training.bundles import bundled, standing_alone
from diptych.training.cards import model_card
from diptych.training.engine import Engine, Gradient
from diptych.training.guard import Guard, before_the_spikes
from diptych.training.half_adam import halve
from diptych.training.head import attach, begin_head, save_classifier
from diptych.training.loss_scale import LossScale
from diptych.training.optimizer import learning_rate
from diptych.training.recipe import Recipe
from diptych.training.saving import Saver
from diptych.training.start import begin
from diptych.training.towers import prepare
from diptych.training.trained import Model, Trained, built, wrapped

Evaluator = Callable[[Any], Mapping[str, float]]  # of what is Trained


class Session:
    """One step, one evaluation, one checkpoint at a time; the loop decides when. ``step`` counts the steps done.

    ``samples`` and ``data``: how many the source has, and its fingerprint, noted in every checkpoint.
    """

    def __init__(
        self, recipe: Recipe, folder: Path, model: Model, tokenizer: AnyTokenizer, *, samples: int, data: str
    ) -> None:
        self.recipe, self.folder, self.tokenizer = recipe, folder, tokenizer
        self.samples, self.data = samples, data
        self.device = default_device()
        self.model = model.to(self.device).train()
        prepare(self.model, recipe.image_tower, recipe.text_tower, seed=recipe.seed)
        if recipe.half_text_weights:
            halve(self.model.text)
        for parameter in self.model.parameters():
            if parameter.ndim == 4:  # convolutions are several times faster on this layout; the numbers are the same
                # Of a kernel of one pixel contiguous() changes nothing, not the strides either, and those of its
                # gradient are others then, at which DDP has to copy and warns.
                channels_last = torch.empty_like(parameter.data, memory_format=torch.channels_last)
                parameter.data = channels_last.copy_(parameter.data)
        provenance = {"weights_from": f"training by the recipe {recipe.name}", "recipe": config.to_dict(recipe)}
        # Matrices in bf16 meet activations in fp32 unless these are rounded too.
        self.clip = wrapped(self.model, tokenizer, provenance, "fast" if recipe.half_text_weights else "fp32")
        self.engine = Engine(recipe, self.model)
        self.average = None if recipe.ema is None else Average(self.model, recipe.ema)
        self.step, self.seconds, self.saved_step = 0, 0.0, 0  # before the first step there is nothing to save
        self.guard = Guard()
        shared = recipe.sharding == "full" and distributed.world_size() > 1
        self.saver = Saver(folder / "checkpoints", self.device, keep=recipe.checkpoints.keep, shared=shared)
        self._clock = self._saved_at = time.monotonic()

    @classmethod
    def begin(
        cls, recipe: Recipe, folder: Path, tokenizer: Callable[[], AnyTokenizer], *, samples: int, data: str
    ) -> Session:
        """From the last checkpoint in the run's folder where there is one, else as ``recipe.start`` says.

        Raises TrainingError where that checkpoint is damaged, or belongs to other data than those of which there are
        so many ``samples`` with the fingerprint ``data``.
        """
        # As the main process sees the folder, lest a file system that is late with its news let some begin anew.
        saved = distributed.from_main(lambda: state.checkpoints(folder / "checkpoints"))
        if not saved:
            start = begin(
                recipe.model, recipe.start, vocabulary=recipe.vocabulary, tokenizer=tokenizer, seed=recipe.seed
            )
            begin_head(start.model, start.tokenizer, recipe.head)
            session = cls(recipe, folder, start.model, start.tokenizer, samples=samples, data=data)
            session.clip.provenance |= start.provenance
            return session
        bundle, resumed = state.load(saved[-1])
        state.check_data(resumed, samples, data, run=folder, source=recipe.data.source)
        if bundle.tokenizer is None:
            raise AssertionError("a run's checkpoint always holds its tokenizer")
        model = copy.deepcopy(built(bundle))  # since the weights read are mapped from the checkpoint's file
        attach(model, resumed.head.get("head"))
        session = cls(recipe, folder, model, bundle.tokenizer, samples=samples, data=data)
        session._restore(saved[-1], resumed)
        if session.engine.loss_scale and resumed.loss_scale:
            session.engine.loss_scale = LossScale(**resumed.loss_scale)
        session.guard = Guard(**resumed.guard)
        session.clip.provenance |= {k: v for k, v in bundle.provenance.items() if k == "started_from"}
        session.step, session.seconds, session.saved_step = resumed.step, resumed.seconds, resumed.step
        state.tell_threads(resumed.threads, session.device)
        return session

    def advance(self, batch: Batch, steps: int) -> dict[str, float]:
        """One optimiser step of ``steps``, returning its metrics. A step that the guard holds back, or whose gradient
        overflows in fp16, leaves the weights as they are.

        Raises NonFiniteLoss, before the weights are touched, where the loss or its gradient is not a number.
        """
        rate = learning_rate(self.recipe.optimizer, self.step, steps)
        gradient = self.engine.backward(batch)
        if self._is_sound(gradient, batch):
            self.engine.update(gradient, rate)
        else:
            self.engine.discard()
            if self.guard.in_a_row == self.recipe.guard.patience:
                self._roll_back()
        self.step += 1
        if self.average:
            self.average.update(self.model, self.step)
        return {
            "loss": gradient.loss,
            **({"logit_scale": self.model.logit_scale.exp().item()} if isinstance(self.model, CLIP) else {}),
            "learning_rate": rate,
            "gradient_norm": gradient.norm,
            **gradient.metrics,
            "truncated_captions": gradient.truncated,
            **(self.guard.metrics() if self.recipe.guard.watches else {}),
            **self._tick(),
        }

    def _is_sound(self, gradient: Gradient, batch: Batch) -> bool:
        """Whether an update is to be made of it."""
        scale = self.engine.loss_scale
        if gradient.overflow and scale and not scale.collapsed:
            return False
        spike = self.guard.spike(self.recipe.guard, gradient.loss, gradient.norm)
        if spike:
            keys = distributed.all_of(batch.keys)
            if distributed.is_main():
                say(f"step {self.step + 1} made no update, for {spike}. Samples of the batch: {', '.join(keys)}")
        elif not gradient.finite:
            raise NonFiniteLoss(self._not_finite(gradient, batch))
        return not spike

    def _roll_back(self) -> None:
        """Weights and optimiser of the last checkpoint from before the spikes; the place in the data stays."""
        self.saver.wait()
        saved = distributed.agreed(lambda: before_the_spikes(self.saver.folder, self.guard))
        if distributed.is_main():
            say(f"{self.guard.in_a_row} steps in a row made no update: going back to the weights of {saved.name}")
        bundle, resumed = state.load(saved)
        # The layers of adapters are merged in the bundle, and apart beside it.
        parallel.load_weights(self.model, bundle.weights | resumed.adapters | resumed.head)
        self._restore(saved, resumed)
        self.guard.rolled_back()

    def _restore(self, saved: Path, resumed: state.State) -> None:
        """All that a bundle's weights leave out."""
        self.engine.restore(saved, resumed)
        with state.reading(saved):
            adapters.restore(self.model, resumed.adapters)
            if self.average:
                self.average.restore(resumed.average)

    def checkpoint_due(self) -> bool:
        """Whether this step is one that is saved, or the last checkpoint is older than the minutes allowed; but not
        among spikes, for which the weights may be to blame."""
        every = self.recipe.checkpoints
        late = time.monotonic() - self._saved_at > 60 * every.every_minutes
        return not self.guard.troubled and (self.step % every.every_steps == 0 or late)

    def save(self) -> None:
        """Begin to write a checkpoint of this very step, where there is none yet. All processes call it.

        Raises TrainingError where the one before could not be written, NonFiniteLoss where this would be of no use.
        """
        if self.step == self.saved_step:
            return
        share_statistics(self.model, self.average.statistics() if self.average else [])
        rest = state.State(
            step=self.step,
            samples=self.samples,
            seconds=self.seconds,
            optimizer=self.engine.optimizer.state_dict() | {"state": {}},
            data=self.data,
            threads=torch.get_num_threads(),
            average=self.average.tensors if self.average else {},
            adapters=adapters.state(self.model),
            loss_scale=self.engine.loss_scale.state() if self.engine.loss_scale else None,
            guard=self.guard.state(),
        )
        self.saver.start(self.model, self.engine.optimizer, self._bundle, rest)
        self.saved_step, self._saved_at = self.step, time.monotonic()

    def finish(self) -> None:
        """Write the finished bundle and its card to ``model/``, a classifier beside it; NonFiniteLoss as of `save`."""
        weights, clip = parallel.whole_weights(self.model), self.finished_clip()
        if distributed.is_main():
            card = model_card(self.folder, self.model.spec)
            write(self._bundle(weights, averaged=True), self.folder / "model", card=card)
            save_classifier(clip, self.recipe.head, self.folder)

    def evaluate(self, evaluators: Mapping[str, Evaluator]) -> dict[str, float]:
        """Every evaluator's numbers, named ``evaluator/metric``, of the main process, and none of others; all call it.
        The time it takes is not training time."""
        try:
            share_statistics(self.model, self.average.statistics() if self.average else [])
            clip = self.finished_clip()
            main = evaluators if distributed.is_main() else {}
            with distributed.alone():  # the others are at their next step already, and share no images with this one
                return {f"{name}/{k}": v for name, evaluator in main.items() for k, v in evaluator(clip).items()}
        finally:
            self._clock = time.monotonic()

    def finished_clip(self) -> Trained:
        """The model as ``model/`` has it if training ends here: averaged, its adapters merged. All processes call it;
        where each has a part of the model, the main one alone gets the whole."""
        weights = parallel.whole_weights(self.model)
        is_itself = not (parallel.is_sharded(self.model) or self.average or adapters.state(self.model))
        if is_itself or not weights:
            return self.clip
        clip = standing_alone(self.clip, self._bundle(weights, averaged=True), self.device)
        attach(clip.model, (self.average.tensors if self.average else {}).get("head", weights.get("head")))
        return clip

    def _bundle(self, weights: dict[str, Tensor], *, averaged: bool = False) -> Bundle:
        current = weights | (self.average.tensors if averaged and self.average else {})
        return bundled(self.clip, current, step=self.step, good=self._good)

    def _tick(self) -> dict[str, float]:
        now = time.monotonic()
        taken, self._clock = now - self._clock, now
        self.seconds += taken
        return {"samples_per_second": self.recipe.batch_size / taken, "seconds": self.seconds}

    def _not_finite(self, gradient: Gradient, batch: Batch) -> str:
        return (
            f"step {self.step + 1}: the loss is {gradient.loss}, its gradient's norm {gradient.norm}; "
            f"the weights were left as they were and {self._good()}. Samples of the batch: {', '.join(batch.keys)}"
        )

    def _good(self) -> str:
        self.saver.close()
        return f"the last good checkpoint is {self.saver.last}" if self.saver.last else "there is no checkpoint yet"
