"""Attention trains in fp32 where bf16 would be slow, and nobody can tell but by the clock."""

import pytest
import torch

from diptych.models.layers import Attention, attend


@pytest.mark.parametrize("causal", [False, True])
def test_training_in_bf16_on_a_processor_has_the_gradients_of_fp32(causal: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    halves = [torch.randn(2, 3, 7, 8, generator=generator).bfloat16().requires_grad_() for _ in range(3)]
    wholes = [half.detach().float().requires_grad_() for half in halves]
    out, expected = attend(*halves, causal=causal), attend(*wholes, causal=causal)
    assert out.dtype == torch.bfloat16
    assert torch.equal(out, expected.bfloat16())
    out.float().square().sum().backward()
    expected.bfloat16().float().square().sum().backward()
    for half, whole in zip(halves, wholes, strict=True):
        assert torch.equal(half.grad, whole.grad.bfloat16())


def test_autocast_does_not_bring_bf16_back() -> None:
    layer = Attention(16, 2, causal=True)
    kinds = []
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(torch.randn(2, 5, 16))
        node = out.grad_fn
        pending = [node]
        while pending:
            node = pending.pop()
            kinds.append(node.name())
            if "ScaledDotProduct" in node.name():
                assert node._saved_query.dtype == torch.float32
            pending += [parent for parent, _ in node.next_functions if parent is not None]
    assert out.dtype == torch.bfloat16
    assert any("ScaledDotProduct" in kind for kind in kinds)
