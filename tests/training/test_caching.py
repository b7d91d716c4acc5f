"""Gradient caching on several processes: the gradient of the whole batch on one, with both losses and all draws."""

from pathlib import Path
from typing import Literal

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributed.tensor import DTensor

from diptych import distributed
from diptych.models.clip import CLIP, create_model
from diptych.training.forward import Embed
from diptych.training.losses import LossSpec, Pairs, contrastive_loss
from diptych.training.objectives import contrastive
from diptych.training.parallel import finished_gradients, spread
from diptych.training.parts import Part, parts
from diptych.zoo import MODELS
from tests.models.twins import redraw, twin
from tests.training.processes import run_in_processes
from tests.training.test_objectives import CAPTIONS, inputs

BATCH = 8
TEXT_IDS = torch.tensor([0, 1, 2, 3, 4, 0, 5, 6, 7, 8, 9, 10, 8, 11, 12, 13])  # two captions come twice
LOSSES = {"paper": LossSpec(), "ignored": LossSpec(equal_captions="ignored"), "nested": LossSpec(nested=(8, 16))}
Sharding = Literal["none", "full"]


def model_of(name: str) -> CLIP:
    """With dropout behind both towers."""
    model = redraw(create_model(twin(MODELS[name]), seed=0)).train()
    for tower in (model.image, model.text):
        tower.register_forward_hook(lambda _module, _inputs, out: (F.dropout(out[0], 0.3), out[1]))
    return model


def parts_of(name: str, count: int, micro_batch: int | None) -> list[list[Part]]:
    """Of each of ``count`` processes, five patches of nine seen of every image."""
    pixels, tokens = inputs(twin(MODELS[name]), BATCH)
    places = torch.rand(BATCH, 9, generator=torch.Generator().manual_seed(1)).argsort(dim=1)[:, :5]
    return [parts(*part, images=micro_batch) for part in parts(pixels, tokens, places, BATCH // count)]


def draws(rank: int) -> int:
    return 7 + 100 * rank


def cached(name: str, micro_batch: int | None, loss: str, sharding: Sharding) -> tuple[float, dict[str, Tensor]]:
    """By this process: the loss, and the gradients of the parameters."""
    rank, count, model = distributed.rank(), distributed.world_size(), model_of(name)
    [(pixels, tokens, places)] = parts_of(name, count, None)[rank]
    run = spread(Embed(model, torch.float32), sharding=sharding)
    torch.manual_seed(draws(rank))
    value, _ = contrastive(
        run,
        pixels,
        tokens,
        image_ids_B=torch.arange(BATCH).chunk(count)[rank],
        text_ids_M=TEXT_IDS.chunk(count)[rank],
        loss=LOSSES[loss],
        micro_batch=micro_batch,
        places_BK=places,
    )
    finished_gradients(run)
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return value.item(), {n: g.full_tensor() if isinstance(g, DTensor) else g for n, g in gradients.items()}


def at_once(name: str, count: int, micro_batch: int | None, loss: str) -> tuple[float, dict[str, Tensor]]:
    """By one process, with all activations of the whole batch, and what was drawn for each part of it."""
    model = model_of(name)
    run, embedded = Embed(model, torch.float32), []
    for rank, own in enumerate(parts_of(name, count, micro_batch)):
        for i, part in enumerate(own):
            torch.manual_seed(draws(rank) + i)
            embedded.append(run(*part))
    pairs = Pairs(
        images_BE=torch.cat([part.images_BE for part in embedded]),
        texts_ME=torch.cat([part.texts_ME for part in embedded]),
        scale=embedded[0].scale,
        image_ids_B=torch.arange(BATCH),
        text_ids_M=TEXT_IDS,
        bias=embedded[0].bias,
    )
    value, _ = contrastive_loss(pairs, LOSSES[loss])
    value.backward()
    return value.item(), {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


LONG = pytest.mark.long


@pytest.mark.parametrize(
    ("name", "count", "micro_batch", "loss", "sharding"),
    [
        ("ViT-B/16-SigLIP", 2, 3, "paper", "none"),
        ("ViT-B/16-SigLIP", 4, 1, "ignored", "full"),
        pytest.param("ViT-B/16-SigLIP", 4, 1, "nested", "none", marks=LONG),
        pytest.param("ViT-B/16-SigLIP", 2, None, "paper", "none", marks=LONG),
        pytest.param("ViT-B/16-SigLIP", 2, 1, "ignored", "full", marks=LONG),
        pytest.param("ViT-B/32", 2, 3, "paper", "none", marks=LONG),
        pytest.param("ViT-B/32", 4, 1, "ignored", "full", marks=LONG),
        pytest.param("ViT-B/32", 4, 1, "nested", "none", marks=LONG),
    ],
)
def test_parts_of_all_processes_give_the_gradient_of_the_whole_batch(
    name: str, count: int, micro_batch: int | None, loss: str, sharding: Sharding, tmp_path: Path
) -> None:
    assert len(TEXT_IDS) == BATCH * CAPTIONS
    expected, whole = at_once(name, count, micro_batch, loss)
    for value, gradients in run_in_processes(count, cached, name, micro_batch, loss, sharding, folder=tmp_path):
        assert value == pytest.approx(expected, rel=1e-6)
        assert gradients.keys() == whole.keys()
        assert {"logit_scale", "logit_bias"} & gradients.keys()
        for parameter, gradient in gradients.items():
            # A small element is the sum of large terms of both signs; it is rounded as its large neighbours are.
            size = max(1.0, whole[parameter].abs().max().item())
            said = f"{parameter}: {{}}".format
            torch.testing.assert_close(gradient, whole[parameter], rtol=0, atol=1e-5 * size, msg=said)
