"""The demo in a few steps: its parts hang together; what it learns is measured by `make demo` (docs/RESULTS.md)."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import diptych
from diptych.cli import demo as verb
from diptych.cli import demo_report
from diptych.cli.main import main
from diptych.evaluation.result import Result
from diptych.training import loop


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo_report, "PICTURES", 96)
        patch.setattr(demo_report, "SCENES", 24)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "it's here"
    assert main(["demo", "--out", str(folder), "--steps", "6"]) == 0
    return folder


def test_it_leaves_a_report_a_model_and_curves(folder: Path) -> None:
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "unseen pairs" in page
    assert "chance" in page.lower()
    assert page.count("<img") >= 12 + 8  # the matrix, and at least the bad predictions
    clip = diptych.load(folder / "run" / "model")
    assert len(clip.encode_texts("a red circle")[0]) == clip.spec.embedding
    lines = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    assert {"demo/unseen-pairs-percent", "demo/seen-pairs-percent"} <= {name for line in lines for name in line}


def test_the_report_says_on_how_much_it_was_measured_and_how_it_came_about(folder: Path) -> None:
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "96 pictures" in page
    assert "24 scenes" in page
    for name in ("a red circle", "a white moon"):  # an accuracy for each unseen pair
        assert re.search(rf'<th scope="row">{name}<span class="basis">12 pictures', page)
    assert "128 scenes, 2 captions each" in page
    assert "--seed 0 --steps 6" in page
    assert f"by Diptych {diptych.__version__}" in page
    assert f"PyTorch {torch.__version__}" in page


def test_the_last_evaluation_in_training_and_the_table_agree(folder: Path) -> None:
    lines = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    clip = diptych.load(folder / "run" / "model", precision="fp32")
    final = 100 * demo_report.evaluate_demo(clip).unseen.metrics["acc1"]
    assert lines[-1]["demo/unseen-pairs-percent"] == pytest.approx(final, abs=1.1)  # one picture may tip over


def test_run_again_it_only_reports_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (folder / "run" / "metrics.jsonl").read_text()
    assert main(["demo", "--out", str(folder), "--steps", "6"]) == 0
    assert (folder / "run" / "metrics.jsonl").read_text() == before
    shown = capsys.readouterr()
    assert "chance" in shown.out
    assert "report.html" in shown.out
    assert "96 pictures" in shown.out
    assert "trained already, all 6 steps" in shown.err
    assert "training RN-micro" not in shown.err


def test_the_commands_it_ends_with_work_as_printed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["demo", "--out", str(folder), "--steps", "6"]) == 0
    classify, inspect = capsys.readouterr().out.splitlines()[-2:]
    done = subprocess.run(classify.removeprefix("try"), shell=True, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "blue star" in done.stdout
    assert shlex.split(inspect)[-2:] == ["inspect", str(folder / "run" / "model")]


def test_the_pictures_to_try_are_called_what_they_show(folder: Path) -> None:
    names = {"a-blue-star.png", "a-purple-heart.png", "a-brown-ring.png"}
    assert {path.name for path in (folder / "pictures").iterdir()} == names
    with Image.open(folder / "pictures" / "a-blue-star.png") as picture:
        blue = np.asarray(picture)[..., 2].astype(int) - np.asarray(picture)[..., 0]
    assert (blue > 100).mean() > 0.02


def test_the_program_is_called_as_a_shell_finds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / ".venv" / "bin" / "diptych"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(program), "demo"])
    monkeypatch.setenv("PATH", "/nowhere")
    called = {}
    for here in (tmp_path, program.parent, program.parent.parent):
        monkeypatch.chdir(here)
        called[here] = verb._program()
    assert list(called.values()) == [[".venv/bin/diptych"], [str(program)], ["bin/diptych"]]
    monkeypatch.setenv("PATH", str(program.parent))
    assert verb._program() == ["diptych"]
    monkeypatch.setattr(sys, "argv", ["/elsewhere/diptych/__main__.py", "demo"])
    assert verb._program()[1:] == ["-m", "diptych"]


@pytest.mark.parametrize("other", [["--seed", "1", "--steps", "6"], ["--steps", "7"]], ids=["seed", "steps"])
def test_another_run_in_the_same_folder_is_an_error(
    folder: Path, other: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", "--out", str(folder), *other]) == 1
    said = capsys.readouterr().err
    assert ("seed" if "--seed" in other else "duration") in said
    assert "another --out" in said
    assert "training RN-micro" not in said


@pytest.mark.parametrize("steps", ["0", "-5"])
def test_steps_that_train_nothing_are_an_error(steps: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--out", str(tmp_path / "new"), "--steps", steps]) == 2
    assert f"--steps is 1 or more, not {steps}" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_demo_that_was_stopped_says_so_to_the_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = SimpleNamespace(folder=tmp_path, step=3, steps=6, finished=False)
    monkeypatch.setattr(loop, "train", lambda *arguments, **named: stopped)
    assert main(["demo", "--out", str(tmp_path / "new"), "--steps", "6"]) == 130


@pytest.mark.parametrize(("load", "threads", "told"), [(9.0, 2, True), (9.0, 1, False), (1.0, 2, False)])
def test_busy_cores_are_told_where_several_threads_would_wait(
    load: float, threads: int, told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.getloadavg", lambda: (load, 0.0, 0.0), raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert ("OMP_NUM_THREADS=1" in (verb._crowded() or "")) is told


@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
def test_make_installs_the_package_alone_for_the_demo_and_says_how_long_it_takes() -> None:
    def commands(target: str) -> str:
        root = Path(__file__).parents[1]
        done = subprocess.run(["make", "-n", "-B", target], cwd=root, capture_output=True, text=True, check=True)
        return done.stdout

    demo, test = commands("demo"), commands("test")
    assert "[dev]" not in demo
    assert demo.index("some minutes") < demo.index("pip install")
    assert test.index("venv --clear") < test.index("[dev]") < test.index("pytest")


def test_wrong_predictions_of_different_pairs_come_first() -> None:
    labels = (5, 5, 5, 7, 5, 8, 7)
    assert demo_report._in_turn([0, 1, 2, 3, 5, 6], labels) == [0, 3, 5, 1, 6, 2]


def test_each_pair_has_its_own_accuracy_and_what_it_is_taken_for() -> None:
    predictions = {"label": (0, 1, 0, 1, 0), "rank": (1, 2, 1, 3, 2), "predicted": (0, 3, 0, 3, 1)}
    result = Result(dataset="", model="", pretrained="", task="", metrics={}, predictions=predictions)
    first, second = demo_report._each_pair(result)
    assert (first.value, second.value) == (pytest.approx(2 / 3), 0)
    assert first.basis == "3 pictures, 1 taken for a yellow circle"
    assert second.basis == "2 pictures, 2 taken for a blue circle"
    assert first.low < first.value < first.high
