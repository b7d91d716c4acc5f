"""What a user is told who resumes with other values, resumes nothing, or runs out of disk at the very end."""

import errno
import json
from pathlib import Path

import pytest

from diptych import config
from diptych.cli.main import main
from diptych.config import override
from diptych.errors import CheckpointError, DataError, TrainingError
from diptych.training import session as sessions
from diptych.training.folder import check_same, differences, occupied, write_json
from diptych.training.inputs import source_of
from diptych.training.loop import train
from diptych.training.saving import Saver
from tests.training import small


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.make_data(tmp_path_factory.mktemp("data"))


def begun(folder: Path, recipe: object) -> Path:
    """A folder as a run leaves it after its first step."""
    folder.mkdir()
    write_json(folder / "recipe.json", recipe)
    (folder / "metrics.jsonl").write_text('{"step": 1, "loss": 1.0}\n')
    return folder


def test_values_that_were_forgotten_are_named_before_they_do_not_fit_the_data(data: Path, tmp_path: Path) -> None:
    recipe = override(small.recipe(data), ["name=it's a run"])
    run = begun(tmp_path / "run", recipe)
    forgotten = override(recipe, ["batch_size=4096", "name=other", "optimizer.max_gradient_norm=1"])
    with pytest.raises(TrainingError, match=r"batch_size \(8 then, 4096 now\)") as raised:
        check_same(run, forgotten)
    said = str(raised.value)
    assert """: --set 'name=it'"'"'s a run' --set batch_size=8 --set optimizer.max_gradient_norm=null; or""" in said
    check_same(run, recipe)  # and nothing is wrong with the right one


def test_long_values_are_cut_where_one_can_see_it() -> None:
    before, now = {"a": ["x" * 40] * 3, "b": [{"c": 1}, {"c": 2}]}, {"a": ["x" * 40], "b": [{"c": 1}, {"c": 3}]}
    (name, said), other = differences(before, now)
    assert name == "a"
    assert " ... then, " in said
    assert other == ("b[1].c", "b[1].c (2 then, 3 now)")


def test_to_resume_nothing_is_said(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The name of a run may be mistyped; this one ends at once, for its batch is larger than its data."""
    arguments = ["train", "small-drawings", "--data", str(data), "--out", str(tmp_path / "rum")]
    arguments += ["--set", "batch_size=100000"]
    told = f"{tmp_path / 'rum'} holds no run to go on with; beginning one"
    assert main(arguments) != 0
    assert told not in capsys.readouterr().err
    assert main([*arguments, "--resume"]) != 0
    assert told in capsys.readouterr().err


def test_a_disk_that_is_full_at_the_end_leaves_a_checkpoint_and_says_so(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, written = small.recipe(data, steps=2, every_steps=2), []
    wait = Saver.wait

    def waited(saver: Saver) -> None:
        wait(saver)
        written.append(saver.last)

    def full(*_: object, **__: object) -> None:
        assert written[-1] == tmp_path / "run" / "checkpoints" / "step-000000002"  # not still being written
        raise CheckpointError("run/model cannot be written: no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Saver, "wait", waited)
        patched.setattr(sessions, "write", full)
        with pytest.raises(CheckpointError, match=r"no space.*; resume \(--resume\) goes on from .*step-000000002"):
            train(recipe, tmp_path / "run")
    assert train(recipe, tmp_path / "run", resume=True).finished
    assert (tmp_path / "run" / "model").is_dir()


def test_a_source_of_one_sample_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="one sample only"):
        source_of(small.recipe(small.make_data(tmp_path, images=1)))


def test_a_folder_where_none_can_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, *_: object, **__: object) -> None:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(TrainingError, match="run cannot be made"), occupied(tmp_path / "run"):
        raise AssertionError("it was occupied")


def test_the_command_line_tells_how_to_go_on(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["train", "small-photographs", "--data", str(data), "--out", str(tmp_path / "run")]
    from diptych.training import recipes

    values = ["batch_size=8", "duration=12 steps"]
    begun(tmp_path / "run", override(recipes.find("small-photographs")(str(data)), values))
    assert main([*arguments, "--resume"]) == 1
    said = capsys.readouterr().err
    assert "--set 'duration=12 steps'" in said
    assert "--set batch_size=8" in said
    assert json.loads((tmp_path / "run" / "recipe.json").read_text())["batch_size"] == 8


def test_the_recipe_of_another_version_is_still_the_same(data: Path, tmp_path: Path) -> None:
    recipe = small.recipe(data)
    older = config.to_dict(recipe)
    del older["guard"]  # what has been added since stands at its default
    check_same(begun(tmp_path / "run", older), recipe)
