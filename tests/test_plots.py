"""Figures that stand alone, and the tables beside them."""

import re
import xml.etree.ElementTree as ET

from diptych.cli.output import markdown
from diptych.report.plots import Panel, Path, Trials, scatter_svg, tradeoff_svg

SVG = "{http://www.w3.org/2000/svg}"


def groups(svg: str, axes: int) -> list[list[tuple[float, float]]]:
    """Where the markers of an axes stand, line by line, in points of the figure, the vertical downwards; those of its
    ticks are not among them."""
    root = ET.fromstring(svg)
    group = next(g for g in root.iter(f"{SVG}g") if g.get("id") == f"axes_{axes}")
    lines = [g for g in group.findall(f"{SVG}g") if (g.get("id") or "").startswith("line2d")]
    return [[(float(use.get("x", 0)), float(use.get("y", 0))) for use in g.iter(f"{SVG}use")] for g in lines]


def words(svg: str) -> list[str]:
    return ["".join(text.itertext()).strip() for text in ET.fromstring(svg).iter(f"{SVG}text")]


def heights(svg: str) -> dict[str, float]:
    """How far down each text stands."""
    found = {}
    for text in ET.fromstring(svg).iter(f"{SVG}text"):
        place = re.search(r"translate\([-\d.]+ ([-\d.]+)\)", text.get("transform") or "")
        found["".join(text.itertext()).strip()] = float(place[1] if place else text.get("y") or 0)
    return found


def test_a_panel_for_each_thing_varied_with_a_mark_a_trial() -> None:
    rates = Panel("learning rate", [1e-4, 1e-3, 1e-2], log=True)
    trials = Trials("acc1", [0.1, 0.3, 0.2], ["done"] * 3)
    svg = scatter_svg([rates, Panel("width", [64, 65, 66])], trials)
    assert {"learning rate", "width", "acc1", "done", "best", "64", "65", "66"} <= set(words(svg))
    assert words(svg).count("acc1") == 1  # of a row, since the panels share their height
    ((x1, y1), (x3, y3)), ((x2, y2),) = groups(svg, 1)
    assert abs((x2 - x1) - (x3 - x2)) < 0.01  # even in the logarithm
    assert y2 < y3 < y1  # the best on top
    assert svg == scatter_svg([rates, Panel("width", [64, 65, 66])], trials)


def test_choices_stand_side_by_side_in_their_order_those_not_tried_too() -> None:
    sizes = Panel("batch", [64, 8, 64], choices=[64, 8, 512])
    svg = scatter_svg([sizes], Trials("acc1", [0.1, 0.3, 0.2], ["done"] * 3))
    assert [word for word in words(svg) if word in ("64", "8", "512", "16", "100")] == ["64", "8", "512"]
    ((x1, _), (x3, _)), ((x2, _),) = groups(svg, 1)
    assert 0 < abs(x3 - x1) < 0.3 * abs(x2 - x1)  # beside each other at the one choice, though equal
    odd = Panel("data.mixture", [["a"], ["a"]], choices=[["a"], ["b", "of a very long name indeed"]])
    assert any(word.endswith("…") for word in words(scatter_svg([odd], Trials("acc1", [0.1, 0.2], ["done"] * 2))))


def test_the_best_is_marked_and_what_has_no_metric_stands_below() -> None:
    panel = Panel("seed", [0, 1, 2, 3], choices=[0, 1, 2, 3])
    for lowest, best in ((False, 0), (True, 2)):
        trials = Trials("loss", [0.3, None, 0.1, None], ["done", "failed", "done", "stopped"], lowest=lowest)
        svg = scatter_svg([panel], trials)
        assert {"done", "stopped", "failed", "best"} <= set(words(svg))
        done, stopped, failed, star = groups(svg, 1)
        assert [len(marks) for marks in (done, stopped, failed, star)] == [1, 1, 1, 1]
        assert (star[0][0] < done[0][0]) == (best == 0)
        assert stopped[0][1] == failed[0][1] > max(done[0][1], star[0][1])


def test_a_tradeoff_is_drawn_with_its_labels() -> None:
    points = [(0.5, 0.4), (0.5, 0.4), (0.7, 0.45), (0.701, 0.451), (0.8, 0.42)]
    path = Path("shifted $a$ and $b$", points, ["0", "1", "2", "3", "4"])
    svg = tradeoff_svg([path], across="in", up="out", along="alpha")
    assert {"shifted $a$ and $b$", "0-1", "2", "4", "in", "out", "alpha", "50%"} <= set(words(svg))
    assert "3" not in words(svg)  # which would cover 2
    curve, start = groups(svg, 1)
    assert len(curve) == 5
    assert start == curve[:1]
    assert heights(svg)["2"] < heights(svg)["4"] < heights(svg)["0-1"]


def test_a_tradeoff_that_goes_nowhere_is_drawn_all_the_same() -> None:
    svg = tradeoff_svg([Path("a", [(1.0, 0.0)] * 2, ["0", "1"])], across="in", up="out", along="alpha")
    assert "0-1" in words(svg)
    assert len({word for word in words(svg) if word.endswith("%")}) >= 4  # ticks that can be told apart


def test_markdown_is_aligned_and_cells_cannot_break_it() -> None:
    assert markdown(["a", "long name"], [["1|2", "x\ny"], ["", "z"]]).splitlines() == [
        "| a    | long name |",
        "| ---- | --------- |",
        "| 1\\|2 | x y       |",
        "|      | z         |",
    ]
