"""A search that is killed before a change to its files, or asked to stop, goes on to the same table."""

import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from diptych.config import override
from diptych.encoder.clip import Clip
from diptych.training import trials
from diptych.training.search import Search, search
from diptych.training.search_space import parse
from diptych.training.trials import Trial
from tests.training import small
from tests.training.faults import finish, watch_changes
from tests.training.processes import context

EVERY = 5  # changes, of which there are some hundred
SEEDS = 2


def weight(clip: Clip) -> Mapping[str, float]:
    """A number that depends on the weights and on nothing else."""
    return {"sum": sum(parameter.sum().item() for parameter in clip.model.image.parameters())}


def what(data: Path) -> Search:
    recipe = override(small.recipe(data, steps=2, every_steps=1), ["evaluate_every=1"])
    space = (parse(f"seed={','.join(map(str, range(SEEDS)))}", recipe),)
    return Search(recipe=recipe, space=space, metric="own/sum", sampler="grid")


def go_on(data: Path, out: Path, kill_at: int | None = None) -> None:
    torch.set_num_threads(1)
    watch_changes(out, kill_at)
    search(what(data), out, evaluators={"own": weight})
    os._exit(0)


def searched(data: Path, out: Path, kill_at: int | None = None) -> int:
    """The exit code of a search in a process of its own, which is killed just before that change to its files."""
    process = context.Process(target=go_on, args=(data, out, kill_at))
    process.start()
    return finish([process])[0]


def results(out: Path) -> list[tuple]:
    table = trials.read(out)
    assert [trial.number for trial in table] == list(range(SEEDS))
    return [(trial.values, trial.state, trial.metric, trial.metrics, trial.curve) for trial in table]


def losses(out: Path, number: int) -> list[tuple[int, float | None, float | None]]:
    lines = (out / "trials" / f"{number:04d}" / "metrics.jsonl").read_text().splitlines()
    return [(line["step"], line.get("loss"), line.get("own/sum")) for line in map(json.loads, lines)]


def changes(out: Path) -> list[str]:
    return out.with_name(f"{out.name}-changes.log").read_text().splitlines()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.make_data(tmp_path_factory.mktemp("data"), images=8)


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "search"
    assert searched(data, out) == 0
    return out


def assert_survives(kill_at: int, data: Path, out: Path, whole: Path) -> None:
    assert searched(data, out, kill_at) == -signal.SIGKILL
    assert searched(data, out) == 0
    assert results(out) == results(whole)
    rows = map(json.loads, (out / trials.NAME).read_text().splitlines())
    states = [(trial["number"], trial["state"]) for trial in rows]
    assert states == [(number, state) for number in range(SEEDS) for state in ("begun", "done")]  # each once
    for number in range(SEEDS):
        assert losses(out, number) == losses(whole, number)
    assert not [path for path in out.rglob("*partial*") if path.exists()]


def test_killed_when_a_trial_is_to_be_a_row(data: Path, tmp_path: Path, whole: Path) -> None:
    rows = [number for number, change in enumerate(changes(whole)) if change.endswith(trials.NAME)]
    assert len(rows) == 2 * SEEDS
    assert_survives(rows[1], data, tmp_path / "over", whole)
    assert_survives(rows[2], data, tmp_path / "between", whole)


@pytest.mark.long
def test_killed_at_changes_of_every_kind(data: Path, tmp_path: Path, whole: Path) -> None:
    for kill_at in range(0, len(changes(whole)), EVERY):
        assert_survives(kill_at, data, tmp_path / f"{kill_at}", whole)


@pytest.mark.parametrize("step", [1, 2])
def test_asked_to_stop_it_begins_no_other_trial(data: Path, tmp_path: Path, whole: Path, step: int) -> None:
    evaluated = []

    def stopping(clip: Clip) -> Mapping[str, float]:
        evaluated.append(clip)
        if len(evaluated) == step:
            os.kill(os.getpid(), signal.SIGINT)
        return weight(clip)

    table = search(what(data), tmp_path, evaluators={"own": stopping})
    assert table == [Trial(number=0, values={"seed": 0})]
    search(what(data), tmp_path, evaluators={"own": stopping})
    assert len(evaluated) == 2 * SEEDS
    assert results(tmp_path) == results(whole)
