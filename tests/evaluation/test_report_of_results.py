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
from diptych.report import findings, grids, matching, pairing, point_plots, shift, shift_table, suite, tables
from diptych.report.choosing import model_named, models
from diptych.report.collected import Entry, collect
from diptych.report.drawing import styled
from diptych.report.marks import Point
from diptych.report.page import render
from diptych.report.remarks import remarks

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
    assert tables.comparison(alone)[1][-1] == [
        "mean of 2 data sets",
        "zero-shot",
        "",
        "**60.0 (57.9 to 62.8)**",
        "55.0 (52.9 to 57.8)",
    ]


def test_zero_shot_is_set_against_its_own_probe_and_those_of_models_without_a_text_tower(folder: Path) -> None:
    found = findings.zero_shot_less_probe(collect([folder]))
    assert set(found) == {("a", "a"), ("a", "net"), ("b", "net")}
    bars = {bar.name: bar for bar in found["a", "a"].values()}
    assert bars["dogs"].value == pytest.approx(0.1)
    assert bars["dogs"].low == pytest.approx(0.1 - math.hypot(0.03, 0.04))
    assert bars["dogs"].high == pytest.approx(0.1 + math.hypot(0.04, 0.03))
    points, _ = findings.zero_shot_against_probe(collect([folder]))
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
    assert common == [("cats", "acc1"), ("dogs", "acc1")]
    assert line.x == (1, 4)
    assert line.y == pytest.approx((0.3, 0.7))
    assert line.low == pytest.approx((0.2, 0.6))
    assert line.high == pytest.approx((0.4, 0.8))
    assert line.level == pytest.approx(0.6)
    (bars,) = matching.examples_to_match(collect([folder])).bars.values()
    assert {bar.name: bar.value for bar in bars.values()} == {"cats": 3.0, "dogs": math.inf}


def test_few_shots_that_were_told_otherwise_are_a_line_of_their_own(folder: Path) -> None:
    details = {"shots": [1, 4], "accuracies": [[0.9, 0.9], [1.0, 1.0]], "zero_shot": ACCURACY["a", "cats"]}
    told = {"details": details, "options": {"start": "zero-shot"}}
    result("a", "cats", "few_shot", "fs_4_acc1", 1.0, **told).save(folder / "started.json")
    lines = {line.name: line.y for line in findings.few_shot_lines(collect([folder]))[0]}
    assert lines["a, start=zero-shot"] == (0.9, 1.0)
    assert lines["a"] == pytest.approx((0.3, 0.7))


def test_one_row_has_what_all_models_were_told_alike(tmp_path: Path) -> None:
    for number, (model, value, options) in enumerate(
        [("a", 0.3, {}), ("a", 0.4, {"templates": "many"}), ("b", 0.9, {"templates": "many"})]
    ):
        made = result(model, "cats", "zeroshot_classification", "acc1", value, options=options)
        made.save(tmp_path / f"{number}.json")
    _, rows = tables.comparison(collect([tmp_path]))
    cells = {row[0]: [cell.partition(" ")[0].strip("*") for cell in row[3:]] for row in rows}
    assert cells["cats"] == ["30.0", ""]
    assert cells["cats (templates=many)"] == ["40.0", "90.0"]


def of_models(folder: Path, *known: tuple[str, str]) -> list[str]:
    """The names of models called vit of these weights, which lie there, in the order of their results."""
    for number, (weights, place) in enumerate(known):
        told = {"fingerprints": {"weights": weights}, "pretrained": place}
        result("vit", f"data{number}", "zeroshot_classification", "acc1", 0.5, **told).save(folder / f"{number}.json")
    entries = sorted(collect([folder]), key=lambda entry: entry.data)
    return [entry.model for entry in entries]


