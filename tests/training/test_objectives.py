"""Gradients of a batch that passes through the towers in parts are those of the whole batch."""

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

from diptych.models.clip import CLIP, create_model
from diptych.specs import ModelSpec
from diptych.tokens import Tokens
from diptych.training.forward import Embed
from diptych.training.losses import LossSpec, Pairs, contrastive_loss
from diptych.training.objectives import contrastive
from diptych.zoo import MODELS
from tests.models.twins import redraw, twin

IMAGES, CAPTIONS = 6, 2


def inputs(spec: ModelSpec, images: int = IMAGES) -> tuple[torch.Tensor, Tokens]:
    generator = torch.Generator().manual_seed(0)
    texts, length = images * CAPTIONS, 12
    ids_BL = torch.randint(1, 290, (texts, length), generator=generator)
    lengths_B = torch.randint(3, length + 1, (texts,), generator=generator)
    ids_BL[torch.arange(texts), lengths_B - 1] = 299
    ids_BL[torch.arange(length) >= lengths_B[:, None]] = 0
    size = spec.image.image_size
    return torch.randn(images, 3, size, size, generator=generator), Tokens(ids_BL, lengths_B)


def trained(
    spec: ModelSpec, micro_batch: int | None, loss: LossSpec, places: torch.Tensor | None = None
) -> tuple[float, CLIP]:
    model = redraw(create_model(spec, seed=0)).train()
    pixels, tokens = inputs(spec)
    value, _ = contrastive(
        Embed(model, torch.float32),
        pixels,
        tokens,
        image_ids_B=torch.arange(IMAGES),
        text_ids_M=torch.arange(IMAGES * CAPTIONS),
        loss=loss,
        micro_batch=micro_batch,
        places_BK=places,
    )
    return value.item(), model


def _named(name: str) -> Callable[[str], str]:
    return lambda message: f"{name}: {message}"


@pytest.mark.parametrize("micro_batch", [1, 4, 6, 100])
@pytest.mark.parametrize("name", ["ViT-B/32", "ViT-B/16-SigLIP"])
def test_parts_of_a_batch_give_its_gradient(name: str, micro_batch: int) -> None:
    spec = twin(MODELS[name])
    loss = LossSpec(caption_contrast=0.5) if spec.scores == "softmax" else LossSpec()
    places = torch.rand(IMAGES, 9, generator=torch.Generator().manual_seed(1)).argsort(dim=1)[:, :5]
    expected, whole = trained(spec, None, loss, places)
    value, model = trained(spec, micro_batch, loss, places)
    assert value == pytest.approx(expected, rel=1e-5)
    for (name, parameter), reference in zip(model.named_parameters(), whole.parameters(), strict=True):
        assert parameter.grad is not None, name
        torch.testing.assert_close(parameter.grad, reference.grad, rtol=1e-3, atol=1e-4, msg=_named(name))


@torch.no_grad()
@pytest.mark.parametrize("name", ["ViT-B/32", "ViT-B/16-SigLIP"])
def test_patches_that_are_dropped_do_not_matter_and_the_others_keep_their_places(name: str) -> None:
    spec = twin(MODELS[name])
    model = redraw(create_model(spec, seed=0)).eval()
    pixels, tokens = inputs(spec)
    shuffled = torch.tensor([5, 2, 8, 0, 1, 7, 3, 6, 4]).expand(IMAGES, -1)
    torch.testing.assert_close(model(pixels, tokens, shuffled)[0], model.encode_image(pixels))
    seen, _ = model(pixels, tokens, shuffled[:, :4])
    patch = spec.image.image_size // 3
    changed = pixels.clone()
    changed[:, :, patch : 2 * patch, :patch] = 9.0  # the fourth patch, which is none of 5, 2, 8 and 0
    torch.testing.assert_close(model(changed, tokens, shuffled[:, :4])[0], seen)
    changed[:, :, :patch, :patch] = 9.0
    assert not torch.allclose(model(changed, tokens, shuffled[:, :4])[0], seen)


def test_batch_norms_see_a_part_at_a_time_and_once() -> None:
    """The gradient of a ResNet is that of a loss over embeddings that were normalised part by part."""
    spec = twin(MODELS["RN50"])
    _, model = trained(spec, 2, LossSpec())
    reference = redraw(create_model(spec, seed=0)).train()
    pixels, tokens = inputs(spec)
    images = torch.cat([reference.encode_image(part) for part in pixels.split(2)])
    pairs = Pairs(
        images_BE=F.normalize(images, dim=1),
        texts_ME=F.normalize(reference.encode_text(tokens), dim=1),
        scale=reference.logit_scale.exp(),
        image_ids_B=torch.arange(IMAGES),
        text_ids_M=torch.arange(IMAGES * CAPTIONS),
    )
    contrastive_loss(pairs, LossSpec())[0].backward()
    for (name, parameter), other in zip(model.named_parameters(), reference.parameters(), strict=True):
        # A small element is the sum of large terms of both signs; it is rounded as its large neighbours are.
        size = max(1.0, other.grad.abs().max().item())
        torch.testing.assert_close(parameter.grad, other.grad, rtol=0, atol=1e-5 * size, msg=_named(name))
    for (name, buffer), other in zip(model.named_buffers(), reference.buffers(), strict=True):
        torch.testing.assert_close(buffer, other, msg=_named(name))
    assert copy.deepcopy(model).image is not None  # nothing was left behind that cannot be copied


def test_both_passes_over_a_part_draw_the_same() -> None:
    """Dropout in a tower: the gradient is that of a loss over embeddings whose parts drew from seeds of their own."""
    spec = twin(MODELS["ViT-B/32"])
    (pixels, tokens), draws = inputs(spec), 7
    models = [redraw(create_model(spec, seed=0)).train() for _ in range(2)]
    for model in models:
        model.image.register_forward_hook(lambda _module, _inputs, out: (F.dropout(out[0], 0.3), out[1]))
    ids = {"image_ids_B": torch.arange(IMAGES), "text_ids_M": torch.arange(IMAGES * CAPTIONS)}
    torch.manual_seed(draws)
    contrastive(Embed(models[0], torch.float32), pixels, tokens, **ids, loss=LossSpec(), micro_batch=2)
    images = []
    for i, part in enumerate(pixels.split(2)):
        torch.manual_seed(draws + i)
        images.append(models[1].encode_image(part))
    pairs = Pairs(
        images_BE=F.normalize(torch.cat(images), dim=1),
        texts_ME=F.normalize(models[1].encode_text(tokens), dim=1),
        scale=models[1].logit_scale.exp(),
        **ids,
    )
    contrastive_loss(pairs, LossSpec())[0].backward()
    for (name, parameter), other in zip(models[0].named_parameters(), models[1].parameters(), strict=True):
        size = max(1.0, other.grad.abs().max().item())
        torch.testing.assert_close(parameter.grad, other.grad, rtol=0, atol=1e-5 * size, msg=_named(name))
