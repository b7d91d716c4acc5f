"""The guard against loss spikes: what it holds back, what it goes back to, and that a resumed run does the same."""

import dataclasses
import json
import math
import shutil
from pathlib import Path

import pytest
import torch

from diptych.config import override
from diptych.errors import ConfigError, TrainingError
from diptych.training.engine import Engine
from diptych.training.guard import Guard, GuardSpec
from diptych.training.loop import train
from diptych.training.optimizer_files import remembered
from diptych.training.recipe import Recipe
from diptych.training.session import Session
from tests.training import small
from tests.training.test_resume import assert_same_run, losses

SPEC = GuardSpec(loss=2.0, gradient_norm=5.0, window=3)


def test_what_stands_out_against_the_median() -> None:
    guard = Guard()
    for loss, norm in ((4.0, 1.0), (400.0, 1.0), (3.0, 1.0)):  # too few to tell
        assert not guard.spike(SPEC, loss, norm)
    assert guard.spike(SPEC, 8.1, 1.0) == "a loss of 8.1, where 4 is usual"
    assert guard.spike(SPEC, 8.0, 5.1).startswith("a gradient norm of 5.1")
    assert guard.spike(SPEC, math.nan, 1.0)
    assert (guard.spikes, guard.in_a_row) == (3, 3)
    assert not guard.spike(SPEC, 8.0, 5.0)
    assert guard.in_a_row == 0
    assert guard.losses == [400.0, 3.0, 8.0]  # of updates alone
    assert not Guard().spike(GuardSpec(), 1e9, math.inf)


@pytest.mark.parametrize("wrong", [{"loss": 1.0}, {"gradient_norm": math.nan}, {"window": 0}, {"patience": 0}])
def test_values_that_make_no_sense(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="guard"):
        GuardSpec(**wrong)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.make_data(tmp_path_factory.mktemp("data"))


def guarded(data: Path, *changes: str) -> Recipe:
    values = ["guard.gradient_norm=100", "guard.window=3", "guard.patience=3", "checkpoints.keep=20", *changes]
    return override(small.recipe(data, steps=14, every_steps=2), values)


