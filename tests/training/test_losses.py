import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from diptych.errors import ConfigError
from diptych.training.losses import LossSpec, Pairs, contrastive_loss

PAPER = LossSpec()


def pairs_of(images: torch.Tensor, texts: torch.Tensor, scale: float, text_ids: torch.Tensor | None = None) -> Pairs:
    return Pairs(
        images_BE=images,
        texts_ME=texts,
        scale=torch.tensor(scale),
        image_ids_B=torch.arange(len(images)),
        text_ids_M=torch.arange(len(texts)) if text_ids is None else text_ids,
    )


def make_pairs(batch: int, captions: int = 1, scale: float = 100.0, seed: int = 0) -> Pairs:
    generator = torch.Generator().manual_seed(seed)
    images = F.normalize(torch.randn(batch, 16, generator=generator), dim=1)
    texts = F.normalize(torch.randn(batch * captions, 16, generator=generator), dim=1)
    return pairs_of(images, texts, scale)


def slow_cross_entropy(logits: np.ndarray, right: np.ndarray) -> float:
    """By the definition, row by row: the target is even over the right columns."""
    total = 0.0
    for row, answers in zip(logits, right, strict=True):
        logarithm = np.log(np.sum(np.exp(row - row.max()))) + row.max()
        total += np.mean([logarithm - row[column] for column in np.flatnonzero(answers)])
    return total / len(logits)


@given(batch=st.integers(2, 40), scale=st.floats(0.1, 100), seed=st.integers(0, 100))
def test_the_loss_is_the_papers_symmetric_cross_entropy(batch: int, scale: float, seed: int) -> None:
    pairs = make_pairs(batch, scale=scale, seed=seed)
    logits = scale * pairs.images_BE.double().numpy() @ pairs.texts_ME.double().numpy().T
    expected = (slow_cross_entropy(logits, np.eye(batch)) + slow_cross_entropy(logits.T, np.eye(batch))) / 2
    assert contrastive_loss(pairs, PAPER)[0].item() == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_the_loss_is_pytorchs_cross_entropy_and_so_are_its_gradients() -> None:
    pairs = make_pairs(8, scale=20.0)
    images, texts = pairs.images_BE.clone().requires_grad_(), pairs.texts_ME.clone().requires_grad_()
    loss, _ = contrastive_loss(pairs_of(images, texts, 20.0), PAPER)
    logits, target = 20.0 * images @ texts.T, torch.arange(8)
    expected = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
    torch.testing.assert_close(loss, expected)
    mine = torch.autograd.grad(loss, (images, texts))
    torch.testing.assert_close(mine, torch.autograd.grad(expected, (images, texts)))


def test_it_stays_finite_at_the_largest_scale_and_in_half_precision() -> None:
    embeddings = F.normalize(torch.randn(64, 32), dim=1).bfloat16().requires_grad_()
    pairs = pairs_of(embeddings[:32], -embeddings, 100.0)
    loss, _ = contrastive_loss(pairs, LossSpec(caption_contrast=1.0))
    loss.backward()
    assert torch.isfinite(loss)
    assert embeddings.grad is not None
    assert torch.isfinite(embeddings.grad).all()


def test_accuracies_count_partners_ranked_first() -> None:
    pairs = pairs_of(torch.eye(4), torch.eye(4)[[0, 1, 3, 2]], 10.0)
    _, metrics = contrastive_loss(pairs, PAPER)
    assert metrics["image_to_text_accuracy"].item() == 0.5
    assert metrics["text_to_image_accuracy"].item() == 0.5


@pytest.mark.parametrize("equal", ["negatives", "positives"])
def test_several_captions_and_equal_captions_share_the_target(equal: str) -> None:
    pairs = make_pairs(3, captions=2, scale=5.0)
    ids = torch.tensor([0, 1, 2, 3, 3, 4])  # the second text of the second image equals the first of the third
    right = np.array([[1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0], [0, 0, 0, 0, 1, 1]], dtype=bool)
    if equal == "positives":
        right[1, 4] = right[2, 3] = True
    logits = 5.0 * pairs.images_BE.double().numpy() @ pairs.texts_ME.double().numpy().T
    expected = (slow_cross_entropy(logits, right) + slow_cross_entropy(logits.T, right.T)) / 2
    spec = LossSpec(equal_captions="positives" if equal == "positives" else "negatives")
    loss, _ = contrastive_loss(pairs_of(pairs.images_BE, pairs.texts_ME, 5.0, ids), spec)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_captions_of_an_image_find_one_another() -> None:
    pairs = make_pairs(4, captions=2, scale=5.0)
    logits = 5.0 * pairs.texts_ME.double().numpy() @ pairs.texts_ME.double().numpy().T
    right = np.kron(np.eye(4), np.ones((2, 2))) - np.eye(8)
    rows = np.array([np.delete(row, i) for i, row in enumerate(logits)])
    answers = np.array([np.delete(row, i) for i, row in enumerate(right)])
    with_term, without = (contrastive_loss(pairs, LossSpec(caption_contrast=w))[0].item() for w in (0.5, 0.0))
    assert with_term - without == pytest.approx(0.5 * slow_cross_entropy(rows, answers), rel=1e-4)


def test_a_negative_weight_is_refused() -> None:
    with pytest.raises(ConfigError, match="caption_contrast"):
        LossSpec(caption_contrast=-1)
