"""The command line as a newcomer meets it: flags pinned, exit statuses, errors in a line."""

import inspect as python_inspect
import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from PIL import Image

from diptych.cli.main import main

# Positional parameters before the slash, flags after it. Changing this is changing what people have in scripts.
SURFACE = {
    "demo": "/ out seed steps",
    "train": "recipe / data out validation split captions where resume set",
    "evaluate": "model source / task split captions where distinct_captions templates precision out json",
    "classify": "model images / labels templates precision json",
    "inspect": "model / activation json",
}


@pytest.mark.parametrize("verb", SURFACE)
def test_the_flags_of_a_verb_are_pinned(verb: str) -> None:
    function = getattr(import_module(f"diptych.cli.{verb}"), verb)
    parameters = python_inspect.signature(function).parameters.values()
    positional = [p.name for p in parameters if p.kind is p.POSITIONAL_ONLY]
    flags = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    assert " ".join([*positional, "/", *flags]) == SURFACE[verb]


@pytest.mark.parametrize("verb", SURFACE)
def test_help_shows_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    shown = capsys.readouterr().out
    assert "Example:" in shown
    assert f"diptych {verb}" in shown


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["trian"], 2, "train"),
        (["train", "vit-b-32"], 2, "--data"),
        (["train", "vit-b-31", "--data", "x", "--out", "y"], 2, "did you mean 'vit-b-32'"),
        (["train", "vit-b-32", "--data", "x", "--out", "y", "--set", "batchsize=3"], 2, "did you mean 'batch_size'"),
        (["train", "vit-b-32", "--data", "nowhere.tar", "--out", "y"], 1, "nowhere.tar: no such file"),
        (["inspect", "nowhere"], 1, "nowhere"),
        (["classify", "nowhere", "a.jpg", "--labels", "cat"], 2, "at least two"),
        (["classify", "nowhere", "a.jpg", "--labels", "cat,dog", "--precision", "fp8"], 2, "fast"),
        (["evaluate", "nowhere", "nothing"], 1, "nothing"),
    ],
)
def test_wrong_use_ends_in_a_line_that_helps(
    arguments: list[str],
    status: int,
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == status
    captured = capsys.readouterr()
    assert message in captured.err + captured.out
    assert "Traceback" not in captured.err
    assert list(tmp_path.iterdir()) == []  # nothing is left behind by a command that could not begin


def test_python_m_diptych_is_the_same_program() -> None:
    done = subprocess.run([sys.executable, "-m", "diptych", "inspect", "nowhere"], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model from the test recipe, its data beside it."""
    from tests.training import small

    folder = tmp_path_factory.mktemp("cli")
    small.run(small.make_data(folder / "data"), folder / "run")
    return folder


def test_inspect_tells_what_a_run_made(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(trained / "run" / "model"), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["image"]["kind"] == "modified_resnet"
    assert facts["parameters"]["total"] == facts["parameters"]["image"] + facts["parameters"]["text"] + 1
    assert main(["inspect", str(trained / "run" / "model")]) == 0
    assert "modified_resnet" in capsys.readouterr().out


def test_evaluate_prints_and_writes_the_result(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = trained / "result.json"
    arguments = ["evaluate", str(trained / "run" / "model"), str(trained / "data" / "pairs.tsv")]
    assert main([*arguments, "--captions", "caption", "--out", str(out)]) == 0
    assert "chance" in capsys.readouterr().out
    result = json.loads(out.read_text())
    assert result["task"] == "zeroshot_retrieval"
    assert 0 <= result["metrics"]["image_retrieval_recall@1"] <= 1


def test_classify_goes_on_after_a_bad_image(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "broken.png").write_bytes(b"not an image")
    Image.new("RGB", (30, 20), (220, 40, 40)).save(tmp_path / "red.png")
    images = [str(tmp_path / "broken.png"), str(tmp_path / "red.png")]
    model = str(trained / "run" / "model")
    assert main(["classify", model, *images, "--labels", "red,blue", "--templates", "name", "--json"]) == 1
    captured = capsys.readouterr()
    assert "broken.png" in captured.err
    labels = json.loads(captured.out)["labels"]
    assert set(labels) == {"red", "blue"}
    assert sum(labels.values()) == pytest.approx(1, abs=1e-5)
