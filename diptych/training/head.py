"""Classification: an image tower and a classifier over its embeddings, which begins as the zero-shot one (WiSE-FT,
arXiv 2109.01903, section 2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diptych import distributed
from diptych.encoder.classifier import Classifier
from diptych.encoder.clip import Clip
from diptych.errors import ConfigError
from diptych.models.clip import CLIP
from diptych.text.pretrained import AnyTokenizer
from diptych.tokens import Tokens
from diptych.training.forward import exchange
from diptych.training.losses import LossSpec
from diptych.training.parts import parts
from diptych.training.trained import Model, Trained

CLASSIFIER = "classifier.npz"  # in the folder of a run that trains one


@dataclass(frozen=True, kw_only=True)
class HeadSpec:
    """The classes of a classifier by name, and the templates of the prompts from whose embeddings it begins."""

    classes: tuple[str, ...]
    templates: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.classes) < 2 or not self.templates:
            raise ConfigError(f"head needs two classes or more and a template, not {len(self.classes)} classes")


def begin_head(model: Model, tokenizer: AnyTokenizer, spec: HeadSpec | None) -> None:
    """Give a CLIP the zero-shot classifier for a head, where there is to be one: embeddings of its prompts, of unit
    norm."""
    if spec and isinstance(model, CLIP):
        attach(model, torch.from_numpy(Clip(model, tokenizer).classifier(spec.classes, spec.templates).weights_CE))


def attach(model: nn.Module, weights_CE: Tensor | None) -> None:
    """Give a model a head with these weights, wherever it is; with None, none."""
    if isinstance(model, CLIP):
        parameter = None if weights_CE is None else nn.Parameter(weights_CE.float().clone())
        model.register_parameter("head", parameter)
        model.to(model.logit_scale.device)


def head_of(model: nn.Module) -> Tensor | None:
    """The weights (C, E) of a model's head, where it has one."""
    return model.head.detach() if isinstance(model, CLIP) and model.head is not None else None


def classifier_of(trained: Trained, spec: HeadSpec) -> Classifier:
    """The classifier that a model with a head is."""
    weights_CE = head_of(trained.model)
    if weights_CE is None or not isinstance(trained, Clip):
        raise AssertionError("a model without a head is no classifier")
    return Classifier(trained, spec.classes, spec.templates, weights_CE.float().cpu().numpy())


def save_classifier(trained: Trained, spec: HeadSpec | None, folder: Path) -> None:
    """Write the classifier that a model with a head is to the folder of its run."""
    if spec:
        classifier_of(trained, spec).save(folder / CLASSIFIER)


def class_numbers(captions: Sequence[str]) -> Tensor:
    """Labels (B) from the captions of a `Labelled` source."""
    return torch.tensor([int(caption) for caption in captions])


def classification(
    run: nn.Module,
    pixels_BCHW: Tensor,
    tokens: Tokens,
    *,
    labels_B: Tensor,
    loss: LossSpec,
    micro_batch: int | None = None,
    places_BK: Tensor | None = None,
    loss_scale: float = 1.0,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Cross-entropy of the scaled similarities of images to the rows of the model's head: adds its gradient to that of
    the parameters, and returns the loss and the share of images whose class is ranked first, both of all processes.

    ``run``: a ``Classify``, or what `parallel.spread` made of one. ``micro_batch``: images in the tower at a time; the
    loss is a sum over images, so the gradient is the same, but for batch norms. The others are as of ``contrastive``.
    """
    count = len(pixels_BCHW) * distributed.world_size()
    total, hits = torch.zeros(2, device=pixels_BCHW.device)
    cut = parts(pixels_BCHW, tokens, places_BK, micro_batch)
    for number, (part, own_B) in enumerate(zip(cut, labels_B.split(len(cut[0][0])), strict=True), start=1):
        with exchange(run, last=number == len(cut)):
            logits_BC = run(*part)
            value = F.cross_entropy(logits_BC, own_B, reduction="sum", label_smoothing=loss.label_smoothing) / count
            value.backward(value.new_tensor(loss_scale))
        total += value.detach()
        hits += (logits_BC.argmax(dim=1) == own_B).sum() / count
    return distributed.summed(total), {"class_accuracy": distributed.summed(hits)}
