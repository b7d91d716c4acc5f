"""From the command line, alone and under torchrun: killed, stopped, moved, resumed with as many processes or others."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import diptych
from diptych.training import state
from tests.training import small
from tests.training.test_resume import assert_same_run

pytestmark = pytest.mark.long

PATIENCE = 240  # seconds, with a run
SIZES = {
    "model.image": {"image_size": 96, "width": 64, "layers": 2, "heads": 1},
    "model.text": {"context_length": 16, "width": 64, "layers": 1, "heads": 1},
    "model": {"embedding": 32},
    "model.preprocess": {"size": 96},
    "optimizer": {"learning_rate": 1e-3, "warmup_steps": 2},
    "checkpoints": {"every_steps": 2, "keep": 9},
}
VALUES = [f"{part}.{name}={value}" for part, values in SIZES.items() for name, value in values.items()]
VALUES += ["vocabulary=600", "batch_size=8", "duration=8 steps", "precision=fp32", "patch_dropout=0.3"]
VALUES += ["data.workers=1", "evaluate_every=4"]
MODERN = ("optimizer.algorithm=muon", "ema=0.6", "micro_batch=3")
SHARDED = ("sharding=full",)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.make_data(tmp_path_factory.mktemp("data"))


class Command:
    """``diptych train`` over ``data`` into ``out``, in a session of its own, by so many ``processes``."""

    def __init__(self, data: Path, out: Path, *changes: str, processes: int = 1, resume: bool = False) -> None:
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        command = [sys.executable, *(launcher if processes > 1 else []), "-m", "diptych", "train", "vit-b-32"]
        command += ["--data", str(data), "--captions", "caption", "--validation", str(data), "--out", str(out)]
        command += ["--resume"] if resume else []
        for value in [*VALUES, *changes]:
            command += ["--set", value]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
        self.out = out
        self.process = subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def at(self, step: int) -> "Command":
        """When the checkpoint of this step is there."""
        deadline = time.monotonic() + PATIENCE
        while not (self.out / "checkpoints" / f"step-{step:09d}").exists():
            assert self.process.poll() is None, self.process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.005)
        return self

    def signal(self, number: signal.Signals) -> "Command":
        """To what was started: torchrun's processes are in sessions of their own."""
        os.killpg(self.process.pid, number)
        return self

    def kill(self) -> None:
        """The main process of the run, with which torchrun ends the others."""
        os.kill(int((self.out / ".lock").read_text().split()[1]), signal.SIGKILL)
        status, said = self.ended()
        assert status != 0, said
        assert not (self.out / "model").exists()

    def ended(self) -> tuple[int, str]:
        """Its exit status, and what it said."""
        try:
            said, _ = self.process.communicate(timeout=PATIENCE)
        finally:
            if self.process.poll() is None:
                self.signal(signal.SIGKILL)
        return self.process.returncode, said

    def done(self) -> str:
        status, said = self.ended()
        assert status == 0, said
        assert "the model is in" in said
        return said


Reference = Callable[..., Path]


