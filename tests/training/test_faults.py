"""Killed anywhere, in any of its processes, a run goes on from its last checkpoint to the same end."""

import json
import os
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.distributed_c10d as c10d

from diptych.training import state
from diptych.training.saving import LAST_WORDS
from diptych.training.session import Session
from tests.training import small
from tests.training.faults import ENDED_WITH_AN_ERROR, PATIENCE, SILENCE, finish, start
from tests.training.test_resume import assert_same_run, losses, weights

SHARDED = ("sharding=full",)
EVERY = 2  # steps, of faults.py's recipe


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def uninterrupted(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[int, tuple[str, ...]], Path]:
    """Of each number of processes and recipe, once it is asked for."""

    class Runs(dict[tuple[int, tuple[str, ...]], Path]):
        def __missing__(self, key: tuple[int, tuple[str, ...]]) -> Path:
            folder = tmp_path_factory.mktemp("runs") / "run"
            assert finish(start(key[0], data, folder, changes=key[1])) == [0] * key[0], said(folder, 0)
            return self.setdefault(key, folder)

    return Runs()


def said(folder: Path, rank: int) -> str:
    return folder.with_name(f"{folder.name}-{rank}.log").read_text()


def steps_done(folder: Path) -> int:
    path = folder / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    done = 0
    for line in lines:
        try:
            done = max(done, json.loads(line)["step"])
        except json.JSONDecodeError:  # torn by the kill
            continue
    return done


def assert_little_is_lost(folder: Path) -> None:
    """Every checkpoint that is there is whole, and the last is at most one behind the one that was being written."""
    saved = state.checkpoints(folder / "checkpoints")
    last = max((state.load(path)[1].step for path in saved), default=0)
    assert last > steps_done(folder) - 2 * EVERY - 1


def changes_of(folder: Path) -> list[str]:
    return folder.with_name(f"{folder.name}-changes.log").read_text().splitlines()


def assert_survives_kill_at(number: int, data: Path, folder: Path, reference: Path) -> None:
    [code] = finish(start(1, data, folder, kill_at=number))
    assert code == -signal.SIGKILL
    assert_little_is_lost(folder)
    assert finish(start(1, data, folder)) == [0], said(folder, 0)
    assert_same_run(folder, reference)
    assert not list((folder / "checkpoints").glob(".*"))


def test_killed_at_the_moment_a_checkpoint_counts(
    data: Path, tmp_path: Path, uninterrupted: dict[tuple[int, tuple[str, ...]], Path]
) -> None:
    reference = uninterrupted[1, ()]
    changes = changes_of(reference)
    renames = [i for i, change in enumerate(changes) if change.endswith("checkpoints/.partial-step-000000004")]
    [rename] = [i for i in renames if changes[i].startswith("os.rename")]
    assert_survives_kill_at(rename, data, tmp_path / "run", reference)


@pytest.mark.long
def test_killed_before_every_change_to_its_files(
    data: Path, tmp_path: Path, uninterrupted: dict[tuple[int, tuple[str, ...]], Path]
) -> None:
    reference = uninterrupted[1, ()]
    changes = changes_of(reference)
    assert len(changes) > 50
    for number in range(len(changes)):
        assert_survives_kill_at(number, data, tmp_path / f"run-{number}", reference)


def kill_one(processes: list, folder: Path, rank: int, wait: float) -> None:
    """After the first step of this part of the run, and some time more."""
    metrics = folder / "metrics.jsonl"
    before = metrics.stat().st_ino if metrics.exists() else None
    until = time.monotonic() + PATIENCE
    while all(p.is_alive() for p in processes) and (not metrics.exists() or metrics.stat().st_ino == before):
        assert time.monotonic() < until, "no step was made"
        time.sleep(0.01)
    time.sleep(wait)
    processes[rank].kill()


@pytest.mark.parametrize(
    ("world", "changes", "kills"),
    [
        (2, SHARDED, 1),
        pytest.param(2, (), 10, marks=pytest.mark.long),
        pytest.param(2, SHARDED, 10, marks=pytest.mark.long),
        pytest.param(4, (), 8, marks=pytest.mark.long),
        pytest.param(4, SHARDED, 8, marks=pytest.mark.long),
    ],
)
def test_a_process_that_is_killed_ends_the_others_and_costs_little(
    data: Path,
    tmp_path: Path,
    uninterrupted: dict[tuple[int, tuple[str, ...]], Path],
    world: int,
    changes: tuple[str, ...],
    kills: int,
) -> None:
    folder, dice, hits = tmp_path / "run", random.Random(world), 0
    for number in range(kills):
        rank = (number + 1) % world
        processes = start(world, data, folder, changes=changes)
        kill_one(processes, folder, rank, dice.uniform(0, 0.2))
        codes = finish(processes)
        if codes[rank] == -signal.SIGKILL:
            hits += 1
            others = [code for other, code in enumerate(codes) if other != rank]
            assert set(others) <= {0, ENDED_WITH_AN_ERROR}, said(folder, (rank + 1) % world)
            for other, code in enumerate(codes):
                if code == ENDED_WITH_AN_ERROR:
                    assert "has lost another one" in said(folder, other) or "could not be saved" in said(folder, other)
        assert_little_is_lost(folder)
        if codes == [0] * world:  # of a run that is over nothing is left to kill
            assert_same_run(folder, uninterrupted[world, changes])
            shutil.rmtree(folder)
    assert hits >= kills / 3
    assert finish(start(world, data, folder, changes=changes)) == [0] * world, said(folder, 0)
    assert_same_run(folder, uninterrupted[world, changes])


