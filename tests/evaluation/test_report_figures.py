"""The report's figures: what they are called, what they keep of themselves, and who can read them."""

import itertools
import json
import math
import re
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diptych.cli.main import main
from diptych.evaluation.result import Result
from diptych.report import findings, shift, suite
from diptych.report.averages import mean_of
from diptych.report.collected import Entry, collect
from diptych.report.drawable import file_names
from diptych.report.drawing import as_pdf, as_svg, look
from diptych.report.page import render

KEYS = tuple(map(str, range(100)))


def answered(model: str, data: str = "cats", hits: int = 60) -> Result:
    predictions = {"key": KEYS, "rank": (1,) * hits + (2,) * (100 - hits), "confidence": (0.6,) * 100}
    known = {"metric": "acc1", "metrics": {"acc1": hits / 100, "ece": 0.1}, "intervals": {"acc1": (0.5, 0.7)}}
    about = {"samples": 100, "fingerprints": {"weights": model}, "predictions": predictions}
    return Result(dataset=data, model=model, pretrained="", task="zeroshot_classification", **known, **about)


def test_files_are_called_after_models_and_none_like_another() -> None:
    assert file_names("reliability", ["ViT-B/32", "RN50 (runs/one)"]) == [
        "reliability-vit-b-32",
        "reliability-rn50-runs-one",
    ]
    names = file_names("x", ["a b", "A-B", "a/b 2", "一", "", "long " * 1000, "long " * 1001])
    assert names[:5] == ["x-a-b", "x-a-b-2", "x-a-b-2-2", "x-1", "x-2"]
    assert len(set(names)) == len(names)
    assert max(map(len, names)) < 90


def test_a_file_says_what_it_shows_and_so_does_each_figure_of_a_family(tmp_path: Path) -> None:
    entries = [Entry(model, answered(model)) for model in ("a", "b <i>")]
    drawings = [one for one in suite.drawings(entries) if one.name.startswith("reliability")]
    assert [one.name for one in drawings] == ["reliability-a", "reliability-b-i"]
    written = dict(suite.files(drawings))
    assert (
        "<dc:title>b &lt;i&gt;: is it as often right as it says?</dc:title>" in written["reliability-b-i.svg"].decode()
    )
    assert "100 zero-shot answers on cats, each image once, in 1 bin. " in written["reliability-a.svg"].decode()
    assert "On the dashed line" in written["reliability-a.svg"].decode()
    page = render(suite.page(entries, drawings))
    assert page.count("<h2>Is each model as often right as it says?</h2>") == 1
    assert re.findall(r"<figcaption><b>(.*?)</b>", page) == ["a", "b &lt;i&gt;"]
    alone = render(suite.page(entries[:1], drawings[:1]))
    assert "<h2>a: is it as often right as it says?</h2>" in alone
    assert "<figcaption>" not in alone
    assert alone.count("On the dashed line") == page.count("On the dashed line") == 1


def test_a_pdf_keeps_its_title() -> None:
    pdf = as_pdf(lambda axes: axes.set_xlim(0, 1), (2, 2), title="Plain title", note="Plain note")
    assert b"(Plain title)" in pdf
    assert b"(Plain note)" in pdf
    assert "Plain note" in as_svg(lambda axes: axes.set_xlim(0, 1), (2, 2), title="", note="Plain note")