def test_models_of_one_name_are_told_apart_by_the_folders_that_differ(tmp_path: Path) -> None:
    runs = [("1", "runs/one/run/model"), ("2", "runs/two/run/model/"), ("1", "/elsewhere/runs/one/run/model")]
    assert of_models(tmp_path / "a", *runs) == ["vit (one)", "vit (two)", "vit (one)"]
    assert of_models(tmp_path / "b", *runs, ("3", "runs/three/model"))[:3] == ["vit (one)", "vit (two)", "vit (one)"]
    assert of_models(tmp_path / "c", *runs, ("3", "old/two/model"))[1:] == [
        "vit (runs/two)",
        "vit (one)",
        "vit (old/two)",
    ]
    again = of_models(tmp_path / "d", ("111", "x/one"), ("222", "x/two"), ("333", "x/two"))
    assert again == ["vit (one)", "vit (two 222)", "vit (two 333)"]
    assert of_models(tmp_path / "e", ("1", "random, seed 0"), ("2", "model")) == ["vit (random seed 0)", "vit"]
    assert of_models(tmp_path / "f", ("1", "a"), ("1", "b")) == ["vit", "vit"], "one model, wherever it lies"


def test_models_come_in_the_order_of_places_and_then_by_name(tmp_path: Path) -> None:
    for place, name in (("later", "a1"), ("first", "b10"), ("first", "b9"), ("first", "B2")):
        made = result(name, "cats", "zeroshot_classification", "acc1", 0.5)
        made.save(tmp_path / place / f"{len(name)}-{name[::-1]}.json")
    assert models(collect([tmp_path / "first", tmp_path / "later"])) == ["B2", "b9", "b10", "a1"]
    assert models(collect([tmp_path / "later", tmp_path / "first"])) == ["a1", "B2", "b9", "b10"]


def test_a_model_is_found_by_its_name_and_by_its_folder(tmp_path: Path) -> None:
    of_models(tmp_path, ("1", "runs/one/run/model"), ("2", "runs/two/run/model"))
    entries = collect([tmp_path])
    for name in ("vit (two)", "two", "runs/two", "runs/two/run/model"):
        assert model_named(entries, name) == "vit (two)"
    with pytest.raises(DataError, match=r"'vit' is the name of 2 models: vit \(one\), vit \(two\)"):
        model_named(entries, "vit")
    with pytest.raises(DataError, match=r"did you mean 'vit \(two\)'\?"):
        model_named(entries, "vit (tow)")


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
    drawn = {"few-shot.svg", "zero-shot-against-probe.svg", "compute-zero-shot.svg", "shots-to-match-a.svg"}
    drawn |= {
        "compute-linear-probe.svg",
        *(f"zero-shot-less-probe-{of}.svg" for of in ("a", "a-less-net", "b-less-net")),
    }
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
    (pair,) = pairing.paired(entries)
    comparison = pair.comparison
    assert comparison is not None
    assert (pair.entry.data, comparison.difference, comparison.samples) == ("cats", pytest.approx(-0.3), 100)
    grid = grids.pairs(entries)
    assert grid is not None
    assert grid.rows[0][:3] == ("cats", "zero-shot", "b")
    assert "ahead of a, image by image" in grid.note
    assert grid.rows[0][3].startswith("**\N{MINUS SIGN}30.0 (\N{MINUS SIGN}38.")
    assert grid.rows[0][4:] == ("< 0.001", "< 0.001", "100")
    names = [drawing.name for drawing in suite.drawings(entries)]
    assert names.count("reliability-a") == names.count("reliability-b") == 1
    assert "100 % sure" not in next(d.alt for d in suite.drawings(entries) if d.name == "reliability-a")


