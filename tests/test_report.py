"""The report: everything it is given stands in it, escaped, and the file needs nothing but itself."""

import dataclasses
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from diptych.errors import DataError
from diptych.report import figures
from diptych.report.contents import Chart, Curve, Matrix, Page, PredictionCard, Row, Table
from diptych.report.page import percent, render, write_page

NASTY = "<script>alert('1')</script> & \"quotes\""
EMPTY = {"br", "img", "link", "meta", "path", "use", "input", "hr", "rect"}


class Outline(HTMLParser):
    """Collects the tags, attributes and visible text, and checks that what opens is closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in EMPTY:
            assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def image(height=12, width=12, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def full(n=4):
    steps = np.arange(1, 400)
    ranked = (("red star", 0.5), ("blue star", 0.3), ("red moon", 0.1), ("grey ring", 0.05), ("pink cross", 0.004))
    return Page(
        title=f"Title {NASTY}",
        lead=f"Lead {NASTY}",
        tables=(
            Table(
                f"table {NASTY}",
                (
                    Row(f"row {NASTY}", 0.925, 0.906, 0.941, 1 / 96, f"basis {NASTY}"),
                    Row("no interval", 0.5, np.nan, np.nan, np.nan),
                ),
                f"table note {NASTY}",
            ),
            Table("second table", (Row("other row", 0.25, 0.2, 0.3, 0.01),)),
        ),
        charts=(
            Chart(f"loss {NASTY}", [Curve("loss", list(zip(steps, 4 / steps, strict=True)))], f"unit {NASTY}"),
            Chart(
                "accuracy",
                [Curve(f"one {NASTY}", [(0, 0.1), (100, 0.7)]), Curve("two", [(0, 0.2), (100, 0.9)])],
                fractions=True,
                chance=0.05,
            ),
        ),
        matrix=Matrix(np.stack([image(seed=i) for i in range(n)]), (NASTY,) * n, np.eye(n), f"matrix note {NASTY}"),
        predictions=(
            PredictionCard(image(), "red star", ranked),
            PredictionCard(image(), "pink cross", ranked),
            PredictionCard(image(), NASTY, ((NASTY, 0.9),)),
        ),
        choice=f"choice {NASTY}",
        facts={f"fact {NASTY}": f"value {NASTY}"},
    )


def test_everything_is_shown_and_nothing_is_taken_for_markup():
    page = render(full())
    outline = Outline(page)
    assert "<script" not in page
    told = ("Title", "Lead", "table", "row", "basis", "table note", "loss", "unit", "one", "matrix note", "choice")
    for part in (*told, "fact", "value"):
        assert f"{part} {NASTY}" in outline.text
    assert "other row" in outline.text
    assert "92.5\N{NARROW NO-BREAK SPACE}%" in outline.text
    assert "90.6\N{NARROW NO-BREAK SPACE}% to 94.1\N{NARROW NO-BREAK SPACE}%" in outline.text
    assert [a["title"] for a in outline.all("th") if "title" in a] == [NASTY] * 4
    assert all(a["alt"] for a in outline.all("img"))
    assert all(NASTY in a["aria-label"] or "accuracy" in a["aria-label"] for a in outline.all("svg"))


def test_the_file_fetches_nothing():
    page = render(full())
    outline = Outline(page)
    assert not re.search(r"https?:|//[a-z]", page), "the page names no address"
    assert {tag for tag, _ in outline.tags}.isdisjoint({"script", "link", "iframe", "object", "base"})
    assert all(attributes["src"].startswith("data:image/") for attributes in outline.all("img"))
    assert all(a["href"].startswith("#") for _, a in outline.tags if "href" in a)
    assert not re.search(r"@import|url\((?!#)", page)


def test_ids_are_unique_and_references_lead_somewhere():
    outline = Outline(render(full()))
    ids = [attributes["id"] for _, attributes in outline.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    references = {a["href"][1:] for _, a in outline.tags if "href" in a}
    references |= set(re.findall(r"url\(#([^)]*)\)", render(full())))
    assert references
    assert references <= set(ids)


def test_figures_take_their_colours_and_font_from_the_page():
    page = render(full())
    drawings = "".join(re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL))
    assert "var(--accent)" in drawings
    assert not re.search(r"#[0-9a-f]{6}", drawings), "a colour that does not follow light and dark"
    assert "DejaVu" not in drawings


def test_equal_pages_are_equal_files():
    assert render(full()) == render(full())


def test_cards_are_grouped_and_a_late_right_label_is_told():
    text = Outline(render(full())).text
    right, wrong = text.index("Right"), text.index("Wrong")
    assert right < text.index("red star", right) < wrong < text.index("pink cross", wrong)
    assert "guess 5, 0.4" in text[wrong:]
    assert "grey ring" not in text, "a card shows three guesses"


def test_parts_without_content_are_left_out():
    outline = Outline(render(Page("Title", "Lead")))
    assert "Title" in outline.text
    assert not outline.all("section")


def test_no_wrong_prediction_is_said_and_no_guess_is_not_right():
    assert "None of those shown" in render(Page("", "", predictions=(PredictionCard(image(), "a", (("a", 1.0),)),)))
    assert not PredictionCard(image(), "a", ()).correct
    Outline(render(Page("", "", predictions=(PredictionCard(image(), "a", ()),))))


@pytest.mark.parametrize(
    "values",
    [
        [],
        [np.nan],
        [np.nan] * 50,
        [1.0],
        [0.0, np.inf, 2.0],
        [3.0] * 1000,
        [np.nan if i % 7 == 0 else i**-0.5 for i in range(1, 5000)],
        [np.nan] * 1000 + [1e30] * 1000,
    ],
    ids=["none", "nan", "nans", "one", "infinite", "constant", "gaps", "huge"],
)
def test_odd_curves(values):
    page = render(Page("", "", charts=(Chart("loss", [Curve("loss", list(enumerate(values)))]),)))
    outline = Outline(page)
    assert len(outline.all("svg")) == bool(np.isfinite(values).any())
    assert "nan" not in outline.text
    assert len(page) < 80_000, "a long curve is thinned"


def heights(chart):
    """What stands at the ticks of a chart's upright axis, which comes after the words of the other one."""
    words = re.findall(r"<text[^>]*>([^<]*)</text>", render(Page("", "", charts=(chart,))))
    return [word.replace("\N{NARROW NO-BREAK SPACE}", " ") for word in words[words.index("step") + 1 :]]


