"""A search whose files are damaged, whose metric is no number, or of which nothing is asked."""

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path

import pytest

from diptych.config import override
from diptych.encoder.clip import Clip
from diptych.errors import ConfigError, TrainingError
from diptych.training import trials
from diptych.training.folder import write_json
from diptych.training.loop import train
from diptych.training.search import Search, search
from diptych.training.search_space import Choice, Values, combinations, draw, grid, parse
from tests.training import small


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.make_data(tmp_path_factory.mktemp("data"), images=8)


def over_seeds(data: Path, **options: object) -> Search:
    recipe = override(small.recipe(data, steps=2), ["evaluate_every=1"])
    return Search(recipe=recipe, space=(parse("seed=0,1", recipe),), metric="test/sum", sampler="grid", **options)


def test_a_metric_that_is_no_number_is_a_trial_that_failed(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def judged(clip: Clip) -> Mapping[str, float]:
        seed = clip.provenance["recipe"]["seed"]
        return {"sum": math.nan if seed == 0 else 0.5, "other": math.inf}

    first, second = search(over_seeds(data), tmp_path, evaluators={"test": judged})
    assert (first.state, first.metric, first.curve) == ("failed", None, ())
    assert first.reason == "test/sum was no finite number at its end"
    assert (second.state, second.metric, second.metrics["test/other"]) == ("done", 0.5, None)
    assert trials.read(tmp_path) == [first, second]
    card = (tmp_path / "trials" / "0000" / "model" / "README.md").read_text()
    assert "| test/sum | no finite number |" in card
    assert "holds no run" not in capsys.readouterr().err  # nobody has asked to resume one


def test_a_trial_left_for_an_infinite_metric_is_kept(data: Path, tmp_path: Path) -> None:
    what = over_seeds(data, lowest=True, stop_early=True)
    write_json(tmp_path / "search.json", what)
    others = [
        trials.Trial(number=n, values={"seed": n}, state="done", metric=0.1, curve=((1, 0.1),)) for n in (2, 3, 4)
    ]
    for other in others:
        trials.add(tmp_path, other)
    table = search(what, tmp_path, trials_wanted=1, evaluators={"test": lambda _: {"sum": math.inf}})
    assert (table[0].state, table[0].curve) == ("stopped", ())
    assert trials.read(tmp_path) == table


@pytest.mark.parametrize("content", ["{", "[1]", ""])
def test_a_damaged_description_of_a_search_is_named(data: Path, tmp_path: Path, content: str) -> None:
    (tmp_path / "search.json").write_text(content)
    with pytest.raises(TrainingError, match=r"search\.json is not what a search wrote: .*--out"):
        search(over_seeds(data), tmp_path, evaluators={"test": lambda _: {"sum": 1.0}})


def test_nothing_to_try_is_refused_before_the_folder_is_claimed(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="one trial or more, not 0"):
        search(over_seeds(data), tmp_path / "out", trials_wanted=0, evaluators={})
    assert not (tmp_path / "out").exists()


def test_another_search_is_told_by_what_differs(data: Path, tmp_path: Path) -> None:
    (tmp_path / "search.json").write_text(json.dumps(_saved(data, tmp_path / "other", "seed=0,1,2")))
    with pytest.raises(TrainingError, match=r"differ in space\[0\]\.values \(\[0, 1, 2\] then, \[0, 1\] now\)"):
        search(over_seeds(data), tmp_path, evaluators={"test": lambda _: {"sum": 1.0}})


def test_other_judges_make_another_search(data: Path, tmp_path: Path) -> None:
    given = {"trials_wanted": 1, "evaluators": {"test": lambda _: {"sum": 1.0}}}
    search(over_seeds(data, judged_by="val 0123"), tmp_path, **given)
    with pytest.raises(TrainingError, match=r'judged_by \("val 0123" then, "val 4567" now\)'):
        search(over_seeds(data, judged_by="val 4567"), tmp_path, **given)


def test_a_search_and_a_run_do_not_share_a_folder(data: Path, tmp_path: Path) -> None:
    what = over_seeds(data)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.jsonl").write_text('{"step": 1}\n')
    with pytest.raises(TrainingError, match=r"run holds metrics.jsonl but no search.json.*--out"):
        search(what, tmp_path / "run", evaluators={})
    trials.add(tmp_path, trials.Trial(number=0, values={"seed": 0}, state="failed"))
    with pytest.raises(TrainingError, match=r"holds trials.jsonl but no search.json"):  # of which search?
        search(what, tmp_path, evaluators={})
    (tmp_path / "search").mkdir()
    (tmp_path / "search" / "search.json").write_text("{}")
    with pytest.raises(TrainingError, match=r"holds search.json but no recipe.json; give another folder"):
        train(what.recipe, tmp_path / "search")


def test_nothing_is_drawn_twice_while_there_is_something_else(data: Path) -> None:
    recipe = small.recipe(data)
    space = [parse("batch_size=2,4,8", recipe), parse("precision=fp32,bf16", recipe)]
    assert combinations(space) == 6
    drawn: list[Values] = []
    for number in range(6):
        drawn.append(draw(space, seed=1, number=number, besides=drawn))
    assert sorted(map(str, drawn)) == sorted(map(str, grid(space)))
    assert draw(space, seed=1, number=6, besides=drawn) in drawn  # at last
    assert combinations([*space, parse("seed=linear(0,9)", recipe)]) == math.inf
    with pytest.raises(ConfigError, match="batch_size: 8 is there twice"):
        parse("batch_size=8,16,8", recipe)
    assert parse("data.in_memory=1,true", recipe).points() == (1, True)


def test_no_more_trials_than_there_are_combinations(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    what = dataclasses.replace(over_seeds(data), sampler="random")
    write_json(tmp_path / "search.json", what)
    for number in (0, 1):
        trials.add(tmp_path, trials.Trial(number=number, values={"seed": 1 - number}, state="failed", reason="x"))
    assert len(search(what, tmp_path, trials_wanted=9, evaluators={})) == 2
    assert "2 of the 9 trials, since there are no more combinations" in capsys.readouterr().err


def _saved(data: Path, folder: Path, vary: str) -> dict:
    from diptych import config

    what = over_seeds(data)
    return config.to_dict(what) | {"space": [config.to_dict(parse(vary, what.recipe))]}


@pytest.mark.parametrize("text", ["log[1,2]", "log(1,2", "linear(1;2)", "log 1 2", "log(a,b)", "linear{1,2}"])
def test_a_range_that_is_written_wrongly_is_no_choice_of_words(data: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"no range; write such as log\(1e-4,1e-2\)"):
        parse(f"batch_size={text}", small.recipe(data))


def test_words_that_only_begin_like_a_range_are_choices(data: Path) -> None:
    assert parse("name=log,linear", small.recipe(data)) == Choice(path="name", values=("log", "linear"))
    assert parse("name=logs,lin", small.recipe(data)) == Choice(path="name", values=("logs", "lin"))
