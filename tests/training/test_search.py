"""Hyper-parameter search: the space, the table, and that nothing is lost when it is killed."""

import multiprocessing
import os
import signal
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from diptych import config
from diptych.config import override
from diptych.encoder.clip import Clip
from diptych.errors import ConfigError, MissingExtra, TrainingError
from diptych.training import trials
from diptych.training.search import Search, search
from diptych.training.search_space import Choice, Range, applied, draw, grid, parse
from diptych.training.trials import Trial, hopeless, ranked
from tests.training import small

PATHS = ("optimizer.learning_rate", "loss.label_smoothing")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.make_data(tmp_path_factory.mktemp("data"), images=8)


def scale(clip: Clip) -> Mapping[str, float]:
    """A number that depends on the weights and on nothing else."""
    return {"scale": clip.similarity_scale, "sum": sum(p.sum().item() for p in clip.model.image.parameters())}


def searched(data: Path, *vary: str, **options: object) -> Search:
    recipe = override(small.recipe(data, steps=3, every_steps=1), ["evaluate_every=1"])
    space = tuple(parse(text, recipe) for text in vary or (f"{PATHS[0]}=log(1e-4,1e-2,3)", f"{PATHS[1]}=0,0.1"))
    return config.from_dict(
        Search,
        config.to_dict(Search(recipe=recipe, space=space, metric="test/sum")) | options,
    )


