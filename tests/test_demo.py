"""The demo in a few steps: its parts hang together; what it learns is measured by `make demo` (docs/RESULTS.md)."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import diptych
from diptych.cli import demo_report
from diptych.cli.main import main
from diptych.evaluation.result import Result


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


def test_another_seed_in_the_same_folder_is_an_error(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--out", str(folder), "--steps", "6", "--seed", "1"]) == 1
    assert "seed" in capsys.readouterr().err


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
