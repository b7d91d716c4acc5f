"""What a report tells of guessing: chance beside the numbers, and which numbers may have come about by it."""

from pathlib import Path

from diptych.evaluation.result import Result
from diptych.report import grids, suite, tables
from diptych.report.collected import Entry, collect
from diptych.report.page import render
from diptych.report.remarks import remarks

RECALLS = [f"{kind}_retrieval_recall@{cut}" for kind in ("text", "image") for cut in (1, 5, 10)]


def zero_shot(model: str, data: str, value: float, chance: float | None = 0.25, half: float = 0.05) -> Entry:
    told = {} if chance is None else {"chance": {"acc1": chance}}
    limits = {"acc1": (value - half, value + half)}
    known = {"task": "zeroshot_classification", "metric": "acc1", "metrics": {"acc1": value}, "intervals": limits}
    return Entry(model, Result(dataset=data, model=model, pretrained="", samples=100, **known, **told))


def test_chance_stands_beside_the_numbers_and_what_may_be_guessed_is_marked_and_not_bold() -> None:
    found = [zero_shot("a", "cats", 0.29), zero_shot("b", "cats", 0.26), zero_shot("c", "cats", 0.1)]
    found += [zero_shot("a", "dogs", 0.31), zero_shot("b", "dogs", 0.27), zero_shot("c", "dogs", 0.5, half=0.01)]
    header, (cats, dogs, mean) = tables.comparison(found)
    assert header == ["data", "task", "metric", "chance", "a", "b", "c"]
    # The best of cats is no better than guessing, nor is what is surely worse.
    assert cats[3:] == ["25.0", "29.0‡ (24.0 to 34.0)", "26.0‡ (21.0 to 31.0)", "10.0‡ (5.0 to 15.0)"]
    assert dogs[3:] == ["25.0", "31.0 (26.0 to 36.0)", "27.0‡ (22.0 to 32.0)", "**50.0 (49.0 to 51.0)**"]
    assert mean[3:] == ["25.0", "**30.0 (26.5 to 33.5)**", "26.5‡ (23.0 to 30.0)", "**30.0 (27.5 to 32.5)**"]
    assert [remark[0] for remark in remarks(found)] == ["‡"]
    assert remarks([zero_shot("a", "cats", 0.9)]) == []


def test_what_differs_is_a_span_and_what_is_not_known_no_column() -> None:
    found = [zero_shot("a", "cats", 0.9, 0.5), zero_shot("b", "cats", 0.8, 0.25), zero_shot("a", "dogs", 0.9, 0.0001)]
    found += [zero_shot("b", "dogs", 0.9, None), zero_shot("a", "cars", 0.9, None), zero_shot("b", "cars", 0.7, None)]
    rows = {row[0]: row[3] for row in tables.comparison(found)[1]}
    assert rows == {"cats": "25.0 to 50.0", "dogs": "< 0.1", "cars": "", "mean of 3 data sets": ""}
    known = [entry for entry in found if entry.result.dataset == "cars"]
    assert "chance" not in tables.comparison(known)[0]
    (grid,) = tables.results(known)
    assert "guessing" not in grid.note


def test_of_many_models_chance_is_the_first_row() -> None:
    found = [zero_shot(f"m{n}", data, 0.3 + n / 20, chance) for n in range(9) for data, chance in DATA.items()]
    (grid,) = tables.results(found)
    assert grid.header == ("model", "cats", "dogs", "mean of 2 data sets")
    assert grid.rows[0] == ("chance", "25.0", "50.0", "37.5")
    assert grid.rows[1][0] == "m8"
    assert grid.rows[-1][1:3] == ("30.0‡ (25.0 to 35.0)", "30.0‡ (25.0 to 35.0)"), "chance is within, at its very end"
    assert grid.rows[-2][1] == "35.0 (30.0 to 40.0)"


DATA = {"cats": 0.25, "dogs": 0.5}


def test_recalls_have_their_chance_below_the_models_of_a_data_set() -> None:
    values = dict(zip(RECALLS, (0.02, 0.06, 0.2, 0.01, 0.3, 0.4), strict=True))
    chance = dict(zip(RECALLS, (0.01, 0.05, 0.1, 0.01, 0.05, 0.1), strict=True))
    intervals = {name: (value - 0.015, value + 0.015) for name, value in values.items()}
    known = {"task": "zeroshot_retrieval", "metric": RECALLS[0], "metrics": values, "pretrained": "", "samples": 100}
    found = [
        Entry(model, Result(dataset=data, model=model, intervals=intervals, chance=chance, **known))
        for model in ("a", "b")
        for data in ("birds", "pairs")
    ]
    grid = grids.retrieval(found)
    assert grid is not None
    assert [row[:2] for row in grid.rows] == [
        (data, who) for data in ("birds", "pairs") for who in ("a", "b", "chance")
    ]
    assert grid.rows[2][2:] == ("1.0", "5.0", "10.0", "1.0", "5.0", "10.0", "")
    assert ["‡" in cell for cell in grid.rows[0][2:8]] == [True, True, False, True, False, False]
    assert [remark[0] for remark in grid.remarks] == ["‡"]


def test_on_the_page_what_may_be_guessed_and_chance_are_pale() -> None:
    found = [zero_shot("a", "many_black_cats", 0.29), zero_shot("b", "many_black_cats", 0.9)]
    page = render(suite.page(found, []))
    assert '<td class="pale">25.0</td>' in page
    assert '<td class="pale">29.0‡<span class="basis">24.0 to 34.0</span></td>' in page
    assert '<td><b>90.0</b><span class="basis">85.0 to 95.0</span></td>' in page
    assert '<th scope="row" class="word">many_<wbr>black_<wbr>cats<span class="basis under">zero-shot</span>' in page


def test_a_chance_that_is_no_number_is_none(tmp_path: Path) -> None:
    zero_shot("a", "cats", 0.29, float("nan")).result.save(tmp_path / "a.json")
    zero_shot("b", "cats", 0.3, float("inf")).result.save(tmp_path / "b.json")
    header, ((*_, a, b),) = tables.comparison(collect([tmp_path]))
    assert "chance" not in header
    assert (a, b) == ("**29.0 (24.0 to 34.0)**", "**30.0 (25.0 to 35.0)**")
