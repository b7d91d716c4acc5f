"""Checkpoints are written beside the training, and end with it."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from diptych import distributed
from diptych.checkpoints.bundle import Bundle
from diptych.models.clip import create_model
from diptych.training import saving, state
from diptych.training.saving import Saver
from diptych.training.state import State
from tests.training.processes import run_in_processes
from tests.training.small import recipe

STATE = State(step=1, samples=8, seconds=1.0, optimizer={})


def begin(saver: Saver) -> None:
    model = create_model(recipe(Path()).model, seed=0)
    saver.start(model, torch.optim.SGD(model.parameters()), lambda weights: Bundle(model.spec, weights), STATE)


def lose_another(folder: Path) -> float:
    """The other process is alive, and never takes part in the checkpoint."""
    saving.LAST_WORDS = 0.5
    saver = Saver(folder, torch.device("cpu"), keep=1, shared=True)
    begun = time.monotonic()
    if distributed.is_main():
        begin(saver)
        saver.close(lost=True)
    taken = time.monotonic() - begun
    distributed.wait()
    return taken


def test_a_checkpoint_that_a_lost_process_is_missing_from_is_given_up(tmp_path: Path) -> None:
    taken, _ = run_in_processes(2, lose_another, tmp_path / "checkpoints", folder=tmp_path)
    assert 0.5 <= taken < 20
    assert state.checkpoints(tmp_path / "checkpoints") == []


ENDS = """
import sys, time
from pathlib import Path
from diptych.training import saving, state
from tests.training.test_saving import Saver, begin, torch
state.save = lambda *_, **__: time.sleep(100)
saving.LAST_WORDS = 0.1
saver = Saver(Path(sys.argv[1]), torch.device("cpu"), keep=1, shared=False)
begin(saver)
saver._exchanged.clear()
saver.close(lost=True)
print("said before its end")
"""


@pytest.mark.long
def test_a_process_ends_without_the_thread_that_it_gave_up(tmp_path: Path) -> None:
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", ENDS, str(tmp_path)], capture_output=True, text=True, timeout=90, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (1, "said before its end\n", "")
    assert time.monotonic() - begun < 80


@pytest.mark.parametrize("lost", [False, True])
def test_a_checkpoint_of_one_process_is_written_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: bool
) -> None:
    complete = state._complete
    monkeypatch.setattr(saving, "LAST_WORDS", 0.05)
    monkeypatch.setattr(state, "_complete", lambda *arguments: (time.sleep(0.3), complete(*arguments)))
    saver = Saver(tmp_path, torch.device("cpu"), keep=1, shared=False)
    begin(saver)
    saver.close(lost=lost)
    assert [path.name for path in state.checkpoints(tmp_path)] == ["step-000000001"]