def test_dimensions_are_read_as_they_are_written(data: Path) -> None:
    recipe = small.recipe(data)
    assert parse("batch_size = log(64, 512)", recipe) == Range(
        path="batch_size", low=64, high=512, log=True, whole=True, count=None
    )
    assert parse("loss.nested=[8,16],[]", recipe) == Choice(path="loss.nested", values=([8, 16], []))
    assert parse("precision=fp32,bf16", recipe).points() == ("fp32", "bf16")
    assert parse("optimizer.max_gradient_norm=null,1", recipe).points() == (None, 1)
    assert parse("batch_size=linear(2,4,3)", recipe).points() == (2, 3, 4)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("optimizer.learning_rat=1,2", "did you mean 'learning_rate'"),
        ("batch_size", "nothing to vary"),
        ("batch_size=log(0,5)", "above 0"),
        ("batch_size=linear(5,2)", "larger"),
        ("batch_size=linear(1..2,5)", "no range of numbers"),
        ("batch_size=linear(1,5,1)", "two points"),
        ("optimizer.learning_rate=NaN,1e-3", "no numbers that a recipe can have"),
    ],
)
def test_spaces_that_are_none(data: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        parse(text, small.recipe(data))


def test_a_grid_is_every_combination_and_draws_lie_inside(data: Path) -> None:
    what = searched(data)
    points = grid(what.space)
    assert [tuple(values.values()) for values in points] == [
        (rate, smoothing) for rate in (1e-4, 1e-3, 1e-2) for smoothing in (0, 0.1)
    ]
    drawn = [draw(what.space, seed=3, number=number) for number in range(400)]
    rates = torch.tensor([values[PATHS[0]] for values in drawn], dtype=torch.float64)
    assert ((rates >= 1e-4) & (rates <= 1e-2)).all()
    assert 0.4 < (rates < 1e-3).double().mean() < 0.6  # even in the logarithm
    assert 0.4 < sum(values[PATHS[1]] == 0 for values in drawn) / 400 < 0.6
    assert drawn[7] == draw(what.space, seed=3, number=7) != draw(what.space, seed=4, number=7)
    with pytest.raises(ConfigError, match="how many points"):
        grid([Range(path="x", low=0, high=1, log=False, whole=False)])


def test_values_reach_the_recipe(data: Path) -> None:
    recipe = applied(small.recipe(data), {"precision": "bf16", "loss.nested": [8, 16], PATHS[0]: 0.002})
    assert (recipe.precision, recipe.loss.nested, recipe.optimizer.learning_rate) == ("bf16", (8, 16), 0.002)


def test_trials_are_done_ranked_and_not_done_again(data: Path, tmp_path: Path) -> None:
    what = searched(data)
    table = search(what, tmp_path, trials_wanted=2, evaluators={"test": scale})
    assert [trial.state for trial in table] == ["done", "done"]
    assert all(len(trial.curve) == 3 and trial.curve[-1] == (3, trial.metric) for trial in table)
    assert ranked(table)[0].metric == max(trial.metric or 0 for trial in table)
    assert ranked(table, lowest=True) == ranked(table)[::-1]
    before = (tmp_path / "trials" / "0000" / "metrics.jsonl").read_bytes()
    more = search(what, tmp_path, trials_wanted=3, evaluators={"test": scale})
    assert more[:2] == table
    assert len(more) == 3
    assert (tmp_path / "trials" / "0000" / "metrics.jsonl").read_bytes() == before
    with pytest.raises(TrainingError, match=r"another search.*seed \(0 then, 5 now\)"):
        search(searched(data, seed=5), tmp_path, trials_wanted=3, evaluators={"test": scale})


def test_a_trial_that_fails_is_a_row(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    what = searched(data, "optimizer.learning_rate=1e30,1e-3", "batch_size=8,4000,4", sampler="grid")

    def judged(clip: Clip) -> Mapping[str, float]:
        if clip.provenance["recipe"]["batch_size"] == 4 and clip.provenance["recipe"]["optimizer"]["learning_rate"] < 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return scale(clip)

    table = search(what, tmp_path, evaluators={"test": judged})
    assert [trial.state for trial in table] == ["failed", "failed", "failed", "done", "failed", "failed"]
    assert "not finite" in table[0].reason or "the loss is" in table[0].reason
    assert "batch_size is 4,000" in table[1].reason
    assert "not enough memory: CUDA out of memory" in table[5].reason
    assert [trial.number for trial in ranked(table)] == [3, 0, 1, 2, 4, 5]


def test_what_is_no_fault_of_a_trial_ends_the_search(data: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="did you mean 'test/sum'"):
        search(searched(data, metric="test/summ"), tmp_path / "a", trials_wanted=1, evaluators={"test": scale})
    with pytest.raises(TrainingError, match="no evaluation gave 'scale'"):
        search(searched(data, metric="scale"), tmp_path / "b", trials_wanted=1, evaluators={"test": scale})
    with pytest.raises(ConfigError, match="how many trials"):
        search(searched(data), tmp_path / "c", evaluators={"test": scale})
    with pytest.raises(ConfigError, match="each once"):
        searched(data, "seed=1", "seed=2")


def test_hopeless_trials_are_stopped(data: Path, tmp_path: Path) -> None:
    values = {0: 0.5, 1: 0.6, 2: 0.7, 3: 0.1, 4: 0.9}

    def judged(clip: Clip) -> Mapping[str, float]:
        return {"sum": values[clip.provenance["recipe"]["seed"]]}

    what = searched(data, "seed=0,1,2,3,4", sampler="grid", stop_early=True)
    table = search(what, tmp_path, evaluators={"test": judged})
    assert [trial.state for trial in table] == ["done", "done", "done", "stopped", "done"]
    assert table[3].curve == ((1, 0.1),)
    assert not (tmp_path / "trials" / "0003" / "model").exists()
    assert hopeless(0.7, 1, table[:3], lowest=True)
    assert not hopeless(0.1, 9, table[:3], lowest=False)  # nobody has been there


def test_a_torn_line_is_dropped_and_a_foreign_one_told(tmp_path: Path) -> None:
    trials.add(tmp_path, Trial(number=0, values={"seed": 1}))
    with open(tmp_path / trials.NAME, "a") as file:
        file.write('{"number": 1, "val')
    assert trials.read(tmp_path) == [Trial(number=0, values={"seed": 1})]
    trials.add(tmp_path, Trial(number=0, values={"seed": 1}, state="failed", reason="x"))
    assert [trial.state for trial in trials.read(tmp_path)] == ["failed"]
    (tmp_path / trials.NAME).write_text("[1]\n")
    with pytest.raises(TrainingError, match="line 1 is not a trial"):
        trials.read(tmp_path)


def killed_when_asked(clip: Clip) -> Mapping[str, float]:
    recipe = clip.provenance["recipe"]
    if recipe["seed"] == 1:
        mark = Path(recipe["data"]["source"]).parent / "evaluated"
        mark.write_text(mark.read_text() + "x" if mark.exists() else "x")
        if len(mark.read_text()) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
    return scale(clip)


def killed(data: Path, out: Path) -> None:
    what = searched(data, "seed=0,1,2", sampler="grid")
    search(what, out, evaluators={"test": killed_when_asked})


def first_line(folder: Path) -> str:
    return (folder / "trials" / "0001" / "metrics.jsonl").read_text().splitlines()[0]


def test_a_search_that_is_killed_goes_on_where_it_was(data: Path, tmp_path: Path) -> None:
    what = searched(data, "seed=0,1,2", sampler="grid")
    whole = search(what, tmp_path / "whole", evaluators={"test": scale})
    process = multiprocessing.get_context("fork").Process(target=killed, args=(data, tmp_path / "cut"))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert [trial.state for trial in trials.read(tmp_path / "cut")] == ["done", "begun"]
    before = first_line(tmp_path / "cut")
    table = search(what, tmp_path / "cut", evaluators={"test": scale})
    assert [(t.values, t.state, t.metric, t.curve) for t in table] == [
        (t.values, t.state, t.metric, t.curve) for t in whole
    ]
    assert first_line(tmp_path / "cut") == before  # with its seconds: the trial was resumed, and not begun anew


def test_optuna_learns_from_the_table(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("optuna", reason="the extra diptych[optuna] is not installed")
    from diptych.training.search_optuna import suggest

    space = searched(data, "optimizer.learning_rate=log(1e-4,1e-2)", "loss.nested=[8],[16]", "batch_size=2,8").space
    table: list[Trial] = []
    for number in range(40):
        values = suggest(space, table, seed=number, lowest=False)
        assert values == suggest(space, table, seed=number, lowest=False)  # so a search that was cut off goes on alike
        off = abs(torch.tensor(values[PATHS[0]]).log10() + 3).item()
        state = "failed" if number == 3 else "done"
        table.append(Trial(number=number, values=values, state=state, metric=None if state == "failed" else -off))
    early, late = ([-(t.metric or -1) for t in table[a:b]] for a, b in ((0, 10), (30, 40)))
    assert sum(late) < 0.5 * sum(early)
    assert {tuple(trial.values["loss.nested"]) for trial in table} == {(8,), (16,)}
    done = search(searched(data, sampler="optuna"), tmp_path, trials_wanted=2, evaluators={"test": scale})
    assert [trial.state for trial in done] == ["done", "done"]


def test_without_optuna_its_extra_is_named(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(MissingExtra, match=r"diptych\[optuna\]"):
        search(searched(data, sampler="optuna"), tmp_path, trials_wanted=1, evaluators={"test": scale})
