"""The report on many results: what is compared with what, and what a program finds in it."""

import csv
import io
import itertools
import json
import math
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy.stats import pearsonr

from diptych.cli.main import main
from diptych.errors import DataError
from diptych.evaluation.result import Result
from diptych.report import findings, grids, paper_plots, shift, suite, tables
from diptych.report.collected import Entry, collect
from diptych.report.drawing import styled
from diptych.report.page import render
from diptych.report.paper_plots import Point

ACCURACY = {("a", "cats"): 0.8, ("a", "dogs"): 0.4, ("a", "cars"): 0.7, ("b", "cats"): 0.5, ("b", "dogs"): 0.6}
PROBES = {("a", "cats"): 0.9, ("a", "dogs"): 0.3, ("a", "cars"): 0.8, ("net", "cats"): 0.7, ("net", "dogs"): 0.7}


def result(model: str, data: str, task: str, metric: str, value: float, **more: object) -> Result:
    known = {"pretrained": f"runs/{model}", "fingerprints": {"weights": model}, "cost": {"gflops": 4.0 + len(model)}}
    limits = {metric: (value - 0.03, value + 0.04)}
    told = {"dataset": data, "model": model, "task": task, "metric": metric, "metrics": {metric: value}}
    return Result(**{**told, "intervals": limits, "samples": 100, **known, **more})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = [result(model, data, "zeroshot_classification", "acc1", acc) for (model, data), acc in ACCURACY.items()]
    made += [result(model, data, "linear_probe", "lp_acc1", acc) for (model, data), acc in PROBES.items()]
    for data, shots in (("cats", 3.0), ("dogs", None)):
        details = {"shots": [1, 4], "accuracies": [[0.2, 0.4], [0.6, 0.8]], "zero_shot": ACCURACY["a", data]}
        made.append(
            result("a", data, "few_shot", "fs_4_acc1", 0.7, details={**details, "shots_to_match": {"shots": shots}})
        )
    for number, one in enumerate(made):
        one.save(tmp_path / "results" / f"{number}.json")
    return tmp_path / "results"


def test_the_table_marks_the_best_and_means_what_all_have(folder: Path) -> None:
    header, rows = tables.comparison(collect([folder]))
    assert header == ["data", "task", "metric", "a", "b", "net"]
    cells = {(row[0], row[1]): row[3:] for row in rows}
    assert cells["cats", "zero-shot"] == ["**80.0 (77.0 to 84.0)**", "50.0 (47.0 to 54.0)", ""]
    assert cells["dogs", "zero-shot"] == ["40.0 (37.0 to 44.0)", "**60.0 (57.0 to 64.0)**", ""]
    assert cells["cars", "zero-shot"][1:] == ["", ""]
    alone = [entry for entry in collect([folder]) if entry.model in ("a", "b") and entry.task == "zero-shot"]
    assert tables.comparison(alone)[1][-1] == ["mean of 2", "zero-shot", "", "**60.0**", "55.0"]


def test_zero_shot_is_set_against_its_own_probe_and_those_of_models_without_a_text_tower(folder: Path) -> None:
    found = findings.zero_shot_less_probe(collect([folder]))
    assert set(found) == {("a", "a"), ("a", "net"), ("b", "net")}
    bars = {bar.name: bar for bar in found["a", "a"]}
    assert bars["dogs"].value == pytest.approx(0.1)
    assert bars["dogs"].low == pytest.approx(0.1 - math.hypot(0.03, 0.04))
    assert bars["dogs"].high == pytest.approx(0.1 + math.hypot(0.04, 0.03))
    points = findings.zero_shot_against_probe(collect([folder]))
    r, low, high = findings.correlation(points)
    assert math.isnan(low), "three points have no interval"
    assert math.isnan(high)
    assert {(point.name, point.x, point.y) for point in points} == {
        ("cats", 0.9, 0.8),
        ("dogs", 0.3, 0.4),
        ("cars", 0.8, 0.7),
    }
    assert r == pytest.approx(0.1333 / math.sqrt(0.2067 * 0.0867), abs=1e-3)


