"""Several processes share the images of an evaluation, and find the same as one, to the last digit."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny import SPEC

import diptych
from diptych import distributed
from diptych.cli.main import main
from diptych.encoder.loading import create
from diptych.evaluation import embedding
from diptych.evaluation.runner import Data, Model, run
from diptych.text.tokenizer import Tokenizer
from tests.evaluation import small_parts
from tests.training.processes import run_in_processes

# Of a handful of images any strength of the penalty may be the best; class folders share their captions.
pytestmark = pytest.mark.filterwarnings(
    "ignore:the best strength", "ignore:.*did not reach the tolerance", "ignore:.* captions of data are those of"
)


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    """Three colours in class folders, which have captions too, and a model."""
    generator = np.random.default_rng(0)
    for split, count in (("train", 6), ("test", 5)):
        for number, name in enumerate(("red", "green", "blue")):
            for i in range(count):
                pixels = generator.integers(0, 120, (16, 16, 3), np.uint8)
                pixels[..., number] += 100
                file = tmp_path / "drawn" / "data" / split / name / f"{i}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(file)
    tokenizer = Tokenizer.train(["red green blue"], vocabulary_size=520, context_length=60)
    create(SPEC, seed=0, tokenizer=tokenizer).save(tmp_path / "drawn" / "model")
    return tmp_path / "drawn"


def evaluated(model: Path, data: Path, out: Path | None) -> list[tuple[dict, dict, int]]:
    """Metrics, predictions and samples of each task, with small parts, so that each process has several."""
    embedding.BATCH = embedding.BATCHES = 2
    outcomes = list(run([Model(str(model))], [Data(str(data))], ["zero-shot", "linear-probe"], out))
    assert all(outcome.result for outcome in outcomes), [outcome.problem for outcome in outcomes]
    return [(o.result.metrics, o.result.predictions, o.result.samples) for o in outcomes if o.result]


def test_processes_share_the_images_and_find_the_same(drawn: Path, tmp_path: Path) -> None:
    (drawn / "data" / "test" / "red" / "0.png").write_bytes(b"none")
    assert diptych.load(drawn / "model").spec.name
    arguments = (drawn / "model", drawn / "data")
    (alone,) = run_in_processes(1, evaluated, *arguments, None, folder=tmp_path)
    for number, out in enumerate((None, tmp_path / "results")):
        folder = tmp_path / f"try-{number}"
        folder.mkdir()
        assert run_in_processes(2, evaluated, *arguments, out, folder=folder) == [alone, alone]
    assert len(list((tmp_path / "results").glob("*.json"))) == 2
    assert alone[0][2] == 14


def outcomes(model: Path, data: Path) -> list[str]:
    """What each of several evaluations ended in, the first two of them on the main process or in one's own part."""
    embedding.BATCH = embedding.BATCHES = 2
    places = [Data(str(data / name)) for name in ("unmatched", "broken", "sound")]
    found = list(run([Model(str(model))], places, ["linear-probe"], data / "results"))
    return [type(outcome.problem).__name__ if outcome.problem else outcome.task for outcome in found]


def test_what_fails_fails_on_all_and_the_rest_goes_on(tmp_path: Path) -> None:
    for name in ("unmatched", "broken", "sound"):
        for first, split in enumerate(("train", "test")):
            for number, colour in enumerate(("red", "green")):
                for i in range(4):
                    file = tmp_path / name / split / colour / f"{i}.png"
                    file.parent.mkdir(parents=True, exist_ok=True)
                    Image.new("RGB", (16, 16), (200 * (1 - number), 200 * number, 30 * i + first)).save(file)
    (tmp_path / "unmatched" / "train" / "red").rename(tmp_path / "unmatched" / "train" / "blue")  # no class of test
    for i in range(2):  # in the part of one process
        (tmp_path / "broken" / "test" / "green" / f"{i}.png").write_bytes(b"none")
    create(SPEC, seed=0).save(tmp_path / "model", format="diptych")
    expected = ["DataError", "TooManyFailures", "linear-probe"]
    assert run_in_processes(2, outcomes, tmp_path / "model", tmp_path, folder=tmp_path) == [expected, expected]


def killed(model: Path, data: Path) -> None:
    """Of two processes the second is gone after its first part."""
    embedding.BATCH = embedding.BATCHES = 2
    if distributed.rank() == 1:
        small_parts.end_after_a_part()
    list(run([Model(str(model))], [Data(str(data))], ["zero-shot"], data.parent / "out"))


def test_who_loses_another_process_says_so_and_keeps_what_was_made(drawn: Path, tmp_path: Path) -> None:
    with pytest.raises(
        AssertionError, match=r"process 0: (.|\n)*ProcessLost: process 0 has lost another one.* goes on"
    ):
        run_in_processes(2, killed, drawn / "model", drawn / "data", folder=tmp_path)
    assert list((drawn / "out" / "features").glob("*/*.parquet"))
    assert not list((drawn / "out").glob("*.json"))


TASKS = ("zero-shot", "retrieval", "linear-probe")


def arguments(drawn: Path, out: str) -> list[str]:
    told = ["evaluate", str(drawn / "model"), str(drawn / "data"), "--out", str(drawn / out), "--json"]
    return [*told, *(word for task in TASKS for word in ("--task", task))]


def torchrun(drawn: Path, out: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    command += [small_parts.__file__, *arguments(drawn, out)]
    own = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"} | environment
    return subprocess.run(command, env=own, capture_output=True, text=True, timeout=240)


def alone(
    drawn: Path, out: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> tuple[list[str], str]:
    """What one process prints, and says."""
    monkeypatch.setattr(embedding, "BATCH", 2)
    monkeypatch.setattr(embedding, "BATCHES", 2)
    capsys.readouterr()
    assert main(arguments(drawn, out)) == 0
    printed = capsys.readouterr()
    return printed.out.splitlines(), printed.err


def test_torchrun_finds_what_one_process_finds_and_is_gone_on_with(
    drawn: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    done = torchrun(drawn, "two")
    assert done.returncode == 0, done.stderr
    expected, _ = alone(drawn, "one", capsys, monkeypatch)
    assert [json.loads(line) for line in done.stdout.splitlines()] == [json.loads(line) for line in expected]
    assert len(expected) == len(TASKS)
    files = [sorted(file.name for file in (drawn / out).glob("*.*")) for out in ("one", "two")]
    assert files[0] == files[1]
    found, said = alone(drawn, "two", capsys, monkeypatch)
    assert found == expected
    assert said.count("was already in") == len(TASKS)


@pytest.mark.long
def test_torchrun_ends_all_where_one_is_killed_and_goes_on_later(
    drawn: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    died = torchrun(drawn, "two", KILLED_RANK="1")
    assert died.returncode != 0
    assert f"{-signal.SIGKILL}" in died.stderr  # torchrun tells of whom
    assert not list((drawn / "two").glob("*.json"))
    again = torchrun(drawn, "two")
    assert again.returncode == 0, again.stderr
    assert "were embedded before" in again.stderr
    expected, _ = alone(drawn, "one", capsys, monkeypatch)
    assert [json.loads(line) for line in again.stdout.splitlines()] == [json.loads(line) for line in expected]
    third = torchrun(drawn, "two")
    assert third.stdout == again.stdout
    assert third.stderr.count("was already in") == len(TASKS)
