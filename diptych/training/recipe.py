"""A recipe: every value that decides what a training run does, as one frozen dataclass."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Literal

from diptych.data.augment import Augmentation
from diptych.data.source_spec import CacheSpec, SourceSpec
from diptych.errors import ConfigError
from diptych.specs import ModelSpec, SiglipVisionSpec, VisionTransformerSpec
from diptych.text.learning import LARGEST, SMALLEST
from diptych.training.guard import GuardSpec
from diptych.training.head import HeadSpec
from diptych.training.losses import LossSpec
from diptych.training.optimizer import OptimizerSpec
from diptych.training.predictive import check_objective
from diptych.training.start import StartSpec
from diptych.training.towers import TowerTraining, check

_SHORTEST = 3  # tokens of a text: the first, the last, and one between


@dataclass(frozen=True, kw_only=True)
class DataSpec(SourceSpec):
    """Which pairs, and how they are read; the source itself as in `SourceSpec`.

    mixture:   sources that are drawn from besides, each with a weight beside the ``weight`` of this one.
    captions_per_image: different captions drawn at each visit of an image; short of them, some come twice.
    length_window: steps whose samples are sorted by the length of their captions, so that the captions of a batch are
               about equally long; 1 leaves them as they come.
    in_memory: decode every image once and keep it, at most twice the model's size; for small data sets.
    workers:   processes that decode and augment; 0 does it in the training process.
    max_failures: the share of samples that may be unreadable before the run stops.
    cache:     where the shards of a remote source are kept, within how many gigabytes, and when one is given up.
    """

    mixture: tuple[SourceSpec, ...] = ()
    augmentation: Augmentation = field(default_factory=Augmentation.paper)
    captions_per_image: int = 1
    length_window: int = 1
    in_memory: bool = False
    workers: int = 2
    max_failures: float = 0.05
    cache: CacheSpec = field(default_factory=CacheSpec)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.workers < 0:
            raise ConfigError(f"data.workers must not be negative, not {self.workers}")
        if not 0 <= self.max_failures <= 1:
            raise ConfigError(f"data.max_failures must be a share from 0 to 1, not {self.max_failures}")
        if self.captions_per_image < 1:
            raise ConfigError(f"data.captions_per_image must be positive, not {self.captions_per_image}")
        if self.length_window < 1:
            raise ConfigError(f"data.length_window must be positive, not {self.length_window}")


@dataclass(frozen=True, kw_only=True)
class CheckpointSpec:
    """A checkpoint every ``every_steps`` steps and every ``every_minutes`` minutes, whichever comes first;
    the last ``keep`` stay on disk."""

    every_steps: int = 1000
    every_minutes: float = 10.0
    keep: int = 2

    def __post_init__(self) -> None:
        for name in ("every_steps", "every_minutes", "keep"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"checkpoints.{name} must be positive, not {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One training run.

    duration:   ``"32 epochs"`` or ``"2000 steps"``.
    vocabulary: a tokenizer's folder or file, of the model's family, or the number of entries to learn from the training
                captions, of CLIP's kind.
    objective:  ``"contrastive"``, the paper's; ``"bag_of_words"``, for a model whose text tower is one: the image
                predicts the words of its caption; ``"caption"``, for a caption_transformer: it predicts the caption.
    micro_batch: images in the towers at a time, null for the whole batch; the gradient is the whole batch's all the
                same. Where the objective is contrastive, that takes another forward pass (gradient caching).
    patch_dropout: share of the patches of each image that its tower does not see, others at each visit (FLIP,
                arXiv 2212.00794); for towers that have patches.
    gradient_checkpointing: of each block keep only the input for the backward pass, which runs the block again; the
                gradient is the same, activations take a fraction of the memory, a step takes about a third longer.
    compile:    run blocks by kernels that PyTorch makes for them, which takes minutes at first; worth it on a GPU.
    precision:  ``"bf16"`` and ``"fp16"`` run the towers in it under autocast; weights, optimiser and loss stay fp32. In
                fp16 the loss is scaled: a step whose gradient overflows makes no update.
    start:      which weights it begins from.
    head:       the classes of a classifier that the images are trained for, in place of their captions; null for none.
    image_tower, text_tower: what of each learns, and how fast.
    ema:        decay of the average of the weights that evaluations see and that ``model/`` holds, such as 0.999; null
                for the weights themselves. Training goes on from the weights themselves all the same.
    sharding:   over several processes, ``"full"`` leaves each only its part of weights, gradients and optimiser, and
                gathers a block's weights while it runs (FSDP); ``"none"`` has all of them everywhere.
    half_text_weights: the text tower's matrices in bf16, stochastically rounded (paper, section 2.5); asks for
                ``optimizer.half_statistics`` and for precision ``"bf16"``.
    max_logit_scale: the temperature is clipped so that similarities are never multiplied by more (paper, section 2.5).
    guard:      against loss spikes: steps that stand out make no update.
    evaluate_every: steps between evaluations; they also run at the end.
    trackers:   where the numbers of ``metrics.jsonl`` are shown besides (``wandb``: Weights & Biases).
    """

    name: str
    model: ModelSpec
    data: DataSpec
    vocabulary: int | str = 49_408
    duration: str = "32 epochs"
    batch_size: int = 32_768
    objective: Literal["contrastive", "bag_of_words", "caption"] = "contrastive"
    micro_batch: int | None = None
    patch_dropout: float = 0.0
    start: StartSpec = field(default_factory=StartSpec)
    head: HeadSpec | None = None
    image_tower: TowerTraining = field(default_factory=TowerTraining)
    text_tower: TowerTraining = field(default_factory=TowerTraining)
    optimizer: OptimizerSpec = field(default_factory=OptimizerSpec)
    ema: float | None = None
    gradient_checkpointing: bool = False
    compile: bool = False
    precision: Literal["fp32", "bf16", "fp16"] = "bf16"
    sharding: Literal["none", "full"] = "none"
    half_text_weights: bool = False
    loss: LossSpec = field(default_factory=LossSpec)
    max_logit_scale: float = 100.0
    guard: GuardSpec = field(default_factory=GuardSpec)
    checkpoints: CheckpointSpec = field(default_factory=CheckpointSpec)
    evaluate_every: int = 1000
    trackers: tuple[Literal["tensorboard", "wandb", "mlflow"], ...] = ("tensorboard",)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.batch_size < 2:
            raise ConfigError(
                f"batch_size must be at least 2, since the others are the negatives; not {self.batch_size}"
            )
        patches = isinstance(self.model.image, VisionTransformerSpec | SiglipVisionSpec)
        if not 0 <= self.patch_dropout < 1 or (self.patch_dropout and not patches):
            raise ConfigError(
                f"patch_dropout must be a share below 1 (not {self.patch_dropout}), and 0 where the image tower "
                f"has no patches, as {self.model.image.kind} has none"
            )
        if self.micro_batch is not None and self.micro_batch < 1:
            raise ConfigError(f"micro_batch must be positive, not {self.micro_batch}")
        if not self.max_logit_scale > 0:
            raise ConfigError(f"max_logit_scale must be positive, not {self.max_logit_scale}")
        if self.evaluate_every < 1:
            raise ConfigError(f"evaluate_every must be positive, not {self.evaluate_every}")
        unfit = [name for name in ("caption_contrast", "label_smoothing") if getattr(self.loss, name)]
        if self.model.scores == "sigmoid" and unfit:
            told = " and ".join(f"loss.{name} is {getattr(self.loss, name)}" for name in unfit)
            raise ConfigError(
                f"{told}, but {self.model.name} has sigmoid scores, whose loss has none; "
                f"{' '.join(f'--set loss.{name}=0' for name in unfit)}"
            )
        check_objective(self.objective, self.model, self.loss)
        if self.half_text_weights and not (self.optimizer.half_statistics and self.precision == "bf16"):
            raise ConfigError("half_text_weights needs optimizer.half_statistics and precision bf16")
        if self.half_text_weights and self.text_tower.learns != "all":
            raise ConfigError(f"half_text_weights needs text_tower.learns 'all', not {self.text_tower.learns!r}")
        check(self.image_tower, self.model.image, self.start, "image")
        check(self.text_tower, self.model.text, self.start, "text")
        if self.head and self.objective != "contrastive":
            raise ConfigError(f"a recipe with a head is trained to classify, not for objective {self.objective!r}")
        if self.head and self.data.captions_per_image != 1:
            raise ConfigError("a recipe with a head has no captions, so data.captions_per_image must be 1")
        if self.head and self.loss != LossSpec(label_smoothing=self.loss.label_smoothing):
            raise ConfigError("a recipe with a head has a loss over classes, of which label_smoothing alone can be set")
        if self.image_tower.learns == self.text_tower.learns == "nothing" and not self.head:
            raise ConfigError("image_tower.learns and text_tower.learns are both 'nothing', so there is nothing to do")
        if self.ema is not None and not 0 < self.ema < 1:
            raise ConfigError(f"ema must be above 0 and below 1, or null, not {self.ema}")
        if self.sharding == "full":
            self._check_sharding()
        if self.loss.caption_contrast and self.data.captions_per_image < 2:
            raise ConfigError("loss.caption_contrast needs data.captions_per_image of 2 or more")
        if not -(2**63) <= self.seed < 2**63:
            raise ConfigError(f"seed must fit in 64 bits, not {self.seed}")
        self._check_sizes()
        self.steps(samples=1)  # so that a wrong duration is told at once

    def _check_sizes(self) -> None:
        learned = isinstance(self.vocabulary, int) and not self.start.takes("text")
        if learned and not SMALLEST <= int(self.vocabulary) <= LARGEST:
            raise ConfigError(
                f"vocabulary is {self.vocabulary}, but must be from {SMALLEST}, which bytes and special tokens alone "
                f"take, to {LARGEST:,}, or the path to one"
            )
        if learned and self.model.text.context_length < _SHORTEST:
            raise ConfigError(
                f"model.text.context_length is {self.model.text.context_length}, but must be {_SHORTEST} or more: "
                "start and end take two, so nothing of a caption would be left"
            )
        if too_long := [size for size in self.loss.nested if size > self.model.embedding]:
            raise ConfigError(f"loss.nested asks for {too_long[0]} dimensions of embeddings of {self.model.embedding}")

    def _check_sharding(self) -> None:
        whole = {
            "half_text_weights": self.half_text_weights,
            "ema": self.ema is not None,
            "image_tower.learns": self.image_tower.rank is not None,
            "text_tower.learns": self.text_tower.rank is not None,
            "optimizer.algorithm": self.optimizer.algorithm == "muon",
        }
        if wrong := [name for name, asked in whole.items() if asked]:
            raise ConfigError(f"sharding is 'full', which {', '.join(wrong)} cannot do with; --set sharding=none")

    def steps(self, samples: int) -> int:
        """Optimiser steps of the whole run over a source of ``samples`` pairs; at least one."""
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?(?=\s*epoch)|\d+)\s*(epochs?|steps?)\s*", self.duration)
        steps = float(match[1]) if match else 0.0
        if match and match[2].startswith("epoch"):
            steps = steps and max(1.0, steps * samples / self.batch_size)
        if not 1 <= steps < math.inf:
            raise ConfigError(
                f"duration must be like '32 epochs' or '0.5 epochs', in plain digits, or '2000 steps', which are "
                f"whole; not {self.duration!r}"
            )
        return round(steps)