def test_few_shots_are_averaged_draw_by_draw(folder: Path) -> None:
    (line,), common = findings.few_shot_lines(collect([folder]))
    assert common == ["cats", "dogs"]
    assert line.x == (1, 4)
    assert line.y == pytest.approx((0.3, 0.7))
    assert line.low == pytest.approx((0.2, 0.6))
    assert line.high == pytest.approx((0.4, 0.8))
    assert line.level == pytest.approx(0.6)
    (bars,) = findings.examples_to_match(collect([folder])).values()
    assert {bar.name: bar.value for bar in bars} == {"cats": 3.0, "dogs": math.inf}


def test_few_shots_that_were_told_otherwise_are_a_line_of_their_own(folder: Path) -> None:
    details = {"shots": [1, 4], "accuracies": [[0.9, 0.9], [1.0, 1.0]], "zero_shot": ACCURACY["a", "cats"]}
    result(
        "a", "cats", "few_shot", "fs_4_acc1", 1.0, details=details, options={"start": "zero-shot"}
    ).save(folder / "started.json")  # fmt: skip
    lines = {line.name: line.y for line in findings.few_shot_lines(collect([folder]))[0]}
    assert lines["a, start=zero-shot"] == (0.9, 1.0)
    assert lines["a"] == pytest.approx((0.3, 0.7))


def test_models_of_one_name_are_told_apart(tmp_path: Path) -> None:
    for number, (weights, origin) in enumerate((("1", "x/one"), ("2", "x/two"), ("3", "x/two"), ("1", "x/one"))):
        made = result("vit", f"data{number}", "zeroshot_classification", "acc1", 0.5)
        made = Result(**{**vars(made), "fingerprints": {"weights": weights}, "pretrained": origin})
        made.save(tmp_path / f"{number}.json")
    assert [entry.model for entry in collect([tmp_path])] == [
        "vit, x/one",
        "vit, x/two, 2",
        "vit, x/two, 3",
        "vit, x/one",
    ]


def test_results_of_clip_benchmark_stand_beside_ours(folder: Path) -> None:
    published = {"dataset": "cats", "model": "ViT-B-32", "pretrained": "openai", "task": "zeroshot_classification"}
    (folder / "theirs.json").write_text(json.dumps({**published, "metrics": {"acc1": 0.95}, "language": "en"}))
    (folder / "settings.json").write_text("{}")
    header, rows = tables.comparison(collect([folder]))
    cats = next(row for row in rows if row[:2] == ["cats", "zero-shot"])
    assert dict(zip(header, cats, strict=True))["ViT-B-32"] == "**95.0**"


def test_a_program_reads_every_metric(folder: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(tables.as_csv(collect([folder])))))
    assert len(rows) == len(list(folder.glob("*.json")))
    first = next(row for row in rows if (row["model"], row["dataset"], row["metric"]) == ("a", "cats", "acc1"))
    assert (float(first["value"]), float(first["low"]), first["headline"]) == (0.8, 0.77, "1")