def test_every_value_lies_between_two_ticks():
    ticks = [float(word) for word in heights(Chart("loss", [Curve("loss", [(1, 7.9), (50, 3.3), (99, 1.9)])]))]
    assert min(ticks) <= 1.9 < 7.9 <= max(ticks)


def test_fractions_are_shown_in_per_cent_of_the_whole_and_beside_chance():
    chart = Chart("named", [Curve("unseen", [(1, 0.47), (2, 0.955)]), Curve("seen", [(1, 0.7), (2, 1.0)])])
    whole = dataclasses.replace(chart, fractions=True, chance=0.0104)
    assert {"0 %", "100 %"} <= set(heights(whole))
    text = Outline(render(Page("", "", charts=(whole,)))).text.replace("\N{NARROW NO-BREAK SPACE}", " ")
    assert "unseen 95.5 %" in text
    assert "seen 100.0 %" in text
    assert "what guessing gives, 1.0 %" in text
    assert "stroke-dasharray" in render(Page("", "", charts=(whole,)))
    assert "guessing" not in render(Page("", "", charts=(chart,)))


def test_only_a_smoothed_curve_is_said_to_be_smoothed():
    short, long = (Chart("a", [Curve("a", [(i, i) for i in range(n)])]) for n in (figures.MARKED, figures.MARKED + 1))
    assert "running mean" not in render(Page("", "", charts=(short,)))
    assert "running mean" in render(Page("", "", charts=(long,)))


@pytest.mark.parametrize("count", [0, 3])
def test_a_chart_of_too_many_curves_is_an_error(count):
    with pytest.raises(DataError, match=f"'many' has {count} curves"):
        Chart("many", [Curve("a", [(0, 1)])] * count)


