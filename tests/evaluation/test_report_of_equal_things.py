"""The report compares, averages and draws together what is alike: data, metrics, options."""

import csv
import io
import json
from pathlib import Path

import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from diptych.errors import DataError
from diptych.evaluation.result import Result
from diptych.report import findings, grids, matching, operations, point_plots, suite, tables
from diptych.report.collected import Entry, collect
from diptych.report.drawing import PAPER, as_svg, styled
from diptych.report.marks import Point
from diptych.report.page import render
from diptych.report.remarks import remarks

TASKS = {
    "zero-shot": "zeroshot_classification",
    "linear probe": "linear_probe",
    "few-shot": "few_shot",
    "retrieval": "zeroshot_retrieval",
}


def made(model: str, data: str, value: float, task: str = "zero-shot", metric: str = "acc1", **more: object) -> Result:
    told = {"pretrained": "", "samples": 100, "cost": {"gflops": 1.0 + len(model)}, "intervals": {}}
    prints = {"weights": model, "data": str(more.pop("data_is", data))}
    known = {"dataset": data, "model": model, "task": TASKS[task], "metric": metric, "metrics": {metric: value}}
    return Result(**{**known, **told, "fingerprints": prints, **more})


def saved(folder: Path, *results: Result) -> list[Entry]:
    for number, result in enumerate(results):
        result.save(folder / f"{number}.json")
    return collect([folder])


def curve(model: str, data: str, accuracies: list[list[float]], level: float, **more: object) -> Result:
    kind = more.pop("kind", "between")
    details = {"shots": [1, 4], "accuracies": accuracies, "zero_shot": level}
    details["shots_to_match"] = {"shots": more.pop("shots", 2.0), "kind": kind}
    metric = more.pop("metric", "fs4_acc1")
    return made(model, data, 0.7, "few-shot", metric, details=details, **more)


def named(entries: list[Entry], name: str) -> suite.Drawing:
    return next(one for one in suite.drawings(entries) if one.name == name)


def test_a_mean_is_without_data_sets_of_which_there_are_several_of_one_name(tmp_path: Path) -> None:
    found = saved(
        tmp_path,
        made("a", "tw", 0.2, data_is="old111"),
        made("a", "tw", 0.4, data_is="new222"),
        made("bb", "tw", 0.9, data_is="old111"),
        *(made(model, data, 0.5) for model in ("a", "bb") for data in ("cats", "dogs")),
        made("a", "tw", 0.8, "linear probe", "lp_acc1", data_is="new222"),
        made("a", "cats", 0.6, "linear probe", "lp_acc1"),
    )
    rows = {(row[0], row[1]): row[3:] for row in tables.comparison(found)[1]}
    assert rows["mean of 2 data sets", "zero-shot"] == ["50.0", "50.0"], "and neither is bold without an interval"
    assert "leaves out tw (new222), tw (old111), as these are other data of one name" in remarks(found)[-1]
    assert "mean of zero-shot counts" in remarks(found)[-1]
    points, common = operations.accuracy_over_compute(found, "zero-shot")
    assert common == [("cats", "acc1"), ("dogs", "acc1")]
    assert [point.y for point in points] == [0.5, 0.5]
    alone = [entry for entry in found if entry.model == "a" and entry.task == "linear probe"]
    mean = next(row for row in tables.comparison(alone)[1] if row[0].startswith("mean of"))
    assert mean[0] == "mean of 2 data sets", "of one task the data are clear"


def test_few_shot_curves_are_of_clear_data_and_tell_what_they_are_without(tmp_path: Path) -> None:
    found = saved(
        tmp_path,
        curve("a", "cats", [[0.2], [0.4]], 0.3),
        curve("b", "cats", [[0.2], [0.4]], 0.3),
        curve("a", "dogs", [[0.2], [0.4]], 0.3),
        curve("a", "tw", [[0.2], [0.4]], 0.3, data_is="old111"),
        curve("a", "tw", [[0.9], [0.9]], 0.3, data_is="new222"),
    )
    lines, common = findings.few_shot_lines(found)
    assert common == [("cats", "acc1")]
    assert {line.y for line in lines} == {(0.2, 0.4)}
    assert "Without dogs, tw (old111), tw (new222): not all have them" in named(found, "few-shot").note


