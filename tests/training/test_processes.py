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

import diptych
from diptych import distributed
from diptych.checkpoints.bundle import read
from diptych.config import override
from diptych.errors import DiptychError
from diptych.training.loop import train
from diptych.training.recipe import Recipe
from diptych.zoo import MODELS
from tests.models.twins import twin
from tests.training import small
from tests.training.processes import run_in_processes


def recipe(data: Path, changes: tuple[str, ...] = ()) -> Recipe:
    plain = small.recipe(data, steps=6, every_steps=3)
    return override(dataclasses.replace(plain, model=twin(MODELS["ViT-B/32"]), patch_dropout=0.3), changes)


def first(clip: diptych.Clip) -> dict[str, float]:
    return {"process": float(distributed.rank()), "number": float(clip.encode_texts(["a red card"])[0, 0])}


def run(data: Path, out: Path, resume: bool, changes: tuple[str, ...] = ()) -> int:
    return train(recipe(data, changes), out, resume=resume, evaluators={"test": first}).step


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


def cut_back(folder: Path) -> None:
    """As it was after three steps of six."""
    shutil.rmtree(folder / "model")
    shutil.rmtree(folder / "checkpoints" / "step-000000006")


def assert_trained_alike(folder: Path, reference: Path) -> None:
    assert losses(folder) == pytest.approx(losses(reference), rel=1e-5)
    ours, theirs = (read(path / "model").weights for path in (folder, reference))
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        if name.endswith("query_key_value.bias"):
            continue  # keys' have no gradient but rounding, and Adam makes a whole step of that
        torch.testing.assert_close(tensor, theirs[name], rtol=1e-3, atol=1e-4, msg=lambda m, n=name: f"{n}: {m}")


PARTS = "micro_batch=1"
SHARDED = "sharding=full"
CLIPPED = "optimizer.max_gradient_norm=0.5"
COMPILED = "compile=true"


@pytest.mark.parametrize(
    ("count", "changes"),
    [
        (2, ()),
        (2, (SHARDED, CLIPPED)),
        pytest.param(4, (PARTS, CLIPPED), marks=pytest.mark.long),
        pytest.param(4, (SHARDED, PARTS, "gradient_checkpointing=true"), marks=pytest.mark.long),
        *(
            pytest.param(
                2,
                (COMPILED, *more),
                marks=[
                    pytest.mark.long,
                    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning"),  # of PyTorch
                ],
            )
            for more in ((), (SHARDED,), (SHARDED, PARTS, "gradient_checkpointing=true"))
        ),
    ],
)
def test_several_processes_train_as_one_does(
    count: int, changes: tuple[str, ...], data: Path, alone: Path, tmp_path: Path
) -> None:
    if CLIPPED in changes:
        alone = tmp_path / "alone"
        run(data, alone, False, (CLIPPED,))
    folder = tmp_path / "run"
    assert run_in_processes(count, run, data, folder, False, changes, folder=tmp_path) == [6] * count
    assert_trained_alike(folder, alone)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    # By the main process, once after five steps and once at the end.
    assert [line["test/process"] for line in lines if "test/process" in line] == [0.0, 0.0]
    assert lines[-1]["test/number"] == pytest.approx(first(diptych.load(folder / "model"))["number"], abs=1e-6)
    # What a compiler makes rounds otherwise than PyTorch's own kernels.
    rounding = 1e-6 if COMPILED in changes else 0
    again = first(diptych.load(folder / "checkpoints" / "step-000000006"))["number"]
    assert again == pytest.approx(lines[-1]["test/number"], abs=rounding, rel=0)
    cut_back(folder)
    run(data, folder, True, tuple(change for change in changes if change != SHARDED))  # with one process again
    assert_trained_alike(folder, alone)


@pytest.mark.long
@pytest.mark.parametrize("changes", [(PARTS,), (SHARDED, "optimizer.half_statistics=true")])
def test_as_many_processes_go_on_bit_for_bit(changes: tuple[str, ...], data: Path, tmp_path: Path) -> None:
    whole, again = tmp_path / "whole", tmp_path / "again"
    (tmp_path / "results").mkdir()
    run_in_processes(4, run, data, whole, False, changes, folder=tmp_path)
    shutil.copytree(whole, again)
    cut_back(again)
    run_in_processes(4, run, data, again, True, changes, folder=tmp_path / "results")
    assert losses(again) == losses(whole)
    ours, theirs = (read(folder / "model").weights for folder in (again, whole))
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


def test_another_number_of_processes_goes_on_with_the_same_samples(data: Path, alone: Path, tmp_path: Path) -> None:
    """And from one that has everything to two that have a part each."""
    shutil.copytree(alone, tmp_path / "run")
    cut_back(tmp_path / "run")
    run_in_processes(2, run, data, tmp_path / "run", True, (SHARDED,), folder=tmp_path)
    assert_trained_alike(tmp_path / "run", alone)


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
    command += ["--validation", str(data)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("the model is in") == 1
    assert done.stdout.count("zeroshot_retrieval of") == 1  # by the main process, without the other
    assert len(losses(tmp_path / "run")) == 2
    assert "warning" not in done.stderr.lower()  # of kernels of one pixel, whose strides are ambiguous


def test_an_evaluation_that_a_kill_prevented_is_made_up_for_by_all(data: Path, alone: Path, tmp_path: Path) -> None:
    """Only the main process knows that it was not made, and for it all have to put the model together."""
    folder = tmp_path / "run"
    shutil.copytree(alone, folder)
    lines = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    assert "test/number" in lines[-1]
    (folder / "metrics.jsonl").write_text("".join(lines[:-1]))
    assert run_in_processes(2, run, data, folder, True, (SHARDED,), folder=tmp_path) == [6, 6]
    assert (folder / "metrics.jsonl").read_text() == "".join(lines)


def refused(data: Path, out: Path, changes: tuple[str, ...]) -> str:
    try:
        run(data, out, False, changes)
    except DiptychError as problem:
        return str(problem)
    return "nothing was refused"


@pytest.mark.parametrize(
    ("begun", "change", "told"),
    [
        (True, "seed=1", "already holds a run"),
        (False, "vocabulary=nowhere.json", "nowhere.json"),
        (False, "start.weights=nowhere", "start.weights"),
    ],
)
def test_what_the_main_process_refuses_all_do(
    begun: bool, change: str, told: str, data: Path, alone: Path, tmp_path: Path
) -> None:
    folder = alone if begun else tmp_path / "run"
    first, second = run_in_processes(2, refused, data, folder, (change,), folder=tmp_path)
    assert told in first
    assert second == first