@pytest.mark.parametrize("n", [0, 1, 2, 17])
def test_odd_matrices(n):
    images = [image(5 + i, 40 - i) for i in range(n)]
    similarity = np.full((n, n), -0.001)
    similarity[:1, :1] = np.nan
    outline = Outline(render(Page("", "", matrix=Matrix(images, tuple("caption" for _ in range(n)), similarity))))
    assert len(outline.all("img")) == n
    assert len([a for a in outline.all("td") if "own" in a.get("class", "")]) == n
    assert "−0.00" not in outline.text


def test_a_matrix_marks_the_nearest_caption_that_is_another():
    matrix = Matrix(np.stack([image()] * 3), ("a", "b", "c"), np.array([[0.9, 0, 0], [0.8, 0.1, 0], [0, 0, 0.5]]))
    page = render(Page("", "", matrix=matrix))
    assert page.count('miss"') == 1
    assert "2 of 3 images" in page


@pytest.mark.parametrize("caption", ["two words " * 50, "一" * 300], ids=["words", "no spaces"])
def test_a_long_caption_is_cut_where_it_heads_a_column_and_whole_elsewhere(caption):
    outline = Outline(render(Page("", "", matrix=Matrix(image()[None], (caption,), np.eye(1)))))
    head = next(a for a in outline.all("th") if a["scope"] == "col")
    assert head["title"] == outline.all("img")[0]["alt"] == caption
    assert caption[:90] in outline.text
    assert caption not in outline.text


def test_what_does_not_fit_together_is_named():
    with pytest.raises(DataError, match=r"2 captions wants 2 images.*\(3, 3\)"):
        Matrix(np.stack([image()] * 2), ("a", "b"), np.eye(3))
    with pytest.raises(DataError, match=r"uint8, not .*float64"):
        PredictionCard(image() / 255, "a", ())


def test_large_photographs_stay_small():
    smooth = np.linspace(0, 255, 900 * 1200 * 3).reshape(900, 1200, 3)
    noise = np.random.default_rng(0).normal(0, 12, smooth.shape)
    photograph = np.clip(smooth + noise, 0, 255).astype(np.uint8)
    assert len(figures.image_uri(photograph, side=240)) < 60_000


def test_running_mean_passes_over_gaps_and_keeps_a_constant():
    values = np.full(200, 2.0)
    values[50] = np.nan
    mean = figures.running_mean(values)
    assert np.isnan(mean[50])
    np.testing.assert_allclose(np.delete(mean, 50), 2.0)


@pytest.mark.parametrize(
    ("fraction", "text"),
    [(0, "0.0"), (1, "100.0"), (0.0104, "1.0"), (0.002, "0.2"), (0.12345, "12.3"), (0.0001, "< 0.1"), (0.0005, "0.1")],
)
def test_percent(fraction, text):
    assert percent(fraction) == text + "\N{NARROW NO-BREAK SPACE}%"


def test_writing_replaces_the_file_whole(tmp_path, monkeypatch):
    path = tmp_path / "new" / "report.html"
    assert write_page(full(), path) == path
    before = path.read_text(encoding="utf-8")
    assert len(before) < 1_000_000

    def full_disk(*args, **kwargs):
        raise OSError("no space left")

    monkeypatch.setattr(Path, "replace", full_disk)
    with pytest.raises(OSError, match="no space"):
        write_page(Page("other", ""), path)
    assert path.read_text(encoding="utf-8") == before
    assert list(path.parent.iterdir()) == [path]


def test_undecodable_file_names_do_not_cost_the_report(tmp_path):
    path = write_page(Page("", "", facts={"folder": b"\xff".decode("utf-8", "surrogateescape")}), tmp_path / "r.html")
    assert "folder" in path.read_text(encoding="utf-8")


def test_the_report_needs_neither_torch_nor_pyplot():
    code = "import sys, diptych.report.page; print([m for m in ('torch', 'matplotlib.pyplot') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