@pytest.mark.parametrize(
    ("world", "changes"), [(2, ()), *(pytest.param(n, SHARDED, marks=pytest.mark.long) for n in (2, 4))]
)
def test_all_processes_save_and_leave_where_one_is_asked_to(
    data: Path,
    tmp_path: Path,
    uninterrupted: dict[tuple[int, tuple[str, ...]], Path],
    world: int,
    changes: tuple[str, ...],
) -> None:
    folder = tmp_path / "run"
    processes = start(world, data, folder, changes=(*changes, "checkpoints.every_steps=1000"))
    while all(p.is_alive() for p in processes) and not (folder / "metrics.jsonl").exists():
        time.sleep(0.01)
    processes[-1].terminate()
    assert finish(processes) == [0] * world, said(folder, 0)
    assert len(state.checkpoints(folder / "checkpoints")) == 1
    assert finish(start(world, data, folder, changes=changes)) == [0] * world, said(folder, 0)
    whole = uninterrupted[world, changes]
    assert losses(folder) == losses(whole)
    ours, theirs = weights(folder), weights(whole)
    for name, tensor in ours.items():  # what batch norms remember is made the same, and rounded, at each checkpoint
        same = torch.allclose if "running" in name else torch.equal
        assert same(tensor, theirs[name]), name


def die_amid_a_checkpoint(rank: int) -> None:
    """The third process dies between two of the exchanges of the first checkpoint, when all are in the step after it:
    then each of the others waits, in its training or for its checkpoint, for one that has left."""
    if rank != 2:
        return
    gather, advance, gathered = c10d.gather, Session.advance, []

    def last(*arguments: Any, **options: Any) -> object:
        gathered.append(True)
        if len(gathered) == 2:  # the first was of plans, and this is of what was written
            time.sleep(2)
            os.kill(os.getpid(), signal.SIGKILL)
        return gather(*arguments, **options)

    def stalled(session: Session, *arguments: Any) -> dict[str, float]:
        if session.step == EVERY:
            time.sleep(PATIENCE)
        return advance(session, *arguments)

    c10d.gather, Session.advance = last, stalled


@pytest.mark.long
def test_processes_do_not_wait_for_each_others_end_when_one_is_lost(data: Path, tmp_path: Path) -> None:
    processes = start(4, data, tmp_path / "run", changes=SHARDED, prepare=die_amid_a_checkpoint)
    processes[2].join(PATIENCE)
    lost = time.monotonic()
    assert finish(processes) == [ENDED_WITH_AN_ERROR, ENDED_WITH_AN_ERROR, -signal.SIGKILL, ENDED_WITH_AN_ERROR]
    assert time.monotonic() - lost < LAST_WORDS + 15 < SILENCE.total_seconds()
    assert "has lost another one" in said(tmp_path / "run", 1)
    assert not state.checkpoints(tmp_path / "run" / "checkpoints")
    assert finish(start(4, data, tmp_path / "run", changes=SHARDED)) == [0] * 4, said(tmp_path / "run", 0)


@pytest.mark.long
@pytest.mark.parametrize("changes", [(), (*SHARDED, "checkpoints.every_steps=1")])
def test_a_process_that_is_silent_ends_the_others(data: Path, tmp_path: Path, changes: tuple[str, ...]) -> None:
    processes = start(2, data, tmp_path / "run", changes=changes)
    while not (tmp_path / "run" / "metrics.jsonl").exists():
        time.sleep(0.01)
    os.kill(processes[1].pid, signal.SIGSTOP)
    processes[0].join(SILENCE.total_seconds() + 60)
    processes[1].kill()
    assert finish(processes)[0] == ENDED_WITH_AN_ERROR
    assert "has lost another one" in said(tmp_path / "run", 0)


@pytest.mark.long
def test_a_full_disk_of_one_process_ends_all_of_them(
    data: Path, tmp_path: Path, uninterrupted: dict[tuple[int, tuple[str, ...]], Path]
) -> None:
    folder = tmp_path / "run"
    largest = max(path.stat().st_size for path in uninterrupted[2, SHARDED].rglob("shard-00002*"))
    assert finish(start(2, data, folder, changes=SHARDED, largest_file=largest - 100)) == [ENDED_WITH_AN_ERROR] * 2
    for rank in range(2):
        assert "could not be saved" in said(folder, rank)
    assert "File too large" in said(folder, 0)
    assert list((folder / "checkpoints").iterdir()) == []
    assert finish(start(2, data, folder, changes=SHARDED)) == [0, 0], said(folder, 0)
    assert_same_run(folder, uninterrupted[2, SHARDED])
