"""Killed at any instant, a run goes on as if nothing had happened."""

import dataclasses
import json
import os
import random
import shutil
import signal
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from diptych.checkpoints.bundle import read
from diptych.config import override
from diptych.data.sources import open_source
from diptych.errors import TrainingError
from diptych.models.text_transformer import TextTransformer
from diptych.training import state
from diptych.training.loop import train
from diptych.training.session import Session
from diptych.zoo import MODELS
from tests.models.twins import twin
from tests.training import small
from tests.training.kinds import every_model
from tests.training.processes import context

TIMES = {
    "seconds",
    "samples_per_second",
    "device_hours",
    "model_flops_per_second",
    "data_wait",
    "slowest_process",
}


def losses(folder: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in TIMES} for line in lines]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(read(folder / "model").weights)


def assert_same_run(folder: Path, reference: Path) -> None:
    assert losses(folder) == losses(reference)
    mine, theirs = weights(folder), weights(reference)
    assert mine.keys() == theirs.keys()
    assert [name for name in mine if not torch.equal(mine[name], theirs[name])] == []


def cut_back(whole: Path, steps: int) -> Path:
    """A copy of a finished run, called ``resumed``, without its model and its last checkpoint."""
    folder = whole.with_name("resumed")
    shutil.copytree(whole, folder)
    shutil.rmtree(folder / "model")
    shutil.rmtree(folder / "checkpoints" / f"step-{steps:09d}")
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def uninterrupted(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "uninterrupted"
    torch.set_num_threads(1)
    assert small.run(data, folder, every_steps=11).finished
    return folder


def start(data: Path, out: Path, workers: int = 0) -> BaseProcess:
    process = context.Process(target=_run, args=(data, out, workers))
    process.start()
    return process


def _run(data: Path, out: Path, workers: int) -> None:
    os.setsid()  # its workers are of its group, and nobody else is
    torch.set_num_threads(1)
    with open(out.with_suffix(".log"), "a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    small.run(data, out, workers=workers, every_steps=1)


def kill_at_random_until_done(data: Path, out: Path, *, kills: int, seed: int, workers: int = 0) -> int:
    """Kill the run after random times, resume it, and let it end after ``kills`` kills. Returns the kills that hit."""
    dice = random.Random(seed)
    hits = 0
    for _ in range(kills):
        before = _file(out / "metrics.jsonl")
        process = start(data, out, workers)
        while _file(out / "metrics.jsonl") == before and process.is_alive():
            time.sleep(0.01)  # past the start-up, so that the kill falls into the steps and writes
        time.sleep(dice.uniform(0, 0.3))
        process.kill()
        process.join()
        hits += process.exitcode == -signal.SIGKILL
    assert_ends_well(start(data, out, workers), out)
    return hits


def assert_ends_well(process: BaseProcess, out: Path) -> None:
    process.join(120)
    assert process.exitcode == 0, out.with_suffix(".log").read_text()


def _file(path: Path) -> int | None:
    """Which file it is: a resumed run begins with a new one."""
    return path.stat().st_ino if path.exists() else None


def test_killed_and_resumed_equals_uninterrupted(data: Path, uninterrupted: Path, tmp_path: Path) -> None:
    assert kill_at_random_until_done(data, tmp_path / "run", kills=2, seed=0) >= 1
    assert_same_run(tmp_path / "run", uninterrupted)


@pytest.mark.long
@pytest.mark.parametrize("workers", [0, 2])
def test_killed_many_times(data: Path, uninterrupted: Path, tmp_path: Path, workers: int) -> None:
    assert kill_at_random_until_done(data, tmp_path / "run", kills=12, seed=1, workers=workers) >= 3
    assert_same_run(tmp_path / "run", uninterrupted)


def test_worker_processes_change_nothing(data: Path, uninterrupted: Path, tmp_path: Path) -> None:
    small.run(data, tmp_path / "run", workers=2)
    assert_same_run(tmp_path / "run", uninterrupted)


@pytest.mark.parametrize("steps_lost", [1, 5])
def test_resuming_from_an_earlier_checkpoint_repeats_the_steps(
    data: Path, uninterrupted: Path, tmp_path: Path, steps_lost: int
) -> None:
    """The folder as a kill would leave it: checkpoints up to a step, metrics of later ones, a torn line, litter."""
    folder = tmp_path / "run"
    first = small.recipe(data, every_steps=12 - steps_lost)
    train(first, folder)
    shutil.rmtree(folder / "model")
    shutil.rmtree(state.checkpoints(folder / "checkpoints")[-1])
    with open(folder / "metrics.jsonl", "a", encoding="utf-8") as file:
        file.write('{"step": 12, "lo')
    (folder / "checkpoints" / ".partial-step-000000012").mkdir()
    (folder / "checkpoints" / ".DS_Store").touch()  # what others leave in folders is not ours to remove
    train(small.recipe(data), folder, resume=True)
    assert_same_run(folder, uninterrupted)


@every_model
def test_every_model_of_the_table_resumes_bit_for_bit(data: Path, tmp_path: Path, name: str) -> None:
    recipe = dataclasses.replace(small.recipe(data, steps=4, every_steps=2), model=twin(MODELS[name]))
    train(recipe, tmp_path / "whole")
    train(recipe, cut_back(tmp_path / "whole", steps=4), resume=True)
    assert_same_run(tmp_path / "resumed", tmp_path / "whole")


def test_patches_that_are_dropped_and_parts_of_a_batch_resume_too(data: Path, tmp_path: Path) -> None:
    recipe = dataclasses.replace(small.recipe(data, steps=4, every_steps=2), model=twin(MODELS["ViT-B/32"]))
    recipe = dataclasses.replace(recipe, patch_dropout=0.5)
    train(recipe, tmp_path / "at-once")
    recipe = dataclasses.replace(recipe, micro_batch=3)
    train(recipe, tmp_path / "whole")
    train(recipe, cut_back(tmp_path / "whole", steps=4), resume=True)
    assert_same_run(tmp_path / "resumed", tmp_path / "whole")
    at_once, parts = (losses(tmp_path / name) for name in ("at-once", "whole"))
    assert [line["loss"] for line in parts] == pytest.approx([line["loss"] for line in at_once], rel=1e-3)


@pytest.mark.parametrize("micro_batch", [None, 3])
def test_what_a_tower_draws_for_itself_resumes_too(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, micro_batch: int | None
) -> None:
    """Dropout, as towers of other libraries have it."""
    plain = TextTransformer.forward
    monkeypatch.setattr(TextTransformer, "forward", lambda *inputs: (F.dropout(plain(*inputs)[0], 0.3), {}))
    recipe = dataclasses.replace(small.recipe(data, steps=4, every_steps=2), micro_batch=micro_batch)
    train(recipe, tmp_path / "whole")
    torch.rand(3)  # elsewhere in the process
    train(recipe, cut_back(tmp_path / "whole", steps=4), resume=True)
    assert_same_run(tmp_path / "resumed", tmp_path / "whole")


@pytest.mark.parametrize("name", ["ViT-B/32", "RN50"])
def test_half_precision_resumes_and_learns_as_full_does(data: Path, tmp_path: Path, name: str) -> None:
    full = dataclasses.replace(small.recipe(data, every_steps=6, precision="bf16"), model=twin(MODELS[name]))
    optimizer = dataclasses.replace(full.optimizer, half_statistics=True)
    half = dataclasses.replace(full, optimizer=optimizer, half_text_weights=True)
    train(full, tmp_path / "full")
    evaluators = {"test": lambda clip: {"first": float(clip.encode_texts(["a red card"])[0, 0])}}
    train(half, tmp_path / "half", evaluators=evaluators)
    train(half, cut_back(tmp_path / "half", steps=12), resume=True, evaluators=evaluators)
    assert_same_run(tmp_path / "resumed", tmp_path / "half")
    last = [[line["loss"] for line in losses(tmp_path / name) if "loss" in line][-1] for name in ("half", "full")]
    assert last[0] == pytest.approx(last[1], rel=0.1)
    assert losses(tmp_path / "half")[0]["loss"] > 1.05 * max(last)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_ended_with_its_workers_by_a_signal_it_saves_and_leaves(
    data: Path, uninterrupted: Path, tmp_path: Path, number: signal.Signals
) -> None:
    process = start(data, tmp_path / "run", workers=2)
    while not (tmp_path / "run" / "checkpoints").exists():
        time.sleep(0.01)
    os.killpg(process.pid, number)  # as job schedulers and closing terminals do it
    assert_ends_well(process, tmp_path / "run")
    assert state.checkpoints(tmp_path / "run" / "checkpoints")
    small.run(data, tmp_path / "run")
    assert_same_run(tmp_path / "run", uninterrupted)


def test_a_checkpoint_of_an_older_version_resumes_bit_for_bit(data: Path, uninterrupted: Path, tmp_path: Path) -> None:
    """The optimiser's tensors were in ``training.pt`` then, and there was no more than this beside the bundle."""
    folder = tmp_path / "run"
    shutil.copytree(uninterrupted, folder)
    shutil.rmtree(folder / "model")
    before, last = state.checkpoints(folder / "checkpoints")
    shutil.rmtree(last)
    recipe, (bundle, resumed) = small.recipe(data), state.load(before)
    samples = {"samples": resumed.samples, "data": resumed.data}
    session = Session.begin(recipe, folder, lambda: bundle.tokenizer, **samples)
    optimizer = session.engine.optimizer.state_dict()
    assert len(optimizer["state"]) == len(list(session.model.parameters()))
    old = {"step": resumed.step, "seconds": resumed.seconds, "optimizer": optimizer, "threads": 1, **samples}
    torch.save(old, before / "training.pt")
    shutil.rmtree(before / state.OPTIMIZER)
    (before / state.SUMS).unlink()
    small.run(data, folder)
    assert_same_run(folder, uninterrupted)


def test_a_finished_run_resumes_to_itself(data: Path, uninterrupted: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(uninterrupted, folder)
    assert small.run(data, folder).finished
    assert_same_run(folder, uninterrupted)


def test_a_folder_with_a_run_is_not_overwritten(data: Path, uninterrupted: Path) -> None:
    with pytest.raises(TrainingError, match="already holds a run"):
        train(small.recipe(data), uninterrupted)


def test_a_run_is_not_resumed_with_another_recipe(data: Path, uninterrupted: Path) -> None:
    with pytest.raises(TrainingError, match="duration"):
        train(small.recipe(data, steps=99), uninterrupted, resume=True)


def test_a_run_is_not_resumed_over_a_source_that_has_grown(data: Path, uninterrupted: Path, tmp_path: Path) -> None:
    grown = small.make_data(tmp_path / "data", images=30)
    with pytest.raises(TrainingError, match=r"over 24 samples, but .* has 30 now"):
        train(small.recipe(data), uninterrupted, resume=True, source=open_source(grown, captions=("caption",)))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("training.pt", None),
        ("training.pt", b""),
        ("training.pt", b"not a pickle"),
        ("training.pt", {}),
        ("training.pt", {"step": 99, "samples": 24, "seconds": 1.0, "optimizer": {}}),
        ("training.pt", {"step": 12, "samples": 24, "seconds": 1.0, "optimizer": {}}),
        ("tokenizer.json", b"null"),
        ("diptych.json", b""),
    ],
)
def test_a_damaged_checkpoint_is_named(
    data: Path, uninterrupted: Path, tmp_path: Path, name: str, content: bytes | dict[str, object] | None
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(uninterrupted, folder)
    last = state.checkpoints(folder / "checkpoints")[-1]
    (last / state.SUMS).unlink()  # as older versions wrote it, and damage that the sums would not show
    if isinstance(content, dict):
        torch.save(content, last / name)
    else:
        (last / name).write_bytes((last / name).read_bytes()[:1000] if content is None else content)
    with pytest.raises(TrainingError, match=last.name):
        small.run(data, folder)


def test_a_flipped_byte_anywhere_in_a_checkpoint_is_noticed(data: Path, uninterrupted: Path, tmp_path: Path) -> None:
    folder, dice = tmp_path / "run", random.Random(0)
    shutil.copytree(uninterrupted, folder)
    before, last = state.checkpoints(folder / "checkpoints")
    expected = {"training.pt", "diptych.json", "tokenizer.json", "open_clip_model.safetensors", "optimizer"}
    assert expected <= set(os.listdir(last))
    for path in sorted(path for path in last.rglob("*") if path.is_file()):
        good = path.read_bytes()
        for _ in range(4):
            bad = bytearray(good)
            bad[dice.randrange(len(bad))] ^= 1 << dice.randrange(8)
            path.write_bytes(bad)
            with pytest.raises(TrainingError, match=rf"{last.name} cannot be read .* the one before, {before.name}"):
                state.load(last)
        path.write_bytes(good)
    state.load(last)
    shutil.rmtree(last)
    (before / "training.pt").write_bytes(b"")
    with pytest.raises(TrainingError, match=r"training\.pt is damaged.*begin anew, since there is none before"):
        small.run(data, folder)


def test_a_run_goes_on_from_the_checkpoint_before_a_damaged_one(
    data: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(uninterrupted, folder)
    shutil.rmtree(folder / "model")
    shutil.rmtree(state.checkpoints(folder / "checkpoints")[-1])  # as the message says
    small.run(data, folder)
    assert_same_run(folder, uninterrupted)


def test_a_run_is_not_resumed_over_other_data_of_the_same_number(
    data: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    rows = data.read_text().splitlines()
    moved, other = tmp_path / "moved", tmp_path / "other"
    for folder in (moved, other):
        shutil.copytree(data.parent, folder)
    (other / data.name).write_text("\n".join([rows[0], *reversed(rows[1:])]) + "\n")
    run = tmp_path / "run"
    shutil.copytree(uninterrupted, run)
    for folder in (moved, other):
        source = open_source(folder / data.name, captions=("caption",))
        if folder is moved:
            assert train(small.recipe(data), run, resume=True, source=source).finished
        else:
            with pytest.raises(TrainingError, match=r"over other data than .* restore the data"):
                train(small.recipe(data), run, resume=True, source=source)


def test_another_number_of_threads_is_told(
    data: Path, uninterrupted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(uninterrupted, tmp_path / "run")
    small.run(data, tmp_path / "run")
    assert "threads" not in capsys.readouterr().err
    torch.set_num_threads(2)
    small.run(data, tmp_path / "run")
    assert "had 1 threads and has 2 now" in capsys.readouterr().err


def test_a_checkpoint_is_dropped_under_another_name(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove, removed = shutil.rmtree, []

    def killed(path: Path, **options: bool) -> None:
        if list(Path(path).glob("*.safetensors")):
            removed.append(Path(path).name)
            next(Path(path).glob("*.safetensors")).unlink()
            raise KeyboardInterrupt
        remove(path, **options)

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        train(small.recipe(data, every_steps=1), tmp_path / "run")
    monkeypatch.undo()
    assert removed == [".partial-step-000000001"]
    kept = state.checkpoints(tmp_path / "run" / "checkpoints")
    assert [path.name for path in kept] == ["step-000000002", "step-000000003"]
    for checkpoint in kept:
        state.load(checkpoint)
    train(small.recipe(data, steps=12), tmp_path / "run", resume=True)
    assert not list((tmp_path / "run" / "checkpoints").glob(".*"))


def test_a_full_disk_is_an_error_in_a_line_and_nothing_of_the_checkpoint_stays(
    data: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    resource = pytest.importorskip("resource")
    whole = state.checkpoints(uninterrupted / "checkpoints")[-1]
    [optimizer] = (whole / state.OPTIMIZER).iterdir()
    for path in (optimizer, whole / "open_clip_model.safetensors"):
        name = path.name
        folder, recipe = tmp_path / name, override(small.recipe(data, every_steps=4), ["checkpoints.keep=20"])
        train(recipe, folder)
        shutil.rmtree(folder / "model")
        for later in state.checkpoints(folder / "checkpoints")[1:]:
            shutil.rmtree(later)
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size - 100, before[1]))
        try:
            with pytest.raises(
                TrainingError, match=r"step 8 could not be saved .*(too large|os error 27).* from step-000000004"
            ) as told:
                train(recipe, folder, resume=True)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert "unexpected pos" not in str(told.value)
        assert os.listdir(folder / "checkpoints") == ["step-000000004"]
        train(recipe, folder, resume=True)
        assert_same_run(folder, uninterrupted)


@pytest.mark.parametrize("content", [None, b"", b"null", b"\xff"])
def test_a_run_whose_recipe_is_lost_is_not_taken_over(
    data: Path, uninterrupted: Path, tmp_path: Path, content: bytes | None
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(uninterrupted, folder)
    (folder / "recipe.json").unlink()
    if content is not None:
        (folder / "recipe.json").write_bytes(content)
    with pytest.raises(TrainingError, match=r"recipe\.json"):
        train(small.recipe(data), folder, resume=True)


def test_strange_files_among_checkpoints_are_left_alone(data: Path, tmp_path: Path) -> None:
    strange = tmp_path / "run" / "checkpoints" / ".DS_Store"
    train(small.recipe(data, steps=1), tmp_path / "run")
    strange.touch()
    shutil.rmtree(tmp_path / "run" / "model")
    shutil.rmtree(state.checkpoints(strange.parent)[-1])
    assert train(small.recipe(data, steps=1), tmp_path / "run", resume=True).finished
    assert strange.exists()