@pytest.mark.parametrize("metric", ["", "acc1"])
def test_where_the_own_metric_is_no_number_no_other_stands_for_it(
    metric: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = made("a", "cats", float("nan"), metrics={"acc1": float("nan"), "ece": 0.1})
    found = saved(tmp_path, Result(**{**vars(broken), "metric": metric}), made("b", "cats", 0.5))
    assert [entry.model for entry in found] == ["b"]
    assert "acc1, which it is known by, is no finite number" in capsys.readouterr().err
    with pytest.raises(DataError, match="no finite number"):
        collect([tmp_path / "0.json"])


def test_no_figure_sets_one_metric_against_another(tmp_path: Path) -> None:
    recall = "mean_per_class_recall"
    found = saved(
        tmp_path,
        made("a", "few", 0.95),
        made("bb", "few", 0.2, metric=recall),
        made("a", "few", 0.9, "linear probe", f"lp_{recall}"),
        made("bb", "few", 0.8, "linear probe", f"lp_{recall}"),
    )
    assert operations.accuracy_over_compute(found, "zero-shot") == ([], [])
    less = findings.zero_shot_less_probe(found)
    assert set(less) == {("bb", "bb")}
    points, measures = findings.zero_shot_against_probe(found)
    assert [(point.group, point.x, point.y) for point in points] == [("bb", 0.8, 0.2)]
    assert measures == [("few", recall)]


def test_figures_say_of_which_metrics_they_are(tmp_path: Path) -> None:
    found = saved(
        tmp_path,
        *(
            made(model, data, 0.6, task, f"{prefix}{metric}")
            for model in ("a", "bb")
            for data, metric in (("cats", "acc1"), ("bits", "roc_auc"))
            for task, prefix in (("zero-shot", ""), ("linear probe", "lp_"))
        ),
    )
    for name, axis in (
        ("zero-shot-less-probe-a", "points of each data set's metric"),
        ("zero-shot-against-probe", "linear probe, each data set's metric"),
        ("compute-zero-shot", "zero-shot, each data set's metric,"),
    ):
        drawing = named(found, name)
        assert "Measured are accuracy on cats; ROC AUC on bits." in drawing.note, name
        assert axis in as_svg(drawing.draw, drawing.size, title="", note=""), name
    one = [entry for entry in found if entry.result.dataset == "bits"]
    drawing = named(one, "zero-shot-less-probe-bits")
    assert "All are ROC AUC." in drawing.note
    assert "points of ROC AUC" in as_svg(drawing.draw, drawing.size, title="", note="")


def test_bars_of_one_data_set_by_two_metrics_have_names_of_their_own(tmp_path: Path) -> None:
    found = saved(
        tmp_path,
        curve("a", "cats", [[0.2], [0.4]], 0.3),
        curve("a", "cats", [[0.2], [0.4]], 0.3, metric="fs4_mean_per_class_recall", options={"start": "zero-shot"}),
    )
    (bars,) = matching.examples_to_match(found).bars.values()
    assert sorted(bar.name for bar in bars.values()) == ["cats, accuracy", "cats, mean per-class recall"]


def test_examples_to_match_are_told_where_zero_shot_is_better_than_chance(tmp_path: Path) -> None:
    def with_chance(model: str, low: float) -> Result:
        known = {"metrics": {"fs4_acc1": 0.7, "acc1": 0.3}, "intervals": {"acc1": (low, 0.4)}, "chance": {"acc1": 0.25}}
        return curve(model, "cats", [[0.2, 0.3], [0.4, 0.5]], 0.3, **known)

    tiny = curve("c", "cats", [[0.5], [0.6]], 0.01, shots=3.8e-6, kind="extrapolated")
    found = saved(tmp_path, with_chance("a", 0.26), with_chance("b", 0.2), tiny)
    matches = matching.examples_to_match(found)
    assert set(matches.bars) == {"a", "c"}
    assert matches.guessed == {"b": ["cats"]}
    (bar,) = matches.bars["a"].values()
    assert (bar.low, bar.high, bar.extrapolated) == (1.0, 2.0, False), "each draw by its own curve"
    assert next(iter(matches.bars["c"].values())).extrapolated
    drawing = named(found, "shots-to-match-cats")
    assert "None of b on cats, where zero-shot is not shown to be better than chance." in drawing.note
    alone = saved(tmp_path / "alone", with_chance("b", 0.2))
    assert not any(one.name.startswith("shots-to-match") for one in suite.drawings(alone))
    assert suite.page(alone, []).facts["no examples to match zero-shot"].startswith("b: its zero-shot is not shown")
    svg = as_svg(drawing.draw, drawing.size, title="", note="")
    assert "&lt; 0.01" in svg
    assert "e-06" not in svg
    assert "<pattern" in svg, "an extrapolated bar is hatched"


def test_a_curve_with_a_probe_of_no_examples_costs_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = curve("a", "cats", [[0.2, 0.3], [0.4, 0.5]], 0.3)
    saved(tmp_path, Result(**{**vars(one), "details": {**one.details, "full": {"examples": -1.0, "accuracy": 0.9}}}))
    assert "without its few-shot curve: -1.0 examples a class" in capsys.readouterr().err


def test_means_have_intervals_and_may_be_as_good_as_the_best(tmp_path: Path) -> None:
    def sure(model: str, data: str, value: float, half: float) -> Result:
        return made(model, data, value, intervals={"acc1": (value - half, value + half)})

    found = saved(
        tmp_path,
        *(sure("a", data, 0.60, 0.04) for data in ("cats", "dogs")),
        *(sure("b", data, 0.58, 0.04) for data in ("cats", "dogs")),
        *(sure("c", data, 0.50, 0.04) for data in ("cats", "dogs")),
    )
    mean = tables.comparison(found)[1][-1][3:]
    assert mean == ["**60.0 (57.2 to 62.8)**", "**58.0 (55.2 to 60.8)**", "50.0 (47.2 to 52.8)"]


def test_the_page_and_the_csv_say_what_intervals_are_over(tmp_path: Path) -> None:
    found = saved(tmp_path, curve("a", "cats", [[0.2], [0.4]], 0.3, intervals={"fs4_acc1": (0.6, 0.8)}))
    (grid,) = tables.results(found)
    assert "few-shot and few-shot cache are over draws of the examples" in grid.note
    assert "over draws" not in tables.results([Entry("a", made("a", "cats", 0.5))])[0].note
    both = {"metrics": {"fs4_acc1": 0.7, "acc1": 0.3}, "intervals": {"fs4_acc1": (0.6, 0.8), "acc1": (0.2, 0.4)}}
    rows = csv.DictReader(io.StringIO(tables.as_csv([Entry("a", curve("a", "cats", [[0.2], [0.4]], 0.3, **both))])))
    assert {row["metric"]: row["interval over"] for row in rows} == {"fs4_acc1": "draws", "acc1": "images"}


def test_options_that_no_row_names_are_named_below(tmp_path: Path) -> None:
    found = saved(
        tmp_path,
        made("a", "cats", 0.5, "linear probe", "lp_acc1", options={"start": "zero-shot", "solver": "scikit-learn"}),
        made("b", "cats", 0.5, "linear probe", "lp_acc1", options={"start": "zero-shot", "solver": "scikit-learn"}),
        made("a", "dogs", 0.5, "linear probe", "lp_acc1", options={"start": "zero-shot"}),
        made("a", "cats", 0.5, options={"ablate_prompts": True, "shifted_from": "dogs"}),
        made("a", "dogs", 0.5),
        made("a", "dogs", 0.6, options={"templates": "many"}),
        made("b", "cars", 0.6, options={"templates": "many"}),
        made("a", "cars", 0.6, options={"templates": "many"}, metric="roc_auc"),
        made("b", "cars", 0.6, metric="roc_auc"),
    )
    assert [remark for remark in remarks(found) if remark.startswith("With ")] == [
        "With start=zero-shot: linear probe on cats, dogs.",
        "With solver=scikit-learn: linear probe on cats.",
        "With templates=many: zero-shot on cars, acc1.",
    ]
    rows = {entry.data for entry in found}
    assert rows >= {"dogs (templates=many)", "cars (templates=many)"}, "a row that names it needs no line"


def captioned(model: str, captions: str, language: str = "en", **options: object) -> Result:
    told = {"language": language, "options": {"captions": captions, **options}}
    return made(model, "emoji", 0.5, data_is=f"{captions}{sorted(options)}", **told)


def test_what_was_read_is_named_where_it_tells_data_apart(tmp_path: Path) -> None:
    found = saved(
        tmp_path,
        captioned("a", "json.names.de", where="json.base"),
        captioned("a", "json.names.fr"),
        made("a", "x", 0.5),
    )
    assert {entry.data for entry in found} == {
        "emoji (captions=json.names.de, where=json.base)",
        "emoji (captions=json.names.fr)",
        "x",
    }
    assert not any(row[0].startswith("mean of") for row in tables.comparison(found)[1])


def test_what_was_read_is_not_named_where_all_read_the_same_up_to_the_language(tmp_path: Path) -> None:
    found = saved(tmp_path, captioned("a", "json.names.en"), captioned("a", "json.names.de", "de"))
    assert {entry.data for entry in found} == {"emoji", "emoji (de)"}
    assert not any("captions" in remark for remark in remarks(found))
    # One that was read otherwise by a single model tells no rows apart, yet is named.
    found = saved(tmp_path, captioned("a", "json.title", "de"), captioned("a", "json.names.en"))
    assert "With captions=json.title: zero-shot on emoji (de)." in remarks(found)


def test_results_of_before_stand_beside_those_that_say_what_was_read(tmp_path: Path) -> None:
    new = captioned("a", "json.names.en")
    old = Result(**{**vars(new), "model": "b", "options": {}, "fingerprints": {**new.fingerprints, "weights": "b"}})
    assert [entry.data for entry in saved(tmp_path, new, old)] == ["emoji", "emoji"]


KEYS = tuple(map(str, range(100)))


def answered(model: str, hits: int, task: str, metric: str, *, says: float | None = None, rank: str = "rank") -> Result:
    ranks = (1,) * hits + (2,) * (100 - hits)
    told = {"key": KEYS, rank: ranks if rank == "rank" else tuple((own, 1) for own in ranks)}
    value = hits / 100 if rank == "rank" else (hits / 100 + 1) / 2
    return made(model, "cats", value if says is None else says, task, metric, predictions=told)


TASKS |= {
    "nearest neighbours": "nearest_neighbours",
    "supervised adaptation": "supervised_adaptation",
    "few-shot cache": "few_shot_cache",
}


@pytest.mark.parametrize(
    ("task", "metric", "rank"),
    [
        ("nearest neighbours", "knn_acc1", "rank"),
        ("supervised adaptation", "lp_acc1", "rank"),
        ("few-shot", "fs16_acc1", "fs16_rank"),
        ("few-shot cache", "cache16_acc1", "cache16_rank"),
    ],
)
def test_all_classifiers_are_compared_image_by_image(task: str, metric: str, rank: str, tmp_path: Path) -> None:
    found = saved(tmp_path, *(answered(m, hits, task, metric, rank=rank) for m, hits in (("a", 80), ("b", 60))))
    grid = grids.pairs(found)
    assert grid is not None
    (row,) = grid.rows
    assert row[:3] == ("cats", task, "b")
    ahead = "20.0" if rank == "rank" else "10.0"
    assert row[3].startswith(f"**\N{MINUS SIGN}{ahead} (")
    # Shares of draws are compared by a bootstrap, whose p of 100 images is no less.
    assert row[4] == ("< 0.001" if rank == "rank" else "0.0015")
    assert grid.remarks == ()


def test_what_is_not_compared_is_told_with_its_reason(tmp_path: Path) -> None:
    scores = {"key": KEYS, "score": (0.5,) * 100}
    found = saved(tmp_path, *(made(m, "bits", 0.6, metric="roc_auc", predictions=scores) for m in ("a", "b")))
    grid = grids.pairs(found)
    assert grid is not None
    assert grid.remarks == (
        "Not compared: zero-shot on bits, as ROC AUC is of the scores of all images together, and not of answers one "
        "by one.",
    )


@pytest.mark.parametrize("rank", ["rank", "fs16_rank"])
def test_predictions_that_do_not_give_the_metric_are_not_compared(
    rank: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task, metric = ("zero-shot", "acc1") if rank == "rank" else ("few-shot", "fs16_acc1")
    wrong = answered("b", 60, task, metric, says=0.31, rank=rank)
    found = saved(tmp_path, answered("a", 80, task, metric, rank=rank), wrong)
    grid = grids.pairs(found)
    assert grid is not None
    assert grid.rows == ()
    share = "0.6000" if rank == "rank" else "0.8000"
    reason = f"{metric} is {share} by them, and 0.3100 in the result"
    assert reason in grid.remarks[0]
    assert f"1.json: without its predictions: {reason}" in capsys.readouterr().err


def test_predictions_of_the_recall_of_classes_are_looked_at_too(tmp_path: Path) -> None:
    told = {"key": KEYS, "rank": (1,) * 90 + (2,) * 10, "label": (0,) * 80 + (1,) * 20}
    right = made("a", "cats", 0.75, metric="mean_per_class_recall", predictions=told)
    (good,) = saved(tmp_path, right)
    assert good.answers is not None
    (bad,) = saved(tmp_path, Result(**{**vars(right), "metrics": {"mean_per_class_recall": 0.9}}))
    assert bad.answers is None


def test_ranks_of_texts_that_do_not_give_their_recall_are_not_compared(tmp_path: Path) -> None:
    def retrieval(model: str, image_recall: float) -> Result:
        metrics = {"text_retrieval_recall@1": 0.5, "image_retrieval_recall@1": image_recall}
        pictures = {"key": ("0", "1"), "rank": (1, 2), "texts": ((0,), (1,))}
        texts = {"text": ("x", "y"), "images": ((0,), (1,)), "rank": (1, 2)}
        known = {"metrics": metrics, "samples": 2, "predictions": pictures, "text_predictions": texts}
        return made(model, "flickr", 0.5, "retrieval", "text_retrieval_recall@1", **known)

    good, bad = saved(tmp_path, retrieval("a", 0.5), retrieval("b", 0.9))
    assert good.text_answers is not None
    assert bad.text_answers is None
    assert bad.answers is not None
    grid = grids.recalls([good, bad])
    assert grid is not None
    assert [row[1] for row in grid.rows] == ["texts"]
    assert "image_retrieval_recall@1 is 0.5000 by them, and 0.9000 in the result" in grid.remarks[0]


def test_their_names_of_data_sets_are_ours(tmp_path: Path) -> None:
    theirs = {"pretrained": "openai", "task": "zeroshot_classification", "metrics": {"acc1": 0.4}, "language": "en"}
    for number, name in enumerate(("wds/caltech101", "wds/vtab/caltech101", "their own")):
        told = {"dataset": name, "model": f"model {number}", **theirs}
        (tmp_path / f"theirs{number}.json").write_text(json.dumps(told))
    found = saved(tmp_path, made("ours", "caltech101", 0.5), made("ours", "wds/caltech101", 0.6))
    assert {entry.model: entry.data for entry in found if entry.model != "ours"} == {
        "model 0": "caltech101",
        "model 1": "caltech101",
        "model 2": "their own",
    }
    assert {entry.data for entry in found if entry.model == "ours"} == {"caltech101", "wds/caltech101"}


def test_an_image_of_two_versions_of_a_data_set_is_not_answered_twice(tmp_path: Path) -> None:
    told = {"key": KEYS, "rank": (1,) * 60 + (2,) * 40, "confidence": (0.6,) * 100}
    known = {"metrics": {"acc1": 0.6, "ece": 0.1}, "predictions": told}
    found = saved(tmp_path, *(made("a", "tw", 0.6, data_is=which, **known) for which in ("old111", "new222")))
    assert findings.answers(found) == {}
    found = saved(tmp_path, *(made("a", data, 0.6, **known) for data in ("tw", "cats")))
    assert len(findings.answers(found)["a"].right_N) == 200


def test_where_the_page_is_narrow_what_names_a_row_is_one_column(tmp_path: Path) -> None:
    found = saved(tmp_path, *(answered(m, hits, "zero-shot", "acc1") for m, hits in (("a", 80), ("b", 60), ("c", 50))))
    page = render(suite.page(found, []))
    assert page.count('class="beside"') > 4
    named = '<th scope="row">cats<span class="basis under">zero-shot</span><span class="basis under">acc1</span></th>'
    assert named in page
    assert '<span class="basis under">less a</span>' in page
    narrow = page[page.index("@media (max-width: 40rem)") :]
    assert ".grid .beside { display: none; }" in narrow
    assert page.index(".grid .under { display: none; }") < page.index("@media (max-width: 40rem)")


def test_no_line_goes_through_a_name() -> None:
    with styled():
        axes = Figure().subplots()
        point_plots.against(axes, [Point("a point", 0.5, 0.5), Point("another", 0.4, 0.6)], across="", up="")
        boxes = [text.get_bbox_patch() for text in axes.texts]
    assert boxes
    assert all(box is not None and to_hex(box.get_facecolor()) == to_hex(PAPER) for box in boxes)
