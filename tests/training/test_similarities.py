"""The losses against their definitions, in blocks of any size and on any number of processes."""

import dataclasses
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from diptych import distributed
from diptych.errors import ConfigError
from diptych.training import similarities
from diptych.training.losses import LossSpec, Pairs, contrastive_loss
from tests.training.processes import run_in_processes

SPECS = {
    "paper": LossSpec(),
    "smoothed": LossSpec(label_smoothing=0.1),
    "positives": LossSpec(equal_captions="positives", caption_contrast=0.5),
    "ignored": LossSpec(equal_captions="ignored", caption_contrast=0.5, label_smoothing=0.2),
    "nested": LossSpec(nested=(4, 12), equal_captions="ignored"),
}


SIGMOID = {
    "sigmoid": LossSpec(),
    "sigmoid ignored": LossSpec(equal_captions="ignored"),
    "sigmoid positives": LossSpec(equal_captions="positives", nested=(5, 12)),
}


def batch(images: int, captions: int = 2, *, sigmoid: bool = False, scale: float = 20.0, seed: int = 0) -> Pairs:
    """Random pairs in double precision, some captions and one image equal."""
    generator = torch.Generator().manual_seed(seed)
    texts = images * captions
    text_ids = torch.randint(0, max(2, texts * 2 // 3), (texts,), generator=generator)
    image_ids = torch.arange(images)
    image_ids[-1] = 0
    return Pairs(
        images_BE=F.normalize(torch.randn(images, 12, generator=generator), dim=1),
        texts_ME=F.normalize(torch.randn(texts, 12, generator=generator), dim=1),
        scale=torch.tensor(scale),
        image_ids_B=image_ids,
        text_ids_M=text_ids,
        bias=torch.tensor(-3.0) if sigmoid else None,
    )


def definition(pairs: Pairs, spec: LossSpec) -> Tensor:
    """The whole matrix, in double precision, by the formulas."""
    losses = []
    for size in spec.nested or (pairs.images_BE.shape[1],):
        images, texts = (e.double()[:, :size] for e in (pairs.images_BE, pairs.texts_ME))
        if size < 12:  # the whole ones are of unit norm as they come
            images, texts = F.normalize(images, dim=1), F.normalize(texts, dim=1)
        captions = len(texts) // len(images)
        owner = torch.arange(len(texts)) // captions
        own = torch.arange(len(images))[:, None] == owner
        image_of = pairs.image_ids_B[owner]
        same_text = pairs.text_ids_M[:, None] == pairs.text_ids_M
        alike = (same_text | (image_of[:, None] == image_of)).view(len(images), captions, -1).any(dim=1)
        logits = pairs.scale.double() * images @ texts.T
        right, shown = applied(own, alike, spec)
        if pairs.bias is not None:
            sign = torch.where(right, 1.0, -1.0)
            losses.append(-F.logsigmoid(sign * (logits + pairs.bias.double()))[shown].sum() / len(images))
            continue
        loss = (rows(logits, right, shown, spec) + rows(logits.T, right.T, shown.T, spec)) / 2
        if spec.caption_contrast:
            itself = torch.eye(len(texts), dtype=torch.bool)
            right, shown = applied(owner[:, None] == owner, same_text | (image_of[:, None] == image_of), spec)
            among = pairs.scale.double() * texts @ texts.T
            plain = dataclasses.replace(spec, label_smoothing=0.0)
            loss = loss + spec.caption_contrast * rows(among, right & ~itself, shown & ~itself, plain)
        losses.append(loss)
    return torch.stack(losses).mean()


def applied(own: Tensor, alike: Tensor, spec: LossSpec) -> tuple[Tensor, Tensor]:
    everything = torch.ones_like(own)
    if spec.equal_captions == "positives":
        return own | alike, everything
    return own, (own | ~alike) if spec.equal_captions == "ignored" else everything


def rows(logits: Tensor, right: Tensor, shown: Tensor, spec: LossSpec) -> Tensor:
    total = []
    for line, answers, seen in zip(logits, right, shown, strict=True):
        target = (1 - spec.label_smoothing) * answers.double() / answers.sum()
        target = target + spec.label_smoothing * seen.double() / seen.sum()
        total.append(-(target[seen] * line[seen].log_softmax(dim=0)).sum())
    return torch.stack(total).mean()


def leaves(pairs: Pairs) -> list[Tensor]:
    return [t for t in (pairs.images_BE, pairs.texts_ME, pairs.scale, pairs.bias) if t is not None]


def with_gradients(loss, pairs: Pairs, spec: LossSpec) -> tuple[Tensor, list[Tensor]]:
    copies = [leaf.clone().requires_grad_() for leaf in leaves(pairs)]
    bias = copies[3] if pairs.bias is not None else None
    fresh = dataclasses.replace(pairs, images_BE=copies[0], texts_ME=copies[1], scale=copies[2], bias=bias)
    value = loss(fresh, spec)
    value = value[0] if isinstance(value, tuple) else value
    return value.detach(), list(torch.autograd.grad(3 * value, copies))


@pytest.mark.parametrize("at_once", [1, 40, 1 << 24])
@pytest.mark.parametrize("name", [*SPECS, *SIGMOID])
def test_losses_and_gradients_are_those_of_the_whole_matrix(
    name: str, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(similarities, "SCORES_AT_ONCE", at_once)
    pairs, spec = batch(9, sigmoid=name in SIGMOID), (SPECS | SIGMOID)[name]
    loss, gradients = with_gradients(contrastive_loss, pairs, spec)
    expected, expected_gradients = with_gradients(definition, pairs, spec)
    torch.testing.assert_close(loss, expected.float())
    torch.testing.assert_close(gradients, [g.float() for g in expected_gradients], rtol=1e-4, atol=1e-5)


@settings(deadline=None, max_examples=40)
@given(images=st.integers(2, 20), at_once=st.integers(1, 500), seed=st.integers(0, 99), scale=st.floats(0.1, 100))
def test_blocks_change_nothing(images: int, at_once: int, seed: int, scale: float) -> None:
    pairs, spec = batch(images, scale=scale, seed=seed), SPECS["positives"]
    whole = with_gradients(contrastive_loss, pairs, spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(similarities, "SCORES_AT_ONCE", at_once)
        loss, gradients = with_gradients(contrastive_loss, pairs, spec)
    torch.testing.assert_close(loss, whole[0])
    # Gradients are the scale times sums of probabilities, which are rounded at 1e-7.
    torch.testing.assert_close(gradients, whole[1], rtol=1e-4, atol=1e-6 * max(1.0, scale))


def part(pairs: Pairs) -> Pairs:
    """What this process has of a batch."""
    own = [tensor.chunk(distributed.world_size())[distributed.rank()] for tensor in (
        pairs.images_BE, pairs.texts_ME, pairs.image_ids_B, pairs.text_ids_M
    )]  # fmt: skip
    return dataclasses.replace(pairs, images_BE=own[0], texts_ME=own[1], image_ids_B=own[2], text_ids_M=own[3])


def shares() -> dict[str, tuple[Tensor, list[Tensor], Tensor]]:
    found = {}
    for name, spec in (SPECS | SIGMOID).items():
        mine = part(batch(8, sigmoid=name in SIGMOID))
        accuracies = contrastive_loss(mine, spec)[1]
        found[name] = (*with_gradients(contrastive_loss, mine, spec), torch.stack(list(accuracies.values())))
    return found


@pytest.mark.parametrize("count", [2, 4])
def test_processes_share_the_loss_and_the_gradient_of_one(count: int, tmp_path: Path) -> None:
    found = run_in_processes(count, shares, folder=tmp_path)
    for name, (loss, gradients, accuracies) in shares().items():
        for one in found:
            torch.testing.assert_close(one[name][0], loss)
            torch.testing.assert_close(one[name][2], accuracies)
        for i, gradient in enumerate(gradients):
            parts = [one[name][1][i] for one in found]
            whole = torch.cat(parts) if gradient.ndim else torch.stack(parts).sum()
            torch.testing.assert_close(whole, gradient, rtol=1e-4, atol=1e-5)


def test_half_precision_and_the_largest_scale_stay_finite() -> None:
    pairs = batch(16, scale=100.0)
    low = dataclasses.replace(pairs, images_BE=pairs.images_BE.bfloat16(), texts_ME=-pairs.images_BE.bfloat16())
    low = dataclasses.replace(low, text_ids_M=torch.arange(16))
    loss, gradients = with_gradients(contrastive_loss, low, LossSpec(label_smoothing=0.1))
    assert torch.isfinite(loss)
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


def test_wrong_values_are_refused() -> None:
    for wrong in ({"caption_contrast": float("nan")}, {"label_smoothing": 1.0}, {"nested": (0,)}):
        with pytest.raises(ConfigError, match="loss"):
            LossSpec(**wrong)
    with pytest.raises(ConfigError, match="13 dimensions of embeddings of 12"):
        contrastive_loss(batch(4), LossSpec(nested=(13,)))