# Linear RGB as seen without one kind of cones (Machado, Oliveira and Fernandes, IEEE TVCG 15, 2009, severity 1).
SIGHT = {
    "of most": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def lab(linear: np.ndarray) -> np.ndarray:
    """CIELAB of linear sRGB, D65."""
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = to_xyz @ np.clip(linear, 0, 1) / np.array([0.9505, 1, 1.089])
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("sight", SIGHT.values(), ids=SIGHT)
@pytest.mark.parametrize("page", [0, 1], ids=["light", "dark"])
def test_colour_blind_readers_tell_the_colours_apart(page: int, sight: Any) -> None:
    style = resources.files("diptych.report").joinpath("page.html").read_text("utf-8")
    colours = [re.findall(rf"--{name}: #(\w+);", style)[page] for name in ("accent", "second", "third", "fourth")]
    parts = np.array([[int(colour[i : i + 2], 16) / 255 for i in (0, 2, 4)] for colour in colours])
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    seen = [lab(np.asarray(sight) @ one) for one in linear]
    # 2.3 is a just noticeable difference of patches side by side; thin lines need several times that.
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 15


def test_files_of_their_own_have_the_colours_of_the_light_page() -> None:
    style = resources.files("diptych.report").joinpath("page.html").read_text("utf-8")
    drawn = as_svg(lambda axes: [axes.plot([0, 1], [i, i], **look(i)) for i in range(4)], (2, 2), title="", note="")
    for name in ("accent", "second", "third", "fourth"):
        assert "#" + re.findall(rf"--{name}: #(\w+);", style)[0] in drawn


def test_means_have_the_interval_of_independent_quantities() -> None:
    assert mean_of([(0.5, (0.4, 0.7)), (0.7, (0.6, 0.8))]) == pytest.approx(
        (0.6, 0.6 - 0.02**0.5 / 2, 0.6 + 0.05**0.5 / 2)
    )
    assert mean_of([(0.5, (0.4, 0.6)), (0.7, None)]) == pytest.approx((0.6, math.nan, math.nan), nan_ok=True)


def few_shot(data: str, chance: float | None) -> Entry:
    curve = {"shots": [1, 4], "accuracies": [[0.2, 0.4], [0.6, 0.8]], "zero_shot": 0.6}
    told = {} if chance is None else {"chance": {"fs4_acc1": chance}}
    known = {"task": "few_shot", "metric": "fs4_acc1", "metrics": {"fs4_acc1": 0.7}, "details": curve, "samples": 100}
    return Entry("a", Result(dataset=data, model="a", pretrained="", **known, **told))


def test_few_shot_curves_have_the_mean_chance_of_their_data() -> None:
    found = [few_shot("cats", 0.25), few_shot("dogs", 0.05)]
    assert findings.few_shot_chance(found, [("cats", "acc1"), ("dogs", "acc1")]) == pytest.approx(0.15)
    (drawing,) = (one for one in suite.drawings(found) if one.name == "few-shot")
    assert "dotted line is chance" in drawing.note
    assert ">chance<" in as_svg(drawing.draw, drawing.size, title="", note="")
    unknown = [*found, few_shot("cars", None)]
    assert math.isnan(findings.few_shot_chance(unknown, [("cats", "acc1"), ("cars", "acc1")]))
    (drawing,) = (one for one in suite.drawings(unknown) if one.name == "few-shot")
    assert ">chance<" not in as_svg(drawing.draw, drawing.size, title="", note="")


def shifted(model: str, data: str, **told: Any) -> Result:
    known = {"source": "photos", "images": 100, "own_prompts": False, "gain": {"difference": 0.0, "interval": (0, 0)}}
    result = answered(model, data)
    metrics = {"acc1": 0.6, "in_distribution_acc1": 0.8, "source_names_acc1": 0.5}
    limits = {"acc1": (0.5, 0.7), "source_names_acc1": (0.4, 0.7)}
    details = {"shift": {**known, **told}}
    return Result(**{**vars(result), "metrics": metrics, "intervals": limits, "details": details})


def test_points_under_shift_have_the_interval_of_their_kind() -> None:
    entries = [Entry("a", shifted("a", data, own_prompts=True)) for data in ("sketches", "paintings")]
    known, _ = shift.pairs(entries, shift.asked(entries, None, (), ()))
    named, own = shift.means(known).points
    assert (named.group, named.y, named.low, named.high) == (
        "zero-shot",
        0.5,
        pytest.approx(0.5 - 0.1 / 2**0.5),
        pytest.approx(0.5 + 0.2 / 2**0.5),
    )
    assert (own.y, own.low, own.high) == pytest.approx((0.6, 0.6 - 0.1 / 2**0.5, 0.6 + 0.1 / 2**0.5))


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ([], "no table"),
        ({"images": 100}, "lacks source"),
        ({"source": 3, "images": 100}, "source"),
        ({"source": "photos", "images": 0}, "0 images"),
        ({"source": "photos", "images": 100, "own_prompts": True}, "is not told"),
        ({"source": "photos", "images": 100, "gain": {"difference": float("nan"), "interval": [0, 1]}}, "finite"),
    ],
)
def test_what_a_damaged_result_says_of_a_shift_costs_that(
    told: object, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "results"
    shifted("a", "sketches").save(folder / "a.json")
    shifted("b", "sketches").save(folder / "b.json")
    data = json.loads((folder / "b.json").read_text())
    data["details"]["shift"] = told
    (folder / "b.json").write_text(json.dumps(data))
    assert main(["report", str(folder), "--out", str(tmp_path / "report")]) == 0
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "b.json" in line)
    assert "without its accuracy under shift" in line
    assert reason in line
    entries = collect([folder])
    known, _ = shift.pairs(entries, shift.asked(entries, None, (), ()))
    assert [point.name for point in shift.means(known).points] == ["a"]


def test_accuracies_under_shift_are_shares(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = shifted("a", "sketches")
    for name, value in (("in_distribution_acc1", 80.0), ("source_names_acc1", 1.5)):
        Result(**{**vars(made), "metrics": {**made.metrics, name: value}}).save(tmp_path / "a.json")
        collect([tmp_path])
        assert f"{name} is no share" in capsys.readouterr().err
