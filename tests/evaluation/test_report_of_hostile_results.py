"""Results that are damaged, of another version, made by others or called so as to break something: each costs its own
line and no other, and no report."""

import html
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from diptych.cli.main import main
from diptych.evaluation.result import Result
from diptych.report import findings, grids, operations, pairing, suite, tables
from diptych.report.choosing import best, models
from diptych.report.collected import collect
from diptych.report.page import render

Change = Callable[[dict[str, Any]], object]


def zero_shot(model: str = "good", data: str = "cats", right: int = 60, **more: object) -> Result:
    ranks = (1,) * right + (2,) * (100 - right)
    predictions = {"key": tuple(f"{n}.png" for n in range(100)), "rank": ranks, "confidence": (0.6,) * 100}
    known = {"dataset": data, "model": model, "pretrained": f"runs/{model}", "task": "zeroshot_classification"}
    metrics = {"metric": "acc1", "metrics": {"acc1": right / 100, "ece": 0.1}, "intervals": {"acc1": (0.5, 0.7)}}
    about = {"samples": 100, "cost": {"gflops": 4.0}, "fingerprints": {"weights": model, "data": data}}
    return Result(**{**known, **metrics, **about, "predictions": predictions, **more})


def probe(model: str = "good", data: str = "cats", right: int = 70) -> Result:
    own = zero_shot(model, data, right)
    told = {"metric": "lp_acc1", "metrics": {"lp_acc1": right / 100}, "intervals": {"lp_acc1": (0.6, 0.8)}}
    return Result(**{**vars(own), "task": "linear_probe", **told})


def few_shot(model: str = "good", **details: object) -> Result:
    curve = {"shots": [1, 4], "accuracies": [[0.2, 0.4], [0.6, 0.8]], "zero_shot": 0.6}
    told = {**curve, "shots_to_match": {"shots": 3.0, "kind": "between"}, **details}
    known = {"dataset": "cats", "model": model, "pretrained": "", "task": "few_shot", "metric": "fs4_acc1"}
    return Result(**known, metrics={"fs4_acc1": 0.7}, samples=100, details=told)


def report(folder: Path, *more: str) -> Path:
    out = folder.parent / "report"
    assert main(["report", str(folder), "--out", str(out), *more]) == 0
    return out


def cells(entries: list[Any]) -> dict[tuple[str, str], dict[str, str]]:
    header, rows = tables.comparison(entries)
    return {(row[0], row[1]): dict(zip(header, row, strict=True)) for row in rows}


NO_RESULTS = {
    "empty": "",
    "half written": '{"dataset": "cats", "model": "bad", "metr',
    "a list": "[1]",
    "nested without end": "[" * 200_000,
    "of another kind": '{"learning_rate": 0.1}',
    "bytes": "\0\0\0",
}


