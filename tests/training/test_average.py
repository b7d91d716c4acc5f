"""The average of the weights is the one it is defined as, is what is evaluated and written, and resumes."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from diptych.checkpoints.bundle import fingerprint, read
from diptych.config import override
from diptych.encoder.loading import load
from diptych.training import state
from diptych.training.average import Average
from diptych.training.loop import train
from diptych.training.recipe import Recipe
from tests.training import small
from tests.training.processes import run_in_processes
from tests.training.test_resume import assert_same_run, cut_back, losses


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.make_data(tmp_path_factory.mktemp("data"))


def recipe(data: Path, *changes: str) -> Recipe:
    told = ["ema=0.6", "checkpoints.keep=9", "evaluate_every=2", *changes]
    return override(small.recipe(data, steps=4, every_steps=1), told)


def test_it_is_the_mean_with_weights_that_fall_exponentially() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2), torch.nn.Linear(2, 2))
    model[2].requires_grad_(False)
    average = Average(model, decay=0.9)
    assert average.tensors.keys() == {"0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var"}
    history = []
    for step in range(1, 6):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_()
            model(torch.randn(8, 3))
        average.update(model, step)
        history.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
    shares = torch.tensor([0.9 ** (5 - step) for step in range(1, 6)], dtype=torch.float64)
    for name, tensor in average.tensors.items():
        stacked = torch.stack([weights[name].double() for weights in history])
        mean = torch.tensordot(shares / shares.sum(), stacked, dims=1)
        torch.testing.assert_close(tensor.double(), mean, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("half", [False, True])
def test_it_is_evaluated_and_written_and_resumes(data: Path, tmp_path: Path, half: bool) -> None:
    changes = ("precision=bf16", "optimizer.half_statistics=true", "half_text_weights=true") if half else ()
    plain = recipe(data, *changes)
    seen: dict[int, np.ndarray] = {}

    def first(clip: object) -> dict[str, float]:
        seen[len(seen)] = clip.encode_texts(["a red card"])
        return {"first": float(seen[len(seen) - 1][0, 0])}

    run = train(plain, tmp_path / "run", evaluators={"test": first})
    raw = [state.load(path)[0].weights for path in state.checkpoints(tmp_path / "run" / "checkpoints")]
    written = read(tmp_path / "run" / "model").weights
    shares = torch.tensor([0.6 ** (4 - step) for step in range(1, 5)], dtype=torch.float64)
    for name, tensor in written.items():
        if tensor.is_floating_point():
            mean = torch.tensordot(shares / shares.sum(), torch.stack([w[name].double() for w in raw]), dims=1)
            torch.testing.assert_close(tensor.double(), mean, rtol=1e-5, atol=1e-6, msg=name)
    assert fingerprint(written) != fingerprint(raw[-1])
    assert fingerprint(dict(run.clip.model.state_dict())) == fingerprint(written)
    if not half:  # whose evaluations are in bf16
        assert np.array_equal(seen[1], load(tmp_path / "run" / "model").encode_texts(["a red card"]))
    train(dataclasses.replace(plain, ema=None), tmp_path / "without")
    assert [line["loss"] for line in losses(tmp_path / "without")] == [
        line["loss"] for line in losses(tmp_path / "run") if "loss" in line
    ]
    train(plain, cut_back(tmp_path / "run", steps=4), resume=True, evaluators={"test": first})
    assert_same_run(tmp_path / "resumed", tmp_path / "run")


def test_it_averages_adapters_before_they_are_merged(data: Path, tmp_path: Path) -> None:
    train(recipe(data), tmp_path / "begun")
    begun = [f"start.weights={tmp_path / 'begun' / 'model'}", f"vocabulary={tmp_path / 'begun' / 'model'}"]
    lora = [f"{tower}_tower.learns=adapters of rank 2" for tower in ("image", "text")]
    plain = recipe(data, *begun, *lora, "optimizer.learning_rate=0.02")
    train(plain, tmp_path / "run")
    before, after = (read(tmp_path / name / "model").weights for name in ("begun", "run"))
    name = "text.blocks.0.mlp.expand.weight"
    assert not torch.equal(before[name], after[name])
    assert torch.linalg.matrix_rank(after[name] - before[name], rtol=1e-3) <= 2
    train(plain, cut_back(tmp_path / "run", steps=4), resume=True)
    assert_same_run(tmp_path / "resumed", tmp_path / "run")


def several(data: Path, out: Path) -> None:
    train(recipe(data), out, resume=True)


@pytest.mark.long
def test_several_processes_average_their_statistics_and_resume(data: Path, tmp_path: Path) -> None:
    run_in_processes(2, several, data, tmp_path / "run", folder=tmp_path)
    cut_back(tmp_path / "run", steps=4)
    (tmp_path / "again").mkdir()
    run_in_processes(2, several, data, tmp_path / "resumed", folder=tmp_path / "again")
    assert_same_run(tmp_path / "resumed", tmp_path / "run")
