"""Loss scaling: torch's rule, and runs in fp16 that overflow and go on."""

import dataclasses
import random
from pathlib import Path

import pytest
import torch

from diptych.config import override
from diptych.errors import NonFiniteLoss
from diptych.training import engine
from diptych.training.engine import Engine
from diptych.training.loop import train
from diptych.training.loss_scale import LossScale
from diptych.zoo import MODELS
from tests.models.twins import twin
from tests.training import small
from tests.training.test_resume import assert_same_run, cut_back, losses


def test_it_follows_torchs_scaler() -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    scaler, ours, dice = torch.amp.GradScaler("cpu"), LossScale(), random.Random(0)
    optimizer = torch.optim.SGD([weight], lr=0.1)
    for step in range(5000):
        overflow = dice.random() < (0.01 if step < 1000 else 0.0005)
        optimizer.zero_grad()
        scaler.scale((weight * (torch.inf if overflow else 1.0)).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
        ours.update(overflow=overflow)
        assert ours.factor == scaler.get_scale()
    assert ours.factor > 1.0
    assert ours.overflows > 5


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture
def first_factor(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """What the loss is scaled by at first."""
    init = Engine.__init__

    def start(made: Engine, *arguments: object) -> None:
        init(made, *arguments)
        made.loss_scale = made.loss_scale and LossScale(request.param)

    monkeypatch.setattr(Engine, "__init__", start)


@pytest.mark.usefixtures("first_factor")
@pytest.mark.parametrize(
    ("first_factor", "micro_batch"), [(2.0**20, "null"), (2.0**20, "3")], indirect=["first_factor"]
)
def test_a_gradient_that_overflows_costs_a_step_and_halves_the_scale(
    data: Path, tmp_path: Path, micro_batch: str
) -> None:
    plain = dataclasses.replace(small.recipe(data, steps=12, every_steps=2), model=twin(MODELS["ViT-B/32"]))
    recipe = override(plain, ["precision=fp16", "optimizer.half_statistics=true", f"micro_batch={micro_batch}"])
    train(recipe, tmp_path / "whole")
    lines = [line for line in losses(tmp_path / "whole") if "loss" in line]
    overflows, factor, scale = 0, 2.0**20, lines[0]["logit_scale"]
    for line in lines:
        assert line["loss_scale"] == factor
        if line["gradient_norm"] is None:
            overflows, factor = overflows + 1, factor / 2
            assert line["logit_scale"] == scale
        else:
            assert line["logit_scale"] != scale
        assert line["overflows"] == overflows
        scale = line["logit_scale"]
    assert 2 < overflows < 10
    train(recipe, cut_back(tmp_path / "whole", steps=12), resume=True)
    assert_same_run(tmp_path / "resumed", tmp_path / "whole")


@pytest.mark.usefixtures("first_factor")
@pytest.mark.parametrize("first_factor", [2.0**6], indirect=True)
def test_fp16_learns_as_fp32_does(data: Path, tmp_path: Path) -> None:
    recipe = small.recipe(data, every_steps=12)  # with batch norms
    for precision in ("fp32", "fp16"):
        train(override(recipe, [f"precision={precision}"]), tmp_path / precision)
    full, half = (losses(tmp_path / precision) for precision in ("fp32", "fp16"))
    assert half[0]["loss"] == pytest.approx(full[0]["loss"], rel=1e-2)
    assert half[0]["gradient_norm"] == pytest.approx(full[0]["gradient_norm"], rel=0.1)
    assert half[-1]["loss"] == pytest.approx(full[-1]["loss"], rel=0.1)
    assert half[-1]["overflows"] == 0


def test_a_gradient_that_is_no_number_at_any_scale_ends_the_run(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "total_norm", lambda *_: torch.tensor(torch.nan))
    recipe = override(small.recipe(data, steps=30, every_steps=30), ["precision=fp16"])
    with pytest.raises(NonFiniteLoss, match=r"step 17: .*norm nan"):
        train(recipe, tmp_path / "run")
