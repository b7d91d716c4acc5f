"""Training on several processes: the losses and weights of one, whatever their number, also after a resume."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from diptych import distributed
from diptych.checkpoints.bundle import read
from diptych.training.loop import train
from diptych.training.recipe import Recipe
from diptych.zoo import MODELS
from tests.models.twins import twin
from tests.training import small
from tests.training.processes import run_in_processes


def recipe(data: Path, steps: int = 6) -> Recipe:
    plain = small.recipe(data, steps=steps, every_steps=3)
    return dataclasses.replace(plain, model=twin(MODELS["ViT-B/32"]), patch_dropout=0.3)


def run(data: Path, out: Path, resume: bool) -> int:
    evaluators = {"test": lambda clip: {"answer": float(distributed.rank())}}
    return train(recipe(data), out, resume=resume, evaluators=evaluators).step


def losses(folder: Path) -> list[float]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def alone(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alone") / "run"
    run(data, folder, False)
    return folder


@pytest.mark.parametrize("count", [2, 4])
def test_several_processes_train_as_one_does(count: int, data: Path, alone: Path, tmp_path: Path) -> None:
    assert run_in_processes(count, run, data, tmp_path / "run", False, folder=tmp_path) == [6] * count
    assert losses(tmp_path / "run") == pytest.approx(losses(alone), rel=1e-5)
    ours, theirs = (read(folder / "model").weights for folder in (tmp_path / "run", alone))
    for name, tensor in ours.items():
        if name.endswith("query_key_value.bias"):
            continue  # keys' have no gradient but rounding, and Adam makes a whole step of that
        torch.testing.assert_close(tensor, theirs[name], rtol=1e-3, atol=1e-4, msg=lambda m, n=name: f"{n}: {m}")
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    # By the main process, once after five steps and once at the end.
    assert [line["test/answer"] for line in lines if "test/answer" in line] == [0.0, 0.0]


def test_another_number_of_processes_goes_on_with_the_same_samples(data: Path, alone: Path, tmp_path: Path) -> None:
    shutil.copytree(alone, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "model")
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "step-000000006")
    run_in_processes(2, run, data, tmp_path / "run", True, folder=tmp_path)
    assert losses(tmp_path / "run") == pytest.approx(losses(alone), rel=1e-5)


def batch_norms(data: Path, out: Path) -> dict[str, torch.Tensor]:
    train(small.recipe(data, steps=3), out)
    return {name: tensor for name, tensor in read(out / "model").weights.items() if "running" in name}


def test_batch_norms_remember_the_mean_of_all_parts(data: Path, tmp_path: Path) -> None:
    first, second = run_in_processes(2, batch_norms, data, tmp_path / "run", folder=tmp_path)
    alone = batch_norms(data, tmp_path / "alone")
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name])
        torch.testing.assert_close(tensor, alone[name], rtol=0.3, atol=0.1)  # of parts, not of the whole batch


def test_torchrun_starts_the_command_line(data: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone", "-m", "diptych"]
    command += ["train", "small-drawings", "--data", str(data), "--captions", "caption", "--out", str(tmp_path / "run")]
    for value in ("batch_size=8", "duration=2 steps", "vocabulary=600", "optimizer.warmup_steps=0"):
        command += ["--set", value]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("the model is in") == 1
    assert len(losses(tmp_path / "run")) == 2