def test_few_models_are_compared_each_with_each_and_many_with_a_reference(tmp_path: Path) -> None:
    for number in range(6):
        hits = [True] * (60 + number // 5 * 25) + [False] * (40 - number // 5 * 25)
        answered(f"m{number}", "cats", hits, 0.9).save(tmp_path / f"{number}.json")
    entries = collect([tmp_path])
    few = [entry for entry in entries if entry.model in ("m1", "m2", "m5")]
    assert [comparison.names for comparison in (one.comparison for one in pairing.paired(few)) if comparison] == [
        ("m2", "m1"),
        ("m5", "m1"),
        ("m5", "m2"),
    ]
    assert {
        comparison.names[1] for comparison in (one.comparison for one in pairing.paired(entries)) if comparison
    } == {"m0"}
    found = [comparison.names for comparison in (one.comparison for one in pairing.paired(entries, "m3")) if comparison]
    assert found == [(f"m{number}", "m3") for number in (0, 1, 2, 4, 5)]
    grid, told = grids.pairs(few), grids.pairs(entries, "m3")
    assert grid is not None
    assert told is not None
    assert [row[4].startswith("**") for row in grid.rows] == [False, True, True], "m1 and m2 answer alike"
    assert "ahead of m3, image by image" in told.note
    assert "--reference" not in told.note
    page = suite.page(entries, [], reference="m3")
    assert next(own for own in page.grids if own.title == "Model against model").rows == told.rows


def test_retrieval_is_compared_both_ways_with_the_texts_of_an_image_drawn_together(tmp_path: Path) -> None:
    images = 60
    keys, owners = tuple(map(str, range(images))), tuple((image,) for image in range(images) for _ in range(5))
    for model, good in (("a", 20), ("b", 45)):
        ranks = (1,) * good + (7,) * (images - good)
        tables_of = {
            "predictions": {"key": keys, "rank": ranks},
            "text_predictions": {"images": owners, "rank": tuple(rank for rank in ranks for _ in range(5))},
        }
        told = {"samples": images, "fingerprints": {"weights": model, "data": "pairs"}, **tables_of}
        made = result(model, "pairs", "zeroshot_retrieval", "text_retrieval_recall@1", good / images, **told)
        made.save(tmp_path / f"{model}.json")
    texts, pictures = pairing.paired_recalls(collect([tmp_path]))
    assert (texts.found, pictures.found) == ("texts", "images")
    for one, samples in ((texts, images), (pictures, 5 * images)):
        first, fifth, tenth = one.comparisons
        assert (first.names, first.samples) == (("b", "a"), samples)
        assert first.difference == fifth.difference == pytest.approx(25 / 60)
        assert tenth.difference == 0
        assert np.ptp(first.interval) == pytest.approx(2 * 1.96 * (25 / 60 * 35 / 60 / 60) ** 0.5, rel=0.15)
    assert (texts.comparisons[0].mcnemar is None, pictures.comparisons[0].mcnemar is None) == (False, True)
    grid = grids.recalls(collect([tmp_path]))
    assert grid is not None
    assert [[cell.startswith("**") for cell in row[3:6]] for row in grid.rows] == [[True, True, False]] * 2
    assert [row[6] for row in grid.rows] == ["60 images", "300 texts"]


def test_what_was_measured_besides_makes_no_row_of_its_own(tmp_path: Path) -> None:
    for number, options in enumerate(({}, {"ablate_prompts": True}, {"none_of_these": 0.3}, {"shifted_from": "dogs"})):
        answered("a", "cats", [True] * 60 + [False] * 40, 0.9, options=options).save(tmp_path / f"{number}.json")
    entries = collect([tmp_path])
    assert [row[0] for row in tables.comparison(entries)[1]] == ["cats"]
    assert len(findings.answers(entries)["a"].right_N) == 100, "each image once"
    rows = list(csv.DictReader(io.StringIO(tables.as_csv(entries))))
    assert [row["metric"] for row in rows] == ["acc1", "ece"]


def test_splits_and_languages_are_one_data_set_in_a_mean_and_all_splits_are_answered(tmp_path: Path) -> None:
    def save(data: str, split: str, hits: int, **more: object) -> None:
        made = answered("a", data, [True] * hits + [False] * (100 - hits), 0.9, split=split, **more)
        prints = {"weights": "a", "data": f"{data}{split}{made.language}"}
        Result(**{**vars(made), "fingerprints": prints}).save(tmp_path / f"{data}{split}{made.language}.json")

    save("cats", "train", 90)
    save("cats", "test", 60)
    result("a", "cats", "linear_probe", "lp_acc1", 0.7, split="test").save(tmp_path / "probe.json")
    save("dogs", "", 20, language="de")
    save("dogs", "", 40)
    entries = collect([tmp_path])
    _, rows = tables.comparison(entries)
    zero_shot = {row[0]: row[3] for row in rows if row[1] == "zero-shot"}
    assert set(zero_shot) == {"cats (test)", "cats (train)", "dogs", "dogs (de)", "mean of 2 data sets"}
    assert zero_shot["mean of 2 data sets"] == "50.0 (47.9 to 52.8)"
    assert (
        "mean of zero-shot counts each data set once, and leaves out cats (train), dogs (de), as"
        in remarks(entries)[-1]
    )
    assert "1 model on 2 data sets" in suite.page(entries, []).lead
    assert {bar.name for bar in findings.zero_shot_less_probe(entries)["a", "a"].values()} == {"cats (test)"}
    said = findings.answers(entries)["a"]
    assert (len(said.right_N), int(said.right_N.sum())) == (400, 210)


def test_models_without_a_reliability_figure_are_named(tmp_path: Path) -> None:
    answered("a", "cats", [True] * 60 + [False] * 40, 0.9).save(tmp_path / "a.json")
    result("b", "cats", "zeroshot_classification", "acc1", 0.5).save(tmp_path / "b.json")
    facts = suite.page(collect([tmp_path]), []).facts
    assert facts["no reliability figure"].startswith("b: ")


def test_figures_of_an_earlier_report_go_unless_they_were_changed(tmp_path: Path) -> None:
    out, results = tmp_path / "report", tmp_path / "results"
    out.mkdir()
    (out / "mine.svg").write_text("<svg/>")
    for model in ("a", "b"):
        answered(model, "cats", [True] * 60 + [False] * 40, 0.9, cost={}).save(results / f"{model}.json")
    assert main(["report", str(results), "--out", str(out)]) == 0
    pages = {"report.html", "table.md", "table.csv"}
    drawn = {f"reliability-{model}.{kind}" for model in "ab" for kind in ("svg", "pdf")}
    assert {path.name for path in out.iterdir()} == {*pages, *drawn, "mine.svg"}
    (out / "reliability-b.svg").write_text("<svg>edited</svg>")
    assert main(["report", str(results / "a.json"), "--out", str(out)]) == 0
    kept = {*pages, "reliability-a.svg", "reliability-a.pdf", "reliability-b.svg", "mine.svg"}
    assert {path.name for path in out.iterdir()} == kept


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
    grid = shift_table.grid(entries, asked)
    assert grid is not None
    rows = {row[2]: row for row in grid.rows}
    assert set(rows) == {"plain", "plain too", "robust"}
    assert rows["plain"][7] == "baseline"
    assert rows["robust"][:6] == (
        "sketches",
        "zero-shot",
        "robust",
        "70.0 (67.0 to 74.0)",
        "65.0 (62.0 to 69.0)",
        "5.0 (0.0 to 10.0)",
    )
    logits = [math.log(share / (1 - share)) for share in (0.4, 0.6)]
    x = [math.log(share / (1 - share)) for share in (0.6, 0.8, 0.7)]
    expected = logits[0] + (logits[1] - logits[0]) * (x[2] - x[0]) / (x[1] - x[0])
    assert float(rows["robust"][6].partition(" ")[0]) == pytest.approx(100 / (1 + math.exp(-expected)), abs=0.1)
    assert rows["robust"][7].startswith("+")
    drawn = next(drawing for drawing in suite.drawings(entries, asked) if drawing.name == "under-shift")
    assert "the fit over the baselines" in drawn.note
    assert "alone" not in drawn.alt
    for wrong in (("photo", ["sketches"], []), ("photos", [], []), ("photos", ["sketches"], ["plain"])):
        with pytest.raises(DataError):
            shift.asked(entries, *wrong)
    assert shift_table.grid(entries, shift.asked(entries, None, [], [])) is None


def test_names_cover_neither_points_nor_one_another_and_stay_inside() -> None:
    generator = np.random.default_rng(0)
    points = [
        Point(f"model-{n}", 10 ** generator.uniform(0, 1), generator.uniform(0.4, 0.6), "ab"[n % 2]) for n in range(25)
    ]
    with styled():
        figure = Figure(figsize=(6.4, 4.0), layout="constrained")
        axes = figure.subplots()
        point_plots.compute(axes, points, up="accuracy")
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