@pytest.fixture
def spiky(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Steps, counted from 1, whose gradient is a million times as long."""
    steps: set[int] = set()
    advance = Session.advance

    def spoiling(session: Session, batch: object, count: int) -> dict[str, float]:
        with pytest.MonkeyPatch.context() as patch:
            if session.step + 1 in steps:
                patch.setattr(Engine, "backward", _long(Engine.backward))
            return advance(session, batch, count)

    monkeypatch.setattr(Session, "advance", spoiling)
    return steps


def _long(backward: object) -> object:
    def spoilt(engine: Engine, batch: object) -> object:
        gradient = backward(engine, batch)
        for parameter in engine.model.parameters():
            parameter.grad.mul_(1e6)
        return dataclasses.replace(gradient, norm=1e12)

    return spoilt


def cut_back(whole: Path, *, last: int) -> Path:
    folder = whole.with_name(f"resumed-{last}")
    shutil.copytree(whole, folder)
    shutil.rmtree(folder / "model")
    for path in (folder / "checkpoints").iterdir():
        if int(path.name[-9:]) > last:
            shutil.rmtree(path)
    return folder


def test_a_spike_makes_no_update_and_is_told(
    data: Path, tmp_path: Path, spiky: set[int], capsys: pytest.CaptureFixture[str]
) -> None:
    spiky |= {6, 9}
    train(guarded(data), tmp_path / "run")
    lines = [line for line in losses(tmp_path / "run") if "loss" in line]
    assert [line["spikes"] for line in lines] == [0] * 5 + [1] * 3 + [2] * 6
    held = [step for step in range(1, 14) if lines[step]["logit_scale"] == lines[step - 1]["logit_scale"]]
    assert held == [5, 8]  # the sixth and the ninth
    said = capsys.readouterr().err
    assert "step 6 made no update, for a gradient norm of" in said
    assert ".png" in said
    train(guarded(data), cut_back(tmp_path / "run", last=8), resume=True)
    assert_same_run(tmp_path / "resumed-8", tmp_path / "run")


def test_many_in_a_row_bring_the_checkpoint_before_them_back(data: Path, tmp_path: Path, spiky: set[int]) -> None:
    spiky |= {7, 8, 9}
    train(guarded(data), tmp_path / "run")
    lines = [line for line in losses(tmp_path / "run") if "loss" in line]
    assert [line["rollbacks"] for line in lines] == [0] * 8 + [1] * 6
    names = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert "step-000000008" not in names  # was due among spikes
    for last in (6, 10):  # before the spikes and after going back
        train(guarded(data), cut_back(tmp_path / "run", last=last), resume=True)
        assert_same_run(tmp_path / f"resumed-{last}", tmp_path / "run")


def test_going_back_restores_weights_statistics_and_optimiser(data: Path, tmp_path: Path, spiky: set[int]) -> None:
    """Bad weights that came between the checkpoint and the spikes are gone."""
    spiky |= {8, 9, 10}
    advance = Session.advance

    def spoiling(session: Session, batch: object, count: int) -> dict[str, float]:
        told = advance(session, batch, count)
        if session.step == 7:
            with torch.no_grad():
                for tensor in session.model.state_dict().values():
                    tensor.add_(1)
                for state in session.engine.optimizer.state.values():
                    state["exp_avg"].add_(1)
        if session.step == 10:
            found.append({name: tensor.clone() for name, tensor in session.model.state_dict().items()})
            found.append(optimizer_state(session))
        return told

    def optimizer_state(session: Session) -> dict[str, torch.Tensor]:
        return {name: t.clone() for name, t in remembered(session.model, session.engine.optimizer).items()}

    found: list[dict[str, torch.Tensor]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Session, "advance", spoiling)
        train(guarded(data), tmp_path / "run")
    reference: list[dict[str, torch.Tensor]] = []
    spiky.clear()

    def looking(session: Session, batch: object, count: int) -> dict[str, float]:
        told = advance(session, batch, count)
        if session.step == 6:
            reference.append({name: tensor.clone() for name, tensor in session.model.state_dict().items()})
            reference.append(optimizer_state(session))
        return told

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Session, "advance", looking)
        train(guarded(data), tmp_path / "other")
    for mine, theirs in zip(found, reference, strict=True):
        assert mine.keys() == theirs.keys()
        assert [name for name in mine if not torch.equal(mine[name], theirs[name])] == []


def test_where_nothing_helps_it_goes_further_back_and_then_gives_up(
    data: Path, tmp_path: Path, spiky: set[int], capsys: pytest.CaptureFixture[str]
) -> None:
    spiky |= set(range(5, 15))
    with pytest.raises(TrainingError, match="no earlier checkpoint to go back to"):
        train(guarded(data), tmp_path / "run")
    said = capsys.readouterr().err
    assert said.index("weights of step-000000004") < said.index("weights of step-000000002")
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert max(row.get("step", 0) for row in rows) == 12


def test_a_batch_that_is_no_number_leaves_nothing_behind(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in what batch norms remember, either."""
    advance, norms = Session.advance, []

    def poisoned(session: Session, batch: object, count: int) -> dict[str, float]:
        before = session.model.image.stem[1].running_mean.clone()
        if session.step == 6:
            batch = batch._replace(pixels_BCHW=torch.full_like(batch.pixels_BCHW, math.nan))
        told = advance(session, batch, count)
        norms.append(torch.equal(session.model.image.stem[1].running_mean, before))
        return told

    monkeypatch.setattr(Session, "advance", poisoned)
    assert train(guarded(data), tmp_path / "run").finished
    lines = [line for line in losses(tmp_path / "run") if "loss" in line]
    assert lines[6]["loss"] is None
    assert lines[-1]["spikes"] == 1
    assert norms == [step == 6 for step in range(14)]
