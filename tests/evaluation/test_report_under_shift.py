"""What a report tells of accuracy under shift: on the same classes, against baselines, and what adapting gains."""

import math
import re
from dataclasses import replace
from pathlib import Path

import pytest

from diptych.cli.main import main
from diptych.errors import DataError
from diptych.evaluation.result import Result
from diptych.report import adapting, shift, shift_table, suite
from diptych.report.collected import Entry, collect

NAMED, LEARNED = "zeroshot_classification", "supervised_adaptation"
IMAGES = 100


def plain(model: str, data: str, accuracy: float, classes: int | None = None) -> Result:
    chance = {"acc1": 1 / classes} if classes else {}
    told = {"pretrained": "", "samples": IMAGES, "chance": chance, "fingerprints": {"weights": model}}
    return Result(dataset=data, model=model, task=NAMED, metric="acc1", metrics={"acc1": accuracy}, **told)


def hits(count: int) -> tuple[int, ...]:
    return (1,) * count + (2,) * (IMAGES - count)


def shifted(model: str, data: str, task: str, *, there: int, here: int, own: int | None = None) -> Result:
    """Of as many hits in distribution and under shift; of class names of its own where these are others."""
    metric, keys = "lp_acc1" if task == LEARNED else "acc1", tuple(map(str, range(IMAGES)))
    told = {"source": "photos", "split": "test", "images": IMAGES, "classes": 2, "source_classes": 4, "mapping": {}}
    predictions = {"key": keys, "rank": hits(here)}
    metrics = {metric: here / IMAGES, f"in_distribution_{metric}": there / IMAGES}
    if task == NAMED:
        predictions |= {"rank": hits(here if own is None else own), "source_names_rank": hits(here)}
        metrics |= {metric: (here if own is None else own) / IMAGES, "source_names_acc1": here / IMAGES}
        gain = ((here if own is None else own) - here) / IMAGES
        told |= {"own_prompts": own is not None, "gain": {"difference": gain, "interval": (gain - 0.01, gain + 0.02)}}
    return Result(
        dataset=data,
        model=model,
        pretrained="",
        task=task,
        metric=metric,
        metrics=metrics,
        samples=IMAGES,
        fingerprints={"weights": model},
        options={"shifted_from": "photos"},
        details={"shift": told},
        predictions=predictions,
        source_predictions={"key": keys, "rank": hits(there)},
    )


def entries(*results: Result) -> list[Entry]:
    return [Entry(result.model, result) for result in results]


def test_in_distribution_counts_the_classes_that_both_have() -> None:
    found = entries(plain("clip", "photos", 0.5, 4), shifted("clip", "sketches", NAMED, there=80, here=60, own=70))
    asked = shift.asked(found, None, (), ())
    assert (asked.group.source, asked.group.shifted) == ("photos", ("sketches",))
    assert shift.asked(found, "photos", (), ()) == asked
    grid = shift_table.grid(found, asked)
    assert grid is not None
    assert [row[:6] for row in grid.rows] == [
        ("sketches", "zero-shot", "clip", "80.0 (70.8 to 87.3)", "60.0", "20.0"),
        ("sketches", "zero-shot, own names", "clip", "80.0 (70.8 to 87.3)", "70.0", "10.0"),
    ]
    assert [(point.x, point.y) for point in shift.means(shift.pairs(found, asked)[0]).points] == [
        (0.8, 0.6),
        (0.8, 0.7),
    ]
    with pytest.raises(DataError, match="takes a source and one shifted data set"):
        shift.asked(entries(plain("clip", "photos", 0.5)), "photos", (), ())


def test_accuracies_over_other_classes_are_not_compared() -> None:
    some, all_of = plain("clip", "sketches", 0.6, 2), plain("clip", "paintings", 0.4, 4)
    found = entries(plain("clip", "photos", 0.5, 4), some, all_of)
    grid = shift_table.grid(found, shift.asked(found, "photos", ("sketches", "paintings"), ()))
    assert grid is not None
    assert [row[:5] for row in grid.rows] == [("paintings", "zero-shot", "clip", "50.0 (39.8 to 60.2)", "40.0")]
    assert len(grid.remarks) == 1
    assert "sketches has 2 classes and photos 4; left out" in grid.remarks[0]
    # Where results do not say it, the table of data sets does.
    theirs = entries(
        plain("clip", "imagenet1k", 0.6), plain("clip", "imagenet-a", 0.3), plain("clip", "imagenetv2", 0.5)
    )
    grid = shift_table.grid(theirs, shift.asked(theirs, None, (), ()))
    assert grid is not None
    assert [row[0] for row in grid.rows] == ["imagenetv2"]
    assert "imagenet-a has 200 classes and imagenet1k 1,000" in grid.remarks[0]


