"""Figures that stand alone, and the tables beside them."""

import re
import xml.etree.ElementTree as ET

from diptych.cli.output import markdown
from diptych.report.mixing import Accuracies, mixtures_svg
from diptych.report.plots import Panel, Trials, scatter_svg

SVG = "{http://www.w3.org/2000/svg}"


def groups(svg: str, axes: int) -> list[list[tuple[float, float]]]:
    """Where the markers of an axes stand, line by line, in points of the figure, the vertical downwards; those of its
    ticks are not among them."""
    root = ET.fromstring(svg)
    group = next(g for g in root.iter(f"{SVG}g") if g.get("id") == f"axes_{axes}")
    lines = [g for g in group.findall(f"{SVG}g") if (g.get("id") or "").startswith("line2d")]
    return [[(float(use.get("x", 0)), float(use.get("y", 0))) for use in g.iter(f"{SVG}use")] for g in lines]


def intervals(svg: str, axes: int) -> list[tuple[float, float, float]]:
    """Of each upright line of an axes where it stands, its top and its bottom."""
    root = ET.fromstring(svg)
    group = next(g for g in root.iter(f"{SVG}g") if g.get("id") == f"axes_{axes}")
    found = []
    for line in group.findall(f"{SVG}g"):
        path = line.find(f"{SVG}path")
        ends = re.findall(r"[ML] ([-\d.]+) ([-\d.]+)", path.get("d") or "") if path is not None else []
        if (line.get("id") or "").startswith("line2d") and len(ends) == 2 and ends[0][0] == ends[1][0]:
            found.append((float(ends[0][0]), *sorted(float(y) for _, y in ends)))
    return found


def extent(svg: str, axes: str, number: int) -> float:
    """How wide a marker of the line of that number is."""
    root = ET.fromstring(svg)
    group = next(g for g in root.iter(f"{SVG}g") if g.get("id") == axes)
    lines = [g for g in group.findall(f"{SVG}g") if g.find(f"{SVG}defs") is not None]
    outline = lines[number].find(f"{SVG}defs/{SVG}path")
    assert outline is not None
    places = [float(x) for x, _ in re.findall(r"([-\d.]+) ([-\d.]+)", outline.get("d") or "")]
    return max(places) - min(places)


def words(svg: str) -> list[str]:
    return ["".join(text.itertext()).strip() for text in ET.fromstring(svg).iter(f"{SVG}text")]


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


def test_mixtures_stand_apart_with_their_intervals() -> None:
    validation = Accuracies("validation", [0.5, 0.8, 0.8], [(0.4, 0.6), (0.7, 0.9), (0.7, 0.9)])
    dark = Accuracies("shifted $dark$", [0.4, 0.6, 0.6], [(0.3, 0.5), (0.5, 0.7), (0.5, 0.7)])
    other = Accuracies("held-out other", [0.4, 0.6, 0.2], [(0.3, 0.5), (0.5, 0.7), (0.1, 0.3)])
    svg = mixtures_svg([0, 0.5, 1], [validation, dark, other], against="validation")
    assert {"validation", "shifted $dark$", "held-out other", "accuracy, validation", "60%"} <= set(words(svg))
    assert words(svg).count("0.5-1") == 1, "of both paths, which meet at 0.5"
    marks = [own for own in groups(svg, 1) if own]
    assert [len(own) for own in marks] == [3, 3, 3]
    for (x1, y1), (x2, y2) in zip(marks[1], marks[2], strict=True):
        assert 2 < x2 - x1 < 10, "beside one another, where accuracies are equal too"
        assert (y1 == y2) == (x1 != marks[1][2][0])
    bars = intervals(svg, 1)
    assert len(bars) == 9
    for own, lines in zip(marks, (bars[:3], bars[3:6], bars[6:]), strict=True):
        for (x, y), (across, top, bottom) in zip(own, lines, strict=True):
            assert abs(x - across) < 0.01
            assert abs((top + bottom) / 2 - y) < 0.01
    first, second = groups(svg, 2)
    assert first[:2] == second[:2]
    assert extent(svg, "axes_2", 0) > extent(svg, "axes_2", 1) + 2, "so that one is seen in the other"


def test_mixtures_are_drawn_of_one_task_and_where_nothing_changes() -> None:
    same = Accuracies("a", [1.0, 1.0], [(0.9, 1.0)] * 2)
    alone = mixtures_svg([0, 1], [same], against="a")
    assert "axes_2" not in alone
    assert len({word for word in words(alone) if word.endswith("%")}) >= 3  # ticks that can be told apart
    still = mixtures_svg([0, 1], [same, Accuracies("b", [0.0, 0.0], [(0.0, 0.1)] * 2)], against="a")
    assert "0-1" in words(still)
    assert "axes_2" not in mixtures_svg([0, 1], [same, Accuracies("b", [0, 0], [(0, 0.1)] * 2)], against=None)


def test_markdown_is_aligned_and_cells_cannot_break_it() -> None:
    assert markdown(["a", "long name"], [["1|2", "x\ny"], ["", "z"]]).splitlines() == [
        "| a    | long name |",
        "| ---- | --------- |",
        "| 1\\|2 | x y       |",
        "|      | z         |",
    ]
