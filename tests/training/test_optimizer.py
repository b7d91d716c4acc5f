from itertools import pairwise

import pytest
import torch

from diptych.errors import ConfigError
from diptych.models.clip import create_model
from diptych.training.optimizer import OptimizerSpec, build_optimizer, learning_rate
from diptych.zoo import MODELS
from tests.models.twins import twin


@pytest.mark.parametrize("name", ["RN50", "ViT-B/32"])
def test_only_gains_biases_and_the_temperature_escape_weight_decay(name: str) -> None:
    model = create_model(twin(MODELS[name]), seed=0)
    optimizer = build_optimizer(model, OptimizerSpec(weight_decay=0.3))
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    names = {name: decay[id(p)] for name, p in model.named_parameters()}
    assert len(names) == sum(len(group["params"]) for group in optimizer.param_groups)
    free = {name for name, value in names.items() if value == 0}
    gains = {name for name, p in model.named_parameters() if name.endswith(".weight") and p.ndim == 1}
    assert gains
    assert {name for name in free if not name.endswith("bias")} == gains | {"logit_scale"}
    assert all(name in free for name in names if name.endswith("bias"))
    assert names["text.positional_embedding"] == 0.3


def test_decay_is_decoupled_from_the_gradient() -> None:
    model = create_model(twin(MODELS["ViT-B/32"]), seed=0)
    optimizer = build_optimizer(model, OptimizerSpec(learning_rate=0.1, weight_decay=0.5))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    torch.testing.assert_close(model.text.projection.detach(), before["text.projection"] * (1 - 0.1 * 0.5))
    assert torch.equal(model.logit_scale.detach(), before["logit_scale"])


def test_the_rate_warms_up_linearly_and_falls_as_half_a_cosine() -> None:
    spec = OptimizerSpec(learning_rate=2.0, warmup_steps=10)
    rates = [learning_rate(spec, step, 110) for step in range(110)]
    assert rates[:10] == pytest.approx([0.2 * (i + 1) for i in range(10)])
    assert rates[10] == pytest.approx(2.0)
    assert rates[60] == pytest.approx(1.0)
    assert rates[-1] == pytest.approx(0, abs=1e-3)
    assert all(a >= b for a, b in pairwise(rates[10:]))


def test_a_warm_up_longer_than_the_run_only_climbs() -> None:
    spec = OptimizerSpec(learning_rate=1.0, warmup_steps=100)
    assert [learning_rate(spec, step, 10) for step in range(10)] == pytest.approx([0.01 * (i + 1) for i in range(10)])


@pytest.mark.parametrize(
    "change",
    [
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
        {"warmup_steps": -1},
        {"weight_decay": -0.1},
        {"beta2": 1.0},
        {"max_gradient_norm": 0.0},
    ],
)
def test_impossible_values(change: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(change))):
        OptimizerSpec(**change)