@pytest.fixture(scope="module")
def reference(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """An uninterrupted run with these changes by so many processes, made once."""
    made: dict[tuple[tuple[str, ...], int], Path] = {}

    def make(*changes: str, processes: int = 1) -> Path:
        if (changes, processes) not in made:
            made[changes, processes] = tmp_path_factory.mktemp("runs") / "run"
            Command(data, made[changes, processes], *changes, processes=processes).done()
        return made[changes, processes]

    return make


@pytest.fixture(scope="module")
def adapted(reference: Reference) -> tuple[str, ...]:
    """Adapters on both towers of a model that was trained before, and all that is modern besides."""
    model = reference() / "model"
    learns = [f"{tower}_tower.learns=adapters of rank 2" for tower in ("image", "text")]
    return (f"start.weights={model}", f"vocabulary={model}", *learns, *MODERN)


def metrics(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def losses(folder: Path) -> list[float]:
    return [line["loss"] for line in metrics(folder) if "loss" in line]


def assert_the_model_is_what_was_evaluated(folder: Path, data: Path) -> None:
    from diptych.data.sources import open_source
    from diptych.evaluation.tasks import evaluate

    clip = diptych.load(folder / "model")
    found = evaluate(clip, open_source(data, captions=("caption",)), distinct_captions=True)
    last = [line for line in metrics(folder) if "loss" not in line][-1]
    assert {name.removeprefix("validation/"): v for name, v in last.items() if name != "step"} == found.metrics
    texts = clip.encode_texts(["a red card", "a blue card"])
    np.testing.assert_allclose(np.linalg.norm(texts, axis=1), 1, rtol=1e-6)
    assert not np.allclose(texts[0], texts[1])


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("changes", ["plain", "modern", "adapted"])
def test_killed_it_goes_on_elsewhere_to_the_same_end(
    data: Path, tmp_path: Path, reference: Reference, adapted: tuple[str, ...], changes: str, processes: int
) -> None:
    values = {"plain": (), "modern": MODERN, "adapted": adapted}[changes]
    whole = reference(*values, processes=processes)
    Command(data, tmp_path / "run", *values, processes=processes).at(2).kill()
    shutil.move(tmp_path / "run", tmp_path / "elsewhere" / "copy")
    said = Command(data, tmp_path / "elsewhere" / "copy", *values, processes=processes, resume=True).done()
    assert "going on after step" in said
    assert_same_run(tmp_path / "elsewhere" / "copy", whole)
    assert_the_model_is_what_was_evaluated(tmp_path / "elsewhere" / "copy", data)


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2)])
def test_killed_it_goes_on_with_another_number_of_processes(
    data: Path, tmp_path: Path, reference: Reference, before: int, after: int
) -> None:
    Command(data, tmp_path / "run", processes=before).at(4).kill()
    Command(data, tmp_path / "run", processes=after, resume=True).done()
    for processes in (before, after):
        assert losses(tmp_path / "run") == pytest.approx(losses(reference(processes=processes)), rel=1e-5)


@pytest.mark.parametrize("processes", [2, 4])
def test_asked_to_stop_torchrun_s_processes_save_and_leave(
    data: Path, tmp_path: Path, reference: Reference, processes: int
) -> None:
    """The launcher alone is told, as job schedulers do it, and tells its processes."""
    seldom = "checkpoints.every_steps=1000"
    run = Command(data, tmp_path / "run", *SHARDED, seldom, processes=processes)
    deadline = time.monotonic() + PATIENCE
    while not (tmp_path / "run" / "metrics.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    status, said = run.signal(signal.SIGTERM).ended()
    assert status != 0
    assert "stopping after this step, to save it" in said
    [saved] = state.checkpoints(tmp_path / "run" / "checkpoints")
    assert f"stopped and saved after step {state.load(saved)[1].step} of 8" in said
    Command(data, tmp_path / "run", *SHARDED, processes=processes, resume=True).done()
    assert_same_run(tmp_path / "run", reference(*SHARDED, processes=processes))


@pytest.mark.parametrize("processes", [1, 2])
def test_a_second_run_in_its_folder_is_refused_and_does_it_no_harm(
    data: Path, tmp_path: Path, reference: Reference, processes: int
) -> None:
    first = Command(data, tmp_path / "run").at(2).signal(signal.SIGSTOP)
    try:
        for resume in (False, True):
            status, said = Command(data, tmp_path / "run", processes=processes, resume=resume).ended()
            assert status == 1
            assert f"error: {tmp_path / 'run'} is in use by process {first.process.pid} on " in said
            assert "cli/main.py" not in said  # no trace of ours, beside those of torchrun's
    finally:
        first.signal(signal.SIGCONT)
    first.done()
    assert_same_run(tmp_path / "run", reference())
