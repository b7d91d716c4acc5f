import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from diptych.training.losses import Pairs, contrastive_loss


def make_pairs(batch: int, width: int = 16, scale: float = 100.0, seed: int = 0) -> Pairs:
    generator = torch.Generator().manual_seed(seed)
    images, texts = (F.normalize(torch.randn(batch, width, generator=generator), dim=1) for _ in range(2))
    return Pairs(images, texts, torch.tensor(scale))


@given(batch=st.integers(2, 40), scale=st.floats(0.1, 100), seed=st.integers(0, 100))
def test_the_loss_is_the_papers_symmetric_cross_entropy(batch: int, scale: float, seed: int) -> None:
    pairs = make_pairs(batch, scale=scale, seed=seed)
    logits = scale * pairs.images_BE.double().numpy() @ pairs.texts_BE.double().numpy().T

    def cross_entropy(rows: np.ndarray) -> float:
        shifted = rows - rows.max(axis=1, keepdims=True)
        return float(np.mean(np.log(np.exp(shifted).sum(axis=1)) - np.diag(shifted)))

    expected = (cross_entropy(logits) + cross_entropy(logits.T)) / 2
    assert contrastive_loss(pairs)[0].item() == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_gradients_are_those_of_a_numerical_derivative() -> None:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(5, 4, dtype=torch.float64, generator=generator, requires_grad=True)
    texts = torch.randn(5, 4, dtype=torch.float64, generator=generator, requires_grad=True)
    scale = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    # The loss computes in fp32, hence the coarse step and tolerance.
    torch.autograd.gradcheck(
        lambda i, t, s: contrastive_loss(Pairs(i, t, s))[0], (images, texts, scale), eps=1e-2, atol=1e-2
    )


def test_it_stays_finite_at_the_largest_scale_and_in_half_precision() -> None:
    embeddings = F.normalize(torch.randn(64, 32), dim=1).bfloat16().requires_grad_()
    loss, _ = contrastive_loss(Pairs(embeddings, -embeddings, torch.tensor(100.0)))
    loss.backward()
    assert torch.isfinite(loss)
    assert embeddings.grad is not None
    assert torch.isfinite(embeddings.grad).all()


def test_accuracies_count_partners_ranked_first() -> None:
    images = torch.eye(4)
    texts = torch.eye(4)[[0, 1, 3, 2]]
    _, metrics = contrastive_loss(Pairs(images, texts, torch.tensor(10.0)))
    assert metrics["image_to_text_accuracy"].item() == 0.5
    assert metrics["text_to_image_accuracy"].item() == 0.5


def test_pairs_with_equal_ids_are_right_for_one_another() -> None:
    pairs = make_pairs(4, scale=5.0)
    twins = torch.tensor([7, 7, 8, 9])
    logits = 5.0 * pairs.images_BE @ pairs.texts_BE.T
    target = torch.tensor([[0.5, 0.5, 0, 0], [0.5, 0.5, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])

    def cross_entropy(rows: torch.Tensor) -> torch.Tensor:
        return -(target * rows.log_softmax(dim=1)).sum(dim=1).mean()

    expected = (cross_entropy(logits) + cross_entropy(logits.T)) / 2
    loss, _ = contrastive_loss(Pairs(pairs.images_BE, pairs.texts_BE, pairs.scale, ids_B=twins))
    torch.testing.assert_close(loss, expected)
    unlike, _ = contrastive_loss(Pairs(pairs.images_BE, pairs.texts_BE, pairs.scale, ids_B=torch.arange(4)))
    torch.testing.assert_close(unlike, contrastive_loss(pairs)[0])
