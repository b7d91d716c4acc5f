"""Figures that stand alone, and the tables beside them."""

import xml.etree.ElementTree as ET

from diptych.cli.output import markdown
from diptych.report.plots import Panel, Path, scatter_svg, tradeoff_svg

SVG = "{http://www.w3.org/2000/svg}"


def marks(svg: str, axes: int) -> list[tuple[float, float]]:
    """Where the markers of an axes stand, in points of the figure, the vertical downwards."""
    root = ET.fromstring(svg)
    group = next(g for g in root.iter(f"{SVG}g") if g.get("id") == f"axes_{axes}")
    lines = [g for g in group.iter(f"{SVG}g") if (g.get("id") or "").startswith("line2d")]
    found = [use for g in lines[-1:] for use in g.iter(f"{SVG}use")] or [
        use for g in lines for use in g.iter(f"{SVG}use")
    ]
    return [(float(use.get("x", 0)), float(use.get("y", 0))) for use in found]


def words(svg: str) -> list[str]:
    return ["".join(text.itertext()).strip() for text in ET.fromstring(svg).iter(f"{SVG}text")]


def test_a_panel_a_parameter_with_a_mark_a_trial() -> None:
    rates = Panel("learning rate", [1e-4, 1e-3, 1e-2], [0.1, 0.3, 0.2], log=True)
    svg = scatter_svg([rates, Panel("precision", ["fp32", "bf16", "fp32"], [0.1, 0.3, 0.2])], metric="acc1")
    assert {"learning rate", "precision", "acc1", "fp32", "bf16"} <= set(words(svg))
    (x1, y1), (x2, y2), (x3, y3) = marks(svg, 1)
    assert abs((x2 - x1) - (x3 - x2)) < 0.01  # even in the logarithm
    assert y2 < y3 < y1  # the best on top
    assert svg == scatter_svg([rates, Panel("precision", ["fp32", "bf16", "fp32"], [0.1, 0.3, 0.2])], metric="acc1")


def test_a_tradeoff_is_drawn_with_its_labels() -> None:
    svg = tradeoff_svg([Path("shifted", [(0.5, 0.4), (0.8, 0.45)], ["0", "1"])], across="in", up="out")
    assert {"shifted", "0", "1", "in", "out"} <= set(words(svg))
    assert "%" in "".join(words(svg))


def test_markdown_is_aligned_and_cells_cannot_break_it() -> None:
    assert markdown(["a", "long name"], [["1|2", "x\ny"], ["", "z"]]).splitlines() == [
        "| a    | long name |",
        "| ---- | --------- |",
        "| 1\\|2 | x y       |",
        "|      | z         |",
    ]