def test_the_verb_writes_a_page_and_figures(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "report"
    assert main(["report", str(folder), "--out", str(out)]) == 0
    captured = capsys.readouterr()
    assert captured.out == (out / "table.md").read_text()
    names = {path.name for path in out.iterdir()}
    drawn = {"few-shot.svg", "zero-shot-against-probe.svg", "compute-zero-shot.svg", "shots-to-match-1.svg"}
    drawn |= {"compute-linear-probe.svg", *(f"zero-shot-less-probe-{i}.svg" for i in (1, 2, 3))}
    assert drawn == {name for name in names if name.endswith(".svg")}
    assert {name.replace(".svg", ".pdf") for name in drawn} == {name for name in names if name.endswith(".pdf")}
    for name in drawn:
        root = ElementTree.fromstring((out / name).read_text())
        assert "var(--" not in ElementTree.tostring(root, encoding="unicode")
        assert (out / name).with_suffix(".pdf").read_bytes().startswith(b"%PDF-")
    page = (out / "report.html").read_text()
    assert page.count("<svg") == len(drawn)
    assert "Zero-shot is ahead on 1 of 3 data sets" in page


@pytest.mark.parametrize("content", [None, "{", '{"metrics": 3}'])
def test_what_is_no_result_is_named(content: str | None, tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises((DataError, ValueError), match=r"x\.json"):
        collect([file])
    with pytest.raises(DataError, match=r"no such file|no results"):
        collect([tmp_path if content else file])


def test_names_cannot_break_the_page() -> None:
    odd = result("<b>&", '"><script>', "zeroshot_classification", "acc1", 0.5, remarks=("<i>",))
    entries = [Entry(odd.model, odd), Entry("other", result("other", '"><script>', odd.task, "acc1", 0.4))]
    page = render(suite.page(entries, suite.drawings(entries)))
    assert "<script>" not in page
    assert "<b>&" not in page


def test_results_that_would_stand_in_one_place_are_told_apart(tmp_path: Path) -> None:
    for number, options in enumerate(({}, {"none_of_these": 0.3})):
        result("a", "cats", "zeroshot_classification", "acc1", 0.5 + number / 10, options=options).save(
            tmp_path / f"{number}.json"
        )
    _, rows = tables.comparison(collect([tmp_path]))
    assert [row[0] for row in rows[:2]] == ["cats", "cats (none_of_these=0.3)"]


def answered(model: str, data: str, right: list[bool], confidence: float, **more: object) -> Result:
    ranks = tuple(1 if hit else 2 for hit in right)
    kept = {"key": tuple(map(str, range(len(right)))), "rank": ranks, "confidence": (confidence,) * len(right)}
    accuracy = sum(right) / len(right)
    metrics = {"acc1": accuracy, "ece": abs(accuracy - confidence)}
    task, prints = "zeroshot_classification", {"weights": model, "data": data}
    return result(
        model,
        data,
        task,
        "acc1",
        accuracy,
        metrics=metrics,
        predictions=kept,
        fingerprints=prints,
        samples=len(right),
        **more,
    )


def test_models_are_compared_image_by_image(tmp_path: Path) -> None:
    answered("a", "cats", [True] * 90 + [False] * 10, 0.9).save(tmp_path / "0.json")
    answered("b", "cats", [True] * 60 + [False] * 40, 0.9).save(tmp_path / "1.json")
    answered("b", "dogs", [True] * 60 + [False] * 40, 0.9).save(tmp_path / "2.json")
    entries = collect([tmp_path])
    ((entry, comparison),) = findings.paired(entries)
    assert (entry.data, comparison.difference, comparison.samples) == ("cats", pytest.approx(-0.3), 100)
    grid = grids.pairs(entries)
    assert grid is not None
    assert grid.rows[0][:3] == ("cats", "zero-shot", "b")
    assert "ahead of a, image by image" in grid.note
    assert grid.rows[0][3].startswith("\N{MINUS SIGN}30.0 (\N{MINUS SIGN}38.")
    assert grid.rows[0][4:] == ("< 0.001", "< 0.001", "100")
    names = [drawing.name for drawing in suite.drawings(entries)]
    assert names.count("reliability-1") == names.count("reliability-2") == 1
    assert "100 % sure" not in next(d.alt for d in suite.drawings(entries) if d.name == "reliability-1")


def test_under_shift_models_are_measured_against_the_line_of_the_baselines(tmp_path: Path) -> None:
    accuracies = {"plain": (0.6, 0.4), "plain too": (0.8, 0.6), "robust": (0.7, 0.65), "alone": (0.7, None)}
    for number, (model, pair) in enumerate(accuracies.items()):
        for data, accuracy in zip(("photos", "sketches"), pair, strict=True):
            if accuracy is not None:
                result(model, data, "zeroshot_classification", "acc1", accuracy, samples=1000).save(
                    tmp_path / f"{number}-{data}.json"
                )
    entries = collect([tmp_path])
    asked = shift.asked(entries, "photos", ["sketches"], ["plain", "plain too"])
    grid = shift.grid(entries, asked)
    assert grid is not None
    rows = {row[2]: row for row in grid.rows}
    assert set(rows) == {"plain", "plain too", "robust"}
    assert rows["plain"][7] == "baseline"
    assert rows["robust"][:6] == ("sketches", "zero-shot", "robust", "70.0", "65.0", "5.0")
    logits = [math.log(share / (1 - share)) for share in (0.4, 0.6)]
    x = [math.log(share / (1 - share)) for share in (0.6, 0.8, 0.7)]
    expected = logits[0] + (logits[1] - logits[0]) * (x[2] - x[0]) / (x[1] - x[0])
    assert float(rows["robust"][6]) == pytest.approx(100 / (1 + math.exp(-expected)), abs=0.1)
    assert rows["robust"][7].startswith("+")
    drawn = next(drawing for drawing in suite.drawings(entries, asked) if drawing.name == "under-shift")
    assert "the fit over the baselines" in drawn.note
    assert "alone" not in drawn.alt
    for wrong in (("photo", ["sketches"], []), ("photos", [], []), ("photos", ["sketches"], ["plain"])):
        with pytest.raises(DataError):
            shift.asked(entries, *wrong)
    assert shift.grid(entries, shift.asked(entries, None, [], [])) is None


def test_names_cover_neither_points_nor_one_another_and_stay_inside() -> None:
    generator = np.random.default_rng(0)
    points = [
        Point(f"model-{n}", 10 ** generator.uniform(0, 1), generator.uniform(0.4, 0.6), "ab"[n % 2]) for n in range(25)
    ]
    with styled():
        figure = Figure(figsize=(6.4, 4.0), layout="constrained")
        axes = figure.subplots()
        paper_plots.compute(axes, points, up="accuracy")
        boxes = [text.get_window_extent() for text in axes.texts]
        assert len(boxes) > 12, "most find room"
        assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
        places = axes.transData.transform([(point.x, point.y) for point in points])
        assert not any(box.contains(*place) for box in boxes for place in places)
        room = axes.get_window_extent()
        assert all(room.x0 <= box.x0 and box.x1 <= room.x1 and room.y0 <= box.y0 < box.y1 <= room.y1 for box in boxes)


def test_recall_is_told_both_ways(tmp_path: Path) -> None:
    recalls = {
        f"{kind}_retrieval_recall@{k}": k / (20 if kind == "text" else 25)
        for kind in ("text", "image")
        for k in (1, 5, 10)
    }
    result("a", "pairs", "zeroshot_retrieval", "text_retrieval_recall@1", 0.05, metrics=recalls).save(
        tmp_path / "r.json"
    )
    grid = grids.retrieval(collect([tmp_path]))
    assert grid is not None
    assert grid.rows == (("pairs", "a", "5.0 (2.0 to 9.0)", "25.0", "50.0", "4.0", "20.0", "40.0", "100"),)


def test_what_may_be_as_good_as_the_best_is_marked_too(tmp_path: Path) -> None:
    for model, value in (("a", 0.80), ("b", 0.78), ("c", 0.76)):
        result(model, "cats", "zeroshot_classification", "acc1", value).save(tmp_path / f"{model}.json")
    ((*_, a, b, c),) = tables.comparison(collect([tmp_path]))[1]
    assert [cell.startswith("**") for cell in (a, b, c)] == [True, True, False]  # the best goes down to 77


def test_r_has_fishers_interval() -> None:
    x, y = [0.1, 0.2, 0.4, 0.5, 0.7, 0.9, 0.3], [0.2, 0.1, 0.5, 0.4, 0.9, 0.7, 0.35]
    r, low, high = findings.correlation([Point("", *pair) for pair in zip(x, y, strict=True)])
    known = pearsonr(x, y)
    assert r == pytest.approx(known.statistic)
    assert (low, high) == pytest.approx(known.confidence_interval(0.95))
