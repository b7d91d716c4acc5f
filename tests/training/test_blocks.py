"""Gradient checkpointing: the same gradients and statistics with a fraction of what is kept for the backward pass."""

import dataclasses
from functools import partial
from pathlib import Path

import pytest
import torch

from diptych.checkpoints.bundle import read
from diptych.config import override
from diptych.models.clip import CLIP, create_model
from diptych.training.blocks import blocks, prepare
from diptych.training.forward import Embed
from diptych.training.loop import train
from diptych.training.losses import LossSpec
from diptych.training.objectives import contrastive
from diptych.zoo import MODELS
from tests.models.twins import redraw, twin
from tests.training import small
from tests.training.kinds import NAMES, every_model
from tests.training.test_objectives import CAPTIONS, IMAGES, inputs
from tests.training.test_resume import losses

PLACES = torch.rand(IMAGES, 9, generator=torch.Generator().manual_seed(1)).argsort(dim=1)[:, :5]


def trained(
    name: str, *, again: bool, precision: torch.dtype, micro_batch: int | None, compiled: bool = False
) -> tuple[CLIP, int]:
    """A model with gradients, and the bytes that were kept for the backward pass."""
    spec = twin(MODELS[name])
    model = redraw(create_model(spec, seed=0)).train()
    prepare(model, compiled=compiled, again=again)
    pixels, tokens = inputs(spec)
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        contrastive(
            Embed(model, precision),
            pixels,
            tokens,
            image_ids_B=torch.arange(IMAGES),
            text_ids_M=torch.arange(IMAGES * CAPTIONS),
            loss=LossSpec(),
            micro_batch=micro_batch,
            places_BK=None if spec.image.kind == "modified_resnet" else PLACES,
        )
    return model, sum(kept.values())


@pytest.mark.parametrize("micro_batch", [None, 4])
@every_model
def test_blocks_that_are_run_again_give_the_same_gradients(name: str, micro_batch: int | None) -> None:
    (model, _), (plain, _) = (
        trained(name, again=again, precision=torch.float32, micro_batch=micro_batch) for again in (True, False)
    )
    for (path, parameter), other in zip(model.named_parameters(), plain.parameters(), strict=True):
        assert torch.equal(parameter.grad, other.grad), path
    for (path, buffer), other in zip(model.named_buffers(), plain.buffers(), strict=True):
        assert torch.equal(buffer, other), path
    assert model.state_dict().keys() == plain.state_dict().keys()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")  # of PyTorch, about itself
def test_compiled_blocks_that_are_run_again_give_the_same_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    """With gradient caching, and without the kernels, which take minutes."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    (model, _), (plain, _) = (
        trained("RN50", again=flag, compiled=flag, precision=torch.float32, micro_batch=3) for flag in (True, False)
    )
    for (path, parameter), other in zip(model.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, other.grad, rtol=1e-3, atol=1e-4, msg=path)
    for (path, buffer), other in zip(model.named_buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(buffer, other, msg=path)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["ViT-B/32", "RN50"])
def test_less_is_kept(name: str, precision: torch.dtype) -> None:
    (again, little), (plain, much) = (
        trained(name, again=flag, precision=precision, micro_batch=None) for flag in (True, False)
    )
    weights = sum(parameter.nbytes for parameter in plain.parameters())
    assert little - weights < 0.5 * (much - weights)
    for (path, parameter), other in zip(again.named_parameters(), plain.parameters(), strict=True):
        assert torch.equal(parameter.grad, other.grad), path


def test_every_tower_but_the_bag_of_words_has_blocks() -> None:
    for name in NAMES:
        with torch.device("meta"):
            model = CLIP(MODELS[name])
        layers = MODELS[name].image.layers
        assert len(list(blocks(model.image))) == (layers if isinstance(layers, int) else sum(layers))
        assert len(list(blocks(model.text))) == getattr(MODELS[name].text, "layers", 0)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")  # of PyTorch, about itself
@pytest.mark.parametrize("change", ["micro_batch=null", "micro_batch=3", "gradient_checkpointing=true"])
@pytest.mark.parametrize("name", ["ViT-B/32", "RN50"])
def test_compiled_blocks_train_as_others_do(name: str, change: str, tmp_path: Path) -> None:
    data = small.make_data(tmp_path / "data")
    plain = dataclasses.replace(small.recipe(data, steps=3, every_steps=3), model=twin(MODELS[name]))
    train(override(plain, [change]), tmp_path / "plain")
    run = train(override(plain, [change, "compile=true"]), tmp_path / "compiled")
    ours, theirs = (losses(tmp_path / folder) for folder in ("compiled", "plain"))
    assert [line["loss"] for line in ours] == pytest.approx([line["loss"] for line in theirs], rel=1e-3)
    assert ours[0]["gradient_norm"] == pytest.approx(theirs[0]["gradient_norm"], rel=1e-4)
    assert (
        read(tmp_path / "compiled" / "model").weights.keys() == create_model(run.clip.spec, seed=0).state_dict().keys()
    )