def test_models_without_texts_are_baselines_of_zero_shot() -> None:
    found = entries(
        shifted("rn", "sketches", LEARNED, there=60, here=40),
        shifted("rn too", "sketches", LEARNED, there=80, here=60),
        shifted("clip", "sketches", NAMED, there=70, here=65),
        shifted("clip", "sketches", LEARNED, there=75, here=60),
    )
    asked = shift.asked(found, None, (), ("rn", "rn too"))
    grid = shift_table.grid(found, asked)
    assert grid is not None
    rows = {(row[1], row[2]): row for row in grid.rows}
    logit = [math.log((hit + 0.5) / (IMAGES - hit + 0.5)) for hit in (40, 60, 60, 80, 70)]
    expected = logit[0] + (logit[1] - logit[0]) * (logit[4] - logit[2]) / (logit[3] - logit[2])
    assert float(rows["zero-shot", "clip"][6].partition(" ")[0]) == pytest.approx(
        100 / (1 + math.exp(-expected)), abs=0.1
    )
    assert rows["supervised adaptation", "rn"][7] == "baseline"
    assert rows["supervised adaptation", "clip"][7].startswith("+")
    slope, _ = shift.line(shift.means(shift.pairs(found, asked)[0]), asked) or (math.nan, 0)
    exact = [math.log(x / (1 - x)) for x in (0.4, 0.6, 0.6, 0.8)]
    assert slope == pytest.approx((exact[1] - exact[0]) / (exact[3] - exact[2]), rel=1e-4)
    same = entries(*(shifted(name, "sketches", LEARNED, there=60, here=40) for name in ("rn", "rn too")))
    grid = shift_table.grid(same, shift.asked(same, None, (), ("rn", "rn too")))
    assert grid is not None
    assert grid.rows[0][6:] == ("", "", "")  # no line goes through two that are the same


def test_what_adapting_gains_is_paired_and_averaged() -> None:
    found = entries(
        shifted("clip", "sketches", NAMED, there=80, here=60, own=65),
        shifted("clip", "sketches", LEARNED, there=90, here=58),
        shifted("clip", "paintings", NAMED, there=70, here=50, own=51),
        shifted("clip", "paintings", LEARNED, there=84, here=50),
        shifted("other", "paintings", NAMED, there=70, here=50),
    )
    asked = shift.asked(found, None, (), ())
    one = next(gain for gain in adapting.gains(found, asked) if gain.way == "a linear classifier of photos")
    assert (one.source[0], one.shifted[0]) == (pytest.approx(0.1), pytest.approx(-0.02))
    assert one.shifted[1][0] < -0.02 < one.shifted[1][1]
    grid = adapting.grid(found, asked)
    assert grid is not None
    cells = {row[:3]: row[3:] for row in grid.rows}
    assert cells["sketches", "clip", "class names of its own"] == ("", "+5.0 (+4.0 to +7.0)")
    assert cells["mean of 2", "clip", "class names of its own"] == ("", "+3.0 (+2.3 to +4.4)")
    own, under = cells["mean of 2", "clip", "a linear classifier of photos"]
    assert own.startswith("+12.0 (+")
    assert under.startswith("\N{MINUS SIGN}1.0 (\N{MINUS SIGN}")
    assert not any(row[1] == "other" for row in grid.rows)  # its names are those of the source
    assert adapting.grid(entries(plain("clip", "photos", 0.5)), asked) is None


@pytest.mark.parametrize(
    "damaged",
    [
        {"rank": hits(60), "source_names_rank": hits(60)},
        {"key": (), "rank": (), "source_names_rank": ()},
        {"key": ("same",) * IMAGES, "rank": hits(60), "source_names_rank": hits(60)},
        {"key": tuple(map(str, range(IMAGES))), "rank": hits(60), "source_names_rank": (0,) * IMAGES},
    ],
    ids=["no keys", "no images", "equal keys", "no ranks"],
)
def test_damaged_predictions_have_no_gain_image_by_image(damaged: dict) -> None:
    named = shifted("clip", "sketches", NAMED, there=80, here=60)
    found = entries(replace(named, predictions=damaged), shifted("clip", "sketches", LEARNED, there=90, here=58))
    (gain,) = adapting.gains(found, shift.asked(found, None, (), ()))
    assert gain.shifted is None
    assert gain.source is not None
    found[1] = Entry("clip", replace(found[1].result, predictions=damaged))
    (gain,) = adapting.gains(found, shift.asked(found, None, (), ()))
    assert gain.shifted is None


