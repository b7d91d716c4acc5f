"""Trackers get the numbers of a run and cannot stop it."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from diptych.config import override
from diptych.errors import ConfigError, MissingExtra
from diptych.training.loop import train
from tests.training import small


class FakeWandb(SimpleNamespace):
    """As much of wandb as is used; ``broken`` from a step on."""

    def __init__(self, broken_at: int = 1000) -> None:
        super().__init__(lines=[], begun=[], finished=0)
        self.broken_at = broken_at

    def init(self, **named: Any) -> "FakeWandb":
        self.begun.append(named)
        return self

    def define_metric(self, name: str, *, step_metric: str) -> None:
        assert (name, step_metric) == ("*", "step")

    def log(self, line: dict[str, float]) -> None:
        if line["step"] >= self.broken_at:
            raise ConnectionError("no route to host")
        self.lines.append(line)

    def finish(self) -> None:
        self.finished += 1


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return small.make_data(tmp_path / "data")


def test_wandb_gets_every_number_and_goes_on_as_the_same_run(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    recipe = override(small.recipe(data, steps=4, every_steps=2), ['trackers=["wandb"]', "evaluate_every=4"])
    train(recipe, tmp_path / "run", evaluators={"test": lambda _: {"answer": 42.0}})
    assert fake.lines == [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert fake.lines[-1] == {"step": 4, "test/answer": 42.0}
    assert fake.begun[0]["config"]["batch_size"] == 8
    assert fake.finished == 1
    assert not (tmp_path / "run" / "tensorboard").exists()
    train(recipe, tmp_path / "run", resume=True)
    first, second = fake.begun
    assert first["id"] == second["id"]
    assert second["resume"] == "allow"


def test_a_tracker_that_fails_is_told_once_and_left_out(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake = FakeWandb(broken_at=2)
    monkeypatch.setitem(sys.modules, "wandb", fake)
    recipe = override(small.recipe(data, steps=4), ['trackers=["tensorboard", "wandb"]'])
    assert train(recipe, tmp_path / "run").finished
    told = capsys.readouterr().err
    assert told.count("wandb failed (no route to host); the run goes on without it") == 1
    assert [line["step"] for line in fake.lines] == [1]
    assert fake.finished == 0
    assert list((tmp_path / "run" / "tensorboard").iterdir())


def test_one_that_cannot_begin_stops_nothing(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(**_: Any) -> None:
        raise RuntimeError("no API key\nset one")

    fake = FakeWandb()
    fake.init = refuse
    monkeypatch.setitem(sys.modules, "wandb", fake)
    assert train(override(small.recipe(data, steps=1), ['trackers=["wandb"]']), tmp_path / "run").finished
    assert capsys.readouterr().err.count("wandb failed (no API key);") == 1


def test_one_that_is_not_installed_is_named_before_anything_is_done(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    recipe = override(small.recipe(data), ['trackers=["mlflow"]'])
    with pytest.raises(MissingExtra, match="pip install mlflow"):
        train(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(ConfigError, match="did you mean 'mlflow'"):
        override(recipe, ['trackers=["mlfow"]'])


def test_mlflow_gets_numbers_under_names_that_it_allows(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[tuple[str, float, int]] = []
    ended: list[str] = []

    class Client:
        def create_run(self, experiment: str, run_name: str) -> Any:
            assert (experiment, run_name) == ("7", "run")
            return SimpleNamespace(info=SimpleNamespace(run_id="r1"))

        def log_dict(self, run: str, content: dict, name: str) -> None:
            assert (run, content["name"], name) == ("r1", "small", "recipe.json")

        def update_run(self, run: str, status: str) -> None:
            assert (run, status) == ("r1", "RUNNING")

        def log_batch(self, run: str, metrics: list[tuple[str, float, int, int]]) -> None:
            written.extend((name, value, step) for name, value, _, step in metrics)

        def set_terminated(self, run: str) -> None:
            ended.append(run)

    fake = SimpleNamespace(
        MlflowClient=Client,
        entities=SimpleNamespace(Metric=lambda *values: values),
        set_experiment=lambda name: SimpleNamespace(experiment_id="7") if name == "diptych" else None,
    )
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    recipe = override(small.recipe(data, steps=2), ['trackers=["mlflow"]'])
    train(recipe, tmp_path / "run", evaluators={"test": lambda _: {"recall@1": 0.5}})
    assert ("test/recall_1", 0.5, 2) in written
    assert {step for name, _, step in written if name == "loss"} == {1, 2}
    assert ended == ["r1"]
