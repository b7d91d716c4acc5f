"""A result and its tables, in memory and on disk."""

import json
from pathlib import Path

import pytest

from diptych.errors import DataError
from diptych.evaluation.result import Result, Scores

SCORES = Scores(
    metrics={"acc1": 0.5, "acc5": 0.9},
    intervals={"acc1": (0.4, 0.6), "acc5": (0.8, 1.0)},
    chance={"acc1": 0.1, "acc5": 0.5},
    predictions={"rank": (1, 2)},
)
RESULT = Result(
    dataset="图",
    model="tiny",
    pretrained="",
    task="zeroshot_classification",
    metrics=SCORES.metrics,
    intervals={"acc1": (0.4, 0.6)},
    chance=SCORES.chance,
    samples=2,
    remarks=("not the paper's split",),
    predictions={"key": ("a", "b"), "rank": ((1, 2), (2, 1))},
    text_predictions={"rank": (1,)},
    source_predictions={"key": ("c",)},
)


def test_metrics_are_renamed_and_left_out_in_all_tables() -> None:
    prefixed = SCORES.prefixed("lp_")
    for table in (prefixed.metrics, prefixed.intervals, prefixed.chance):
        assert set(table) == {"lp_acc1", "lp_acc5"}
    assert prefixed.chance["lp_acc5"] == 0.5
    without = SCORES.without("acc5")
    assert (without.metrics, without.intervals, without.chance) == ({"acc1": 0.5}, {"acc1": (0.4, 0.6)}, {"acc1": 0.1})
    assert prefixed.predictions == without.predictions == SCORES.predictions


def test_a_result_comes_back_and_tables_of_an_earlier_one_are_gone(tmp_path: Path) -> None:
    file = RESULT.save(tmp_path / "one.json")
    assert Result.load(file) == RESULT
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("one.json", "one.parquet", "one.source.parquet", "one.texts.parquet")
    ]
    assert "图" in file.read_text(encoding="utf-8")
    bare = Result(dataset="a", model="b", pretrained="", task="c", metrics={})
    assert Result.load(bare.save(file)) == bare
    assert [path.name for path in tmp_path.iterdir()] == ["one.json"]


def test_a_result_as_text_has_intervals_chance_and_remarks() -> None:
    lines = str(RESULT).splitlines()
    assert lines[0] == "zeroshot_classification of tiny on 图: 2 samples, fp32"
    assert lines[1] == "not the paper's split"
    assert lines[2] == "  acc1    0.5000  [0.4000, 0.6000]  chance 0.1000"
    assert lines[3] == "  acc5    0.9000  chance 0.5000"


def test_switches_of_clip_benchmark_are_no_metrics(tmp_path: Path) -> None:
    published = {"dataset": "a", "model": "b", "pretrained": "c", "task": "d", "language": "en"}
    metrics = {"acc1": 0.5, "normalize": True, "weight_decay": None, "epochs": 3, "per class": [0.5]}
    (tmp_path / "one.json").write_text(json.dumps(published | {"metrics": metrics}))
    assert Result.load(tmp_path / "one.json").metrics == {"acc1": 0.5, "epochs": 3}


@pytest.mark.parametrize("suffix", [".parquet", ".texts.parquet", ".source.parquet"])
def test_a_damaged_table_is_named(suffix: str, tmp_path: Path) -> None:
    RESULT.save(tmp_path / "one.json")
    (tmp_path / f"one{suffix}").write_bytes(b"none")
    with pytest.raises(DataError, match=rf"^{tmp_path}/one{suffix}: no table of predictions"):
        Result.load(tmp_path / "one.json")