def test_results_without_predictions_have_no_gain_image_by_image(tmp_path: Path) -> None:
    named = shifted("clip", "sketches", NAMED, there=80, here=60)
    learned = shifted("clip", "sketches", LEARNED, there=90, here=58)
    for name, result in (("named", named), ("learned", learned)):
        result.save(tmp_path / "results" / f"{name}.json")
    found = collect([tmp_path / "results"])
    (gain,) = adapting.gains(found, shift.asked(found, None, (), ()))
    assert gain.shifted is not None
    (tmp_path / "results" / "named.parquet").unlink()
    found = collect([tmp_path / "results"])
    (gain,) = adapting.gains(found, shift.asked(found, None, (), ()))
    assert gain.shifted is None
    assert gain.source is not None
    assert main(["report", str(tmp_path / "results"), "--out", str(tmp_path / "report")]) == 0
    page = (tmp_path / "report" / "report.html").read_text()
    assert "Adapting to the shift" in page
    assert "supervised adaptation" in page


def of_data(result: Result, data: str, source: str = "") -> Result:
    prints = {**result.fingerprints, "data": data} | ({"data of source": source} if source else {})
    return replace(result, fingerprints=prints, intervals={result.metric: (0.3, 0.9)})


def saved(folder: Path, *results: Result) -> list[Entry]:
    for number, result in enumerate(results):
        result.save(folder / f"{number}.json")
    return collect([folder])


def test_results_on_other_data_of_one_name_do_not_meet_under_shift(tmp_path: Path) -> None:
    found = saved(
        tmp_path,
        of_data(shifted("a", "sketches", NAMED, there=80, here=24), "old111", "photos"),
        of_data(shifted("a", "sketches", NAMED, there=80, here=32), "new222", "photos"),
        of_data(shifted("b", "sketches", NAMED, there=80, here=80), "new222", "photos"),
        of_data(shifted("a", "paintings", NAMED, there=80, here=50), "same", "photos"),
        of_data(shifted("b", "paintings", NAMED, there=80, here=60), "same", "photos"),
    )
    asked = shift.asked(found, None, (), ())
    grid = shift_table.grid(found, asked)
    assert grid is not None
    rows = {(row[0], row[2]): row[4].partition(" ")[0] for row in grid.rows}
    assert rows == {
        ("sketches (old111)", "a"): "24.0",
        ("sketches (new222)", "a"): "32.0",
        ("sketches (new222)", "b"): "80.0",
        ("paintings", "a"): "50.0",
        ("paintings", "b"): "60.0",
    }
    assert "In no mean: sketches, as there are results on different data" in grid.remarks[-1]
    means = shift.means(shift.pairs(found, asked)[0])
    assert [(point.name, point.y) for point in means.points] == [("a", 0.5), ("b", 0.6)]
    drawing = next(one for one in suite.drawings(found, asked) if one.name == "under-shift")
    assert "Means over paintings, with" in drawing.note
    assert "In no mean: sketches" in drawing.note


def test_results_of_other_source_data_do_not_meet_under_shift(tmp_path: Path) -> None:
    found = saved(
        tmp_path,
        of_data(shifted("a", "sketches", NAMED, there=80, here=24), "same", "first1"),
        of_data(shifted("b", "sketches", NAMED, there=40, here=32), "same", "second"),
        of_data(shifted("a", "sketches", LEARNED, there=90, here=40), "same", "second"),
    )
    asked = shift.asked(found, None, (), ())
    grid = shift_table.grid(found, asked)
    assert grid is not None
    assert {(row[0], row[1], row[2]) for row in grid.rows} == {
        ("sketches (source first1)", "zero-shot", "a"),
        ("sketches (source second)", "zero-shot", "b"),
        ("sketches (source second)", "supervised adaptation", "a"),
    }
    assert shift.means(shift.pairs(found, asked)[0]).points == ()
    assert list(adapting.gains(found, asked)) == []


