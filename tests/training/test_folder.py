"""One process at a time works in the folder of a run, and what it is called or holds does no harm."""

import errno
import fcntl
import io
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from diptych.config import override
from diptych.errors import TrainingError
from diptych.training import inputs
from diptych.training.folder import claim, occupied, write_json
from diptych.training.loop import train
from tests.training import small
from tests.training.processes import context


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.make_data(tmp_path_factory.mktemp("data"))


def test_a_second_process_is_kept_out_until_the_first_is_gone(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = context.Process(
        target=train, args=(small.recipe(data, workers=2, steps=10**6, every_steps=10**6), folder)
    )
    process.start()
    try:
        deadline = time.monotonic() + 120
        while not (folder / "metrics.jsonl").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        before = (folder / "recipe.json").read_bytes()
        for resume in (False, True):
            with pytest.raises(TrainingError, match=rf"in use by process {process.pid} on "):
                train(small.recipe(data), folder, resume=resume)
        assert (folder / "recipe.json").read_bytes() == before
    finally:
        process.kill()
        process.join()
    # Its workers may be alive for a moment more.
    with pytest.raises(TrainingError, match="duration"):
        train(small.recipe(data), folder, resume=True)


@pytest.mark.parametrize("beneath", ["", "run"])
def test_a_file_where_the_folder_would_be(data: Path, tmp_path: Path, beneath: str) -> None:
    (tmp_path / "file").write_text("kept")
    with pytest.raises(TrainingError, match=r"cannot be made: \S+/file is a file; give another folder"):
        train(small.recipe(data), tmp_path / "file" / beneath)
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.parametrize("name", [".lock", ".recipe.json.partial"])
def test_a_folder_that_cannot_be_written(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Whoever tests as root can write everywhere, so the system's answer is made up."""

    def refused(call: Callable[..., Any], path: Any, *arguments: Any, **options: Any) -> Any:
        if os.path.basename(path) == name:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return call(path, *arguments, **options)

    monkeypatch.setattr(os, "open", partial(refused, os.open))
    monkeypatch.setattr(io, "open", partial(refused, io.open))  # which Path calls
    with pytest.raises(TrainingError, match=r"run cannot be written: read-only file system; give another folder"):
        train(small.recipe(data), tmp_path / "run")


def test_the_folder_is_free_after_a_run_that_ended_or_failed(data: Path, tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), occupied(tmp_path):
            raise ZeroDivisionError
    train(small.recipe(data, steps=1), tmp_path)
    probe = "import fcntl, sys; fcntl.lockf(open(sys.argv[1], 'a'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    assert subprocess.run([sys.executable, "-c", probe, str(tmp_path / ".lock")], check=False).returncode == 0


def test_a_file_system_without_locks_keeps_nobody_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lockless(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", lockless)
    with occupied(tmp_path / "run"):
        assert (tmp_path / "run").is_dir()


def test_a_system_without_such_locks_keeps_nobody_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with occupied(tmp_path / "run"):
        assert (tmp_path / "run").is_dir()


def test_samples_and_folders_whose_names_are_not_utf8(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9 \xe5\x9b\xbe")
    table = small.make_data(folder)
    table.write_bytes(table.read_bytes() + b"missing caf\xe9.png\tmissing\n")
    recipe = override(small.recipe(table, steps=6, every_steps=3), ["data.max_failures=0.5"])
    run = train(recipe, tmp_path / "run")
    assert run.finished
    listed = json.loads((tmp_path / "run" / "skipped.json").read_text(encoding="utf-8"))
    assert list(listed) == ["24"]
    saved = (tmp_path / "run" / "recipe.json").read_text(encoding="utf-8")
    assert "图" in saved
    assert json.loads(saved)["data"]["source"] == str(table)
    assert (tmp_path / "run" / "model").is_dir()
    assert train(recipe, tmp_path / "run", resume=True).finished
    assert not list((tmp_path / "run").glob(".*partial"))


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff"])
def test_a_list_of_failures_that_cannot_be_written_does_not_end_a_run(
    tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    table = small.make_data(tmp_path / "data")
    (tmp_path / "data" / "3.png").write_bytes(b"")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "skipped.json").write_bytes(content)
    assert train(override(small.recipe(table, steps=3), ["data.max_failures=0.5"]), tmp_path / "run").finished
    assert "are not listed in" in capsys.readouterr().err


def test_json_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "a.json").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_json(tmp_path / "a.json", {})
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_folder_of_another_recipe_is_refused_before_images_are_decoded(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = override(small.recipe(data, steps=2), ["data.in_memory=true"])
    train(recipe, tmp_path / "run")

    def decode(*_: object, **__: object) -> None:
        raise AssertionError("decoded before the rest was known to be right")

    monkeypatch.setattr(inputs, "InMemory", decode)
    with pytest.raises(TrainingError, match="seed"):
        train(override(recipe, ["seed=5"]), tmp_path / "run", resume=True)
    (tmp_path / "run" / "checkpoints" / "step-000000002" / "training.pt").write_bytes(b"")
    with pytest.raises(TrainingError, match="step-000000002"):
        train(recipe, tmp_path / "run", resume=True)


def test_what_a_kill_left_in_the_folder_is_swept(data: Path, tmp_path: Path) -> None:
    train(small.recipe(data, steps=2), tmp_path / "run")
    names = [".model.new-01234567", ".model.old-89abcdef", "checkpoints/.partial-step-000000001"]
    for name in names:
        shutil.copytree(tmp_path / "run" / "model", tmp_path / "run" / name)
    shutil.rmtree(tmp_path / "run" / "model")
    train(small.recipe(data, steps=2), tmp_path / "run", resume=True)
    assert not [name for name in names if (tmp_path / "run" / name).exists()]
    assert (tmp_path / "run" / "model").is_dir()


def test_a_run_begun_before_a_value_existed_has_its_default(data: Path, tmp_path: Path) -> None:
    recipe = small.recipe(data)
    claim(tmp_path, recipe, resume=False)
    (tmp_path / "metrics.jsonl").write_text("{}\n")
    path = tmp_path / "recipe.json"
    before = json.loads(path.read_text(encoding="utf-8"))
    for name in ("start", "image_tower", "text_tower", "ema"):
        del before[name]
    path.write_text(json.dumps(before), encoding="utf-8")
    claim(tmp_path, recipe, resume=True)
    path.write_text(json.dumps(before), encoding="utf-8")
    with pytest.raises(TrainingError, match="ema"):
        claim(tmp_path, override(recipe, ["ema=0.5"]), resume=True)
    path.write_text(json.dumps({**before, "batch_size": "many"}), encoding="utf-8")
    with pytest.raises(TrainingError, match=r"not the recipe of a run: .*batch_size"):
        claim(tmp_path, recipe, resume=True)
