"""The demo in a few steps: its parts hang together; what it learns is measured by `make demo` (docs/RESULTS.md)."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

import diptych
from diptych.cli.main import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
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
    assert {"demo/unseen-pairs", "demo/seen-pairs"} <= {name for line in lines for name in line}


def test_run_again_it_only_reports_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (folder / "run" / "metrics.jsonl").read_text()
    assert main(["demo", "--out", str(folder), "--steps", "6"]) == 0
    assert (folder / "run" / "metrics.jsonl").read_text() == before
    shown = capsys.readouterr().out
    assert "chance" in shown
    assert "report.html" in shown


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
