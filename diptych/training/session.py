"""The moving parts of one run: model, optimiser, place in the data, clock."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from diptych import config, distributed
from diptych.checkpoints.bundle import Bundle
from diptych.checkpoints.writing import write
from diptych.data.loader import Batch, Loader
from diptych.data.sources import Source
from diptych.encoder.loading import default_device
from diptych.errors import NonFiniteLoss
from diptych.models.clip import CLIP
from diptych.progress import say
from diptych.text.pretrained import AnyTokenizer
from diptych.training import adapters, state
from diptych.training.average import Average
from diptych.training.engine import Engine, Gradient
from diptych.training.half_adam import halve
from diptych.training.optimizer import learning_rate
from diptych.training.recipe import Recipe
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
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        provenance = {"weights_from": f"training by the recipe {recipe.name}", "recipe": config.to_dict(recipe)}
        # Matrices in bf16 meet activations in fp32 unless these are rounded too.
        precision = "fast" if recipe.half_text_weights else "fp32"
        self.clip = wrapped(self.model, tokenizer, provenance, precision)
        self.engine = Engine(recipe, self.model)
        self.average = None if recipe.ema is None else Average(self.model, recipe.ema)
        self.step, self.seconds = 0, 0.0
        self.saved_step = 0  # of the last checkpoint; before the first step there is nothing to save
        self.last_good: Path | None = None
        self._clock = self._saved_at = time.monotonic()

    @classmethod
    def begin(
        cls, recipe: Recipe, folder: Path, tokenizer: Callable[[], AnyTokenizer], *, samples: int, data: str
    ) -> Session:
        """From the last checkpoint in the run's folder where there is one, else as ``recipe.start`` says.

        Raises TrainingError where that checkpoint is damaged, or belongs to other data than those of which there are
        so many ``samples`` with the fingerprint ``data``.
        """
        saved = state.checkpoints(folder / "checkpoints")
        if not saved:
            start = begin(
                recipe.model, recipe.start, vocabulary=recipe.vocabulary, tokenizer=tokenizer, seed=recipe.seed
            )
            session = cls(recipe, folder, start.model, start.tokenizer, samples=samples, data=data)
            session.clip.provenance |= start.provenance
            return session
        bundle, resumed = state.load(saved[-1])
        state.check_data(resumed, samples, data, run=folder, source=recipe.data.source)
        if bundle.tokenizer is None:
            raise AssertionError("a run's checkpoint always holds its tokenizer")
        # A copy, since the weights read are mapped from the checkpoint's file.
        session = cls(recipe, folder, copy.deepcopy(built(bundle)), bundle.tokenizer, samples=samples, data=data)
        with state.reading(saved[-1]):
            session.engine.optimizer.load_state_dict(resumed.optimizer)
            adapters.restore(session.model, resumed.adapters)
            if session.average:
                session.average.restore(resumed.average)
        origin = {name: value for name, value in bundle.provenance.items() if name == "started_from"}
        session.clip.provenance |= origin
        session.step, session.seconds = resumed.step, resumed.seconds
        session.saved_step, session.last_good = resumed.step, saved[-1]
        session._tell_threads(resumed.threads)
        return session

    def loader(self, source: Source) -> Loader:
        """The batches this run takes, from any step."""
        recipe = self.recipe
        return Loader(
            source,
            self.model.spec.preprocess,
            batch_size=recipe.batch_size // distributed.world_size(),
            tokenizer=self.tokenizer,
            augmentation=recipe.data.augmentation,
            captions_per_image=recipe.data.captions_per_image,
            seed=recipe.seed,
            workers=recipe.data.workers,
            max_failures=recipe.data.max_failures,
        )

    def advance(self, batch: Batch, steps: int) -> dict[str, float]:
        """One optimiser step of ``steps``, returning its metrics.

        Raises NonFiniteLoss, before the weights are touched, where the loss or its gradient is not a number.
        """
        rate = learning_rate(self.recipe.optimizer, self.step, steps)
        gradient = self.engine.backward(batch)
        if not gradient.finite:
            raise NonFiniteLoss(self._not_finite(gradient, batch))
        self.engine.update(gradient, rate)
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
            **self._tick(),
        }

    def checkpoint_due(self) -> bool:
        """Whether this step is one that is saved, or the last checkpoint is older than the minutes allowed."""
        every = self.recipe.checkpoints
        return self.step % every.every_steps == 0 or time.monotonic() - self._saved_at > 60 * every.every_minutes

    def save(self) -> None:
        """Write a checkpoint of this very step, where there is none yet. All processes call it, the main one writes.

        Raises TrainingError where it cannot be written, NonFiniteLoss where it would be of no use.
        """
        if self.step == self.saved_step:
            return
        self.share_statistics()
        if distributed.is_main():
            self._write()
        self.saved_step, self._saved_at = self.step, time.monotonic()

    def _write(self) -> None:
        resumable = state.State(
            step=self.step,
            samples=self.samples,
            seconds=self.seconds,
            optimizer=self.engine.optimizer.state_dict(),
            data=self.data,
            threads=torch.get_num_threads(),
            average=self.average.tensors if self.average else {},
            adapters=adapters.state(self.model),
        )
        keep = self.recipe.checkpoints.keep
        self.last_good = state.save(self.folder / "checkpoints", self._bundle(), resumable, keep=keep)

    def share_statistics(self) -> None:
        """Batch norms see their own process's part of each batch; what they remember becomes the mean of all."""
        learning = (module for module in self.model.modules() if module.training)
        buffers = (named for module in learning for named in module.named_buffers(recurse=False))
        statistics = [buffer for name, buffer in buffers if name in ("running_mean", "running_var")]
        statistics += self.average.statistics() if self.average else []
        distributed.sum_in_place(statistics, weight=1 / distributed.world_size())

    def finish(self) -> None:
        """Write the finished bundle to ``model/``. Raises NonFiniteLoss as `save` does."""
        if distributed.is_main():
            write(self._bundle(averaged=True), self.folder / "model")

    def evaluate(self, evaluators: Mapping[str, Evaluator]) -> dict[str, float]:
        """Every evaluator's numbers, named ``evaluator/metric``; the time it takes is not training time."""
        try:
            clip = self.finished_clip()
            return {f"{name}/{k}": v for name, evaluator in evaluators.items() for k, v in evaluator(clip).items()}
        finally:
            self._clock = time.monotonic()

    def finished_clip(self) -> Trained:
        """The model as ``model/`` has it if training ends here: averaged, and its adapters merged."""
        if not self.average and not adapters.state(self.model):
            return self.clip
        bundle = self._bundle(averaged=True)
        with torch.random.fork_rng(devices=[]):  # towers of other libraries draw weights before they get these
            return wrapped(built(bundle), self.tokenizer, bundle.provenance, self.clip.precision)

    def _bundle(self, *, averaged: bool = False) -> Bundle:
        current = self.model.state_dict() | (self.average.tensors if averaged and self.average else {})
        weights = {
            name: tensor.detach().float() if tensor.dtype == torch.bfloat16 else tensor.detach()
            for name, tensor in adapters.merged(self.model, current).items()
        }
        spoilt = [name for name, tensor in weights.items() if not torch.isfinite(tensor).all()]
        if spoilt:
            raise NonFiniteLoss(
                f"step {self.step}: {len(spoilt)} of the {len(weights)} weights are not finite, such as {spoilt[0]}; "
                f"they were not written, and {self._good()}. A lower optimizer.learning_rate may help"
            )
        return Bundle(self.model.spec, weights, self.tokenizer, {**self.clip.provenance, "step": self.step})

    def _tell_threads(self, before: int) -> None:
        now = torch.get_num_threads()
        if before not in (0, now) and self.device.type == "cpu":
            say(f"the run had {before} threads and has {now} now; it goes on, but not bit for bit (OMP_NUM_THREADS)")

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
        return f"the last good checkpoint is {self.last_good}" if self.last_good else "there is no checkpoint yet"
