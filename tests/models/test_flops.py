"""Operations are counted without weights, and a text's follow from those of three short ones."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from diptych.models.clip import CLIP, create_model, hollow
from diptych.models.flops import flops
from diptych.tokens import Tokens
from diptych.zoo import MODELS
from tests.models.twins import twin


def counted(name: str, length: int) -> int:
    """Forward and backward of a real text, as they run on the math path of attention."""
    model = create_model(twin(MODELS[name]), seed=0)
    tokens = Tokens(torch.zeros(1, length, dtype=torch.int64), torch.tensor([length]))
    with FlopCounterMode(display=False) as counter, torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        model.encode_text(tokens).sum().backward()
    return counter.get_total_flops()


@pytest.mark.parametrize("name", ["ViT-B/32", "ViT-B/16-SigLIP", "Chinese-CLIP-RN50"])
def test_a_text_of_any_length_costs_what_it_costs_when_it_runs(name: str) -> None:
    found = flops(hollow(CLIP, twin(MODELS[name])))
    for length in (1, 2, 5, 11):
        assert found.text(length).both == counted(name, length)


# What 49 positions cost whose query and output the reference's attention pool computes and leaves.
UNUSED = 49 * (2 * 2048**2 + 2 * 2048 * 1024 + 4 * 50 * 2048) / 1e9


@pytest.mark.parametrize(
    ("name", "image", "text"),
    [("ViT-B/32", 8.82, 5.96), pytest.param("RN50", 12.22 - UNUSED, 5.96, marks=pytest.mark.long)],
)
def test_the_released_models_cost_what_open_clip_has_counted(name: str, image: float, text: float) -> None:
    """Its docs/model_profile.csv, in 10^9."""
    found = flops(hollow(CLIP, MODELS[name]))
    assert found.image.forward / 1e9 == pytest.approx(image, abs=0.01)
    assert found.text(77).forward / 1e9 == pytest.approx(text, abs=0.01)
    # The gradients of weights and of inputs, but not that of pixels.
    assert 1.9 * found.image.forward < found.image.backward < 2 * found.image.forward


def test_what_does_not_learn_costs_no_backward_pass() -> None:
    model = hollow(CLIP, twin(MODELS["ViT-B/32"]))
    whole = flops(model)
    model.image.requires_grad_(False)
    model.text.requires_grad_(False)
    model.text.projection.requires_grad_(True)
    locked = flops(model)
    assert (locked.image.forward, locked.image.backward) == (whole.image.forward, 0)
    assert locked.text(9).backward == 2 * 64 * 24  # the gradient of the projection alone


def test_patches_that_are_not_seen_cost_nothing() -> None:
    whole, half = flops(hollow(CLIP, MODELS["ViT-B/32"])), flops(hollow(CLIP, MODELS["ViT-B/32"]), patches=24)
    assert half.image.both / whole.image.both == pytest.approx(0.52, abs=0.02)
    assert half.text(20) == whole.text(20)