def test_plain_results_on_other_data_of_one_name_do_not_meet_either(tmp_path: Path) -> None:
    found = saved(
        tmp_path,
        of_data(plain("a", "photos", 0.9, 4), "photos"),
        of_data(plain("b", "photos", 0.8, 4), "photos"),
        of_data(plain("a", "sketches", 0.5, 4), "old111"),
        of_data(plain("b", "sketches", 0.6, 4), "new222"),
    )
    asked = shift.asked(found, "photos", ("sketches",), ())
    grid = shift_table.grid(found, asked)
    assert grid is not None
    assert [(row[0], row[2]) for row in grid.rows] == [("sketches (old111)", "a"), ("sketches (new222)", "b")]


def test_a_line_goes_through_equal_data_only() -> None:
    found = entries(
        shifted("net", "sketches", LEARNED, there=60, here=40),
        shifted("net two", "sketches", LEARNED, there=80, here=60),
        shifted("clip", "sketches", NAMED, there=70, here=65),
        shifted("clip", "paintings", NAMED, there=70, here=55),
        shifted("clip two", "sketches", NAMED, there=75, here=65),
        shifted("clip two", "paintings", NAMED, there=70, here=15),
    )
    asked = shift.asked(found, None, (), ("net", "clip"))
    means = shift.means(shift.pairs(found, asked)[0])
    assert {point.name: point.y for point in means.points} == {
        "net": 0.4,
        "net two": 0.6,
        "clip": 0.65,
        "clip two": 0.65,
    }
    assert shift.line(means, asked) is not None
    apart = entries(*(one.result for one in found if (one.model, one.result.dataset) != ("net", "sketches")))
    apart.append(Entry("net", shifted("net", "paintings", LEARNED, there=60, here=40)))
    means = shift.means(shift.pairs(apart, asked)[0])
    assert shift.line(means, asked) is None, "net and net two have no set in common"


def test_a_share_of_a_gap_is_told_where_there_surely_is_one() -> None:
    found = entries(
        shifted("low", "sketches", NAMED, there=40, here=20),
        shifted("high", "sketches", NAMED, there=90, here=60),
        shifted("sure", "sketches", NAMED, there=70, here=60),
        shifted("level", "paintings", NAMED, there=70, here=60),
        shifted("low", "paintings", NAMED, there=40, here=39),
        shifted("high", "paintings", NAMED, there=90, here=89),
    )
    asked = shift.asked(found, None, (), ("low", "high"))
    grid = shift_table.grid(found, asked)
    assert grid is not None
    cells = {(row[0], row[2]): row[-1] for row in grid.rows}
    assert re.fullmatch(r"\d+ % \(.?\d+ to \d+\)", cells["sketches", "sure"])
    assert cells["paintings", "level"] == "no sure gap"
    (row,) = (row for row in grid.rows if row[2] == "sure")
    assert all(" to " in row[place] for place in (3, 6, 7))


def test_a_loss_has_an_interval_where_both_accuracies_have_one() -> None:
    one = shifted("a", "sketches", NAMED, there=80, here=60)
    limits = {"in_distribution_acc1": (0.75, 0.83), "source_names_acc1": (0.55, 0.66)}
    found = entries(replace(one, intervals=limits))
    grid = shift_table.grid(found, shift.asked(found, None, (), ()))
    assert grid is not None
    below, above = math.hypot(5, 6), math.hypot(3, 5)
    assert grid.rows[0][3:6] == (
        "80.0 (75.0 to 83.0)",
        "60.0 (55.0 to 66.0)",
        f"20.0 ({20 - below:.1f} to {20 + above:.1f})",
    )


def test_gains_on_other_data_of_one_name_are_in_no_mean(tmp_path: Path) -> None:
    sets = (("sketches", "old111", 60), ("sketches", "new222", 64), ("paintings", "same", 68), ("clips", "same2", 70))
    named = [
        of_data(shifted("a", data, NAMED, there=80, here=50, own=own), hashed, "photos") for data, hashed, own in sets
    ]
    found = saved(tmp_path, *named)
    grid = adapting.grid(found, shift.asked(found, None, (), ()))
    assert grid is not None
    gained = {row[0]: row[4].partition(" ")[0] for row in grid.rows}
    own = {"sketches (old111)": "+10.0", "sketches (new222)": "+14.0", "paintings": "+18.0", "clips": "+20.0"}
    assert gained == {**own, "mean of 2": "+19.0"}