@pytest.mark.parametrize("content", NO_RESULTS.values(), ids=NO_RESULTS)
def test_what_is_no_result_is_one_line(content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "results"
    zero_shot().save(folder / "good.json")
    (folder / "bad.json").write_text(content)
    report(folder)
    captured = capsys.readouterr()
    (line,) = (line for line in captured.err.splitlines() if "bad.json" in line)
    assert "left out" in line
    assert "60.0" in captured.out


LEFT_OUT: dict[str, tuple[Change, str]] = {
    "of a later version": (lambda data: data.update(seasons=4), "seasons"),
    "of an earlier version": (lambda data: data.update(features="features/0a1b"), "Result.features"),
    "not finite": (lambda data: data.update(metrics={"acc1": float("nan")}), "finite number"),
    "in per cent": (lambda data: data["metrics"].update(acc1=60.0), "its acc1 is 60, and a share from 0 to 1"),
    "enormous": (lambda data: data["metrics"].update(acc1=10**400), "left out"),
    "without metrics": (lambda data: data.update(metrics={}), "finite number"),
    "a text": (lambda data: data.update(metrics={"acc1": "0.6"}), "Result.metrics.acc1"),
}


@pytest.mark.parametrize(("change", "reason"), LEFT_OUT.values(), ids=LEFT_OUT)
def test_why_a_result_is_left_out(
    change: Change, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("good", "bad"):
        zero_shot(name).save(tmp_path / f"{name}.json")
    data = json.loads((tmp_path / "bad.json").read_text())
    change(data)
    (tmp_path / "bad.json").write_text(json.dumps(data))
    assert models(collect([tmp_path])) == ["good"]
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{tmp_path / 'bad.json'}: left out" in line
    assert reason in line


PARTS: dict[str, tuple[Change, str]] = {
    "a metric": (lambda data: data["metrics"].update(ece=float("inf")), "without ece, not finite"),
    "an interval": (lambda data: data.update(intervals={"acc1": [0.7, 0.5]}), "without the interval of acc1"),
    "the end of one": (lambda data: data.update(intervals={"acc1": [float("nan"), 1]}), "without the interval of acc1"),
    "prompts": (lambda data: data.update(details={"ablation": {"name": 3}}), "without its study of prompts"),
    "a curve": (
        lambda data: data.update(details={"shots": [1, 2], "accuracies": [[0.1]]}),
        "few-shot curve: 2 numbers",
    ),
    "its values": (
        lambda data: data.update(details={"shots": [1], "accuracies": [[-3]]}),
        "few-shot curve: accuracies",
    ),
    "its keys": (lambda data: data.update(details={"accuracies": [[0.1]]}), "few-shot curve"),
    "a match": (
        lambda data: data.update(details={"shots": [1], "accuracies": [[0.1]], "shots_to_match": {"shots": -1}}),
        "-1.0 examples cannot match",
    ),
}


@pytest.mark.parametrize(("change", "reason"), PARTS.values(), ids=PARTS)
def test_an_unsound_part_costs_itself(
    change: Change, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    zero_shot().save(tmp_path / "one.json")
    data = json.loads((tmp_path / "one.json").read_text())
    change(data)
    (tmp_path / "one.json").write_text(json.dumps(data))
    entries = collect([tmp_path])
    assert reason in capsys.readouterr().err
    assert entries[0].value == 0.6
    suite.page(entries, suite.drawings(entries))


def test_many_files_with_one_fault_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    zero_shot().save(tmp_path / "good.json")
    for number in range(20):
        (tmp_path / f"{number:02}.json").write_text("{}")
    collect([tmp_path])
    (line,) = capsys.readouterr().err.splitlines()
    assert "02.json and 17 more: left out" in line


def test_a_copy_counts_once_and_other_numbers_of_the_same_stand_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    zero_shot().save(tmp_path / "0.json")
    zero_shot().save(tmp_path / "1.json")
    zero_shot(right=65).save(tmp_path / "2.json")
    zero_shot(data="dogs").save(tmp_path / "3.json")
    entries = collect([tmp_path, tmp_path / "0.json"])
    assert f"1.json: left out, equal to {tmp_path / '0.json'}" in capsys.readouterr().err
    names = {f"cats (file={tmp_path.name}/{number})": value for number, value in ((0, 0.6), (2, 0.65))}
    assert {entry.data: entry.value for entry in entries} == {**names, "dogs": 0.6}


def test_other_data_of_one_name_are_in_rows_of_their_own(tmp_path: Path) -> None:
    for number, (model, hashed) in enumerate((("a", "aaaaaa1"), ("b", "bbbbbb2"), ("c", "aaaaaa1"))):
        zero_shot(model, fingerprints={"weights": model, "data": hashed}).save(tmp_path / f"{number}.json")
    found = cells(collect([tmp_path]))
    assert [name for name, cell in found["cats (aaaaaa)", "zero-shot"].items() if "60.0" in cell] == ["a", "c"]
    assert [name for name, cell in found["cats (bbbbbb)", "zero-shot"].items() if "60.0" in cell] == ["b"]


PREDICTIONS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: path.unlink(), "no predictions beside it"),
    "half written": (lambda path: path.write_bytes(path.read_bytes()[:200]), "no table of predictions"),
    "of another result": (
        lambda path: zero_shot(predictions={"key": ("x",), "rank": (1,)}).save(path.with_suffix(".json")),
        "1 images have predictions, and 100 were evaluated",
    ),
    "twice": (
        lambda path: zero_shot(predictions={"key": ("x",) * 100, "rank": (1,) * 100}).save(path.with_suffix(".json")),
        "1 images have predictions",
    ),
    "no ranks": (
        lambda path: zero_shot(
            predictions={"key": tuple(range(100)), "rank": (None,) * 100, "confidence": (0.5,) * 100}
        ).save(path.with_suffix(".json")),
        "ranks are numbers from 1",
    ),
    "no confidence": (
        lambda path: zero_shot(
            predictions={"key": tuple(range(100)), "rank": (1,) * 100, "confidence": (float("nan"),) * 100}
        ).save(path.with_suffix(".json")),
        "confidences are numbers from 0 to 1",
    ),
}


@pytest.mark.parametrize(("damage", "reason"), PREDICTIONS.values(), ids=PREDICTIONS)
def test_without_predictions_the_numbers_stand(
    damage: Callable[[Path], object], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b"):
        zero_shot(name).save(tmp_path / f"{name}.json")
    probe("a").save(tmp_path / "probe.json")
    damage(tmp_path / "a.parquet")
    entries = collect([tmp_path])
    names = [drawing.name for drawing in suite.drawings(entries)]
    grid = grids.pairs(entries)
    assert grid is not None
    assert grid.rows == ()
    assert grid.remarks[0].startswith("Not compared: zero-shot on cats, as ")
    assert grid.remarks[0] in html.unescape(render(suite.page(entries, [])))
    said = capsys.readouterr().err
    assert sum(reason in line for line in said.splitlines()) == 1, said
    assert any(name.startswith("zero-shot-less-probe-") for name in names)
    assert sum(name.startswith("reliability-") for name in names) == 1
    assert len(entries) == 3


def test_zero_shot_and_probe_are_compared_image_by_image_where_both_kept_their_answers(tmp_path: Path) -> None:
    zero_shot().save(tmp_path / "zero.json")
    probe().save(tmp_path / "probe.json")
    (bar,) = findings.zero_shot_less_probe(collect([tmp_path]))["good", "good"].values()
    # Ten images tell the two apart, all in favour of the probe: as independent shares they might as well be equal.
    assert bar.value == pytest.approx(-0.1)
    assert -0.2 < bar.low < bar.high < 0
    (tmp_path / "probe.parquet").unlink()
    (bar,) = findings.zero_shot_less_probe(collect([tmp_path]))["good", "good"].values()
    assert bar.high > 0


NAMES = (
    "<img src=x onerror=alert(1)>",
    "a|b",
    "**bold**",
    r"$\frac{1}{0$",
    "_hidden",
    "back\\slash `code` [link](https://example.org)",
    "two\nlines\x1b[31mred\x00\udcff",
    "",
    "一个模型",
    "long " * 1000,
    "seamless" * 100,
)


def test_no_name_breaks_anything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "results"
    for number, name in enumerate(NAMES):
        about = {"remarks": (name,), "fingerprints": {"weights": str(number)}}
        made = [zero_shot(name), probe(name), few_shot(name), zero_shot("another", name)]
        for part, own in enumerate(made):
            known = {**vars(own), **about, "metrics": {own.metric: own.metrics[own.metric]}}
            Result(**known).save(folder / f"{number}-{part}.json")
    out = report(folder)
    said = capsys.readouterr()
    assert said.err.count("the PDF figures lack letters") == 1  # their font has no Chinese
    assert "\x1b" not in said.out + said.err
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "<img src=x" not in page
    assert "\x1b" not in page
    for svg in out.glob("*.svg"):
        ElementTree.parse(svg)
    for svg in re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL):
        ElementTree.fromstring(svg)
    table = (out / "table.md").read_text(encoding="utf-8")
    assert not re.search(r"(?<!\\)<img|(?<!\\)`code|\x1b", table)
    for block in table.split("\n\n"):
        if block.startswith("|"):
            lines = [line for line in block.splitlines() if line.startswith("|")]
            columns = {len(re.findall(r"(?<!\\)\|", line)) for line in lines}
            assert len(columns) == 1, "a cell was taken for two"


@pytest.mark.parametrize("alone", ["model", "data set", "task", "CLIP_benchmark"])
def test_little_is_enough_for_a_report(alone: str, tmp_path: Path) -> None:
    folder = tmp_path / "results"
    made = {
        "model": [zero_shot(data="cats"), zero_shot(data="dogs"), probe(data="cats"), probe(data="dogs"), few_shot()],
        "data set": [own for name in "ab" for own in (zero_shot(name), probe(name), few_shot(name))],
        "task": [few_shot()],
        "CLIP_benchmark": [],
    }
    for number, own in enumerate(made[alone]):
        own.save(folder / f"{number}.json")
    if alone == "CLIP_benchmark":
        folder.mkdir()
        for data in ("imagenet1k", "imagenetv2", "imagenet-a"):
            published = {"dataset": data, "model": "ViT-B-32", "pretrained": "openai", "language": "en"}
            told = {**published, "task": "zeroshot_classification", "metrics": {"acc1": 0.6, "acc5": 0.8}}
            (folder / f"{data}.json").write_text(json.dumps(told))
    out = report(folder)
    drawn = {path.stem for path in out.glob("*.svg")}
    expected = {
        "model": {
            "zero-shot-less-probe-good-good",
            "few-shot",
            "shots-to-match-good",
            "zero-shot-against-probe",
            "reliability-good-good",
        },
        "data set": {"zero-shot-less-probe-cats", "few-shot", "shots-to-match-cats", "compute-zero-shot"},
        "task": {"few-shot", "shots-to-match-good"},
        "CLIP_benchmark": {"under-shift"},
    }
    assert expected[alone] <= drawn
    if alone == "data set":  # a bar a model in one figure, instead of a figure of one bar for each
        assert sum(name.startswith("zero-shot-less-probe") for name in drawn) == 1


def test_of_many_models_each_is_a_row_and_the_best_are_drawn(tmp_path: Path) -> None:
    for number in range(15):
        for data in ("cats", "dogs"):
            zero_shot(f"m{number:02}", data, 30 + number, cost={"gflops": 2.0**number}).save(
                tmp_path / f"{number}-{data}.json"
            )
    entries = collect([tmp_path])
    (grid,) = tables.results(entries)
    assert grid.header == ("model", "cats", "dogs", "mean of 2 data sets")
    assert grid.note.startswith("acc1. ")
    assert [row[0] for row in grid.rows] == [f"m{number:02}" for number in range(14, -1, -1)]
    assert grid.rows[0][1].startswith("**44.0")
    assert grid.rows[0][3] == "**44.0 (39.8 to 62.4)**"
    assert not grid.rows[-1][3].startswith("**")
    assert sorted(models(best(entries, 12))) == [f"m{number:02}" for number in range(3, 15)]
    drawn = suite.drawings(entries)
    assert sum(drawing.name.startswith("reliability") for drawing in drawn) == 12
    assert "12 that are most often ahead" in suite.page(entries, []).lead
    compute = next(drawing for drawing in drawn if drawing.name == "compute-zero-shot")
    assert compute.alt.count("gigaflops") == 15
    # The error goes from 0.70 to 0.56 over 14 doublings, by a hundredth each.
    fit = operations.error_over_compute(entries)
    assert fit is not None
    assert fit[2][0] == pytest.approx(-0.0229, abs=1e-3)
    assert fit[2][2] > 0.98


@pytest.mark.parametrize(
    ("images", "reason"),
    [
        (((0,), (100,)), "numbers from 0 to 99"),
        (((0,), ()), "numbers from 0 to 99"),
        ((("0",), ("1",)), "numbers from 0 to 99"),
        (None, "2 texts have ranks, and 0 have images"),
    ],
)
def test_texts_of_no_image_are_not_compared(
    images: object, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b"):
        told = {"rank": (1, 2)} | ({"images": images} if images else {})
        task = {"task": "zeroshot_retrieval", "metric": "acc1"}
        zero_shot(name, text_predictions=told, **task).save(tmp_path / f"{name}.json")
    (recalls,) = pairing.paired_recalls(collect([tmp_path]))
    assert recalls.found == "texts"
    assert reason in capsys.readouterr().err


def test_no_figure_is_written_elsewhere(tmp_path: Path) -> None:
    folder = tmp_path / "in" / "results"
    for model, size in (("a", 1.0), ("b", 2.0)):
        made = zero_shot(model, task="../../../out of/here", cost={"gflops": size})
        made.save(folder / f"{model}.json")
    out = report(folder)
    assert "compute-out-of-here.svg" in {path.name for path in out.iterdir()}
    assert {path.name for path in tmp_path.iterdir()} == {"in"}
